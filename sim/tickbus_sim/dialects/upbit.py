"""Upbit, spot. https://docs.upbit.com/kr/reference/websocket-guide"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
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
from tickbus_sim.numbers import decimal_of, json_number

PATH = "/websocket/v1"
TYPES = ("trade", "orderbook", "ticker")
BOOK, QUOTES = "orderbook", "orderbook.1"
_NONE = ("0", "0")
"""A rank that a side does not have."""


class _Part(msgspec.Struct, gc=False):
    """One object of a request, which is a list of them."""

    ticket: str | None = None
    type: str = ""
    codes: list[str] = []
    method: str = ""
    format: str = ""
    is_only_snapshot: bool = False


class _Unit(msgspec.Struct, gc=False):
    ap: msgspec.Raw
    bp: msgspec.Raw
    ask_size: msgspec.Raw = msgspec.field(name="as")
    bs: msgspec.Raw


class _Book(msgspec.Struct, gc=False):
    cd: str
    obu: list[_Unit]
    tms: int = 0


class _Frame(msgspec.Struct, gc=False):
    ty: str | None = None
    cd: str = ""
    tms: int = 0
    sid: int | None = None
    obu: list[msgspec.Raw] = []
    status: str | None = None
    mthd: str | None = None
    error: msgspec.Raw | None = None


_request = decoding(msgspec.json.Decoder(list[_Part]).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_book = decoding(msgspec.json.Decoder(_Book).decode)


class Dialect(contract.Dialect):
    """Every book frame is the whole book; a request replaces all subscriptions of a connection.

    It speaks the SIMPLE format. A subscription is not answered; a list of them is.
    """

    exchange = Exchange.UPBIT
    hosts = frozenset({"api.upbit.com"})
    paths = (PATH, "/v1/market/all")
    routes = (PATH,)
    feeds = {  # noqa: RUF012  # a constant of the contract's ClassVar
        "trade": "trade",
        BOOK: "l2",
        QUOTES: "bbo",
        "ticker": "ticker",
    }
    book_family = BOOK
    books = Books.WHOLE
    depth = 30
    demo = ("KRW-BTC", "KRW-ETH", "BTC-SOL")
    id_keys = ("ty", "cd", "tms", "sid")
    idle_s = 120.0
    messages_per_s = 5.0

    # ---------------------------------------------------------- connections

    def request(self, line: Line, text: bytes) -> Reply:
        if text == b"PING":
            return Reply((b'{"status":"UP"}',))
        try:
            parts = _request(text)
        except msgspec.MsgspecError:
            return _error("WRONG_FORMAT", "the request is not understood")
        if not any(one.ticket for one in parts):
            return _error("NO_TICKET", "the request has no ticket")
        if any(one.method == "LIST_SUBSCRIPTIONS" for one in parts):
            return Reply((_list(line, parts),))
        wanted = [one for one in parts if one.type]
        if not wanted:
            return _error("NO_TYPE", "the request has no type")
        if not all(one.codes for one in wanted):
            return _error("NO_CODES", "a type has no codes")
        if any(one.type not in TYPES for one in wanted):
            return _error("INVALID_PARAM", "there is no such type")
        line.streams = {
            f"{one.type}:{code}": _topic(one.type, code)
            for one in wanted
            for code in one.codes
            if not one.is_only_snapshot
        }
        return Reply()

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        try:
            frame = _frame(text)
        except msgspec.MsgspecError:
            return None
        if frame.ty is None:
            known = (frame.status, frame.mthd, frame.error)
            return CONTROL if any(one is not None for one in known) else None
        family = QUOTES if frame.ty == BOOK and len(frame.obu) == 1 else frame.ty
        return Topic(frame.cd, family, family)

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            book = _book(text)
            bids = [(decimal_of(one.bp), decimal_of(one.bs)) for one in book.obu]
            asks = [(decimal_of(one.ap), decimal_of(one.ask_size)) for one in book.obu]
        except (msgspec.MsgspecError, ValueError):
            return None  # no frame of a book, or a level without numbers
        return BookEvent(book.cd, bids, asks, whole=True, event_ms=book.tms)

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        bids, asks = book.top(self.depth)
        return _units(symbol, book.event_ms, bids, asks)

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        if path == "/v1/market/all":
            return Resource("instruments")
        name = path.removeprefix("/v1/")
        return Resource(name, query.get("markets", [""])[0]) if name != path else None

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        event = {"warning": False, "caution": {"PRICE_FLUCTUATIONS": False}}
        names = [one.ticker for one in listed]
        return compact(
            [
                {"market": name, "korean_name": name, "english_name": name, "market_event": event}
                for name in names
            ]
        )

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        row: dict[str, Any] = {"ty": "trade", "cd": event.ticker, "tms": event.time_ms}
        row |= {"ttms": event.time_ms, "tp": json_number(event.price)}
        row |= {"tv": json_number(event.qty), "ab": "ASK" if event.sells else "BID"}
        return compact(row | {"sid": event.number, "st": "REALTIME"})

    def change(self, event: Change) -> bytes:
        return self.write_book(event.ticker, event.book)

    def quote(self, event: Quote) -> bytes:
        return _units(event.ticker, event.time_ms, [event.bid], [event.ask])

    def statistics(self, event: Statistics) -> bytes:
        numbers = {"op": event.open, "hp": event.high, "lp": event.low, "tp": event.last}
        numbers |= {"tv": event.last_qty, "atv24h": event.volume, "atp24h": event.turnover}
        row: dict[str, Any] = {"ty": "ticker", "cd": event.ticker}
        row |= {name: json_number(text) for name, text in numbers.items()}
        return compact(row | {"ms": "ACTIVE", "tms": event.time_ms, "st": "REALTIME"})


def _topic(kind: str, code: str) -> Topic:
    """Of a code such as KRW-BTC.30: books of one level are quotes."""
    symbol, _, levels = code.partition(".")
    family = QUOTES if kind == BOOK and levels == "1" else kind
    return Topic(symbol, family, family)


def _units(symbol: str, ms: int, bids: Levels, asks: Levels) -> bytes:
    units = [
        {
            "ap": json_number(ask[0]),
            "bp": json_number(bid[0]),
            "as": json_number(ask[1]),
            "bs": json_number(bid[1]),
        }
        for bid, ask in zip_longest(bids, asks, fillvalue=_NONE)
    ]
    head = {"ty": BOOK, "cd": symbol, "tms": ms}
    return compact(head | {"obu": units, "st": "REALTIME"})


def _list(line: Line, parts: Sequence[_Part]) -> bytes:
    """What the connection carries, with the ticket of the question."""
    codes: dict[str, list[str]] = {}
    for name in line.streams:
        kind, _, code = name.partition(":")
        codes.setdefault(kind, []).append(code)
    ticket = next(one.ticket for one in parts if one.ticket)
    listed = [{"ty": kind, "cds": some} for kind, some in codes.items()]
    return compact({"mthd": "LIST_SUBSCRIPTIONS", "rslt": listed, "tckt": ticket})


def _error(name: str, message: str) -> Reply:
    return Reply((compact({"error": {"name": name, "message": message}}),))
