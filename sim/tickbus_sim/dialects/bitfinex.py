"""Bitfinex, WebSocket v2. https://docs.bitfinex.com/docs/ws-general

A frame names its channel by a number. Those of the market's frames are fixed, a topic each below
TOPICS; a subscription's number is that and a multiple of TOPICS, another one each time. Sequence
numbers and times stand behind a frame where a connection's flags want them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
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
from tickbus_sim.events import Change, Derivative, Liquidation, Quote, Statistics, Trade
from tickbus_sim.numbers import decimal_of, json_number

TOPICS = 100_000
TIMESTAMP, SEQ_ALL = 32_768, 65_536
BOOK, QUOTES, STATUS, LIQUIDATIONS = "book", "book1", "deriv", "liq"
LENGTHS = ("1", "25", "100", "250")
_FRAME = re.compile(rb"\[(\d+),(.*),\d+,(\d+)\]", re.DOTALL)
"""A frame: channel, content, number (0 in the market's), time."""
_Entry = tuple[msgspec.Raw, int, msgspec.Raw]


class _Request(msgspec.Struct, gc=False):
    event: str
    channel: str = ""
    symbol: str = ""
    key: str = ""
    prec: str = "P0"
    freq: str = "F0"
    len: str = "25"
    chan: int = msgspec.field(name="chanId", default=-1)
    cid: int | None = None
    flags: int = 0


class _Frame(msgspec.Struct, array_like=True, gc=False):
    chan: int
    body: msgspec.Raw
    third: msgspec.Raw = msgspec.Raw(b"0")


_request = decoding(msgspec.json.Decoder(_Request).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_entries = decoding(msgspec.json.Decoder(list[_Entry]).decode)


class Dialect(contract.Dialect):
    """Books are pushed; sizes are signed; every connection counts what it is sent."""

    exchange = Exchange.BITFINEX
    hosts = frozenset({"api-pub.bitfinex.com", "api.bitfinex.com"})
    paths = ("/ws/2", "/v2/conf/")
    routes = ("/ws/2",)
    feeds = {  # noqa: RUF012  # a constant of the contract's ClassVar
        "trades": "trade",
        BOOK: "l2",
        QUOTES: "bbo",
        "ticker": "ticker",
        STATUS: "derivative",
        LIQUIDATIONS: "liquidation",
    }
    book_family = BOOK
    books = Books.PUSHED
    depth = 250
    demo = ("BTCF0:USTF0", "ETHF0:USTF0", "ETHUSD")
    heartbeat_s = 15.0
    streams_max = 25

    def __init__(self) -> None:
        self._topics = [Topic("", LIQUIDATIONS, LIQUIDATIONS)]
        self._numbers = {self._topics[0]: 0}
        for symbol in self.demo:
            for family in self.feeds:
                self._number(symbol, family)

    # ---------------------------------------------------------- connections

    def welcome(self, line: Line) -> tuple[bytes, ...]:
        return (compact({"event": "info", "version": 2, "platform": {"status": 1}}),)

    def heartbeat(self, line: Line) -> bytes:
        """Of the first channel."""
        chan = next(iter(line.memory.get("chans", {}).values()), None)
        if chan is None:
            return b""
        return _ended(line, b'%d,"hb"' % chan, _now_ms())

    def request(self, line: Line, text: bytes) -> Reply:
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return _error(10000, "event: invalid")
        match asked.event:
            case "conf":
                line.memory["flags"] = asked.flags
                told: dict[str, Any] = {"event": "conf", "status": "OK", "flags": asked.flags}
                return Reply((compact(told),))
            case "ping":
                told = {"event": "pong", "ts": _now_ms()}
                return Reply((compact(told | ({} if asked.cid is None else {"cid": asked.cid})),))
            case "subscribe":
                return self._subscribe(line, asked)
            case "unsubscribe":
                return self._unsubscribe(line, asked.chan)
        return _error(10000, "event: invalid")

    def _subscribe(self, line: Line, asked: _Request) -> Reply:
        topic, about = _wanted(asked)
        if topic is None:
            return _error(10302, "channel: unknown")
        if not topic.symbol and topic.family != LIQUIDATIONS:
            return _error(10300, "symbol: invalid", about)
        name = f"{topic.family}:{topic.symbol}"
        if name in line.streams:
            return _error(10301, "subscribe: dup", about)
        if len(line.streams) == self.streams_max:
            return _error(10305, "subscribe: limit", about)
        number = self._number(topic.symbol, topic.family)
        line.memory["asked"] = line.memory.get("asked", 0) + 1
        chan = line.memory["asked"] * TOPICS + number
        line.memory["chans"] = line.memory.get("chans", {}) | {number: chan}
        line.streams[name] = topic
        return Reply((compact({"event": "subscribed", "chanId": chan} | about),))

    def _unsubscribe(self, line: Line, chan: int) -> Reply:
        number = chan % TOPICS
        chans = line.memory.get("chans", {})
        if chans.get(number) != chan:
            return _error(10401, "not subscribed")
        topic = self._topics[number]
        line.streams.pop(f"{topic.family}:{topic.symbol}")
        line.memory["chans"] = {n: one for n, one in chans.items() if n != number}
        return Reply((compact({"event": "unsubscribed", "status": "OK", "chanId": chan}),))

    # --------------------------------------------------------------- frames

    def _number(self, symbol: str, family: str) -> int:
        topic = Topic("" if family == LIQUIDATIONS else symbol, family, family)
        number = self._numbers.setdefault(topic, len(self._topics))
        if number == len(self._topics):
            self._topics.append(topic)
        return number

    def topic_of(self, text: bytes) -> Topic | None:
        if text.startswith(b"{"):
            return CONTROL if b'"event"' in text and text.endswith(b"}") else None
        try:
            frame = _frame(text)
        except msgspec.MsgspecError:
            return None
        if bytes(frame.body) == b'"hb"':
            return CONTROL
        number = frame.chan % TOPICS
        return self._topics[number] if 0 <= number < len(self._topics) else None

    def on_wire(self, line: Line, text: bytes, topic: Topic) -> bytes:
        found = _FRAME.fullmatch(text)
        if found is None:
            line.memory["seq"] = line.memory.get("seq", 0) + 1
            return text  # damaged: its turn counts all the same
        number = int(found[1]) % TOPICS
        chan = line.memory.get("chans", {}).get(number, number)
        return _ended(line, b"%d,%b" % (chan, found[2]), int(found[3]))

    def identity(self, text: bytes) -> dict[str, Any]:
        """Channel, time and content, which is short but for books."""
        found = _FRAME.fullmatch(text)
        if found is None:
            return {}
        return {"chanId": int(found[1]), "ts": int(found[3]), "of": found[2][:60].decode()}

    def read_book(self, text: bytes) -> BookEvent | None:
        """The whole book is the one of as many levels as a side may have: changes are fewer."""
        topic = self.topic_of(text)
        if topic is None or topic.family != BOOK:
            return None
        try:
            bids, asks = _sides(_entries(bytes(_frame(text).body)))
            found = _FRAME.fullmatch(text)
        except (msgspec.MsgspecError, ValueError):
            return None  # no frame of a book, or a level without numbers
        whole, event_ms = len(bids) == len(asks) == self.depth, int(found[3]) if found else 0
        return BookEvent(topic.symbol, bids, asks, whole=whole, event_ms=event_ms, depth=self.depth)

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        return self._levels(symbol, BOOK, *book.top(self.depth), book.event_ms)

    def _levels(self, symbol: str, family: str, bids: Levels, asks: Levels, ms: int) -> bytes:
        entries = [_entry(price, qty, "") for price, qty in bids]
        entries += [_entry(price, qty, "-") for price, qty in asks]
        return compact([self._number(symbol, family), entries, 0, ms])

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        if path.startswith("/v2/conf/pub:info:pair"):
            return Resource("instruments")
        name = path.removeprefix("/v2/")
        return Resource(name) if name != path else None

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        """Spot pairs, then derivatives."""
        pairs: tuple[list[Any], list[Any]] = ([], [])
        for one in listed:
            limits = [None, None, None, one.lot, "2000.0", None, None, None, 0.1, 0.05]
            pairs[_is_perpetual(one.ticker)].append([one.ticker, limits])
        return compact(pairs)

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        amount = json_number(f"-{event.qty}" if event.sells else event.qty)
        row = [event.number, event.time_ms, amount, json_number(event.price)]
        return compact([self._number(event.ticker, "trades"), "te", row, 0, event.time_ms])

    def change(self, event: Change) -> bytes:
        return self._levels(event.ticker, BOOK, event.bids, event.asks, event.time_ms)

    def quote(self, event: Quote) -> bytes:
        return self._levels(event.ticker, QUOTES, [event.bid], [event.ask], event.time_ms)

    def statistics(self, event: Statistics) -> bytes:
        numbers = (
            event.bid[0], event.bid[1], event.ask[0], event.ask[1], event.change, event.percent,
            event.last, event.volume, event.high, event.low,
        )  # fmt: skip
        row = [*map(json_number, numbers), None]
        return compact([self._number(event.ticker, "ticker"), row, 0, event.time_ms])

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        if not _is_perpetual(event.ticker):
            return
        last, index, mark = map(json_number, (event.last, event.index, event.mark))
        rate, interest = json_number(event.funding_rate), json_number(event.open_interest)
        row = [event.time_ms, None, last, index, None, 1396531.5, None, event.next_funding_ms]
        row += [rate, 6, None, rate, None, None, mark, None, None, interest, None, None, None]
        yield STATUS, compact([self._number(event.ticker, STATUS), row, 0, event.time_ms])

    def liquidation(self, event: Liquidation) -> bytes:
        """`amount` is the position's: a long one is sold."""
        if not _is_perpetual(event.ticker):
            return b""
        amount, price = json_number(event.qty if event.sells else f"-{event.qty}"), event.price
        row = [
            "pos",
            event.time_ms,
            event.time_ms,
            None,
            f"t{event.ticker}",
            amount,
            json_number(price),
        ]
        row += [None, 0, 0, None, json_number(price)]
        return compact([self._number("", LIQUIDATIONS), [row], 0, event.time_ms])


def _wanted(asked: _Request) -> tuple[Topic | None, dict[str, Any]]:
    """The topic that a subscription names, None: there is no such channel; what its answer says."""
    about: dict[str, Any] = {"channel": asked.channel}
    family, symbol = asked.channel, asked.symbol
    if asked.channel == "status":
        family, _, symbol = asked.key.partition(":")
        about |= {"key": asked.key}
        symbol = "" if family == LIQUIDATIONS else symbol.removeprefix("t")
        known = family in (STATUS, LIQUIDATIONS)
    else:
        about |= {"symbol": symbol, "pair": symbol[1:]}
        known, symbol = family in ("trades", "ticker"), symbol.removeprefix("t")
    if asked.channel == BOOK:
        about |= {"prec": asked.prec, "freq": asked.freq, "len": asked.len}
        known = asked.len in LENGTHS and asked.prec == "P0"
        family = QUOTES if asked.len == "1" else BOOK
    return (Topic(symbol, family, family) if known else None), about


def _ended(line: Line, inner: bytes, ms: int) -> bytes:
    """A frame with what the connection's flags want behind it: its next number, its time."""
    seq = line.memory["seq"] = line.memory.get("seq", 0) + 1
    flags = line.memory.get("flags", 0)
    behind = b",%d" % seq if flags & SEQ_ALL else b""
    return b"[%b%b,%d]" % (inner, behind, ms) if flags & TIMESTAMP else b"[%b%b]" % (inner, behind)


def _entry(price: str, qty: str, sign: str) -> tuple[msgspec.Raw, int, msgspec.Raw]:
    """Price, number of orders and signed size; of a level that is gone 0 and one of its sign."""
    count = 1 if Decimal(qty) else 0
    size = qty if count else qty.replace("0", "1", 1)
    return json_number(price), count, json_number(f"{sign}{size}")


def _sides(entries: Sequence[_Entry]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    sides: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
    for price, count, amount in entries:
        size = decimal_of(amount)
        qty = size.removeprefix("-")
        level = decimal_of(price), qty if count else qty.replace("1", "0", 1)
        sides[size.startswith("-")].append(level)
    return sides


def _is_perpetual(ticker: str) -> bool:
    return ticker.endswith("F0")


def _error(code: int, text: str, about: Mapping[str, Any] | None = None) -> Reply:
    return Reply((compact({"event": "error", "msg": text, "code": code} | dict(about or {})),))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
