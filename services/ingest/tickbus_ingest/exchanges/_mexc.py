"""The messages, frames and bodies of MEXC spot as types, and its list of instruments.

https://www.mexc.com/api-docs/spot-v3/websocket-market-streams
https://github.com/mexcdevelop/websocket-proto
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import InstrumentStatus, Side

from tickbus_ingest.exchanges._mexc_protobuf import DATA, NO_BYTES, Depth, Reader
from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, last_place, step_of
from tickbus_ingest.venue.wire_types import Id, Number, Time, decoded, json_decoder

_TIME_MAX = 2**60


class Push(msgspec.Struct):
    """PushDataV3ApiWrapper: the data of one channel, whose name ends with the symbol."""

    channel: str
    symbol: str
    sent: int
    kind: int
    """number of the field that holds the data"""
    start: int
    stop: int


def push(reader: Reader, frame: bytes) -> Push:
    """A binary frame: 1 channel, 3 symbol, 6 sendTime; Reject for anything else.

    A push of no symbol has an empty one.
    """
    reader.open(frame)
    slots = reader.slots(0, len(frame))
    kind, start, stop = slots[DATA:]
    if not slots[3] or not kind or not slots[13]:
        raise Reject("a push without a channel, data or time")
    return Push(
        reader.text(slots[2], slots[3]), reader.text(slots[6], slots[7]),
        time_of(slots[12], slots[13]), kind, start, stop,
    )  # fmt: skip


def time_of(value: int, stop: int) -> int:
    """Milliseconds since 1970; Reject for what is no time."""
    if stop != NO_BYTES or not 0 < value <= _TIME_MAX:
        raise Reject(f"time {value}")
    return value


class Trade(msgspec.Struct):
    """PublicAggreDealsV3ApiItem; ids came in June 2026, as text."""

    price: float
    qty: float
    side: int
    time: int
    trade_id: str


_SIDES = {1: Side.BUY, 2: Side.SELL}
"""The taker's."""


def trades(reader: Reader, start: int, stop: int) -> list[Trade]:
    """PublicAggreDealsV3Api: 1 deals."""
    parts = reader.parts(start, stop)
    return [_trade(reader, *parts[n : n + 2]) for n in range(0, len(parts), 2)]


def _trade(reader: Reader, start: int, stop: int) -> Trade:
    """1 price, 2 quantity, 3 tradeType, 4 time, 5 tradeId."""
    slots = reader.slots(start, stop)
    kind, kind_stop, time, time_stop = slots[6:10]
    side = _SIDES.get(kind) if kind_stop == NO_BYTES else None
    if side is None:
        raise Reject(f"a trade of type {kind}")
    if not slots[11]:
        raise Reject("a trade without an id")
    return Trade(
        reader.number(slots[2], slots[3]), reader.number(slots[4], slots[5]), side,
        time_of(time, time_stop), reader.text(slots[10], slots[11]),
    )  # fmt: skip


def depth(reader: Reader, start: int, stop: int) -> Depth:
    """PublicAggreDepthsV3Api: what changed from one version of a book to another."""
    found = reader.depth(start, stop)
    if not 0 < found.first <= found.last:
        raise Reject(f"versions {found.first} to {found.last}")
    return found


def best(reader: Reader, start: int, stop: int) -> tuple[float, float, float, float]:
    """PublicAggreBookTickerV3Api: 1 bid, 2 its size, 3 ask, 4 its size; 0 at 0 without orders."""
    slots = reader.slots(start, stop)
    return *_side(reader, *slots[2:6]), *_side(reader, *slots[6:10])


def _side(
    reader: Reader, price: int, price_stop: int, size: int, size_stop: int
) -> tuple[float, float]:
    if price == price_stop:
        return 0.0, 0.0
    if not size:
        raise Reject("a best quote without a size")
    return reader.number(price, price_stop), reader.number(size, size_stop)


class Day(msgspec.Struct):
    """PublicMiniTickerV3Api of 24 hours: `volume` there is in the quote currency."""

    last: float | None
    high: float | None
    low: float | None
    turnover: float | None
    volume: float | None


def day(reader: Reader, start: int, stop: int) -> Day:
    """1 symbol, 2 price, 5 high, 6 low, 7 volume, 8 quantity."""
    slots = reader.slots(start, stop)
    known = (slots[2 * n : 2 * n + 2] for n in (2, 5, 6, 7, 8))
    return Day(*(reader.number(*place) if place[0] else None for place in known))


# ---------------------------------------------------------------------------- JSON


class Answer(msgspec.Struct):
    """`msg` repeats what was asked for, or says why it was refused: `code` is 0 of both."""

    msg: str
    code: int = 0
    id: Any = 0


class RestBook(msgspec.Struct, rename="camel"):
    """A REST book; `timestamp` is of the answer."""

    last_update_id: Id
    bids: Raw
    asks: Raw
    timestamp: Time | None = None


class Listed(msgspec.Struct, rename="camel"):
    """https://www.mexc.com/api-docs/spot-v3/market-data-endpoints#exchange-information"""

    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    base_asset_precision: int
    quote_precision: int
    base_size_precision: Number | str = ""


class Symbols(msgspec.Struct):
    symbols: list[Raw]


ANSWER, REST_BOOK = json_decoder(Answer), json_decoder(RestBook)
_LISTED, _SYMBOLS = json_decoder(Listed), json_decoder(Symbols)
_STATES = {
    "1": InstrumentStatus.TRADING,
    "2": InstrumentStatus.HALTED,
    "3": InstrumentStatus.DELISTED,
}


def instruments(body: bytes) -> list[Instrument | Unread]:
    """The pairs in a body."""
    return each_of(decoded(_SYMBOLS, body).symbols, _LISTED, _instrument)


def _instrument(row: Listed) -> Instrument:
    """`baseSizePrecision` is the smallest order; steps are the last places of the precisions."""
    lot = last_place(row.base_asset_precision)
    smallest, _ = step_of(str(row.base_size_precision))
    return Instrument(
        ticker=row.symbol,
        base=row.base_asset,
        quote=row.quote_asset,
        tick_size=last_place(row.quote_precision),
        lot_size=lot,
        min_qty=smallest if smallest == smallest else lot,
        contract_size=1.0,
        contract_unit=row.base_asset,
        price_precision=row.quote_precision,
        qty_precision=row.base_asset_precision,
        status=_STATES.get(row.status, InstrumentStatus.UNKNOWN),
        venue_status=row.status,
    )
