"""The frames and bodies of Crypto.com Exchange as types, and its list of instruments.

https://exchange-docs.crypto.com/exchange/v1/rest-ws/index.html
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT, InstrumentKind, InstrumentStatus, Side

from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, step_of
from tickbus_ingest.venue.wire_types import Id, Time, decoded, json_decoder, us_of

NO_LEVELS = Raw(b"[]")
HOUR_US = 3_600_000_000


class Result(msgspec.Struct):
    """Data of a subscription; `depth` is that of a book."""

    channel: str = ""
    instrument_name: str = ""
    subscription: str = ""
    depth: int = 0
    data: Raw | UnsetType = UNSET


class Frame(msgspec.Struct):
    """Data has a result, an answer has none; all is well where `code` is 0.

    `original`: the text of a request that was refused.
    """

    method: str
    id: Any = -1
    code: int = 0
    result: Result | None = None
    message: str = ""
    original: str = ""


class Params(msgspec.Struct):
    channels: list[str] = []


class Asked(msgspec.Struct):
    """A request of ours."""

    params: Params


class Trade(msgspec.Struct):
    """`s` is the taker's side; ids are texts of digits that only differ."""

    d: str
    t: Time
    p: float
    q: float
    s: Literal["BUY", "SELL"]

    @property
    def side(self) -> int:
        """The taker's side."""
        return Side.BUY if self.s == "BUY" else Side.SELL


class Sides(msgspec.Struct):
    """Levels are [price, size, orders]."""

    bids: Raw = NO_LEVELS
    asks: Raw = NO_LEVELS


class Book(msgspec.Struct):
    """A whole book, or in `update` what changed since `pu`; `tt` is of the last change.

    The checksum `cs` that some frames have is of no published kind.
    """

    t: Time
    u: Id
    tt: Time | None = None
    pu: Id | None = None
    update: Sides | None = None
    bids: Raw = NO_LEVELS
    asks: Raw = NO_LEVELS


class Ticker(msgspec.Struct):
    """24 hours and the best quotes: null where there was no trade, or a side is empty.

    `vv` is in USD; `c` is a part of the price, not a price.
    """

    t: Time
    h: float | None = None
    l: float | None = None  # noqa: E741  # the venue's key
    a: float | None = None
    b: float | None = None
    bs: float | None = None
    k: float | None = None
    ks: float | None = None
    v: float | None = None
    vv: float | None = None
    oi: float | None = None

    @property
    def best(self) -> tuple[float, float, float, float]:
        """Bid and ask with their sizes; 0 at 0 where a side is empty."""
        return *_side(self.b, self.bs), *_side(self.k, self.ks)


def _side(price: float | None, size: float | None) -> tuple[float, float]:
    if price is None:
        return 0.0, 0.0
    if size is None:
        raise Reject("a best quote without a size")
    return price, size


class Value(msgspec.Struct):
    """A mark price, an index, a rate."""

    v: float
    t: Time


class Listed(msgspec.Struct):
    symbol: str
    inst_type: str
    base_ccy: str
    quote_ccy: str
    price_tick_size: str
    qty_tick_size: str
    tradable: bool
    expiry_timestamp_ms: int | None = None


class Rows(msgspec.Struct):
    data: list[Raw]


class Body(msgspec.Struct):
    """A REST answer."""

    code: int
    message: str = ""
    result: Rows | None = None


FRAME, ASKED, BODY, LISTED = (json_decoder(one) for one in (Frame, Asked, Body, Listed))
DATA = {
    "trade": json_decoder(list[Trade]),
    "book": json_decoder(list[Book]),
    "book.update": json_decoder(list[Book]),
    "ticker": json_decoder(list[Ticker]),
    **dict.fromkeys(("mark", "index", "funding", "estimatedfunding"), json_decoder(list[Value])),
}
"""Decoder of each channel's data."""


def next_hour_us(time: int) -> int:
    """The end of the hour in which a time in milliseconds or microseconds is."""
    return (us_of(time) // HOUR_US + 1) * HOUR_US


def asked_for(original: str) -> list[str]:
    """The channels of a request that came back; none where it is not one of ours."""
    try:
        asked: Asked = decoded(ASKED, original.encode())
    except Reject:
        return []
    return asked.params.channels


def instruments(body: bytes) -> list[Instrument | Unread]:
    """The instruments in a body; Reject with the venue's reason."""
    found: Body = decoded(BODY, body)
    if found.code or found.result is None:
        raise Reject(f"{found.code} {found.message[:200]}")
    return each_of(found.result.data, LISTED, _instrument)


_KINDS = {
    "CCY_PAIR": InstrumentKind.SPOT,
    "PERPETUAL_SWAP": InstrumentKind.PERPETUAL,
    "FUTURE": InstrumentKind.FUTURE,
}
"""Warrants and other products are left out: no kind of ours is theirs."""


def _instrument(row: Listed) -> Instrument | None:
    """Quantities are in the base currency; a perpetual names an expiry that means nothing."""
    kind = _KINDS.get(row.inst_type)
    if kind is None:
        return None
    tick, price_digits = step_of(row.price_tick_size)
    lot, qty_digits = step_of(row.qty_tick_size)
    expiry = row.expiry_timestamp_ms if kind is InstrumentKind.FUTURE else None
    return Instrument(
        ticker=row.symbol,
        kind=kind,
        base=row.base_ccy,
        quote=row.quote_ccy,
        settle="" if kind is InstrumentKind.SPOT else row.quote_ccy,
        tick_size=tick,
        lot_size=lot,
        min_qty=lot,
        contract_size=1.0,
        contract_unit=row.base_ccy,
        price_precision=price_digits,
        qty_precision=qty_digits,
        status=InstrumentStatus.TRADING if row.tradable else InstrumentStatus.HALTED,
        venue_status="tradable" if row.tradable else "not tradable",
        expiry_timestamp=us_of(expiry) if expiry else ABSENT,
    )
