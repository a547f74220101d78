"""The frames and bodies of Deribit as types, and its list of instruments.

https://docs.deribit.com/articles/json-rpc-overview
"""

from __future__ import annotations

from math import nan
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import (
    ABSENT,
    InstrumentKind,
    InstrumentStatus,
    OptionType,
    Side,
    TradeFlag,
)

from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, step_of
from tickbus_ingest.venue.wire_types import Id, Time, decoded, json_decoder, us_of


class Error(msgspec.Struct):
    """Why a request was refused."""

    code: int = 0
    message: str = ""
    data: Raw = Raw(b"")
    """which parameter, and why"""

    def __str__(self) -> str:
        return f"{self.code} {self.message} {bytes(self.data).decode(errors='replace')}"[:300]


class Params(msgspec.Struct, frozen=True):
    """Of a notification."""

    channel: str = ""
    data: Raw | UnsetType = UNSET
    type: str = ""
    """of a heartbeat"""


class Frame(msgspec.Struct):
    """A notification has a method, an answer the id of its request and a result or an error."""

    method: str = ""
    params: Params = Params()
    id: int | None = None
    result: Raw | UnsetType = UNSET
    error: Error | None = None


class Platform(msgspec.Struct):
    """https://docs.deribit.com/subscriptions/platform/platform_state"""

    price_index: str
    locked: bool


class Trade(msgspec.Struct):
    """One trade.

    `liquidation` says whose order was a liquidation: the maker's (M), the taker's (T) or both (MT).
    A leg of a combo was matched in the combo's book, not in that of its own instrument.
    """

    instrument_name: str
    trade_id: str
    trade_seq: Id
    timestamp: Time
    direction: Literal["buy", "sell"]
    price: float
    amount: float
    liquidation: str = ""
    block_trade_id: Any = None
    combo_id: Any = None
    combo_trade_id: Any = None

    @property
    def side(self) -> int:
        """The taker's."""
        return Side.BUY if self.direction == "buy" else Side.SELL

    @property
    def liquidated(self) -> list[int]:
        """Sides of the orders that were liquidations."""
        sides = (("T", self.side), ("M", -self.side))
        return [side for role, side in sides if role in self.liquidation]

    @property
    def flags(self) -> int:
        """Of TradeFlag."""
        found = TradeFlag.LIQUIDATION if "T" in self.liquidation else TradeFlag(0)
        if self.block_trade_id is not None:
            found |= TradeFlag.BLOCK
        if self.combo_id is not None or self.combo_trade_id is not None:
            found |= TradeFlag.OFF_BOOK
        return found


class Book(msgspec.Struct):
    """https://docs.deribit.com/subscriptions/orderbook/bookinstrument_nameinterval"""

    instrument_name: str
    type: Literal["snapshot", "change"]
    timestamp: Time
    change_id: Id
    bids: Raw
    asks: Raw
    prev_change_id: Id | None = None


class Quote(msgspec.Struct):
    """https://docs.deribit.com/subscriptions/market-data/quoteinstrument_name"""

    instrument_name: str
    timestamp: Time
    best_bid_price: float | None
    best_bid_amount: float | None
    best_ask_price: float | None
    best_ask_amount: float | None


class Stats(msgspec.Struct):
    """Of 24 h: `volume` in the base currency, `volume_notional` in the quote currency.

    Options have `volume` alone. `price_change` is a percentage.
    """

    volume: float | None = None
    volume_usd: float | None = None
    volume_notional: float | None = None
    high: float | None = None
    low: float | None = None


class Ticker(msgspec.Struct):
    """https://docs.deribit.com/subscriptions/upcoming/market-data/tickerinstrument_nameinterval

    `settlement_price` is that of the last settlement, `estimated_delivery_price` of the next one.
    Funding is paid all the time; `current_funding` is its rate for eight hours.
    """

    instrument_name: str
    timestamp: Time
    stats: Stats = msgspec.field(default_factory=Stats)
    last_price: float | None = None
    mark_price: float | None = None
    index_price: float | None = None
    estimated_delivery_price: float | None = None
    current_funding: float | None = None
    open_interest: float | None = None


