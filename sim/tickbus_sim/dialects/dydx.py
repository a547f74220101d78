"""dYdX v4's indexer. https://docs.dydx.exchange/api_integration-indexer/indexer_websocket

Each connection counts what it is sent in `message_id`. A subscription takes its number when it is
asked for; a book is its subscription's answer, so it goes out with that number, whenever it comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from tickbus_schemas.exchanges import Exchange

from tickbus_sim import dialect as contract
from tickbus_sim.book import BookEvent, Levels, NaiveBook
from tickbus_sim.dialect import (
    CONTROL,
    POLICY_VIOLATION,
    Books,
    Line,
    Listing,
    Reply,
    Resource,
    Topic,
    compact,
    decoding,
)
from tickbus_sim.events import Change, Derivative, Trade

BOOK, TRADES, MARKETS = "v4_orderbook", "v4_trades", "v4_markets"
CHANNEL_MAX = 32
"""Subscriptions of a connection to one channel."""
WRONG_MAX = 2
"""Messages of a connection that may be wrong."""
FIRST_CONTENTS: dict[str, dict[str, Any]] = {TRADES: {"trades": []}, MARKETS: {"markets": {}}}
_NUMBER = re.compile(rb'("message_id"\s*:\s*)\d+')
_ASKED = "asked"
"""In a line's memory: ticker -> number of the request for its book."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATA, _SUBSCRIBED = ("channel_data", "channel_batch_data"), "subscribed"


class _Request(msgspec.Struct, gc=False):
    type: str = ""
    channel: str = ""
    id: str = ""


class _Level(msgspec.Struct, gc=False):
    price: str
    size: str


class _Sides(msgspec.Struct, gc=False):
    bids: list[tuple[str, str]] = []
    asks: list[tuple[str, str]] = []


class _Book(msgspec.Struct, gc=False):
    bids: list[_Level] = []
    asks: list[_Level] = []


class _Frame(msgspec.Struct, gc=False):
    type: str
    channel: str = ""
    id: str = ""
    contents: msgspec.Raw = msgspec.Raw(b"null")


class _Id(msgspec.Struct, gc=False):
    id: str = ""


class _Trades(msgspec.Struct, gc=False):
    trades: list[_Id] = []


