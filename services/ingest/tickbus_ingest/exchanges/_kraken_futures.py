"""The frames of Kraken Futures as types, and its list of instruments.

https://docs.kraken.com/exchange/api-reference/futures-websocket/book
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import nan
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw, field
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT, InstrumentKind, InstrumentStatus

from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, step_of
from tickbus_ingest.venue.wire_types import Id, Time, decoded, json_decoder, us_of_datetime

PLACES_MAX = 15
NO_LEVELS = b"[]"


class Head(msgspec.Struct):
    """What any frame begins with: data of a feed, or an event."""

    feed: str = ""
    event: str = ""
    message: str = ""
    product_ids: list[str] = []


class Snapshot(msgspec.Struct, tag_field="feed", tag="book_snapshot"):
    """A whole book; levels are objects of JSON numbers."""

    product_id: str
    timestamp: Time
    seq: Id
    bids: Raw
    asks: Raw


class Change(msgspec.Struct, tag_field="feed", tag="book"):
    """One level; a quantity of 0 removes it."""

    product_id: str
    side: Literal["buy", "sell"]
    seq: Id
    price: Raw
    qty: Raw
    timestamp: Time


class Trade(msgspec.Struct, tag_field="feed", tag="trade"):
    """`side` is the taker's; `seq` counts by one in each product."""

    product_id: str
    side: Literal["buy", "sell"]
    seq: Id
    time: Time
    qty: float
    price: float
    type: str = "fill"
    uid: str = ""


class Ticker(msgspec.Struct, tag_field="feed", tag="ticker"):
    """Always whole; what is zero of a perpetual's funding is left out."""

    product_id: str
    time: Time
    tag: str = ""
    bid: float | None = None
    ask: float | None = None
    bid_size: float | None = None
    ask_size: float | None = None
    last: float | None = None
    open: float | None = None
    high: float | None = None
    low: float | None = None
    volume: float | None = None
    volume_quote: float | None = field(name="volumeQuote", default=None)
    mark_price: float | None = field(name="markPrice", default=None)
    index: float | None = None
    open_interest: float | None = field(name="openInterest", default=None)
    relative_funding_rate: float | None = None
    relative_funding_rate_prediction: float | None = None
    next_funding_rate_time: Annotated[float, Meta(ge=0, le=2**60)] | None = None


class Level(msgspec.Struct):
    price: Raw
    qty: Raw


class Listed(msgspec.Struct, rename="camel"):
    """https://docs.kraken.com/api-reference/instrument-details/get-instruments"""

    symbol: str
    type: str
    tradeable: bool
    tick_size: Raw = Raw(b'""')
    contract_size: float = nan
    contract_value_trade_precision: int | None = None
    post_only: bool = False
    base: str = ""
    quote: str = ""
    last_trading_time: datetime | None = None


class Body(msgspec.Struct):
    """A REST answer."""

    result: str = ""
    error: str = ""
    instruments: list[Raw] = []


Event = Change | Trade | Ticker | Snapshot
EVENTS, HEAD = json_decoder(Event), json_decoder(Head)
BODY, LISTED, LEVELS = json_decoder(Body), json_decoder(Listed), json_decoder(list[Level])
FEEDS = frozenset(str(kind.__struct_config__.tag) for kind in (Change, Trade, Ticker, Snapshot))
_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
"""Symbols keep names that the fields of the list no longer have."""


def one_level(change: Change) -> bytes:
    """The level of an update as an array; less than nothing is nothing."""
    qty = bytes(change.qty)
    return b'[{"price":%b,"qty":%b}]' % (change.price, b"0" if qty.startswith(b"-") else qty)


def levels(side: Raw) -> bytes | Raw:
    """A side of a whole book without levels of less than nothing, which have been seen."""
    if b"-" not in bytes(side):
        return side
    kept = [one for one in decoded(LEVELS, side) if not bytes(one.qty).startswith(b"-")]
    return msgspec.json.encode(kept)


def instruments(bodies: Sequence[bytes]) -> list[Instrument | Unread]:
    """The contracts in the bodies, without indexes; Reject with the venue's reason."""
    found: list[Instrument | Unread] = []
    for body in bodies:
        told: Body = decoded(BODY, body)
        if told.result != "success":
            raise Reject(f"{told.result} {told.error}".strip()[:200] or "no answer of the venue")
        found += each_of(told.instruments, LISTED, _instrument)
    return found


def _instrument(row: Listed) -> Instrument | None:
    """Inverse contracts are worth 1 USD, the others units of the coin."""
    if "futures" not in row.type:
        return None
    inverse = row.type == "futures_inverse"
    pair = row.symbol.upper().split("_")[1] if "_" in row.symbol else ""
    base = row.base or _NAMES.get(pair[:-3], pair[:-3])
    quote = row.quote or pair[-3:]
    tick, price_digits = step_of(bytes(row.tick_size).decode().strip('"'))
    lot, qty_digits = _lot(row.contract_value_trade_precision, inverse=inverse)
    return Instrument(
        # The list of 2021 has the names in lower case, which no frame has.
        ticker=row.symbol.upper() if row.symbol.islower() else row.symbol,
        kind=InstrumentKind.FUTURE if row.last_trading_time else InstrumentKind.PERPETUAL,
        base=base,
        quote=quote,
        settle=base if inverse else quote,
        tick_size=tick,
        lot_size=lot,
        contract_size=row.contract_size,
        contract_unit=quote if inverse else base,
        price_precision=price_digits,
        qty_precision=qty_digits,
        inverse=inverse,
        status=_status(row),
        venue_status=_word(row),
        expiry_timestamp=us_of_datetime(row.last_trading_time) if row.last_trading_time else ABSENT,
    )


def _lot(places: int | None, *, inverse: bool) -> tuple[float, int]:
    """Step and decimals of a quantity with so many decimals; -3 stands for whole thousands."""
    if places is None:
        return (1.0, 0) if inverse else (nan, ABSENT)
    if abs(places) > PLACES_MAX:
        raise Reject(f"contractValueTradePrecision {places}")
    return 10.0**-places, max(places, 0)


def _status(row: Listed) -> InstrumentStatus:
    trades = row.tradeable and not row.post_only
    return InstrumentStatus.TRADING if trades else InstrumentStatus.HALTED


def _word(row: Listed) -> str:
    if not row.tradeable:
        return "not tradeable"
    return "post only" if row.post_only else "tradeable"
