"""The frames and bodies of BitMEX as types, its list of instruments, and the ids of its levels.

https://www.bitmex.com/app/wsAPI https://www.bitmex.com/api/explorer/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from math import nan
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT, InstrumentKind, InstrumentStatus, Side, TradeFlag

from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, step_of
from tickbus_ingest.venue.wire_types import Id, decoded, json_decoder, us_of_datetime

Size = Annotated[float, Meta(ge=0)]
INTERVAL_ZERO = datetime.fromisoformat("2000-01-01T00:00:00Z")
"""Lengths of time are written as a time since then."""


class Filter(msgspec.Struct):
    """Of the subscription that a partial begins."""

    symbol: str = ""


class Asked(msgspec.Struct):
    """A request, as its answer repeats it."""

    op: str = ""
    args: list[str] | str = ""

    @property
    def only(self) -> str:
        """The one argument; empty if there are several."""
        args = [self.args] if isinstance(self.args, str) else self.args
        return args[0] if len(args) == 1 else ""


class Frame(msgspec.Struct):
    """Rows of a table, an answer, an error, or the greeting."""

    table: str = ""
    action: str = ""
    data: Raw = Raw(b"")
    filter: Filter = msgspec.field(default_factory=Filter)
    success: bool = False
    subscribe: str = ""
    unsubscribe: str = ""
    status: int = 0
    error: str = ""
    request: Asked = msgspec.field(default_factory=Asked)
    info: str = ""


class Level(msgspec.Struct, gc=False):
    """A row of orderBookL2. An update or a deletion may lack the price, a deletion has no size."""

    symbol: str
    id: Id
    side: Literal["Buy", "Sell"]
    size: Size | None = None
    price: float | None = None
    timestamp: datetime | None = None
    transact_time: datetime | None = msgspec.field(default=None, name="transactTime")


class Trade(msgspec.Struct):
    """`side` is the taker's, and may be missing."""

    symbol: str
    timestamp: datetime
    size: float
    price: float
    trade_id: str = msgspec.field(name="trdMatchID")
    side: Literal["Buy", "Sell", ""] | None = None
    kind: str | None = msgspec.field(default=None, name="trdType")

    @property
    def taker(self) -> int:
        """The taker's side."""
        return SIDES[self.side or ""]

    @property
    def flags(self) -> int:
        """No document names the types: what is not Regular is taken for no match in the book."""
        return TradeFlag(0) if self.kind in (None, "", "Regular") else TradeFlag.OFF_BOOK


class Quote(msgspec.Struct, rename="camel"):
    """Null where a side is empty."""

    symbol: str
    timestamp: datetime
    bid_size: float | None = None
    bid_price: float | None = None
    ask_price: float | None = None
    ask_size: float | None = None


class State(msgspec.Struct, rename="camel"):
    """A row of instrument: what has changed. `openValue` and `turnover24h` are settlement units.

    `indicativeSettlePrice` is the index at which the contract would be settled now.
    """

    symbol: str
    timestamp: datetime | None = None
    last_price: float | None = None
    prev_price24h: float | None = msgspec.field(default=None, name="prevPrice24h")
    high_price: float | None = None
    low_price: float | None = None
    volume24h: float | None = None
    foreign_notional24h: float | None = msgspec.field(default=None, name="foreignNotional24h")
    mark_price: float | None = None
    indicative_settle_price: float | None = None
    funding_rate: float | None = None
    indicative_funding_rate: float | None = None
    funding_timestamp: datetime | None = None
    funding_interval: datetime | None = None
    open_interest: float | None = None

    @property
    def tells_day(self) -> bool:
        """Whether it holds any statistics of 24 h."""
        return _any(
            self.last_price, self.prev_price24h, self.high_price, self.low_price, self.volume24h,
            self.foreign_notional24h,
        )  # fmt: skip

    @property
    def tells_derivative(self) -> bool:
        """Whether it holds anything of a contract's prices, funding or open interest."""
        return _any(
            self.last_price, self.mark_price, self.indicative_settle_price, self.funding_rate,
            self.indicative_funding_rate, self.funding_timestamp, self.funding_interval,
            self.open_interest,
        )  # fmt: skip

    @property
    def interval_ms(self) -> int | None:
        """Between two payments of funding."""
        if self.funding_interval is None:
            return None
        return int((self.funding_interval - INTERVAL_ZERO).total_seconds() * 1000)


