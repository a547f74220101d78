"""What Gate's spot and futures share. https://www.gate.com/docs/developers/apiv4/ws/en/"""

from __future__ import annotations

import time
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
    Reply,
    Resource,
    Topic,
    compact,
    count,
    decoding,
    parse,
)
from tickbus_sim.events import Change, Quote

BOOK = "obu"
DEPTHS = ("50", "400")
_RECORDED = "order_book_update"
"""The channel of updates in recordings until 2025: played as books, too."""
_SYMBOLS = {"trades": "currency_pair", "tickers": "currency_pair"}
_STARTS = ("subscribe", "unsubscribe")


class _Request(msgspec.Struct, gc=False):
    channel: str
    event: str = ""
    payload: list[str] = []
    id: int | None = None
    time: int = 0


class _Frame(msgspec.Struct, gc=False):
    channel: str
    event: str = ""
    result: msgspec.Raw = msgspec.Raw(b"null")


class _Named(msgspec.Struct, gc=False):
    s: str = ""
    currency_pair: str = ""
    contract: str = ""
    n: str = ""


class _Book(msgspec.Struct, gc=False):
    t: int
    s: str
    u: int
    U: int = 0
    full: bool = False
    b: list[tuple[str, str]] = []
    a: list[tuple[str, str]] = []


