"""The frames and bodies of Gate's v4 as types, and its lists of instruments.

https://www.gate.com/docs/developers/apiv4/ws/en/
https://www.gate.com/docs/developers/futures/ws/en/
"""

from __future__ import annotations

from math import nan
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import InstrumentKind, InstrumentStatus, Side, TradeFlag

from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, last_place, step_of
from tickbus_ingest.venue.wire_types import Id, Number, Time, json_decoder, known

NO_LEVELS = Raw(b"[]")
Milliseconds = float
"""With decimals; of spot they are text."""
Due = Annotated[int, Meta(ge=0, le=2**60)]
"""0 where nothing is due, or the quote is empty."""
SECONDS_MAX = 10**11
"""Seconds below, milliseconds above: as seconds this is the year 5138, as milliseconds 1973."""


def us_of(time: float) -> int:
    """Microseconds of milliseconds with decimals; Reject for what is no time."""
    if not 1 <= time <= 2**50:
        raise Reject(f"time {time}")
    whole = int(time)
    return whole * 1000 + round((time - whole) * 1000)


class Error(msgspec.Struct):
    code: Any = ""
    message: str = ""


class Frame(msgspec.Struct):
    """Data has the event `update`; answers repeat the request's event and payload."""

    channel: str
    event: str = ""
    result: Raw | UnsetType = UNSET
    time_ms: Time | None = None
    """absent until 2022"""
    error: Error | None = None
    payload: Any = None


class Trade(msgspec.Struct):
    """Of spot: one for each order of a taker."""

    id: Id
    currency_pair: str
    side: Literal["buy", "sell"]
    price: float
    amount: float
    create_time_ms: Milliseconds

    @property
    def taker(self) -> int:
        """The taker's side."""
        return Side.BUY if self.side == "buy" else Side.SELL


class Fill(msgspec.Struct):
    """Of futures: `size` is in contracts, negative where the taker sold.

    `is_internal`: the insurance fund or deleveraging took a position over, off the book.
    """

    id: Id
    contract: str
    size: float
    price: float
    create_time_ms: Milliseconds
    is_internal: bool | None = None

    @property
    def taker(self) -> int:
        """The taker's side."""
        return Side.BUY if self.size > 0 else Side.SELL

    @property
    def flags(self) -> int:
        """Of TradeFlag."""
        return TradeFlag.OFF_BOOK if self.is_internal else TradeFlag(0)


class Book(msgspec.Struct, rename={"first": "U", "last": "u", "bids": "b", "asks": "a"}):
    """Updates from `first` to `last`, or the whole book at `last`; `s` is ob.<symbol>.<levels>."""

    t: Time
    s: str
    last: Id
    first: Id | None = None
    full: bool = False
    bids: Raw = NO_LEVELS
    asks: Raw = NO_LEVELS


class Quote(msgspec.Struct):
    """The best quotes: `t` 0 and empty texts where there is none."""

    t: Due
    s: str
    u: Id
    bid_px: Number = msgspec.field(name="b", default="")
    bid_sz: Number = msgspec.field(name="B", default="")
    ask_px: Number = msgspec.field(name="a", default="")
    ask_sz: Number = msgspec.field(name="A", default="")

    @property
    def best(self) -> tuple[float, float, float, float]:
        """Bid and ask with their sizes; 0 at 0 where a side is empty."""
        return *_side(self.bid_px, self.bid_sz), *_side(self.ask_px, self.ask_sz)


def _side(price: Number, size: Number) -> tuple[float, float]:
    known_price, known_size = known(price), known(size)
    if not known_price:
        return 0.0, 0.0
    if known_size is None:
        raise Reject("a best quote without a size")
    return known_price, known_size


class Day(msgspec.Struct):
    """24 hours of a pair; without a time."""

    currency_pair: str
    last: Number = ""
    high_24h: Number = ""
    low_24h: Number = ""
    base_volume: Number = ""
    quote_volume: Number = ""


class Contract(msgspec.Struct):
    """24 hours of a contract and what holds for it; volume and interest are in contracts.

    The time of the next funding is in seconds, as is the interval.
    """

    contract: str
    last: Number = ""
    high_24h: Number = ""
    low_24h: Number = ""
    volume_24h: Number = ""
    volume_24h_quote: Number = ""
    change_price: Number = ""
    mark_price: Number = ""
    index_price: Number = ""
    funding_rate: Number = ""
    funding_rate_indicative: Number = ""
    funding_next_apply: Due = 0
    funding_interval: Annotated[int, Meta(ge=0, le=2**40)] = 0
    total_size: Number = ""
    t: Time | None = None


