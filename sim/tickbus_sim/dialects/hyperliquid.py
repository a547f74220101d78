"""Hyperliquid. https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from tickbus_sim.events import Change, Derivative, Quote, Trade

_KNOWN = ("l2Book", "trades", "bbo", "activeAssetCtx")


class _Request(msgspec.Struct, gc=False):
    method: str
    subscription: msgspec.Raw = msgspec.Raw(b"{}")


class _Wanted(msgspec.Struct, gc=False):
    type: str = ""
    coin: str = ""


class _Level(msgspec.Struct, gc=False):
    px: str
    sz: str


class _Book(msgspec.Struct, gc=False):
    coin: str
    levels: tuple[list[_Level], list[_Level]]
    time: int = 0


class _Coin(msgspec.Struct, gc=False):
    coin: str = ""


class _Frame(msgspec.Struct, gc=False):
    channel: str
    data: msgspec.Raw = msgspec.Raw(b"null")


_request = decoding(msgspec.json.Decoder(_Request).decode)
_wanted = decoding(msgspec.json.Decoder(_Wanted).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_book = decoding(msgspec.json.Decoder(_Book).decode)
_coin = decoding(msgspec.json.Decoder(_Coin | list[_Coin]).decode)


class Dialect(contract.Dialect):
    """Every book frame is the whole book of 20 levels a side; nothing is numbered."""

    exchange = Exchange.HYPERLIQUID
    hosts = frozenset({"api.hyperliquid.xyz", "api.hyperliquid-testnet.xyz"})
    paths = ("/info",)
    routes = ("/ws",)
    feeds = {  # noqa: RUF012  # a constant of the contract's ClassVar
        "trades": "trade",
        "l2Book": "l2",
        "bbo": "bbo",
        "activeAssetCtx": "ticker derivative",
    }
    book_family = "l2Book"
    books = Books.WHOLE
    depth = 20
    demo = ("BTC", "ETH", "SOL")
    marks_tell_day = True
    id_keys = ("channel", "coin", "time", "tid")
    idle_s = 60.0
    streams_max = 1000

    def request(self, line: Line, text: bytes) -> Reply:
        try:
            asked = _request(text)
            wanted = _wanted(asked.subscription)
        except msgspec.MsgspecError:
            return _error(text)
        kind, coin = wanted.type, wanted.coin
        if asked.method == "ping":
            return Reply((b'{"channel":"pong"}',))
        if asked.method not in ("subscribe", "unsubscribe") or kind not in _KNOWN or not coin:
            return _error(text)
        if asked.method == "unsubscribe":
            line.streams.pop(f"{kind}:{coin}", None)
        elif len(line.streams) < self.streams_max or f"{kind}:{coin}" in line.streams:
            line.streams[f"{kind}:{coin}"] = Topic(coin, kind, kind)
        else:
            shown = f"Cannot track more than {self.streams_max} total subscriptions."
            return Reply((_data("error", shown),))
        data = {"method": asked.method, "subscription": asked.subscription}
        return Reply((compact({"channel": "subscriptionResponse", "data": data}),))

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        try:
            frame = _frame(text)
        except msgspec.MsgspecError:
            return None
        if frame.channel in ("subscriptionResponse", "pong", "error"):
            return CONTROL
        try:
            found = _coin(frame.data)
        except msgspec.MsgspecError:
            return None
        one = found if isinstance(found, _Coin) else found[0] if found else _Coin()
        return Topic(one.coin, frame.channel, frame.channel)

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            book = _book(_frame(text).data)
        except msgspec.MsgspecError:
            return None
        bids, asks = ([(level.px, level.sz) for level in side] for side in book.levels)
        return BookEvent(book.coin, bids, asks, whole=True, event_ms=book.time)

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        bids, asks = book.top(self.depth)
        levels = [_rows(bids), _rows(asks)]
        return _data("l2Book", {"coin": symbol, "time": book.event_ms, "levels": levels})

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        if path != "/info":
            return None
        try:
            kind = parse(body)["type"] if body else "meta"
        except (msgspec.DecodeError, LookupError, TypeError):
            return None
        return Resource("instruments") if kind == "meta" else Resource(str(kind))

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        rows = [
            {"name": one.ticker, "szDecimals": one.qty_decimals, "maxLeverage": 50}
            for one in listed
        ]
        return compact({"universe": rows})

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        row: dict[str, Any] = {
            "coin": event.ticker,
            "side": "A" if event.sells else "B",
            "px": event.price,
        }
        row |= {"sz": event.qty, "hash": "0x0", "time": event.time_ms, "tid": event.number}
        return _data("trades", [row])

    def change(self, event: Change) -> bytes:
        return self.write_book(event.ticker, event.book)

    def quote(self, event: Quote) -> bytes:
        best = _rows([event.bid, event.ask])
        return _data("bbo", {"coin": event.ticker, "time": event.time_ms, "bbo": best})

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        ctx: dict[str, Any] = {"funding": event.funding_rate, "openInterest": event.open_interest}
        assert event.day is not None
        ctx |= {"prevDayPx": event.day.open, "dayNtlVlm": event.day.turnover, "premium": "0.0001"}
        ctx |= {"oraclePx": event.index, "markPx": event.mark, "midPx": event.last}
        ctx |= {"impactPxs": [event.last, event.last], "dayBaseVlm": event.day.volume}
        yield "activeAssetCtx", _data("activeAssetCtx", {"coin": event.ticker, "ctx": ctx})


def _data(channel: str, data: Any) -> bytes:
    return compact({"channel": channel, "data": data})


def _rows(levels: Levels) -> list[dict[str, Any]]:
    return [{"px": price, "sz": qty, "n": 1} for price, qty in levels]


def _error(text: bytes) -> Reply:
    shown = (
        f"Error parsing JSON into valid websocket request: {text[:200].decode(errors='replace')}"
    )
    return Reply((compact({"channel": "error", "data": shown}),))