_request = decoding(msgspec.json.Decoder(_Request).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_named = decoding(msgspec.json.Decoder(_Named).decode)
_rows = decoding(msgspec.json.Decoder(list[_Named]).decode)
_book = decoding(msgspec.json.Decoder(_Book).decode)


class GateioDialect(Dialect):
    """Books are pushed: a whole one first, then updates from U to u."""

    book_family = BOOK
    books = Books.PUSHED
    depth = 400
    drops_silently = True
    id_keys = ("id", "s", "U", "u", "t", "contract", "currency_pair")
    idle_s = 60.0
    market: ClassVar[str]
    """how the names of its channels begin"""

    # ---------------------------------------------------------- connections

    def request(self, line: Line, text: bytes) -> Reply:
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return Reply((self._answer("", "", error=(1, "Invalid request body format")),))
        family = asked.channel.removeprefix(f"{self.market}.")
        if asked.channel == f"{self.market}.ping":
            return Reply((self._answer(f"{self.market}.pong", ""),))
        if asked.event not in _STARTS or family not in self.feeds or not asked.payload:
            return Reply((self._wrong(asked, f"unknown channel {asked.channel}"),))
        topics = {}
        for name in asked.payload:
            symbol, channel = self._named(family, name)
            if not symbol:
                return Reply((self._wrong(asked, f"invalid argument {name}"),))
            topics[f"{family}:{symbol}"] = Topic(symbol, family, channel)
            if family == BOOK and asked.event == "subscribe" and f"obu:{symbol}" in line.streams:
                return Reply((self._wrong(asked, f"Alert sub {name}"),))
        if asked.event == "subscribe":
            line.streams |= topics
        for name in topics if asked.event == "unsubscribe" else ():
            line.streams.pop(name, None)
        answer = self._answer(asked.channel, asked.event, asked.payload, asked.id)
        return Reply((answer,))

    def _named(self, family: str, name: str) -> tuple[str, str]:
        """Symbol and channel of an argument; no symbol: it is wrong."""
        if family != BOOK:
            return name, family
        head, _, rest = name.partition(".")
        symbol, _, depth = rest.rpartition(".")
        return (symbol if head == "ob" and depth in DEPTHS else ""), f"{family}.{depth}"

    def _wrong(self, asked: _Request, text: str) -> bytes:
        return self._answer(asked.channel, asked.event, asked.payload, asked.id, (2, text))

    def _answer(
        self, channel: str, event: str, payload: Sequence[str] = (), number: int | None = None,
        error: tuple[int, str] | None = None,
    ) -> bytes:  # fmt: skip
        ms = time.time_ns() // 1_000_000
        told: dict[str, Any] = {"time": ms // 1000, "time_ms": ms, "conn_id": "a1b2c3d4"}
        told |= {"channel": channel, "event": event}
        told |= {"payload": payload} if payload else {}
        told |= {} if number is None else {"id": number}
        if error is not None:
            code, message = error
            return compact(told | {"error": {"code": code, "message": message}, "result": None})
        return compact(told | {"result": {"status": "success"} if event else None})

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        try:
            frame = _frame(text)
            market, _, family = frame.channel.partition(".")
            if market != self.market:
                return None
            if frame.event != "update":
                return CONTROL
            raw = bytes(frame.result)
            named = _rows(raw)[0] if raw[:1] == b"[" else _named(raw)
        except (msgspec.MsgspecError, IndexError):
            return None
        if family == "candlesticks":
            return Topic(named.n.partition("_")[2], family, family)
        symbol = named.s or named.currency_pair or named.contract
        if named.s.startswith("ob."):
            symbol, channel = self._named(BOOK, named.s)
        else:
            channel = family
        family = BOOK if family == _RECORDED else family
        return Topic(symbol, family, channel) if symbol else None

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            frame = _frame(text)
            book = _book(frame.result)
        except msgspec.MsgspecError:
            return None
        market, _, channel = frame.channel.partition(".")
        if market != self.market or channel not in (BOOK, _RECORDED):
            return None
        if channel == _RECORDED:
            return BookEvent(book.s, book.b, book.a, book.u, book.U - 1, event_ms=book.t)
        symbol, name = self._named(BOOK, book.s)
        if not symbol:
            return None
        return BookEvent(
            symbol, book.b, book.a, book.u, 0 if book.full else book.U - 1, whole=book.full,
            event_ms=book.t, depth=int(name.rpartition(".")[2]),
        )  # fmt: skip

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        depth = book.depth or self.depth
        bids, asks = book.top(depth)
        result = {"t": book.event_ms, "full": True, "s": f"ob.{symbol}.{depth}"}
        return self.told(BOOK, book.event_ms, result | {"u": book.last_id, **_sides(bids, asks)})

    def told(self, channel: str, ms: int, result: Any) -> bytes:
        """A frame of data."""
        told = {"time": ms // 1000, "time_ms": ms, "channel": f"{self.market}.{channel}"}
        return compact(told | {"event": "update", "result": result})

    def identity(self, text: bytes) -> dict[str, Any]:
        try:
            result = parse(text)["result"]
            first = result[0] if isinstance(result, list) else result
            return {key: first[key] for key in self.id_keys if key in first}
        except (msgspec.MsgspecError, LookupError, TypeError):
            return {}

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        name = path.removeprefix(f"/api/v4/{self.market}/")
        if name == path:
            return None
        found = self.resource_of(name, query)
        if found is not None:
            return found
        names = query.get("currency_pair", []) + query.get("contract", [])
        return Resource(name.rpartition("/")[2], names[0] if names else "")

    @abstractmethod
    def resource_of(self, name: str, query: Mapping[str, list[str]]) -> Resource | None:
        """A list of instruments, or a book, below the market's path."""

    def levels_of(self, query: Mapping[str, list[str]]) -> int:
        """How many levels a side a REST request names; the venue gives 10 without a word."""
        try:
            return count(query.get("limit", [""])[0], 10)
        except ValueError:
            raise BadRequest(_refused("INVALID_PARAM_VALUE", "Invalid limit")) from None

    def no_book(self) -> BadRequest:
        return BadRequest(_refused("SERVER_ERROR", "no book is known here"), 503)

    def no_symbol(self) -> BadRequest:
        return BadRequest(_refused("INVALID_CURRENCY_PAIR", "invalid currency pair"))

    def no_path(self) -> BadRequest:
        return BadRequest(_refused("NOT_FOUND", "no such path"), 404)

    # --------------------------------------------------------------- market

    def change(self, event: Change) -> bytes:
        result = {"t": event.time_ms, "s": f"ob.{event.ticker}.{self.depth}"}
        result |= {"U": event.prev_id + 1, "u": event.last_id}
        return self.told(BOOK, event.time_ms, result | _sides(event.bids, event.asks))

    def quote(self, event: Quote) -> bytes:
        (bid, bid_size), (ask, ask_size) = event.bid, event.ask
        result: dict[str, Any] = {"t": event.time_ms, "u": event.update_id, "s": event.ticker}
        result |= {"b": bid, "B": bid_size, "a": ask, "A": ask_size}
        return self.told("book_ticker", event.time_ms, result)


def _sides(bids: Levels, asks: Levels) -> dict[str, Any]:
    """A side without changes is left out."""
    sides = {"b": bids, "a": asks}
    return {name: levels for name, levels in sides.items() if levels}


def _refused(label: str, text: str) -> bytes:
    return compact({"label": label, "message": text})