_request = decoding(msgspec.json.Decoder(_Request).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_sides = decoding(msgspec.json.Decoder(_Sides).decode)
_batch = decoding(msgspec.json.Decoder(list[_Sides]).decode)
_book = decoding(msgspec.json.Decoder(_Book).decode)
_trades = decoding(msgspec.json.Decoder(_Trades).decode)


class Dialect(contract.Dialect):
    """Books are pushed without a time or a number; one stream tells of all markets."""

    exchange = Exchange.DYDX
    hosts = frozenset({"indexer.dydx.trade", "indexer.v4testnet.dydx.exchange"})
    paths = ("/v4/ws", "/v4/perpetualMarkets")
    routes = ("/v4/ws",)
    feeds = {  # noqa: RUF012  # a constant of the contract's ClassVar
        TRADES: "trade liquidation",
        BOOK: "l2",
        MARKETS: "ticker derivative",
    }
    book_family = BOOK
    books = Books.PUSHED
    book_is_answer = True
    marks_tell_day = True
    demo = ("BTC-USD", "ETH-USD", "SOL-USD")
    ping_interval_s = 30.0
    pong_deadline_s = 10.0

    # ---------------------------------------------------------- connections

    def welcome(self, line: Line) -> tuple[bytes, ...]:
        line.memory["number"] = 0
        return (_of("connected", 0),)

    def request(self, line: Line, text: bytes) -> Reply:
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return self._wrong(line, "Invalid message: could not parse")
        if asked.type == "ping":
            return Reply()
        if asked.type not in ("subscribe", "unsubscribe"):
            return self._wrong(line, f"Invalid message type: {asked.type}")
        if asked.channel not in self.feeds:
            return Reply((_error(line, f"Invalid channel: {asked.channel}"),))
        if not asked.id and asked.channel != MARKETS:
            return Reply((_error(line, "Invalid id: undefined"),))
        if asked.type == "subscribe":
            return self._subscribe(line, asked)
        line.streams.pop(_name(asked), None)
        return Reply((_of("unsubscribed", _next(line), **_about(asked)),))

    def _subscribe(self, line: Line, asked: _Request) -> Reply:
        """The book is the answer of its subscription: the venue sends it by itself."""
        number, name = _next(line), _name(asked)
        own = [one for one in line.streams.values() if one.family == asked.channel]
        if name in line.streams:
            shown = f"({asked.channel}-{asked.id or MARKETS})"
            return Reply((_error(line, f"Invalid subscribe message: already subscribed {shown}"),))
        if len(own) >= CHANNEL_MAX:
            limit = f"for {asked.channel} (limit={CHANNEL_MAX})."
            return Reply((_error(line, f"Per-connection subscription limit reached {limit}"),))
        line.streams[name] = Topic(asked.id, asked.channel, asked.channel)
        if asked.channel == BOOK:
            line.memory.setdefault(_ASKED, {})[asked.id] = number
            return Reply()
        about = _about(asked) | {"contents": FIRST_CONTENTS[asked.channel]}
        return Reply((_of(_SUBSCRIBED, number, **about),))

    def _wrong(self, line: Line, why: str) -> Reply:
        """Who sends too many of them is cut off."""
        line.memory["wrong"] = line.memory.get("wrong", 0) + 1
        if line.memory["wrong"] <= WRONG_MAX:
            return Reply((_error(line, why),))
        why = "Too many invalid messages. Please reconnect and try again."
        return Reply((_error(line, why),), (POLICY_VIOLATION, '{"message":"Rate limited"}'))

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        try:
            frame = _frame(text)
        except msgspec.MsgspecError:
            return None
        if frame.type in _DATA or (frame.type == _SUBSCRIBED and frame.channel == BOOK):
            return Topic(frame.id, frame.channel, frame.channel) if frame.channel else None
        known = ("connected", _SUBSCRIBED, "unsubscribed", "error", "pong")
        return CONTROL if frame.type in known else None

    def on_wire(self, line: Line, text: bytes, topic: Topic) -> bytes:
        number = None
        if topic.family == BOOK and text.startswith(b'{"type":"subscribed"'):
            number = line.memory.get(_ASKED, {}).pop(topic.symbol, None)
        number = _next(line) if number is None else number
        return _NUMBER.sub(rb"\g<1>%d" % number, text, count=1)

    def identity(self, text: bytes) -> dict[str, Any]:
        """A book has no ids: what an update says tells it from others."""
        try:
            frame = _frame(text)
            found: dict[str, Any] = {"channel": frame.channel, "id": frame.id}
            if frame.type == "channel_data" and frame.channel == TRADES:
                found["trade_id"] = _trades(frame.contents).trades[0].id
            elif frame.type == "channel_data" and frame.channel == BOOK:
                found["levels"] = bytes(frame.contents).decode()
        except (msgspec.MsgspecError, IndexError):
            return {}
        return found

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            frame = _frame(text)
            if frame.channel != BOOK:
                return None
            if frame.type == _SUBSCRIBED:
                book = _book(frame.contents)
                bids, asks = ([(one.price, one.size) for one in side] for side in _both(book))
                return BookEvent(frame.id, bids, asks, whole=True)
            is_batch = frame.type == "channel_batch_data"
            parts = _batch(frame.contents) if is_batch else [_sides(frame.contents)]
        except msgspec.MsgspecError:
            return None
        bids, asks = ([one for part in parts for one in _both(part)[n]] for n in (0, 1))
        return BookEvent(frame.id, bids, asks)

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        bids, asks = book.top(0)
        contents = {"bids": _levels(bids), "asks": _levels(asks)}
        return _of(_SUBSCRIBED, 0, channel=BOOK, id=symbol, contents=contents)

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        return Resource("instruments") if path == "/v4/perpetualMarkets" else None

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        markets = {
            one.ticker: {
                "clobPairId": str(n), "ticker": one.ticker, "status": "ACTIVE",
                "tickSize": one.tick, "stepSize": one.lot, "marketType": "CROSS",
            }
            for n, one in enumerate(listed)
        }  # fmt: skip
        return compact({"markets": markets})

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        row = {"id": str(event.number), "size": event.qty, "price": event.price}
        row |= {"side": "SELL" if event.sells else "BUY", "createdAt": _of_ms(event.time_ms)}
        row["type"] = "LIQUIDATED" if event.is_liquidation else "LIMIT"
        return _channel_data(TRADES, {"trades": [row]}, id=event.ticker)

    def change(self, event: Change) -> bytes:
        sides = {"bids": event.bids, "asks": event.asks}
        contents = {side: levels for side, levels in sides.items() if levels}
        return _channel_data(BOOK, contents, id=event.ticker)

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        """What the market knows of a ticker goes into one frame; the oracle's price has a time."""
        assert event.day is not None
        trading: dict[str, Any] = {"nextFundingRate": event.funding_rate}
        trading |= {"openInterest": event.open_interest, "trades24H": event.day.trades}
        trading |= {"volume24H": event.day.turnover, "priceChange24H": event.day.change}
        oracle = {"oraclePrice": event.mark, "effectiveAt": _of_ms(event.time_ms)}
        contents = {"trading": {event.ticker: trading}, "oraclePrices": {event.ticker: oracle}}
        yield MARKETS, _channel_data(MARKETS, contents)


def _next(line: Line) -> int:
    number = line.memory["number"] = int(line.memory.get("number", 0)) + 1
    return number


def _of(kind: str, number: int, **more: Any) -> bytes:
    connection = "7f1c2a54-0000-4000-8000-000000000001"
    return compact({"type": kind, "connection_id": connection, "message_id": number, **more})


def _channel_data(channel: str, contents: Any, **about: str) -> bytes:
    """A frame that has no number yet."""
    return _of("channel_data", 0, **about, channel=channel, version="1.0.0", contents=contents)


def _error(line: Line, message: str) -> bytes:
    """With the number of the last message or request."""
    return _of("error", line.memory.get("number", 0), message=message)


def _name(asked: _Request) -> str:
    return MARKETS if asked.channel == MARKETS else f"{asked.channel}:{asked.id}"


def _about(asked: _Request) -> dict[str, Any]:
    return {"channel": asked.channel} | ({"id": asked.id} if asked.id else {})


def _both(book: Any) -> tuple[Any, Any]:
    return book.bids, book.asks


def _levels(levels: Levels) -> list[dict[str, str]]:
    return [{"price": price, "size": qty} for price, qty in levels]


def _of_ms(ms: int) -> str:
    time = _EPOCH + timedelta(milliseconds=ms)
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"
