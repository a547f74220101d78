"""The frames and bodies of Kraken as types, and its list of instruments.

https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/book
https://docs.kraken.com/api-reference/market-data/get-tradable-asset-pairs
"""

from __future__ import annotations

from datetime import datetime
from math import nan
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT, InstrumentStatus

from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, last_place
from tickbus_ingest.venue.rows import NO_LEVELS
from tickbus_ingest.venue.wire_types import Id, decoded, json_decoder

BOOK, TRADE, TICKER = "book", "trade", "ticker"


class Book(msgspec.Struct):
    symbol: str
    checksum: Annotated[int, Meta(ge=0, lt=2**32)]
    bids: Raw = Raw(NO_LEVELS)
    asks: Raw = Raw(NO_LEVELS)
    timestamp: datetime | None = None


class Trade(msgspec.Struct):
    """`trade_id` counts by one in each book."""

    symbol: str
    side: Literal["buy", "sell"]
    price: float
    qty: float
    trade_id: Id
    timestamp: datetime


class Ticker(msgspec.Struct):
    """0 stands for the price and size of a side without orders."""

    symbol: str
    bid: float
    bid_qty: float
    ask: float
    ask_qty: float
    last: float | None = None
    volume: float | None = None
    low: float | None = None
    high: float | None = None
    change: float | None = None
    timestamp: datetime | None = None


class Books(msgspec.Struct, tag_field="channel", tag=BOOK):
    type: Literal["snapshot", "update"]
    data: list[Book]


class Trades(msgspec.Struct, tag_field="channel", tag=TRADE):
    type: Literal["snapshot", "update"]
    data: list[Trade]


class Tickers(msgspec.Struct, tag_field="channel", tag=TICKER):
    type: Literal["snapshot", "update"]
    data: list[Ticker]


class System(msgspec.Struct):
    system: str


class Status(msgspec.Struct, tag_field="channel", tag="status"):
    """Of the trading engine: sent on connecting, and when it changes."""

    data: list[System]


class Heartbeat(msgspec.Struct, tag_field="channel", tag="heartbeat"):
    """About one a second while nothing else comes."""


class Subscription(msgspec.Struct):
    channel: str = ""
    symbol: str = ""
    depth: int = 0


class Other(msgspec.Struct):
    """An answer to a request, or a channel that is none of ours."""

    channel: str | UnsetType = UNSET
    method: str | UnsetType = UNSET
    success: bool | UnsetType = UNSET
    error: str = ""
    symbol: str = ""
    req_id: int = ABSENT
    result: Subscription | UnsetType = UNSET


class Pair(msgspec.Struct):
    pair_decimals: int
    lot_decimals: int
    wsname: str = ""
    tick_size: float = nan
    ordermin: float = nan
    status: str = ""


class Pairs(msgspec.Struct):
    error: list[str]
    result: dict[str, Raw] = {}


Event = Books | Trades | Tickers | Status | Heartbeat
EVENTS, OTHER = json_decoder(Event), json_decoder(Other)
PAIRS, PAIR = json_decoder(Pairs), json_decoder(Pair)
# REST and v1 keep names that v2 refuses (nautilus_trader issues 3509 and 3960).
_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
# https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/instrument
_WORDS = {
    InstrumentStatus.TRADING: "online limit_only reduce_only",
    InstrumentStatus.HALTED: "cancel_only post_only maintenance",
    InstrumentStatus.PRE_LAUNCH: "work_in_progress",
    InstrumentStatus.DELISTED: "delisted",
}
_STATUS = {word: status for status, words in _WORDS.items() for word in words.split()}


def instruments(body: bytes) -> list[Instrument | Unread]:
    """The pairs in an answer of AssetPairs but for dark pools, which have no `wsname`."""
    pairs = decoded(PAIRS, body)
    if pairs.error:
        raise Reject(f"Kraken: {', '.join(pairs.error)[:200]}")
    return each_of(pairs.result.values(), PAIR, _instrument)


def _instrument(pair: Pair) -> Instrument | None:
    if "/" not in pair.wsname:
        return None
    base, quote = (_NAMES.get(name, name) for name in pair.wsname.split("/", 1))
    return Instrument(
        ticker=f"{base}/{quote}",
        base=base,
        quote=quote,
        settle=quote,
        tick_size=pair.tick_size,
        lot_size=last_place(pair.lot_decimals),
        min_qty=pair.ordermin,
        contract_size=1.0,
        contract_unit=base,
        price_precision=pair.pair_decimals,
        qty_precision=pair.lot_decimals,
        status=_STATUS.get(pair.status, InstrumentStatus.UNKNOWN),
        venue_status=pair.status,
    )