class Liquidation(msgspec.Struct, rename="camel"):
    """An order that closes a position by force; rows have no time."""

    symbol: str
    side: Literal["Buy", "Sell"]
    price: float
    leaves_qty: float


class Listed(msgspec.Struct, rename="camel"):
    """https://www.bitmex.com/api/explorer/#!/Instrument/Instrument_getActive"""

    symbol: str
    typ: str
    state: str
    underlying: str
    quote_currency: str
    tick_size: Raw
    lot_size: Raw
    is_inverse: bool = False
    is_quanto: bool = False
    multiplier: float | None = None
    underlying_to_position_multiplier: float | None = None
    underlying_to_settle_multiplier: float | None = None
    settl_currency: str | None = None
    expiry: datetime | None = None


class Refusal(msgspec.Struct):
    """Of a REST request."""

    message: str = ""


class Refused(msgspec.Struct):
    """A REST body that is no list."""

    error: Refusal


SIDES = {"Buy": Side.BUY, "Sell": Side.SELL, "": Side.UNKNOWN}
FRAME, BODY, REFUSED, ROW = (json_decoder(one) for one in (Frame, list[Raw], Refused, Listed))
ROWS = {
    "orderBookL2": json_decoder(list[Level]),
    "trade": json_decoder(list[Trade]),
    "quote": json_decoder(list[Quote]),
    "instrument": json_decoder(list[State]),
    "liquidation": json_decoder(list[Liquidation]),
}
"""Decoder of each table's rows."""


class Change:
    """The levels of one book in a frame: as `rows.l2` takes them, and what they do to its ids."""

    __slots__ = ("asks", "bids", "engine_us", "prices", "time_us")

    def __init__(self, levels: Sequence[Level]) -> None:
        self.bids: list[tuple[float, float]] = []
        self.asks: list[tuple[float, float]] = []
        self.prices: list[tuple[int, float | None]] = []
        """key -> price of levels that come, None of those that go"""
        self.time_us = _newest([one.timestamp for one in levels])
        self.engine_us = _newest([one.transact_time for one in levels])

    def begin(self, levels: Iterable[Level]) -> None:
        """Take the levels of a whole book; Reject for one that is not whole."""
        for level in levels:
            price, size = level.price, level.size
            if price is None or size is None:
                raise Reject("a level without its price or size")
            is_bid = level.side == "Buy"
            self.prices.append((level.id if is_bid else ~level.id, price))
            (self.bids if is_bid else self.asks).append((price, size))

    def follow(self, action: str, levels: Iterable[Level], known: Prices) -> str:
        """Take levels that change a book; why they do not follow it, "" if they do.

        A row's keys are its id and side. An update that names no size changes nothing of ours.
        """
        comes, goes, held_price = action == "insert", action == "delete", known.get
        for level in levels:
            price, size, is_bid = level.price, level.size, level.side == "Buy"
            key = level.id if is_bid else ~level.id
            held = held_price(key)
            if comes:
                if price is None or size is None:
                    raise Reject("an insertion without price or size")
                self.prices.append((key, price))
            is_right = held is None if comes else held is not None and price in (None, held)
            if not is_right:
                return f"{action} of the level {level.id} {level.side}, held at {held}"
            if price is None:
                price = held
            if goes:
                size = 0.0
                self.prices.append((key, None))
            if price is not None and size is not None:
                (self.bids if is_bid else self.asks).append((price, size))
        return ""


