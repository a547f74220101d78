"""What Bitget's v3 markets share. https://www.bitget.com/docs/uta/quick-start"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from tickbus_sim.book import BookEvent, Levels, NaiveBook
from tickbus_sim.dialect import (
    CONTROL,
    BadRequest,
    Books,
    Dialect,
    Line,
    Listing,
    Reply,
    Resource,
    Topic,
    compact,
    decoding,
)
from tickbus_sim.events import Change, Quote, Trade

ROUTE = "/v3/ws/public"
LIQUIDATION = "liquidation"
ARGUMENTS_BYTES = 4096


class _Arg(msgspec.Struct, gc=False, omit_defaults=True):
    instType: str
    topic: str
    symbol: str = ""


class _Request(msgspec.Struct, gc=False):
    op: str
    args: list[_Arg]


class _Frame(msgspec.Struct, gc=False):
    arg: _Arg
    data: msgspec.Raw
    action: str


class _Book(msgspec.Struct, gc=False):
    a: list[list[str]]
    b: list[list[str]]
    ts: str
    seq: int
    pseq: int = 0
    maxdepth: str = "0"


_request = decoding(msgspec.json.Decoder(_Request).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_books = decoding(msgspec.json.Decoder(list[_Book]).decode)


class BitgetDialect(Dialect):
    """Books are pushed and linked; recordings of spot and of futures have the same addresses."""

    hosts = frozenset({"ws.bitget.com", "api.bitget.com"})
    paths = (ROUTE, "/api/v3/market/")
    routes = (ROUTE,)
    book_family = "books"
    books = Books.PUSHED
    depth = 1000
    drops_silently = True
    id_keys = ("arg", "action", "i", "seq", "pseq", "ts")
    idle_s = 120.0
    messages_per_s = 10.0
    streams_max = 1000
    kinds: ClassVar[tuple[str, ...]]
    """kinds of markets, as subscriptions spell them"""

    @abstractmethod
    def kind_of(self, symbol: str) -> str:
        """The kind of market that a symbol is of."""

    # ---------------------------------------------------------- connections

    def request(self, line: Line, text: bytes) -> Reply:
        """Each argument has its answer."""
        if text == b"ping":
            return Reply((b"pong",))
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return Reply((_error("30002", "Illegal request"),))
        if asked.op not in ("subscribe", "unsubscribe") or not asked.args:
            return Reply((_error("30003", f"Invalid op: {asked.op}"),))
        if len(text) > ARGUMENTS_BYTES:
            return Reply((_error("30002", "Illegal request: too long"),))
        return Reply(tuple(self._carry_out(line, asked.op, arg) for arg in asked.args))

    def _carry_out(self, line: Line, op: str, arg: _Arg) -> bytes:
        of_market = arg.topic == LIQUIDATION
        known = arg.topic in self.feeds and arg.instType in self.kinds
        if not known or of_market is bool(arg.symbol):
            return _error("30001", f"{compact(arg).decode()} doesn't exist")
        name = f"{arg.topic}:{arg.symbol or arg.instType}"
        if op == "unsubscribe":
            line.streams.pop(name, None)
        elif of_market or self.kind_of(arg.symbol) == arg.instType:
            line.streams[name] = Topic(arg.symbol, arg.topic, name)
        return compact({"event": op, "arg": arg, "connId": "a1b2c3d4"})

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        """Of a symbol that another market has, too, only its frames tell whose they are."""
        if text == b"pong":
            return CONTROL
        try:
            frame = _frame(text)
        except msgspec.MsgspecError:
            is_answer = text.startswith(b'{"event"') and text.endswith(b"}")
            return CONTROL if is_answer else None
        if frame.arg.instType not in self.kinds or not frame.arg.topic:
            return None
        return Topic(frame.arg.symbol, frame.arg.topic, frame.arg.topic)

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            frame = _frame(text)
            (book,) = _books(frame.data)
            bids, asks = ([(one[0], one[1]) for one in side] for side in (book.b, book.a))
            ms, depth = int(book.ts), int(book.maxdepth)
        except (msgspec.MsgspecError, ValueError, IndexError):
            return None  # no frame of a book, or a level without a size
        if frame.arg.topic != self.book_family:
            return None
        return BookEvent(
            frame.arg.symbol, bids, asks, book.seq, book.pseq,
            whole=frame.action == "snapshot", event_ms=ms, depth=depth,
        )  # fmt: skip

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        bids, asks = book.top(self.depth)
        depth = book.depth or self.depth
        return self._book(symbol, "snapshot", bids, asks, book.event_ms, book.last_id, 0, depth)

    def _book(
        self, symbol: str, action: str, bids: Levels, asks: Levels, ms: int, seq: int, pseq: int,
        depth: int,
    ) -> bytes:  # fmt: skip
        row = {"a": asks, "b": bids, "seq": seq, "pseq": pseq, "ts": str(ms)}
        return self.told(symbol, "books", action, ms, row | {"maxdepth": str(depth)})

    def told(self, symbol: str, topic: str, action: str, ms: int, row: dict[str, Any]) -> bytes:
        """A frame of one row."""
        arg = _Arg(self.kind_of(symbol), topic, symbol)
        return compact({"action": action, "arg": arg, "data": [row], "ts": ms})

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        name = path.removeprefix("/api/v3/market/")
        if name == path:
            return None
        if name == "instruments":
            category = query.get("category", [""])[0]
            if category.lower() not in self.kinds:
                raise BadRequest(compact({"code": "40034", "msg": "Parameter does not exist"}))
            return Resource("instruments", category)
        return Resource(name, query.get("symbol", [""])[0])

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        mine = [one for one in listed if self.kind_of(one.ticker) == resource.symbol.lower()]
        rows = [self.row(one) | {"category": resource.symbol} for one in mine]
        return compact({"code": "00000", "msg": "success", "requestTime": now_ms, "data": rows})

    @abstractmethod
    def row(self, listing: Listing) -> dict[str, Any]:
        """Of the list."""

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        row = {"i": str(event.number), "p": event.price, "v": event.qty, "isRPI": "no"}
        row |= {"S": "sell" if event.sells else "buy", "T": str(event.time_ms), "L": ""}
        return self.told(event.ticker, "publicTrade", "update", event.time_ms, row)

    def change(self, event: Change) -> bytes:
        return self._book(
            event.ticker, "update", event.bids, event.asks, event.time_ms, event.last_id,
            event.prev_id, self.depth,
        )  # fmt: skip

    def quote(self, event: Quote) -> bytes:
        row = {"a": [event.ask], "b": [event.bid], "seq": event.update_id}
        ms = event.time_ms
        return self.told(event.ticker, "books1", "snapshot", ms, row | {"ts": str(ms)})


def _error(code: str, text: str) -> bytes:
    return compact({"event": "error", "code": int(code), "msg": text, "connId": "a1b2c3d4"})


def day_of(day: Any) -> dict[str, str]:
    """The statistics of 24 h in a ticker."""
    row = {"lastPrice": day.last, "openPrice24h": day.open, "highPrice24h": day.high}
    row |= {"lowPrice24h": day.low, "volume24h": day.volume, "turnover24h": day.turnover}
    row |= {"bid1Price": day.bid[0], "ask1Price": day.ask[0], "bid1Size": day.bid[1]}
    return row | {"ask1Size": day.ask[1]}
