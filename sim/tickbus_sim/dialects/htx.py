"""HTX spot. https://www.htx.com/en-us/opend/newApiPages/"""

from __future__ import annotations

import time
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
    parse,
)
from tickbus_sim.events import Change, Quote, Statistics, Trade
from tickbus_sim.numbers import decimal_of, json_number

MARKET, FEED = "/ws", "/feed"
BOOK = "mbp"
LEVELS = ("5", "20", "150", "400")
"""Of which updates can be subscribed to; of 400 no whole book can be asked for."""
QUOTES = ("usdt", "usdc", "husd", "usdd", "btc", "eth", "trx", "ht")
_Level = tuple[msgspec.Raw, msgspec.Raw]


class _Request(msgspec.Struct, gc=False):
    sub: str | list[str] = ""
    unsub: str | list[str] = ""
    req: str = ""
    id: str | int = ""
    ping: int | None = None
    pong: int | None = None


class _Book(msgspec.Struct, gc=False):
    bids: list[_Level] = []
    asks: list[_Level] = []
    seqNum: int = 0
    prevSeqNum: int = 0
    version: int = 0
    ts: int = 0


class _Frame(msgspec.Struct, gc=False):
    ch: str = ""
    rep: str = ""
    ts: int = 0
    tick: msgspec.Raw = msgspec.Raw(b"null")
    data: msgspec.Raw = msgspec.Raw(b"null")
    status: str = ""
    ping: int | None = None
    pong: int | None = None