def _newest(times: list[datetime | None]) -> int:
    """Microseconds of the newest time; 0 where there is none."""
    told = [one for one in times if one is not None]
    return us_of_datetime(max(told)) if told else 0


class Prices:
    """The price of each level of a book by its key.

    A change gives another map and leaves this one as it is. Most of it is shared, so that a change
    costs little however deep the book is.
    """

    __slots__ = ("_base", "_changed")
    APART_MAX = 256
    """changes before they are put together with the rest"""

    def __init__(
        self, base: Mapping[int, float], changed: Mapping[int, float | None] | None = None
    ) -> None:
        self._base = base
        self._changed = changed or {}

    def get(self, key: int) -> float | None:
        """The price; None where there is no such level."""
        price = self._changed.get(key, nan)
        return price if price == price else self._base.get(key)

    def changed(self, levels: Iterable[tuple[int, float | None]]) -> Prices:
        """The map with these levels; a price of None: the level is gone."""
        changed = dict(self._changed)
        changed.update(levels)
        if len(changed) <= self.APART_MAX:
            return Prices(self._base, changed)
        both = {**self._base, **changed}
        return Prices({key: price for key, price in both.items() if price is not None})


def instruments(body: bytes) -> list[Instrument | Unread]:
    """The instruments in a body; Reject with the venue's reason."""
    if body.lstrip()[:1] == b"{":
        raise Reject(decoded(REFUSED, body).error.message or "no list of instruments")
    return each_of(decoded(BODY, body), ROW, _instrument)


_KINDS = {
    "FFWCSX": InstrumentKind.PERPETUAL,
    "FFWCSF": InstrumentKind.PERPETUAL,  # on currencies
    "FFCCSX": InstrumentKind.FUTURE,
    "IFXXXP": InstrumentKind.SPOT,
}
"""Types of what is traded; the others are indexes and prediction markets."""
_STATES = {
    "Open": InstrumentStatus.TRADING,
    "Closed": InstrumentStatus.HALTED,
    "Unlisted": InstrumentStatus.PRE_LAUNCH,
    "Settled": InstrumentStatus.SETTLING,
    "Cleared": InstrumentStatus.DELISTED,
}


def _instrument(row: Listed) -> Instrument | None:
    kind = _KINDS.get(row.typ)
    if kind is None:
        return None
    (tick, price_digits), (lot, qty_digits) = (
        step_of(bytes(one).decode(errors="replace")) for one in (row.tick_size, row.lot_size)
    )
    size, unit = _contract(row)
    return Instrument(
        ticker=row.symbol,
        kind=kind,
        base=row.underlying,
        quote=row.quote_currency,
        settle="" if kind is InstrumentKind.SPOT else row.settl_currency or "",
        tick_size=tick,
        lot_size=lot,
        min_qty=lot,
        contract_size=size,
        contract_unit=unit,
        price_precision=price_digits,
        qty_precision=qty_digits,
        inverse=row.is_inverse,
        status=_STATES.get(row.state, InstrumentStatus.UNKNOWN),
        venue_status=row.state,
        expiry_timestamp=us_of_datetime(row.expiry) if row.expiry else ABSENT,
    )


def _contract(row: Listed) -> tuple[float, str]:
    """What a unit of quantities is worth, and of what.

    https://support.bitmex.com/hc/en-gb/articles/16797952159261 A quanto contract is worth a fixed
    sum of its settlement unit for each whole number of its price.
    """
    if row.is_inverse:
        return _ratio(row.multiplier, row.underlying_to_settle_multiplier), row.quote_currency
    if row.is_quanto:
        return (nan if row.multiplier is None else row.multiplier), row.settl_currency or ""
    return _ratio(1.0, row.underlying_to_position_multiplier), row.underlying


def _ratio(one: float | None, other: float | None) -> float:
    return nan if one is None or not other else one / other


def _any(*values: object) -> bool:
    return any(value is not None for value in values)
