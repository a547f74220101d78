"""Kraken Futures. https://docs.kraken.com/api/docs/guides/futures-websockets"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
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
from tickbus_sim.events import Change, Derivative, Instrument, Liquidation, Quote, Statistics, Trade
from tickbus_sim.numbers import decimal_of, json_number

_OTHER = ("ticker_lite",)
"""Feeds of the venue that are none of ours."""
_FAMILIES = {"book_snapshot": "book", "trade_snapshot": "trade"}
"""What a subscription begins with."""


class _Request(msgspec.Struct, gc=False):
    event: str
    feed: str = ""
    product_ids: list[str] = []


class _Level(msgspec.Struct, gc=False):
    price: msgspec.Raw
    qty: msgspec.Raw


class _Frame(msgspec.Struct, gc=False):
    feed: str = ""
    event: str = ""
    product_id: str = ""


class _Book(msgspec.Struct, gc=False):
    """A whole book, or one level of it."""

    feed: str
    product_id: str
    seq: int
    timestamp: int
    bids: list[_Level] = []
    asks: list[_Level] = []
    side: str = ""
    price: msgspec.Raw = msgspec.Raw(b"")
    qty: msgspec.Raw = msgspec.Raw(b"")


_request = decoding(msgspec.json.Decoder(_Request).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_book = decoding(msgspec.json.Decoder(_Book).decode)


class Dialect(contract.Dialect):
    """Books are pushed, then each level by itself; the client pings by WebSocket."""

    exchange = Exchange.KRAKEN_FUTURES
    hosts = frozenset({"futures.kraken.com", "demo-futures.kraken.com"})
    paths = ("/ws/v1", "/derivatives/api/v3/")
    routes = ("/ws/v1",)
    feeds = {  # noqa: RUF012  # a constant of the contract's ClassVar
        "book": "l2",
        "trade": "trade liquidation",
        "ticker": "bbo ticker derivative",
    }
    book_family = "book"
    books = Books.PUSHED
    counts_updates = True
    one_level = True
    quotes_tell_day = True
    id_keys = ("feed", "product_id", "seq", "uid", "time", "timestamp")
    demo = ("PF_XBTUSD", "PI_ETHUSD", "FF_SOLUSD_261225")
    idle_s = 60.0
    heartbeat_s = 1.0

    def instrument(self, ticker: str, listed: Instrument) -> Instrument:
        """Inverse contracts are whole USD."""
        return replace(listed, qty_decimals=0) if _is_inverse(ticker) else listed

    # ---------------------------------------------------------- connections

    def welcome(self, line: Line) -> tuple[bytes, ...]:
        return (compact({"event": "info", "version": 1}),)

    def heartbeat(self, line: Line) -> bytes:
        return b'{"feed":"heartbeat","time":1534262350627}' if "heartbeat" in line.memory else b""

    def request(self, line: Line, text: bytes) -> Reply:
        """Each product is answered by itself."""
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return _error("Json Error")
        event, feed = asked.event, asked.feed
        if event not in ("subscribe", "unsubscribe"):
            return _error("Json Error")
        told = {"event": f"{event}d", "feed": feed}
        if feed == "heartbeat":
            line.memory[feed] = True
            return Reply((compact(told),))
        if feed not in (*self.feeds, *_OTHER):
            return _error("Invalid feed")
        if not asked.product_ids:
            return _error("Invalid product id")
        products = [one.upper() if one.islower() else one for one in asked.product_ids]
        for product in products:
            if event == "subscribe":
                line.streams[f"{feed}:{product}"] = Topic(product, feed, feed)
            else:
                line.streams.pop(f"{feed}:{product}", None)
        return Reply(tuple(compact(told | {"product_ids": [one]}) for one in products))

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        try:
            frame = _frame(text)
        except msgspec.MsgspecError:
            return None
        if frame.event or frame.feed == "heartbeat":
            return CONTROL
        if not frame.feed or not frame.product_id:
            return None
        family = _FAMILIES.get(frame.feed, frame.feed)
        return Topic(frame.product_id, family, family)

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            told = _book(text)
            whole = told.feed == "book_snapshot"
            if whole:
                bids, asks = _held(told.bids), _held(told.asks)
            else:
                level = [(decimal_of(told.price), decimal_of(told.qty))]
                bids, asks = (level, []) if told.side == "buy" else ([], level)
        except (msgspec.MsgspecError, ValueError):
            return None  # no frame of a book, or a level without numbers
        if told.feed not in ("book", "book_snapshot"):
            return None
        return BookEvent(
            told.product_id, bids, asks, told.seq, told.seq - 1, whole=whole,
            event_ms=told.timestamp,
        )  # fmt: skip

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        bids, asks = book.top(0)
        told: dict[str, Any] = {"feed": "book_snapshot", "product_id": symbol}
        told |= {"timestamp": book.event_ms, "seq": book.last_id, "tickSize": None}
        return compact(told | {"bids": _rows(bids), "asks": _rows(asks)})

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        name = path.removeprefix("/derivatives/api/v3/")
        if name == path:
            return None
        return Resource(name, query.get("symbol", [""])[0])

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        return compact({"result": "success", "instruments": [_instrument(one) for one in listed]})

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        told: dict[str, Any] = {"feed": "trade", "product_id": event.ticker}
        told |= {"uid": f"00000000-0000-4000-8000-{event.number:012x}"}
        told |= {"side": "sell" if event.sells else "buy", "seq": event.number}
        told |= {"type": "liquidation" if event.is_liquidation else "fill", "time": event.time_ms}
        return compact(told | {"qty": json_number(event.qty), "price": json_number(event.price)})

    def change(self, event: Change) -> bytes:
        side = "buy" if event.bids else "sell"
        price, qty = (event.bids or event.asks)[0]
        told: dict[str, Any] = {"feed": "book", "product_id": event.ticker, "side": side}
        told |= {"seq": event.last_id, "price": json_number(price), "qty": json_number(qty)}
        return compact(told | {"timestamp": event.time_ms})

    def quote(self, event: Quote) -> bytes:
        assert event.day is not None
        day = replace(event.day, time_ms=event.time_ms, bid=event.bid, ask=event.ask)
        return self.statistics(day)

    def statistics(self, event: Statistics) -> bytes:
        """The venue tells everything in each frame; here marks and funding come by themselves."""
        (bid, bid_size), (ask, ask_size) = event.bid, event.ask
        usd = event.volume if _is_inverse(event.ticker) else event.turnover
        numbers = {"bid": bid, "ask": ask, "bid_size": bid_size, "ask_size": ask_size}
        numbers |= {"volume": event.volume, "volumeQuote": usd, "last": event.last}
        numbers |= {"open": event.open, "high": event.high, "low": event.low}
        return _ticker(event.ticker, event.time_ms, numbers | {"change": event.percent})

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        numbers = {"index": event.index, "markPrice": event.mark, "last": event.last}
        numbers |= {"openInterest": event.open_interest}
        if not _expiry(event.ticker):
            numbers |= {"relative_funding_rate": event.funding_rate}
            numbers |= {"next_funding_rate_time": str(event.next_funding_ms)}
        tag = "month" if _expiry(event.ticker) else "perpetual"
        yield "ticker", _ticker(event.ticker, event.time_ms, numbers, tag=tag)

    def liquidation(self, event: Liquidation) -> bytes:
        return b""  # its trade said so


def _ticker(ticker: str, time_ms: int, numbers: Mapping[str, str], **words: str) -> bytes:
    told: dict[str, Any] = {"feed": "ticker", "product_id": ticker, "time": time_ms}
    return compact(told | words | {name: json_number(text) for name, text in numbers.items()})


def _held(levels: Sequence[_Level]) -> Levels:
    """The levels of a whole book that have something in them."""
    texts = [(decimal_of(one.price), decimal_of(one.qty)) for one in levels]
    return [(price, qty) for price, qty in texts if Decimal(qty) > 0]


def _rows(levels: Levels) -> list[dict[str, msgspec.Raw]]:
    return [{"price": json_number(price), "qty": json_number(qty)} for price, qty in levels]


def _error(text: str) -> Reply:
    return Reply((compact({"event": "error", "message": text}),))


def _is_inverse(ticker: str) -> bool:
    return ticker.startswith(("PI_", "FI_"))


def _expiry(ticker: str) -> str:
    """When FF_SOLUSD_261225 expires; empty for a perpetual."""
    date = ticker.split("_")[2:3]
    if not date or len(date[0]) != 6 or not date[0].isdecimal():
        return ""
    year, month, day = date[0][:2], date[0][2:4], date[0][4:]
    return f"20{year}-{month}-{day}T16:00:00Z" if "00" < month < "13" and "00" < day < "29" else ""


def _instrument(listing: Listing) -> dict[str, Any]:
    inverse = _is_inverse(listing.ticker)
    pair = listing.ticker.split("_")[1] if "_" in listing.ticker else listing.ticker
    base = "BTC" if pair[:-3] == "XBT" else pair[:-3]
    row: dict[str, Any] = {"symbol": listing.ticker, "base": base, "quote": pair[-3:]}
    row |= {"type": "futures_inverse" if inverse else "flexible_futures", "tradeable": True}
    row |= {"tickSize": json_number(listing.tick), "contractSize": 1, "postOnly": False}
    row |= {"contractValueTradePrecision": listing.qty_decimals, "pair": f"{base}:{pair[-3:]}"}
    expiry = _expiry(listing.ticker)
    return row | ({"lastTradingTime": expiry} if expiry else {})
