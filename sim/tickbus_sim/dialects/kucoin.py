"""KuCoin spot, classic API. https://www.kucoin.com/docs-new/websocket-api/base-info/introduction"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from tickbus_schemas.exchanges import Exchange

from tickbus_sim import dialect as contract
from tickbus_sim.book import BookEvent, Levels, NaiveBook
from tickbus_sim.dialect import (
    CONTROL,
    BadRequest,
    Books,
    Line,
    Listing,
    Refusal,
    Reply,
    Resource,
    Topic,
    compact,
    decoding,
    parse,
)
from tickbus_sim.events import Change, Quote, Statistics, Trade
from tickbus_sim.numbers import json_number

TOKEN = "local-venue"
SYMBOLS_MAX = 100
"""In one topic."""
_DEPTHS = {
    "/api/v1/market/orderbook/level2_20": 20,
    "/api/v1/market/orderbook/level2_100": 100,
    "/api/v3/market/orderbook/level2": 0,
}
"""Path -> levels a side, 0 for all: that one needs a key at the venue."""
_OTHER = ("/market/ticker", "/market/candles")
"""Channels that carry no feed of ours."""


class _Request(msgspec.Struct, gc=False):
    type: str
    id: str | int = ""
    topic: str = ""
    response: bool = False


class _Changes(msgspec.Struct, gc=False):
    asks: list[list[str]]
    bids: list[list[str]]


class _Update(msgspec.Struct, gc=False):
    changes: _Changes
    sequenceStart: int
    sequenceEnd: int
    time: int = 0


class _Frame(msgspec.Struct, gc=False):
    type: str
    topic: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


_request = decoding(msgspec.json.Decoder(_Request).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_update = decoding(msgspec.json.Decoder(_Update).decode)


class Dialect(contract.Dialect):
    """Books over REST, joined by sequences; the address is asked for, with a token."""

    exchange = Exchange.KUCOIN
    hosts = frozenset({"ws-api-spot.kucoin.com", "push-private.kucoin.com", "api.kucoin.com"})
    paths = ("/endpoint", "/api/v1/bullet-public", "/api/v2/symbols", *_DEPTHS)
    routes = ("/endpoint",)
    feeds = {  # noqa: RUF012  # a constant of the contract's ClassVar
        "/market/match": "trade",
        "/market/level2": "l2",
        "/spotMarket/level1": "bbo",
        "/market/snapshot": "ticker",
    }
    book_family = "/market/level2"
    books = Books.PULLED
    id_keys = ("topic", "tradeId", "sequenceStart", "sequenceEnd", "sequence", "timestamp")
    demo = ("BTC-USDT", "ETH-USDT", "SOL-BTC")
    idle_s = 28.0  # pingInterval and pingTimeout of bullet-public
    messages_per_s = 100.0  # 100 in 10 s are allowed
    streams_max = 300

    # ---------------------------------------------------------- connections

    def open(self, path: str, query: Mapping[str, list[str]]) -> Line | Refusal:
        if query.get("token") != [TOKEN]:
            return Refusal("token is invalid")
        return super().open(path, query)

    def welcome(self, line: Line) -> tuple[bytes, ...]:
        return (compact({"id": "hQvf8jkno", "type": "welcome"}),)

    def request(self, line: Line, text: bytes) -> Reply:
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return _error("", 400, "bad request")
        if asked.type == "ping":
            return Reply((compact({"id": asked.id, "type": "pong"}),))
        if asked.type not in ("subscribe", "unsubscribe"):
            return _error(asked.id, 415, f"type {asked.type} is not supported")
        channel, _, names = asked.topic.partition(":")
        symbols = [name for name in names.split(",") if name]
        if not symbols or channel not in (*self.feeds, *_OTHER):
            return _error(asked.id, 404, f"topic {asked.topic} is not found")
        if len(symbols) > SYMBOLS_MAX:
            return _error(asked.id, 400, "exceed max symbols count limitation of 100 per topic")
        topics = {f"{channel}:{symbol}": Topic(symbol, channel, channel) for symbol in symbols}
        if asked.type == "unsubscribe":
            for name in topics:
                line.streams.pop(name, None)
        elif len({**line.streams, **topics}) > self.streams_max:
            return _error(asked.id, 509, "exceed max subscription count limitation of 300")
        else:
            line.streams |= topics
        ack = compact({"id": str(asked.id), "type": "ack"})
        return Reply((ack,) if asked.response else ())

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        try:
            frame = _frame(text)
        except msgspec.MsgspecError:
            return None
        if frame.type in ("welcome", "ack", "pong", "error"):
            return CONTROL
        channel, _, symbol = frame.topic.partition(":")
        if frame.type != "message" or not symbol:
            return None
        return Topic(symbol, channel, channel)

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            frame = _frame(text)
            update = _update(frame.data)
            bids, asks = (
                # A row of price 0 only tells that the sequence went on.
                [(level[0], level[1]) for level in side if level[0].strip("0.")]
                for side in (update.changes.bids, update.changes.asks)
            )
        except (msgspec.MsgspecError, IndexError):
            return None  # no frame of a book, or a level without a size
        channel, _, symbol = frame.topic.partition(":")
        if channel != self.book_family:
            return None
        return BookEvent(
            symbol, bids, asks, update.sequenceEnd, update.sequenceStart - 1, event_ms=update.time
        )  # fmt: skip

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        symbol = query.get("symbol", [""])[0]
        if path == "/api/v1/bullet-public":
            return Resource("address", weight=10)
        if path == "/api/v2/symbols":
            return Resource("instruments", weight=4)
        if path in _DEPTHS:
            if not symbol:
                raise BadRequest(_refused("400100", "symbol can not be empty"))
            return Resource("book", symbol, _DEPTHS[path], 4)
        if not path.startswith("/api/v"):
            return None
        return Resource(path.rpartition("/")[2], symbol)

    def write_address(self, ws_url: str) -> bytes:
        server: dict[str, Any] = {"endpoint": f"{ws_url}/endpoint", "encrypt": False}
        server |= {"protocol": "websocket", "pingInterval": 18000, "pingTimeout": 10000}
        return _answer({"token": TOKEN, "instanceServers": [server]})

    def read_body(self, text: bytes) -> BookEvent | None:
        try:
            book = parse(text)["data"]
            bids, asks = (
                [(level[0], level[1]) for level in book[side]] for side in ("bids", "asks")
            )
            ms, last_id = int(book["time"]), int(book["sequence"])
            return BookEvent("", bids, asks, last_id, whole=True, event_ms=ms)
        except (msgspec.DecodeError, LookupError, TypeError, ValueError):
            return None

    def write_body(self, symbol: str, book: NaiveBook, levels: int) -> bytes:
        bids, asks = book.top(levels)
        data: dict[str, Any] = {"time": book.event_ms, "sequence": str(book.last_id)}
        return _answer(data | {"bids": bids, "asks": asks})

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        return _answer([_instrument(one) for one in listed])

    def no_book(self) -> BadRequest:
        return BadRequest(_refused("500000", "no book is known here"), 503)

    def no_symbol(self) -> BadRequest:
        return BadRequest(_refused("400100", "symbol not exists"))

    def no_path(self) -> BadRequest:
        return BadRequest(_refused("404", "Not Found"), 404)

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        data = {"type": "match", "symbol": event.ticker, "price": event.price, "size": event.qty}
        data |= {"side": "sell" if event.sells else "buy", "sequence": str(3 * event.number)}
        data |= {"time": f"{event.time_ms}000000", "tradeId": f"6085c0{event.number:018x}"}
        return _told("/market/match", event.ticker, "trade.l3match", data)

    def change(self, event: Change) -> bytes:
        number = str(event.last_id)
        sides = {"asks": _rows(event.asks, number), "bids": _rows(event.bids, number)}
        data = {"changes": sides, "sequenceStart": event.prev_id + 1}
        data |= {"sequenceEnd": event.last_id, "symbol": event.ticker, "time": event.time_ms}
        return _told("/market/level2", event.ticker, "trade.l2update", data)

    def quote(self, event: Quote) -> bytes:
        data = {"asks": event.ask, "bids": event.bid, "timestamp": event.time_ms}
        return _told("/spotMarket/level1", event.ticker, "level1", data)

    def statistics(self, event: Statistics) -> bytes:
        numbers = {"lastTradedPrice": event.last, "open": event.open, "high": event.high}
        numbers |= {"low": event.low, "vol": event.volume, "volValue": event.turnover}
        numbers |= {"changePrice": event.change, "buy": event.bid[0], "sell": event.ask[0]}
        day: dict[str, Any] = {"symbol": event.ticker, "datetime": event.time_ms, "trading": True}
        day |= {name: json_number(text) for name, text in numbers.items()}
        data = {"sequence": str(event.trades), "data": day}
        return _told("/market/snapshot", event.ticker, "trade.snapshot", data)


def _told(channel: str, symbol: str, subject: str, data: dict[str, Any]) -> bytes:
    frame = {"topic": f"{channel}:{symbol}", "type": "message", "subject": subject}
    return compact(frame | {"data": data})


def _rows(levels: Levels, number: str) -> list[list[str]]:
    return [[price, qty, number] for price, qty in levels]


def _answer(data: Any) -> bytes:
    return compact({"code": "200000", "data": data})


def _refused(code: str, text: str) -> bytes:
    return compact({"code": code, "msg": text})


def _error(request_id: str | int, code: int, text: str) -> Reply:
    told = {"id": str(request_id), "type": "error", "code": code, "data": text}
    return Reply((compact(told),))


def _instrument(listing: Listing) -> dict[str, Any]:
    base, _, quote = listing.ticker.partition("-")
    row: dict[str, Any] = {"symbol": listing.ticker, "name": listing.ticker}
    row |= {"baseCurrency": base, "quoteCurrency": quote, "feeCurrency": quote}
    row |= {"baseMinSize": listing.lot, "baseIncrement": listing.lot}
    return row | {"priceIncrement": listing.tick, "enableTrading": True}
