"""Gemini, the streams of ws.gemini.com. https://developer.gemini.com/websocket/streams"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from tickbus_sim.events import Change, Derivative, Quote, Trade
from tickbus_sim.numbers import json_number

DEPTH, TRADE, QUOTE = "depth", "trade", "bookTicker"
SHORT = 20
"""Levels a side that one order changes at most."""
_NS = 1_000_000
"""Nanoseconds of a millisecond."""


class _Request(msgspec.Struct, gc=False):
    method: str
    params: list[str]
    id: str | int


class _Frame(msgspec.Struct, gc=False):
    s: str = ""
    e: str = ""
    t: int | None = None
    bid_qty: str | None = msgspec.field(name="B", default=None)
    id: str | int | None = None


class _Depth(msgspec.Struct, gc=False, kw_only=True):
    s: str
    e: str
    first_id: int = msgspec.field(name="U")
    u: int
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]
    E: int = 0


_request = decoding(msgspec.json.Decoder(_Request).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_depth = decoding(msgspec.json.Decoder(_Depth).decode)


class Dialect(contract.Dialect):
    """A book begins with an update that is the whole book; ids count without holes."""

    exchange = Exchange.GEMINI
    hosts = frozenset({"ws.gemini.com", "api.gemini.com"})
    paths = ("/v1/symbols", "/v1/pubticker/")
    routes = ("",)
    feeds = {TRADE: "trade", DEPTH: "l2", QUOTE: "bbo"}  # noqa: RUF012  # a constant
    book_family = DEPTH
    books = Books.PUSHED
    marks_tell_day = True
    demo = ("btcusd", "ethusd", "solusd")
    id_keys = ("s", "u", "t", "E")

    def request(self, line: Line, text: bytes) -> Reply:
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return _error("", 400, -1013, "Invalid parameters")
        if asked.method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            return _error(asked.id, 400, -1020, "Unsupported operation")
        topics = {name: _topic(name) for name in asked.params}
        if not topics or not all(topic.family for topic in topics.values()):
            return _error(asked.id, 400, -1013, "Invalid parameters")
        for name, topic in topics.items():
            if asked.method == "SUBSCRIBE":
                line.streams[name] = topic
            else:
                line.streams.pop(name, None)
        return Reply((compact({"id": asked.id, "status": 200, "result": {}}),))

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        try:
            frame = _frame(text)
        except msgspec.MsgspecError:
            return None
        if frame.id is not None:
            return CONTROL
        family = TRADE if frame.t is not None else QUOTE if frame.bid_qty is not None else ""
        family = DEPTH if frame.e == "depthUpdate" else family
        return Topic(frame.s, family, family) if frame.s and family else None

    def read_book(self, text: bytes) -> BookEvent | None:
        """A whole book covers one id and is deep on both sides; a change of one id is short."""
        try:
            depth = _depth(text)
        except msgspec.MsgspecError:
            return None
        whole = depth.first_id == depth.u and min(len(depth.b), len(depth.a)) > SHORT
        return BookEvent(
            depth.s, depth.b, depth.a, depth.u, depth.first_id - 1, whole=whole,
            event_ms=depth.E // _NS,
        )  # fmt: skip

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        return _update(symbol, *book.top(0), book.last_id, book.last_id, book.event_ms)

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        if path.startswith("/v1/symbols"):
            return Resource("instruments")
        kind, _, symbol = path.removeprefix("/v1/").partition("/")
        return Resource(kind, symbol) if path.startswith("/v1/") else None

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        return compact([_details(one) for one in listed])

    def polled(self, kind: str, event: Derivative) -> bytes | None:
        if kind != "pubticker" or event.day is None:
            return None
        base, quote = _split(event.ticker)
        volume: dict[str, Any] = {base: event.day.volume, quote: event.day.turnover}
        body: dict[str, Any] = {"bid": event.day.bid[0], "ask": event.day.ask[0]}
        body |= {"last": event.day.last, "volume": volume | {"timestamp": event.time_ms}}
        return compact(body)

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        row: dict[str, Any] = {"E": event.time_ms * _NS, "s": event.ticker, "t": event.number}
        return compact(row | {"p": event.price, "q": event.qty, "m": event.sells})

    def change(self, event: Change) -> bytes:
        first = event.prev_id + 1
        return _update(
            event.ticker, event.bids, event.asks, first, event.last_id, event.time_ms
        )  # fmt: skip

    def quote(self, event: Quote) -> bytes:
        row: dict[str, Any] = {"u": event.update_id, "E": event.time_ms * _NS, "s": event.ticker}
        row |= {"b": event.bid[0], "B": event.bid[1], "a": event.ask[0], "A": event.ask[1]}
        return compact(row)


def _topic(name: str) -> Topic:
    """Of `btcusd@depth@100ms`."""
    symbol, _, channel = name.partition("@")
    family = channel.partition("@")[0]
    known = symbol and family in (TRADE, DEPTH, QUOTE)
    return Topic(symbol, family, family) if known else Topic("", "")


def _update(symbol: str, bids: Levels, asks: Levels, first: int, last: int, ms: int) -> bytes:
    row: dict[str, Any] = {"e": "depthUpdate", "E": ms * _NS, "s": symbol, "U": first, "u": last}
    return compact(row | {"b": bids, "a": asks})


def _split(symbol: str) -> tuple[str, str]:
    return symbol[:-3].upper(), symbol[-3:].upper()


def _details(listing: Listing) -> dict[str, Any]:
    base, quote = _split(listing.ticker)
    row: dict[str, Any] = {"symbol": listing.ticker, "base_currency": base}
    row |= {"quote_currency": quote, "tick_size": json_number(listing.lot)}
    row |= {"quote_increment": json_number(listing.tick), "min_order_size": listing.lot}
    row |= {"status": "open", "wrap_enabled": False, "product_type": "spot"}
    return row | {"contract_type": "vanilla", "contract_price_currency": quote}


def _error(request_id: str | int, status: int, code: int, text: str) -> Reply:
    told = {"id": request_id, "status": status, "error": {"code": code, "msg": text}}
    return Reply((compact(told),))