_request = decoding(msgspec.json.Decoder(_Request).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_book = decoding(msgspec.json.Decoder(_Book).decode)


class Dialect(contract.Dialect):
    """Books are linked by prevSeqNum and asked for by `req`; every frame is gzip.

    Recordings of `depth.step0`, which is a whole book each time, are played as books, too.
    """

    exchange = Exchange.HTX
    hosts = frozenset({"api.huobi.pro", "api-aws.huobi.pro"})
    paths = (FEED, "/v1/settings/common/")
    routes = (MARKET, FEED)
    feeds = {  # noqa: RUF012  # a constant of the contract's ClassVar
        "trade.detail": "trade",
        BOOK: "l2",
        "bbo": "bbo",
        "detail": "ticker",
    }
    book_family = BOOK
    books = Books.PUSHED
    books_are_asked_for = True
    is_gzip = True
    depth = 150
    id_keys = ("ch", "tradeId", "seqNum", "prevSeqNum", "seqId", "ts")
    demo = ("btcusdt", "ethusdt", "solbtc")
    heartbeat_s = 5.0
    idle_s = 12.0  # who leaves two pings unanswered is cut off
    messages_per_s = 50.0

    # ---------------------------------------------------------- connections

    def route_of(self, family: str) -> str:
        return FEED if family == BOOK else MARKET

    def heartbeat(self, line: Line) -> bytes:
        return compact({"ping": _now_ms()})

    def request(self, line: Line, text: bytes) -> Reply:
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return _error("", "bad-request", "invalid request")
        if asked.pong is not None:
            return Reply()
        if asked.ping is not None:
            return Reply((compact({"pong": asked.ping}),))
        if asked.req:
            return self._answer_with_book(line, asked)
        wanted = asked.sub or asked.unsub
        topics = [wanted] if isinstance(wanted, str) else wanted
        wrong = next((name for name in topics if not self._carries(line, name)), None)
        if not any(topics) or wrong is not None:
            return _error(asked.id, "bad-request", f"invalid topic {wrong or ''}")
        answers = []
        for name in topics:
            if asked.sub:
                line.streams[name] = _topic(name)
            else:
                line.streams.pop(name, None)
            told = {"id": asked.id, "status": "ok", "subbed" if asked.sub else "unsubbed": name}
            answers.append(compact(told | {"ts": _now_ms()}))
        return Reply(tuple(answers))

    def _carries(self, line: Line, name: str) -> bool:
        """Whether the connection has this topic."""
        topic = _topic(name)
        channel, _, levels = topic.channel.partition(".")
        if topic.family not in self.feeds or self.route_of(topic.family) != line.route:
            return False
        return channel != BOOK or levels in LEVELS

    def _answer_with_book(self, line: Line, asked: _Request) -> Reply:
        topic = _topic(asked.req)
        if topic.family != BOOK or not self._carries(line, asked.req):
            return _error(asked.id, "bad-request", f"invalid topic {asked.req}")
        return Reply(books=(topic.symbol,))

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        try:
            frame = _frame(text)
        except msgspec.MsgspecError:
            return None
        if frame.ch or (frame.rep and bytes(frame.data) != b"null"):
            topic = _topic(frame.ch or frame.rep)
            return topic if topic.family else None
        known = frame.status or frame.ping is not None or frame.pong is not None
        return CONTROL if known else None

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            frame = _frame(text)
            topic = _topic(frame.ch or frame.rep)
            book = _book(frame.data if frame.rep else frame.tick)
            bids, asks = (
                [(decimal_of(price), decimal_of(qty)) for price, qty in side]
                for side in (book.bids, book.asks)
            )
        except (msgspec.MsgspecError, ValueError):
            return None  # no frame of a book, or a level without numbers
        if topic.family != BOOK:
            return None
        return BookEvent(
            topic.symbol, bids, asks, book.seqNum or book.version, book.prevSeqNum,
            whole=bool(frame.rep) or not book.seqNum, event_ms=frame.ts, engine_ms=book.ts,
        )  # fmt: skip

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        bids, asks = book.top(self.depth)
        name = f"market.{symbol}.mbp.150"
        data = {"seqNum": book.last_id, "bids": _rows(bids), "asks": _rows(asks)}
        told = {"id": name, "rep": name, "status": "ok", "ts": book.event_ms}
        return compact(told | {"data": data})

    def identity(self, text: bytes) -> dict[str, Any]:
        try:
            frame = parse(text)
            tick = frame["tick"]
            first = tick["data"][0] if "data" in tick else {}
            parts = (first, tick, frame)
            return {key: one[key] for one in parts for key in self.id_keys if key in one}
        except (msgspec.MsgspecError, LookupError, TypeError):
            return {}

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        if path == "/v1/settings/common/market-symbols":
            return Resource("instruments")
        if not path.startswith(("/v1/", "/v2/", "/market/")):
            return None
        return Resource(path.rpartition("/")[2], query.get("symbol", [""])[0])

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        rows = [_instrument(one) for one in listed]
        return compact({"status": "ok", "data": rows, "ts": str(now_ms), "full": 1})

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        row: dict[str, Any] = {"id": msgspec.Raw(b"1000200%d%015d" % (event.number, event.number))}
        row |= {"ts": event.time_ms, "tradeId": event.number, "amount": json_number(event.qty)}
        row |= {"price": json_number(event.price), "direction": "sell" if event.sells else "buy"}
        tick = {"id": event.number, "ts": event.time_ms, "data": [row]}
        return _data(event.ticker, "trade.detail", event.time_ms, tick)

    def change(self, event: Change) -> bytes:
        tick = {"seqNum": event.last_id, "prevSeqNum": event.prev_id}
        sides = {"bids": _rows(event.bids), "asks": _rows(event.asks)}
        return _data(event.ticker, "mbp.150", event.time_ms, tick | sides)

    def quote(self, event: Quote) -> bytes:
        (bid, bid_size), (ask, ask_size) = event.bid, event.ask
        tick: dict[str, Any] = {"seqId": event.update_id, "quoteTime": event.time_ms}
        tick |= {"bid": json_number(bid), "bidSize": json_number(bid_size), "symbol": event.ticker}
        tick |= {"ask": json_number(ask), "askSize": json_number(ask_size)}
        return _data(event.ticker, "bbo", event.time_ms, tick)

    def statistics(self, event: Statistics) -> bytes:
        tick: dict[str, Any] = {"id": event.trades, "version": event.trades, "count": event.trades}
        numbers = {"open": event.open, "close": event.last, "high": event.high, "low": event.low}
        numbers |= {"amount": event.volume, "vol": event.turnover}
        tick |= {name: json_number(text) for name, text in numbers.items()}
        return _data(event.ticker, "detail", event.time_ms, tick)


def _topic(name: str) -> Topic:
    """Of `market.btcusdt.mbp.150`; depths of a book are one family."""
    market, _, rest = name.partition(".")
    symbol, _, channel = rest.partition(".")
    if market != "market" or not symbol or not channel:
        return Topic("", "", name)
    is_book = channel == "depth.step0" or channel.rpartition(".")[0] == BOOK
    return Topic(symbol, BOOK if is_book else channel, channel)


def _data(symbol: str, channel: str, ms: int, tick: dict[str, Any]) -> bytes:
    return compact({"ch": f"market.{symbol}.{channel}", "ts": ms, "tick": tick})


def _error(request_id: str | int, code: str, text: str) -> Reply:
    told = {"status": "error", "ts": _now_ms(), "id": request_id, "err-code": code}
    return Reply((compact(told | {"err-msg": text}),))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _rows(levels: Levels) -> list[tuple[msgspec.Raw, msgspec.Raw]]:
    return [(json_number(price), json_number(qty)) for price, qty in levels]


def _instrument(listing: Listing) -> dict[str, Any]:
    symbol = listing.ticker
    quote = next((one for one in QUOTES if symbol.endswith(one) and symbol != one), symbol[-3:])
    row: dict[str, Any] = {"symbol": symbol, "bc": symbol.removesuffix(quote), "qc": quote}
    row |= {"state": "online", "at": "enabled", "sp": "main", "vp": 8}
    row |= {"pp": listing.price_decimals, "ap": listing.qty_decimals}
    return row | {"minoa": json_number(listing.lot), "minov": 5, "tags": ""}
