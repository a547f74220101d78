"""Bitstamp, WebSocket v2. https://www.bitstamp.net/websocket/v2/"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from tickbus_schemas.exchanges import Exchange

from tickbus_sim import dialect as contract
from tickbus_sim.book import BookEvent, NaiveBook
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
    parse,
)
from tickbus_sim.events import Change, Derivative, Trade
from tickbus_sim.numbers import json_number

TRADE, BOOK = "live_trades", "order_book"


class _Named(msgspec.Struct, gc=False):
    channel: str = ""


class _Request(msgspec.Struct, gc=False):
    event: str
    data: _Named = msgspec.field(default_factory=_Named)


class _Frame(msgspec.Struct, gc=False):
    event: str
    channel: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Book(msgspec.Struct, gc=False):
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]
    microtimestamp: str = "0"


_request = decoding(msgspec.json.Decoder(_Request).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_book = decoding(msgspec.json.Decoder(_Book).decode)


class Dialect(contract.Dialect):
    """Every book frame is the whole book of 100 levels a side; there are no quotes."""

    exchange = Exchange.BITSTAMP
    hosts = frozenset({"ws.bitstamp.net", "www.bitstamp.net"})
    paths = ("/api/v2/markets", "/api/v2/ticker")
    routes = ("",)
    feeds = {TRADE: "trade", BOOK: "l2"}  # noqa: RUF012  # a constant of the contract's ClassVar
    book_family = BOOK
    books = Books.WHOLE
    depth = 100
    marks_tell_day = True
    demo = ("btcusd", "ethusd", "solusd")
    id_keys = ("channel", "id", "microtimestamp")

    def request(self, line: Line, text: bytes) -> Reply:
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return _error("", "Incorrect JSON format.")
        name = asked.data.channel
        if asked.event == "bts:heartbeat":
            return Reply((_message(asked.event, "", {"status": "success"}),))
        topic = _topic(name)
        if asked.event not in ("bts:subscribe", "bts:unsubscribe") or topic is None:
            return _error(name, "Bad subscription string.")
        if asked.event == "bts:subscribe":
            line.streams[name] = topic
            return Reply((_message("bts:subscription_succeeded", name, {}),))
        line.streams.pop(name, None)
        return Reply((_message("bts:unsubscription_succeeded", name, {}),))

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        try:
            frame = _frame(text)
        except msgspec.MsgspecError:
            return None
        return CONTROL if frame.event.startswith("bts:") else _topic(frame.channel)

    def identity(self, text: bytes) -> dict[str, Any]:
        try:
            frame = parse(text)
            parts = (frame["data"], frame)
            return {key: one[key] for one in parts for key in self.id_keys if key in one}
        except (msgspec.MsgspecError, LookupError, TypeError):
            return {}

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            frame = _frame(text)
            book = _book(frame.data)
            event_ms = int(book.microtimestamp) // 1000
        except (msgspec.MsgspecError, ValueError):
            return None  # no frame of a book, or a time that is none
        topic = _topic(frame.channel)
        if topic is None or topic.family != BOOK:
            return None
        return BookEvent(topic.symbol, book.bids, book.asks, whole=True, event_ms=event_ms)

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        bids, asks = book.top(self.depth)
        data: dict[str, Any] = _times(book.event_ms) | {"bids": bids, "asks": asks}
        return _message("data", f"{BOOK}_{symbol}", data)

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        kind, _, symbol = path.removeprefix("/api/v2/").strip("/").partition("/")
        if not path.startswith("/api/v2/"):
            return None
        return Resource("instruments") if kind == "markets" else Resource(kind, symbol)

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        return compact([_market(one) for one in listed])

    def polled(self, kind: str, event: Derivative) -> bytes | None:
        day = event.day
        if kind != "ticker" or day is None:
            return None
        body = {"timestamp": str(event.time_ms // 1000), "open": day.open, "high": day.high}
        body |= {"low": day.low, "last": day.last, "volume": day.volume, "vwap": day.vwap}
        body |= {"bid": day.bid[0], "ask": day.ask[0], "open_24": day.open}
        return compact(body | {"percent_change_24": day.percent})

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        data: dict[str, Any] = {"id": event.number, "type": int(event.sells)}
        data |= {"amount": json_number(event.qty), "amount_str": event.qty}
        data |= {"price": json_number(event.price), "price_str": event.price}
        return _message("trade", f"{TRADE}_{event.ticker}", data | _times(event.time_ms))

    def change(self, event: Change) -> bytes:
        return self.write_book(event.ticker, event.book)


def _topic(channel: str) -> Topic | None:
    """Of `order_book_btcusd`; None: there is no such channel."""
    family, _, symbol = channel.rpartition("_")
    return Topic(symbol, family, family) if family in (TRADE, BOOK) and symbol else None


def _times(ms: int) -> dict[str, Any]:
    return {"timestamp": str(ms // 1000), "microtimestamp": str(ms * 1000)}


def _message(event: str, channel: str, data: dict[str, Any]) -> bytes:
    return compact({"event": event, "channel": channel, "data": data})


def _error(channel: str, text: str) -> Reply:
    return Reply((_message("bts:error", channel, {"code": None, "message": text}),))


def _market(listing: Listing) -> dict[str, Any]:
    base, counter = listing.ticker[:-3].upper(), listing.ticker[-3:].upper()
    row: dict[str, Any] = {"name": f"{base}/{counter}", "market_symbol": listing.ticker}
    row |= {"base_currency": base, "base_decimals": listing.qty_decimals}
    row |= {"counter_currency": counter, "counter_decimals": listing.price_decimals}
    row |= {"minimum_order_amount": listing.lot, "trading": "Enabled"}
    return row | {"instant_and_market_orders": "Enabled", "market_type": "SPOT"}
