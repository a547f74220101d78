"""Coinbase Advanced Trade, public market data.

https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-overview
Each connection counts all its messages in `sequence_num`: what a recording or the market says gets
its number when it goes out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
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

FAMILIES = {"l2_data": "level2", "market_trades": "market_trades", "ticker": "ticker"}
"""Channel of a frame -> as it is subscribed to."""
HEARTBEATS = "heartbeats"
_NUMBER = re.compile(rb'("sequence_num"\s*:\s*)\d+')
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Request(msgspec.Struct, gc=False):
    type: str
    channel: str
    product_ids: list[str] = []


class _Level(msgspec.Struct, gc=False):
    side: str
    price_level: str
    new_quantity: str
    event_time: str = ""


class _Book(msgspec.Struct, gc=False):
    type: str
    product_id: str
    updates: list[_Level]


class _Books(msgspec.Struct, gc=False):
    channel: str
    events: list[_Book]
    timestamp: str = ""


class _Row(msgspec.Struct, gc=False):
    product_id: str = ""
    trade_id: str = ""


class _Event(msgspec.Struct, gc=False):
    product_id: str = ""
    trades: list[_Row] = []
    tickers: list[_Row] = []


class _Frame(msgspec.Struct, gc=False):
    channel: str = ""
    type: str = ""
    timestamp: str = ""
    events: msgspec.Raw = msgspec.Raw(b"[]")


_request = decoding(msgspec.json.Decoder(_Request).decode)
_books = decoding(msgspec.json.Decoder(_Books).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_events = decoding(msgspec.json.Decoder(list[_Event]).decode)


class Dialect(contract.Dialect):
    """Books are pushed, and nothing of a product is numbered; numbers are texts."""

    exchange = Exchange.COINBASE
    hosts = frozenset({"advanced-trade-ws.coinbase.com", "api.coinbase.com"})
    paths = ("/api/v3/brokerage/",)
    routes = ("",)
    feeds = {  # noqa: RUF012  # a constant of the contract's ClassVar
        "market_trades": "trade",
        "level2": "l2",
        "ticker": "bbo ticker",
    }
    book_family = "level2"
    books = Books.PUSHED
    quotes_tell_day = True
    demo = ("BTC-USD", "ETH-USD", "SOL-USD")
    messages_per_s = 8
    heartbeat_s = 1.0

    # ---------------------------------------------------------- connections

    def heartbeat(self, line: Line) -> bytes:
        if not line.memory.get(HEARTBEATS):
            return b""
        line.memory["beats"] = line.memory.get("beats", -1) + 1
        now = datetime.now(UTC)
        event = {"current_time": f"{now} UTC", "heartbeat_counter": line.memory["beats"]}
        return _numbered(line, _message(HEARTBEATS, _rfc3339(now), event))

    def request(self, line: Line, text: bytes) -> Reply:
        """Each request is answered with everything that is subscribed to then."""
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return _error("failed to parse request")
        if asked.type not in ("subscribe", "unsubscribe"):
            return _error("subscribe or unsubscribe required")
        if asked.channel not in (*self.feeds, HEARTBEATS):
            return _error(f"{asked.channel[:40]} is not a valid channel")
        if asked.channel == HEARTBEATS:
            line.memory[HEARTBEATS] = asked.type == "subscribe"
        elif asked.type == "unsubscribe":
            gone = asked.product_ids or [topic.symbol for topic in line.streams.values()]
            for product in gone:
                line.streams.pop(f"{asked.channel}:{product}", None)
        elif not asked.product_ids:
            return _error("product_ids required")
        else:
            for product in asked.product_ids:
                topic = Topic(product, asked.channel, asked.channel)
                line.streams[f"{asked.channel}:{product}"] = topic
        return Reply((_numbered(line, self._subscriptions(line)),))

    def _subscriptions(self, line: Line) -> bytes:
        listed: dict[str, list[str]] = {}
        for topic in line.streams.values():
            listed.setdefault(topic.family, []).append(topic.symbol)
        if line.memory.get(HEARTBEATS):
            listed[HEARTBEATS] = [HEARTBEATS]
        now = _rfc3339(datetime.now(UTC))
        return _message("subscriptions", now, {"subscriptions": listed})

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        try:
            frame = _frame(text)
            if frame.channel in ("subscriptions", HEARTBEATS) or frame.type == "error":
                return CONTROL
            events = _events(frame.events)
        except msgspec.MsgspecError:
            return None
        if not frame.channel or not events:
            return None
        family = FAMILIES.get(frame.channel, frame.channel)
        rows = [*events[0].trades, *events[0].tickers, _Row()]
        return Topic(events[0].product_id or rows[0].product_id, family, family)

    def on_wire(self, line: Line, text: bytes, topic: Topic) -> bytes:
        return _numbered(line, text)

    def identity(self, text: bytes) -> dict[str, Any]:
        try:
            frame = _frame(text)
            events = _events(frame.events)
        except msgspec.MsgspecError:
            return {}
        found: dict[str, Any] = {"channel": frame.channel, "timestamp": frame.timestamp}
        if events and events[0].trades:
            found["trade_id"] = events[0].trades[0].trade_id
        return found

    def read_book(self, text: bytes) -> BookEvent | None:
        """Of the first product in a frame."""
        try:
            frame = _books(text)
            event_ms = _ms(frame.timestamp)
            (book, *_) = frame.events
            engine_ms = _ms(book.updates[-1].event_time) if book.updates else 0
        except (msgspec.MsgspecError, ValueError):
            return None  # no frame of books, or a time that is none
        if FAMILIES.get(frame.channel) != self.book_family:
            return None
        sides = {
            side: [(one.price_level, one.new_quantity) for one in book.updates if one.side == side]
            for side in ("bid", "offer")
        }
        return BookEvent(
            book.product_id,
            sides["bid"],
            sides["offer"],
            whole=book.type == "snapshot",
            event_ms=event_ms,
            engine_ms=engine_ms,
        )

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        bids, asks = book.top(0)
        return _book_frame(symbol, "snapshot", bids, asks, book)

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        name = path.removeprefix("/api/v3/brokerage/market/")
        if name == path:
            return None
        if name == "products":
            return Resource("instruments", query.get("product_type", [""])[0])
        return Resource(name, query.get("product_id", [""])[0])

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        """All of them are spot products."""
        of_kind = listed if resource.symbol in ("", "SPOT") else ()
        products = [_product(one) for one in of_kind]
        return compact({"products": products, "num_products": len(products), "pagination": None})

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        """`side` is that of the maker."""
        time = _of_ms(event.time_ms)
        row = {"trade_id": str(event.number), "product_id": event.ticker, "price": event.price}
        row |= {"size": event.qty, "side": "BUY" if event.sells else "SELL", "time": time}
        return _message("market_trades", time, {"type": "update", "trades": [row]})

    def change(self, event: Change) -> bytes:
        return _book_frame(event.ticker, "update", event.bids, event.asks, event.book)

    def quote(self, event: Quote) -> bytes:
        assert event.day is not None
        return self.statistics(replace(event.day, bid=event.bid, ask=event.ask))

    def statistics(self, event: Statistics) -> bytes:
        (bid, bid_qty), (ask, ask_qty) = event.bid, event.ask
        row = {"type": "ticker", "product_id": event.ticker, "price": event.last}
        row |= {"volume_24_h": event.volume, "low_24_h": event.low, "high_24_h": event.high}
        row |= {"price_percent_chg_24_h": event.percent, "best_bid": bid}
        row |= {"best_bid_quantity": bid_qty, "best_ask": ask, "best_ask_quantity": ask_qty}
        return _message("ticker", _of_ms(event.time_ms), {"type": "update", "tickers": [row]})


def _message(channel: str, time: str, event: Any) -> bytes:
    """A frame that has no number yet."""
    return compact({"channel": channel, "timestamp": time, "sequence_num": 0, "events": [event]})


def _numbered(line: Line, text: bytes) -> bytes:
    """The frame with the next number of its connection."""
    number = line.memory["number"] = line.memory.get("number", -1) + 1
    return _NUMBER.sub(rb"\g<1>%d" % number, text, count=1)


def _error(message: str) -> Reply:
    return Reply((compact({"type": "error", "message": message}),))


def _book_frame(symbol: str, kind: str, bids: Levels, asks: Levels, book: NaiveBook) -> bytes:
    engine = _of_ms(book.engine_ms or book.event_ms)
    updates = [
        {"side": side, "event_time": engine, "price_level": price, "new_quantity": qty}
        for side, levels in (("bid", bids), ("offer", asks))
        for price, qty in levels
    ]
    event = {"type": kind, "product_id": symbol, "updates": updates}
    return _message("l2_data", _of_ms(book.event_ms), event)


def _of_ms(ms: int) -> str:
    return _rfc3339(_EPOCH + timedelta(milliseconds=ms))


def _rfc3339(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _ms(text: str) -> int:
    """Milliseconds of a time; 0 where there is none. Errors: ValueError."""
    if not text:
        return 0
    time = datetime.fromisoformat(text)
    return (time.replace(tzinfo=time.tzinfo or UTC) - _EPOCH) // timedelta(milliseconds=1)


def _product(listing: Listing) -> dict[str, Any]:
    base, _, quote = listing.ticker.partition("-")
    product: dict[str, Any] = {"product_id": listing.ticker, "product_type": "SPOT"}
    product |= {"price_increment": listing.tick, "base_increment": listing.lot}
    product |= {"quote_increment": listing.tick, "base_min_size": listing.lot}
    product |= {"base_currency_id": base, "quote_currency_id": quote, "status": "online"}
    return product | {"alias": "", "trading_disabled": False, "is_disabled": False}