class Listed(msgspec.Struct):
    """https://docs.deribit.com/api-reference/market-data/public-get_instruments"""

    instrument_name: str
    kind: str
    base_currency: str
    quote_currency: str
    tick_size: Raw
    min_trade_amount: Raw
    is_active: bool
    tick_size_steps: list[Any] = []
    """the steps of higher prices"""
    state: str = ""
    instrument_type: str = ""
    settlement_currency: str | None = None
    settlement_period: str | None = None
    expiration_timestamp: Time | None = None
    strike: float | None = None
    option_type: str | None = None


class Body(msgspec.Struct):
    """A REST answer."""

    result: list[Raw] | UnsetType = UNSET
    error: Error | None = None


FRAME, NAMES = json_decoder(Frame), json_decoder(list[str])
PLATFORM = json_decoder(Platform)
BODY, ROW = json_decoder(Body), json_decoder(Listed)


def instruments(body: bytes) -> list[Instrument | Unread]:
    """The instruments in a body; Reject with the venue's reason."""
    found: Body = decoded(BODY, body)
    if found.result is UNSET:
        raise Reject(str(found.error or "no list of instruments"))
    return each_of(found.result, ROW, _instrument)


def _kind(row: Listed) -> InstrumentKind | None:
    """None: a combo, which has no kind of ours."""
    if row.kind == "future" and row.settlement_period == "perpetual":
        return InstrumentKind.PERPETUAL
    return _KINDS.get(row.kind)


_KINDS = {
    "future": InstrumentKind.FUTURE,
    "option": InstrumentKind.OPTION,
    "spot": InstrumentKind.SPOT,
}
_OPTIONS = {"call": OptionType.CALL, "put": OptionType.PUT}
_CLOSED = {
    "settlement": InstrumentStatus.SETTLING,
    "delivered": InstrumentStatus.DELISTED,
    "archivized": InstrumentStatus.DELISTED,
}
"""States of what cannot be traded now; the others (inactive, locked, halted) may end again."""


def _instrument(row: Listed) -> Instrument | None:
    """Amounts are USD (futures quoted in USD) or coins, whatever a contract is worth.

    The documents name a smallest amount and no step. Amounts of derivatives are multiples of it;
    those of spot are finer, so their step is not known.
    """
    kind = _kind(row)
    if kind is None:
        return None
    is_spot, settles = kind is InstrumentKind.SPOT, row.settlement_currency
    expires = kind in (InstrumentKind.FUTURE, InstrumentKind.OPTION)
    inverse = row.kind == "future" and row.quote_currency == "USD"
    tick, price_digits = _step(row.tick_size)
    smallest, qty_digits = _step(row.min_trade_amount)
    closed = _CLOSED.get(row.state, InstrumentStatus.HALTED)
    expiry, strike = row.expiration_timestamp, row.strike
    return Instrument(
        ticker=row.instrument_name,
        kind=kind,
        base=row.base_currency,
        quote=row.quote_currency,
        settle=settles if settles and not is_spot else "",
        tick_size=nan if row.tick_size_steps else tick,
        lot_size=nan if is_spot else smallest,
        min_qty=smallest,
        contract_size=1.0,
        contract_unit=row.quote_currency if inverse else row.base_currency,
        price_precision=price_digits,
        qty_precision=ABSENT if is_spot else qty_digits,
        inverse=inverse,
        status=InstrumentStatus.TRADING if row.is_active else closed,
        venue_status=row.state,
        expiry_timestamp=us_of(expiry) if expiry and expires else ABSENT,
        strike=nan if strike is None else strike,
        option_type=_OPTIONS.get(row.option_type or "", OptionType.NONE),
    )


def _step(number: Raw) -> tuple[float, int]:
    """A step and its decimals; unknown where it is none, so that others are not hidden by it."""
    try:
        return step_of(bytes(number).decode(errors="replace"))
    except Reject:
        return nan, ABSENT
