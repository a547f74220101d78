"""Kraken Spot, WebSocket v2. https://docs.kraken.com/api/docs/websocket-v2/book"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
from tickbus_schemas.exchanges import Exchange

from tickbus_sim import dialect as contract
from tickbus_sim.book import BookEvent, Levels, NaiveBook
from tickbus_sim.dialect import (
    CONTROL,
    Books,
    Line,
    Listing,
    Reply,
    Resource,
    Topic,
    compact,
    decoding,
)
from tickbus_sim.events import Change, Quote, Statistics, Trade
from tickbus_sim.numbers import decimal_of, json_number

CHECKED = 10
"""Levels a side that the checksum covers."""
DEPTHS = (10, 25, 100, 500, 1000)


class _Request(msgspec.Struct, gc=False):
    method: str
    params: msgspec.Raw = msgspec.Raw(b"{}")
    req_id: int | msgspec.UnsetType = msgspec.UNSET


class _Params(msgspec.Struct, gc=False, omit_defaults=True):
    channel: str = ""
    symbol: list[str] = []
    depth: int = CHECKED
    event_trigger: str = ""
    snapshot: bool | msgspec.UnsetType = msgspec.UNSET


class _Level(msgspec.Struct, gc=False):
    price: msgspec.Raw
    qty: msgspec.Raw


class _Book(msgspec.Struct, gc=False):
    symbol: str
    bids: list[_Level] = []
    asks: list[_Level] = []
    checksum: int | None = None
    timestamp: str = ""


class _Frame(msgspec.Struct, gc=False):
    channel: str
    type: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Symbol(msgspec.Struct, gc=False):
    symbol: str = ""


_request = decoding(msgspec.json.Decoder(_Request).decode)
_params = decoding(msgspec.json.Decoder(_Params).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_books = decoding(msgspec.json.Decoder(list[_Book]).decode)
_symbols = decoding(msgspec.json.Decoder(list[_Symbol]).decode)


class Dialect(contract.Dialect):
    """Books are pushed, without numbers but with a checksum; numbers are JSON numbers."""

    exchange = Exchange.KRAKEN
    hosts = frozenset({"ws.kraken.com", "api.kraken.com"})
    paths = ("/v2", "/0/public/")
    routes = ("/v2",)
    feeds = {"trade": "trade", "book": "l2", "ticker": "bbo ticker"}  # noqa: RUF012  # a constant
    book_family = "book"
    books = Books.PUSHED
    depth = 10
    drops_silently = True
    keeps_zeros = True
    quotes_tell_day = True
    id_keys = ("channel", "symbol", "trade_id", "checksum", "timestamp")
    demo = ("BTC/USD", "ETH/USD", "SOL/USD")
    heartbeat_s = 1.0

    # ---------------------------------------------------------- connections

    def welcome(self, line: Line) -> tuple[bytes, ...]:
        row = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": 1}
        return (compact({"channel": "status", "type": "update", "data": [row]}),)

    def heartbeat(self, line: Line) -> bytes:
        return b'{"channel":"heartbeat"}'

    def request(self, line: Line, text: bytes) -> Reply:
        try:
            asked = _request(text)
            params = _params(asked.params)
        except msgspec.MsgspecError:
            return Reply((compact({"error": "Malformed request", "success": False}),))
        method, channel = asked.method, params.channel
        mark = {} if asked.req_id is msgspec.UNSET else {"req_id": asked.req_id}
        if method == "ping":
            return Reply((compact({"method": "pong", **mark, **_times()}),))
        wrong = ""
        if method not in ("subscribe", "unsubscribe") or channel not in self.feeds:
            wrong = "Unsupported channel"
        elif not params.symbol:
            wrong = "Symbol(s) not found"
        elif channel == "book" and params.depth not in DEPTHS:
            wrong = "Subscription depth not supported"
        if wrong:
            shown = {"error": wrong, "method": method, "success": False}
            return Reply((compact(shown | mark | _times()),))
        answers = [self._carry_out(line, method, params, symbol) for symbol in params.symbol]
        return Reply(tuple(compact(one | mark | _times()) for one in answers))

    def _carry_out(self, line: Line, method: str, params: _Params, symbol: str) -> dict[str, Any]:
        name = f"{params.channel}:{symbol}"
        if method == "subscribe":
            line.streams[name] = Topic(symbol, params.channel, params.channel)
        else:
            line.streams.pop(name, None)
        result: dict[str, Any] = {"channel": params.channel, "symbol": symbol}
        if params.channel == "book":
            # A client cuts its book to the depth of the answer, so that must be what is played.
            result["depth"] = line.depths.get(symbol, self.depth)
        if params.event_trigger:
            result["event_trigger"] = params.event_trigger
        if params.snapshot is not msgspec.UNSET:
            result["snapshot"] = params.snapshot
        return {"method": method, "result": result, "success": True}

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        try:
            frame = _frame(text)
        except msgspec.MsgspecError:
            return CONTROL if b'"method"' in text or b'"error"' in text else None
        if frame.channel in ("status", "heartbeat", "pong"):
            return CONTROL
        try:
            rows = _symbols(frame.data)
        except msgspec.MsgspecError:
            return None
        return Topic(rows[0].symbol if rows else "", frame.channel, frame.channel)

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            frame = _frame(text)
            parts = _books(frame.data)
            bids = [
                (decimal_of(one.price), decimal_of(one.qty)) for part in parts for one in part.bids
            ]
            asks = [
                (decimal_of(one.price), decimal_of(one.qty)) for part in parts for one in part.asks
            ]
            event_ms = _ms(parts[-1].timestamp if parts else "")
        except (msgspec.MsgspecError, ValueError):
            return None  # no frame of books, a number or a time that is none
        if not parts:
            return None
        whole = frame.type == "snapshot"
        return BookEvent(
            parts[0].symbol,
            bids,
            asks,
            whole=whole,
            event_ms=event_ms,
            checksum=parts[-1].checksum,
            depth=_depth(len(bids), len(asks)) if whole else 0,
        )

    def holds(self, book: NaiveBook, event: BookEvent) -> bool:
        return event.checksum is None or checksum(book) == event.checksum

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        bids, asks = book.top(book.depth)
        return _book_frame(symbol, "snapshot", bids, asks, book)

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        if path == "/0/public/AssetPairs":
            return Resource("instruments")
        name = path.removeprefix("/0/public/")
        return Resource(name, query.get("pair", [""])[0]) if name != path else None

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        return compact({"error": [], "result": {_key(one): _pair(one) for one in listed}})

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        row: dict[str, Any] = {"symbol": event.ticker, "side": "sell" if event.sells else "buy"}
        row |= {
            "price": json_number(event.price),
            "qty": json_number(event.qty),
            "ord_type": "market",
        }
        row |= {"trade_id": event.number, "timestamp": _rfc3339(event.time_ms)}
        return compact({"channel": "trade", "type": "update", "data": [row]})

    def change(self, event: Change) -> bytes:
        return _book_frame(event.ticker, "update", event.bids, event.asks, event.book)

    def quote(self, event: Quote) -> bytes:
        assert event.day is not None
        return self.statistics(replace(event.day, bid=event.bid, ask=event.ask))

    def statistics(self, event: Statistics) -> bytes:
        (bid, bid_qty), (ask, ask_qty) = event.bid, event.ask
        numbers = {"bid": bid, "bid_qty": bid_qty, "ask": ask, "ask_qty": ask_qty}
        numbers |= {"last": event.last, "volume": event.volume, "vwap": event.vwap}
        numbers |= {"low": event.low, "high": event.high, "change": event.change}
        numbers |= {"change_pct": event.percent}
        row: dict[str, Any] = {"symbol": event.ticker}
        row |= {name: json_number(text) for name, text in numbers.items()}
        row |= {"timestamp": _rfc3339(event.time_ms)}
        return compact({"channel": "ticker", "type": "update", "data": [row]})


def checksum(book: NaiveBook) -> int:
    """CRC32 over the best ten asks, then bids, without points and leading zeros.

    https://docs.kraken.com/api/docs/guides/spot-ws-book-v2
    """
    bids, asks = book.top(CHECKED)
    digits = [
        text.replace(".", "").lstrip("0") for side in (asks, bids) for lv in side for text in lv
    ]
    return zlib.crc32("".join(digits).encode())


def _book_frame(symbol: str, kind: str, bids: Levels, asks: Levels, book: NaiveBook) -> bytes:
    row: dict[str, Any] = {
        "symbol": symbol,
        "bids": _rows(bids),
        "asks": _rows(asks),
        "checksum": checksum(book),
    }
    row |= {"timestamp": _rfc3339(book.event_ms)}
    return compact({"channel": "book", "type": kind, "data": [row]})


def _level(one: _Level) -> tuple[str, str]:
    return decimal_of(one.price), decimal_of(one.qty)


def _rows(levels: Levels) -> list[dict[str, msgspec.Raw]]:
    return [{"price": json_number(price), "qty": json_number(qty)} for price, qty in levels]


def _depth(*levels: int) -> int:
    """What was subscribed to, by the number of levels in a snapshot."""
    return next((depth for depth in DEPTHS if depth >= max(levels)), DEPTHS[-1])


def _rfc3339(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000) if text else 0


def _times() -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"time_in": now, "time_out": now}


def _key(listing: Listing) -> str:
    return listing.ticker.replace("/", "")


def _pair(listing: Listing) -> dict[str, Any]:
    base, _, quote = listing.ticker.partition("/")
    pair: dict[str, Any] = {
        "altname": _key(listing),
        "wsname": listing.ticker,
        "base": base,
        "quote": quote,
    }
    pair |= {"pair_decimals": listing.price_decimals, "lot_decimals": listing.qty_decimals}
    return pair | {"tick_size": listing.tick, "ordermin": listing.lot, "status": "online"}
