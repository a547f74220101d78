"""Crypto.com Exchange v1. https://exchange-docs.crypto.com/exchange/v1/rest-ws/index.html"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

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
    Reply,
    Resource,
    Topic,
    compact,
    decoding,
    parse,
)
from tickbus_sim.events import Change, Derivative, Quote, Statistics, Trade

ROUTE = "/exchange/v1/market"
REST = "/exchange/v1/public/"
BOOK = "book"
DEPTHS = ("10", "50")
_INDEX = "index"


class _Params(msgspec.Struct, gc=False):
    channels: list[str] = []


class _Request(msgspec.Struct, gc=False):
    method: str = "ERROR"
    id: int = -1
    params: _Params = msgspec.field(default_factory=_Params)


class _Result(msgspec.Struct, gc=False):
    channel: str
    instrument_name: str
    subscription: str = ""
    depth: int = 0
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Frame(msgspec.Struct, gc=False):
    method: str
    result: _Result | None = None


_Level = tuple[str, str, str]


class _Sides(msgspec.Struct, gc=False):
    bids: list[_Level] = []
    asks: list[_Level] = []


class _Book(msgspec.Struct, gc=False):
    t: int
    u: int
    tt: int = 0
    pu: int = 0
    update: _Sides | None = None
    bids: list[_Level] = []
    asks: list[_Level] = []


_request = decoding(msgspec.json.Decoder(_Request).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_books = decoding(msgspec.json.Decoder(list[_Book]).decode)


class Dialect(contract.Dialect):
    """Books are pushed and linked by pu; the server asks whether the client lives."""

    exchange = Exchange.CRYPTOCOM
    hosts = frozenset({"stream.crypto.com", "api.crypto.com"})
    paths = (ROUTE, REST)
    routes = (ROUTE,)
    feeds: ClassVar[Mapping[str, str]] = {
        "trade": "trade",
        BOOK: "l2",
        "ticker": "bbo ticker",
        "mark": "derivative",
        _INDEX: "derivative",
        "funding": "derivative",
        "estimatedfunding": "derivative",
    }
    index_families = frozenset({_INDEX})
    book_family = BOOK
    books = Books.PUSHED
    depth = 50
    drops_silently = True
    quotes_tell_day = True
    id_keys = ("d", "u", "pu", "t", "i")
    demo = ("BTCUSD-PERP", "ETHUSD-PERP", "SOL_USDT")
    heartbeat_s = 10.0  # 30 s at the venue
    idle_s = 25.0  # who leaves heartbeats unanswered is cut off
    messages_per_s = 100.0
    streams_max = 400

    # ---------------------------------------------------------- connections

    def heartbeat(self, line: Line) -> bytes:
        return compact({"id": time.time_ns() // 1_000_000, "method": "public/heartbeat", "code": 0})

    def refuses(self, answer: bytes) -> bool:
        return b'"code":0' not in answer

    def request(self, line: Line, text: bytes) -> Reply:
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return _error(_Request(), 40001, "BAD_REQUEST", text)
        if asked.method == "public/respond-heartbeat":
            return Reply()
        if asked.method not in ("subscribe", "unsubscribe"):
            return _error(asked, 40002, "METHOD_NOT_FOUND", text)
        topics = {name: _topic(name) for name in asked.params.channels}
        if not topics or not all(one.family in self.feeds for one in topics.values()):
            return _error(asked, 40003, "INVALID_REQUEST", text)
        if asked.method == "unsubscribe":
            for name in topics:
                line.streams.pop(name, None)
        elif len({**line.streams, **topics}) > self.streams_max:
            return _error(asked, 40107, "EXCEED_MAX_SUBSCRIPTIONS", text)
        else:
            line.streams |= topics
        return Reply((compact({"id": asked.id, "method": asked.method, "code": 0}),))

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        try:
            frame = _frame(text)
        except msgspec.MsgspecError:
            return None
        told = frame.result
        if told is None:
            return CONTROL
        family = told.channel.removesuffix(".update")
        if not family or not told.instrument_name:
            return None
        return Topic(told.instrument_name, family, told.subscription or family)

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            told = _frame(text).result
            if told is None or told.channel not in (BOOK, "book.update"):
                return None
            (book,) = _books(told.data)
        except (msgspec.MsgspecError, ValueError):
            return None  # no frame of one book
        whole = told.channel == BOOK
        sides = book if whole else book.update
        if sides is None:
            return None
        bids, asks = ([(one[0], one[1]) for one in side] for side in (sides.bids, sides.asks))
        return BookEvent(
            told.instrument_name, bids, asks, book.u, 0 if whole else book.pu, whole=whole,
            event_ms=book.t, engine_ms=book.tt, depth=told.depth,
        )  # fmt: skip

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        depth = book.depth or self.depth
        bids, asks = book.top(depth)
        row: dict[str, Any] = {"bids": _rows(bids), "asks": _rows(asks)}
        row |= {"t": book.event_ms, "tt": book.engine_ms or book.event_ms, "u": book.last_id}
        return _told(BOOK, symbol, row, f"{BOOK}.{symbol}.{depth}", depth=depth)

    def identity(self, text: bytes) -> dict[str, Any]:
        try:
            first = parse(text)["result"]["data"][0]
            return {key: first[key] for key in self.id_keys if key in first}
        except (msgspec.MsgspecError, LookupError, TypeError):
            return {}

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        name = path.removeprefix(REST)
        if name == path:
            return None
        if name == "get-instruments":
            return Resource("instruments")
        return Resource(name, query.get("instrument_name", [""])[0])

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        told = {"id": -1, "method": "public/get-instruments", "code": 0}
        return compact(told | {"result": {"data": [_instrument(one) for one in listed]}})

    def no_path(self) -> BadRequest:
        return BadRequest(compact({"code": 40401, "message": "NOT_FOUND"}), 404)

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        row: dict[str, Any] = {"d": f"4611686018{event.number:09d}", "t": event.time_ms}
        row |= {"p": event.price, "q": event.qty, "s": "SELL" if event.sells else "BUY"}
        return _told("trade", event.ticker, row | {"i": event.ticker})

    def change(self, event: Change) -> bytes:
        sides = {"bids": _rows(event.bids), "asks": _rows(event.asks)}
        row: dict[str, Any] = {"update": sides, "t": event.time_ms, "tt": event.engine_ms}
        row |= {"u": event.last_id, "pu": event.prev_id}
        name = f"{BOOK}.{event.ticker}.{self.depth}"
        return _told("book.update", event.ticker, row, name, depth=self.depth)

    def quote(self, event: Quote) -> bytes:
        assert event.day is not None
        return self.statistics(
            replace(event.day, bid=event.bid, ask=event.ask, time_ms=event.time_ms)
        )

    def statistics(self, event: Statistics) -> bytes:
        row: dict[str, Any] = {"h": event.high, "l": event.low, "a": event.last, "c": "0.01"}
        row |= {"b": event.bid[0], "bs": event.bid[1], "k": event.ask[0], "ks": event.ask[1]}
        row |= {"i": event.ticker, "v": event.volume, "vv": event.turnover, "oi": None}
        return _told("ticker", event.ticker, row | {"t": event.time_ms})

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        """Spot has none, contracts that are delivered only a mark; the market has no index."""
        ticker, ms = event.ticker, event.time_ms
        if "-" not in ticker:
            return
        yield "mark", _told("mark", ticker, {"v": event.mark, "t": ms})
        if ticker.endswith("-PERP"):
            for family in ("funding", "estimatedfunding"):
                yield family, _told(family, ticker, {"v": event.funding_rate, "t": ms})


def _topic(name: str) -> Topic:
    """Of `book.BTCUSD-PERP.50`; depths are one family, others are wrong."""
    family, _, symbol = name.partition(".")
    if family == BOOK:
        symbol, _, depth = symbol.rpartition(".")
        family = family if depth in DEPTHS else ""
    return Topic(symbol, family if symbol else "", name)


def _told(channel: str, symbol: str, row: dict[str, Any], name: str = "", **more: int) -> bytes:
    result: dict[str, Any] = {"instrument_name": symbol}
    result |= {"subscription": name or f"{channel}.{symbol}", "channel": channel, **more}
    told = {"id": -1, "method": "subscribe", "code": 0}
    return compact(told | {"result": result | {"data": [row]}})


def _rows(levels: Levels) -> list[_Level]:
    """Levels with a number of orders."""
    return [(price, qty, "1" if qty.strip("0.") else "0") for price, qty in levels]


def _error(asked: _Request, code: int, message: str, text: bytes) -> Reply:
    told = {"id": asked.id, "method": asked.method, "code": code, "message": message}
    return Reply((compact(told | {"original": text.decode(errors="replace")}),))


def _instrument(listing: Listing) -> dict[str, Any]:
    symbol = listing.ticker
    pair, _, due = symbol.partition("-")
    kind = "CCY_PAIR" if not due else "PERPETUAL_SWAP" if due == "PERP" else "FUTURE"
    base, _, quote = pair.partition("_")
    if kind != "CCY_PAIR":
        base, quote = pair.removesuffix("USD"), "USD"
    row: dict[str, Any] = {"symbol": symbol, "inst_type": kind, "display_name": symbol}
    row |= {"base_ccy": base, "quote_ccy": quote, "tradable": True}
    row |= {"quote_decimals": listing.price_decimals, "quantity_decimals": listing.qty_decimals}
    row |= {"price_tick_size": listing.tick, "qty_tick_size": listing.lot, "max_leverage": "50"}
    return row | ({"expiry_timestamp_ms": _expiry_ms(due)} if kind == "FUTURE" else {})


def _expiry_ms(due: str) -> int:
    """Of 261225: 08:00 UTC that day; 0 of another name."""
    try:
        at = datetime.strptime(due, "%y%m%d").replace(tzinfo=UTC, hour=8)
    except ValueError:
        return 0
    return int(at.timestamp() * 1000)