class Liquidation(msgspec.Struct):
    """An order that closes a position by force: `size` in contracts, negative where it sells.

    `time` is in milliseconds since August 2026, in seconds before; `time_ms` came instead.
    """

    contract: str
    price: float
    size: float
    time: Due = 0
    time_ms: Due = 0

    @property
    def time_us(self) -> int:
        """0 where there is none."""
        ms = self.time_ms or (self.time if self.time > SECONDS_MAX else self.time * 1000)
        return ms * 1000

    @property
    def order_side(self) -> int:
        """Side of the order."""
        return Side.BUY if self.size > 0 else Side.SELL


class RestBook(msgspec.Struct):
    """A REST book of spot. `id` is the `u` of its last update; `update` was absent in 2021."""

    id: Id
    bids: Raw
    asks: Raw
    update: Milliseconds | None = None


class Pair(msgspec.Struct):
    """https://www.gate.com/docs/developers/apiv4/en/#currencypair"""

    id: str
    base: str
    quote: str
    precision: int
    amount_precision: int
    trade_status: str
    min_base_amount: Number = ""


class ListedContract(msgspec.Struct):
    """https://www.gate.com/docs/developers/apiv4/en/#contract"""

    name: str
    type: str
    quanto_multiplier: Number
    order_price_round: str
    order_size_min: Number = ""
    in_delisting: bool = False
    status: str = ""
    enable_decimal: bool = False


FRAME, REST_BOOK, ROWS = json_decoder(Frame), json_decoder(RestBook), json_decoder(list[Raw])
PAIR, LISTED_CONTRACT = json_decoder(Pair), json_decoder(ListedContract)

_PAIR_STATES = {
    "tradable": InstrumentStatus.TRADING,
    "buyable": InstrumentStatus.TRADING,
    "sellable": InstrumentStatus.TRADING,
    "untradable": InstrumentStatus.HALTED,
}
"""Who may only buy or only sell trades all the same."""


def pairs(rows: list[Raw]) -> list[Instrument | Unread]:
    """The pairs of spot."""
    return each_of(rows, PAIR, _pair)


def _pair(row: Pair) -> Instrument:
    lot = last_place(row.amount_precision)
    smallest = known(row.min_base_amount)
    return Instrument(
        ticker=row.id,
        base=row.base,
        quote=row.quote,
        tick_size=last_place(row.precision),
        lot_size=lot,
        min_qty=smallest or lot,
        contract_size=1.0,
        contract_unit=row.base,
        price_precision=row.precision,
        qty_precision=row.amount_precision,
        status=_PAIR_STATES.get(row.trade_status, InstrumentStatus.UNKNOWN),
        venue_status=row.trade_status,
    )


_CONTRACT_STATES = {
    "prelaunch": InstrumentStatus.PRE_LAUNCH,
    "trading": InstrumentStatus.TRADING,
    "delisting": InstrumentStatus.SETTLING,
    "delisted": InstrumentStatus.DELISTED,
    "circuit_breaker": InstrumentStatus.HALTED,
}


def contracts(rows: list[Raw], settle: str) -> list[Instrument | Unread]:
    """The perpetuals that are settled in this currency."""

    def read(row: ListedContract) -> Instrument:
        return _contract(row, settle)

    return each_of(rows, LISTED_CONTRACT, read)


def _contract(row: ListedContract, settle: str) -> Instrument:
    """Sizes are contracts: each of `quanto_multiplier` in the base currency, or of 1 USD.

    A contract whose sizes may have decimals names no step of them.
    """
    base, _, quote = row.name.rpartition("_")
    tick, price_digits = step_of(row.order_price_round)
    size, smallest = known(row.quanto_multiplier), known(row.order_size_min)
    inverse = row.type == "inverse"
    word = row.status or ("delisting" if row.in_delisting else "trading")
    whole = {} if row.enable_decimal else {"lot_size": 1.0, "qty_precision": 0}
    return Instrument(
        ticker=row.name,
        kind=InstrumentKind.PERPETUAL,
        base=base,
        quote=quote,
        settle=settle,
        tick_size=tick,
        min_qty=smallest or 1.0,
        contract_size=1.0 if inverse else size or nan,
        contract_unit=quote if inverse else base,
        price_precision=price_digits,
        inverse=inverse,
        status=_CONTRACT_STATES.get(word, InstrumentStatus.UNKNOWN),
        venue_status=word,
        **whole,  # type: ignore[arg-type]  # both are fields of those types
    )
