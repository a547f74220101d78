"""BitMEX, public tables. https://www.bitmex.com/app/wsAPI"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
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
)
from tickbus_sim.events import Change, Derivative, Instrument, Liquidation, Quote, Trade

BOOK, LIQUIDATION = "orderBookL2", "liquidation"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"-?\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,2})?", re.ASCII)
_DATED = re.compile(r"[FGHJKMNQUVXZ]\d{2}$", re.ASCII)
"""How the name of a future ends: month and year."""
ID_DECIMALS = 10
"""Ids are prices here, in units so small that every price has its own."""


class _Request(msgspec.Struct, gc=False):
    op: str
    args: list[str] | str


class _Filter(msgspec.Struct, gc=False):
    symbol: str = ""


class _Frame(msgspec.Struct, gc=False):
    table: str
    action: str
    data: msgspec.Raw
    filter: _Filter | None = None


class _Row(msgspec.Struct, gc=False):
    symbol: str


class _Level(msgspec.Struct, gc=False):
    symbol: str
    id: int
    side: str
    size: msgspec.Raw = msgspec.Raw(b"")
    price: msgspec.Raw = msgspec.Raw(b"")
    timestamp: datetime | None = None
    transactTime: datetime | None = None


_request = decoding(msgspec.json.Decoder(_Request).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_rows = decoding(msgspec.json.Decoder(list[_Row]).decode)
_levels = decoding(msgspec.json.Decoder(list[_Level]).decode)


class Dialect(contract.Dialect):
    """Books are pushed; their levels have ids, and nothing is numbered."""

    exchange = Exchange.BITMEX
    hosts = frozenset(
        {"www.bitmex.com", "ws.bitmex.com", "testnet.bitmex.com", "ws.testnet.bitmex.com"}
    )
    paths = ("/realtime", "/api/v1/instrument/active")
    routes = ("/realtime",)
    feeds = {  # noqa: RUF012  # a constant of the contract's ClassVar
        "trade": "trade",
        BOOK: "l2",
        "quote": "bbo",
        "instrument": "ticker derivative",
        LIQUIDATION: "liquidation",
    }
    book_family = BOOK
    books = Books.PUSHED
    one_action = True
    marks_tell_day = True
    id_keys = ("table", "action", "symbol", "id", "trdMatchID", "timestamp")
    demo = ("XBTUSD", "ETHUSDT", "XBT_USDT")

    def __init__(self) -> None:
        # The id of a price never changes, so what one frame tells is true of all.
        self._prices: dict[tuple[str, int], str] = {}
        self._ids: dict[tuple[str, str], int] = {}

    def instrument(self, ticker: str, listed: Instrument) -> Instrument:
        """Quantities are contracts, or small units of a coin."""
        return replace(listed, qty_decimals=0)

    # ---------------------------------------------------------- connections

    def welcome(self, line: Line) -> tuple[bytes, ...]:
        told = {"info": "Welcome to the BitMEX Realtime API.", "version": "2.0.0"}
        limit = {"remaining": 39}
        return (compact(told | {"docs": "https://www.bitmex.com/app/wsAPI", "limit": limit}),)

    def request(self, line: Line, text: bytes) -> Reply:
        """Each argument has its answer."""
        if text == b"ping":
            return Reply((b"pong",))
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return Reply((_error("Unrecognized request. See the documentation.", {}),))
        args = [asked.args] if isinstance(asked.args, str) else asked.args
        shown = {"op": asked.op, "args": asked.args}
        if asked.op not in ("subscribe", "unsubscribe") or not args:
            return Reply((_error(f"Unknown or empty command: {asked.op}", shown),))
        return Reply(tuple(self._carry_out(line, asked.op, arg, shown) for arg in args))

    def _carry_out(self, line: Line, op: str, arg: str, shown: dict[str, Any]) -> bytes:
        table, _, symbol = arg.partition(":")
        if table not in self.feeds:
            return _error(f"Unknown table: {table}", shown)
        if bool(symbol) is (table == LIQUIDATION):
            return _error(f"Not played here: {arg}", shown)
        if op == "unsubscribe":
            line.streams.pop(arg, None)
        elif arg in line.streams:
            return _error(f"You are already subscribed to this topic: {arg}", shown)
        else:
            line.streams[arg] = Topic(symbol, table, arg)
        return compact({"success": True, op: arg, "request": shown})

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        if text == b"pong":
            return CONTROL
        try:
            frame = _frame(text)
            if frame.table == LIQUIDATION:
                return Topic("", LIQUIDATION, LIQUIDATION)
            symbol = frame.filter.symbol if frame.filter else ""
            symbol = symbol or next((row.symbol for row in _rows(frame.data)), "")
        except msgspec.MsgspecError:
            words = (b'{"success"', b'{"status"', b'{"info"')
            return CONTROL if text.startswith(words) and text.endswith(b"}") else None
        return Topic(symbol, frame.table, frame.table) if frame.table and symbol else None

    def read_book(self, text: bytes) -> BookEvent | None:
        """Where a row names no price, what an earlier one named for its id."""
        try:
            frame = _frame(text)
            rows = _levels(frame.data)
            prices = [self._price(row) for row in rows]
            sizes = [_text(row.size) if bytes(row.size) else "0" for row in rows]
        except (msgspec.MsgspecError, ValueError, KeyError):
            return None  # no frame of a book, a level without numbers, or an unknown id
        if frame.table != BOOK or not (rows or frame.filter):
            return None
        symbol = frame.filter.symbol if frame.filter else rows[0].symbol
        levels = list(zip(rows, prices, sizes, strict=True))
        times = [[row.timestamp for row in rows], [row.transactTime for row in rows]]
        event_ms, engine_ms = (max((_ms(one) for one in of if one), default=0) for of in times)
        return BookEvent(
            symbol,
            [(price, size) for row, price, size in levels if row.side == "Buy"],
            [(price, size) for row, price, size in levels if row.side == "Sell"],
            whole=frame.action == "partial", event_ms=event_ms, engine_ms=engine_ms,
        )  # fmt: skip

    def _price(self, row: _Level) -> str:
        """Errors: KeyError, an id of which nothing is known; ValueError, no number."""
        if not bytes(row.price):
            return self._prices[row.symbol, row.id]
        price = _text(row.price)
        self._prices[row.symbol, row.id] = price
        self._ids[row.symbol, price] = row.id
        return price

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        bids, asks = book.top(0)
        rows = [
            self._row(symbol, side, price, qty, book.event_ms, book.engine_ms)
            for side, levels in (("Sell", asks), ("Buy", bids))
            for price, qty in levels
        ]
        keys = {"keys": ["symbol", "id", "side"], "filter": {"symbol": symbol}}
        return compact({"table": BOOK, "action": "partial", **keys, "data": rows})

    def _row(
        self, symbol: str, side: str, price: str, qty: str, event_ms: int, engine_ms: int
    ) -> dict[str, Any]:
        own = self._ids.get((symbol, price))
        number = int(Decimal(price).scaleb(ID_DECIMALS)) if own is None else own
        row: dict[str, Any] = {"symbol": symbol, "id": number, "side": side, "size": _raw(qty)}
        row |= {"price": _raw(price)}
        if event_ms:
            row |= {"timestamp": _iso(event_ms), "transactTime": _iso(engine_ms or event_ms)}
        return row

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        if path == "/api/v1/instrument/active":
            return Resource("instruments")
        name = path.removeprefix("/api/v1/")
        return None if name == path else Resource(name, query.get("symbol", [""])[0])

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        return compact([_listed(one, now_ms) for one in listed])

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        row = {"timestamp": _iso(event.time_ms), "symbol": event.ticker, "side": _side(event)}
        numbers = {"size": _raw(event.qty), "price": _raw(event.price)}
        match = {"trdMatchID": f"00000000-0000-4000-8000-{event.number:012x}"}
        return _told("trade", "insert", row | numbers | match | {"trdType": "Regular"})

    def change(self, event: Change) -> bytes:
        rows = [
            self._row(event.ticker, side, price, qty, event.time_ms, event.engine_ms)
            for side, levels in (("Buy", event.bids), ("Sell", event.asks))
            for price, qty in levels
        ]
        if event.action == "delete":
            for row in rows:
                del row["size"]
        return _told(BOOK, event.action or "update", *rows)

    def quote(self, event: Quote) -> bytes:
        (bid_px, bid_sz), (ask_px, ask_sz) = event.bid, event.ask
        row = {"timestamp": _iso(event.time_ms), "symbol": event.ticker}
        numbers = {"bidSize": bid_sz, "bidPrice": bid_px, "askPrice": ask_px, "askSize": ask_sz}
        return _told("quote", "insert", row | {key: _raw(one) for key, one in numbers.items()})

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        """One row tells the statistics, too; of spot there is nothing else."""
        day = event.day
        assert day is not None
        numbers = {"lastPrice": day.last, "prevPrice24h": day.open, "highPrice": day.high}
        numbers |= {"lowPrice": day.low, "volume24h": day.volume}
        numbers |= {"foreignNotional24h": day.turnover, "bidPrice": day.bid[0]}
        numbers |= {"askPrice": day.ask[0]}
        row: dict[str, Any] = {"symbol": event.ticker, "timestamp": _iso(event.time_ms)}
        if not _is_spot(event.ticker):
            numbers |= {"markPrice": event.mark, "indicativeSettlePrice": event.index}
            numbers |= {"fundingRate": event.funding_rate, "openInterest": event.open_interest}
            numbers |= {"indicativeFundingRate": event.funding_rate}
            row |= {"fundingTimestamp": _iso(event.next_funding_ms)}
            row |= {"fundingInterval": "2000-01-01T08:00:00.000Z"}
        told = row | {key: _raw(one) for key, one in numbers.items()}
        yield "instrument", _told("instrument", "update", told)

    def liquidation(self, event: Liquidation) -> bytes:
        """Rows have no time; the order is told when it is placed."""
        if _is_spot(event.ticker):
            return b""
        row = {"orderID": f"{event.time_ms:x}", "symbol": event.ticker, "side": _side(event)}
        numbers = {"price": _raw(event.price), "leavesQty": _raw(event.qty)}
        return _told(LIQUIDATION, "insert", row | numbers)


def _told(table: str, action: str, *rows: dict[str, Any]) -> bytes:
    return compact({"table": table, "action": action, "data": rows})


def _error(text: str, asked: dict[str, Any]) -> bytes:
    return compact({"status": 400, "error": text, "meta": {}, "request": asked})


def _side(event: Trade | Liquidation) -> str:
    return "Sell" if event.sells else "Buy"


def _raw(text: str) -> msgspec.Raw:
    """A decimal text as a JSON number."""
    return msgspec.Raw(text.encode())


def _text(raw: msgspec.Raw) -> str:
    """The decimal text of a JSON number such as 2.0e3. Errors: ValueError for anything else."""
    text = bytes(raw).decode()
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"no number: {text[:40]}")
    return format(Decimal(text), "f") if "e" in text.lower() else text


def _iso(ms: int) -> str:
    time = _EPOCH + timedelta(milliseconds=ms)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03}Z"


def _ms(time: datetime) -> int:
    return (time.replace(tzinfo=time.tzinfo or UTC) - _EPOCH) // timedelta(milliseconds=1)


def _is_spot(ticker: str) -> bool:
    return "_" in ticker


def _listed(listing: Listing, now_ms: int) -> dict[str, Any]:
    """A row of the list, its kind by the name: XBT_USDT, XBTZ26, ETHUSDT, XBTUSD."""
    ticker = listing.ticker
    quote = "USDT" if ticker.endswith("USDT") else "USD"
    base = ticker.removesuffix(quote).rstrip("_")
    row: dict[str, Any] = {"symbol": ticker, "state": "Open", "typ": "FFWCSX", "expiry": None}
    if _is_spot(ticker):
        row["typ"] = "IFXXXP"
    elif _DATED.search(ticker):
        base = _DATED.sub("", ticker)
        row |= {"typ": "FFCCSX", "expiry": _iso(now_ms + 90 * 86_400_000)}
    row |= {"underlying": base, "quoteCurrency": quote, "settlCurrency": "USDt"}
    row |= {"tickSize": _raw(listing.tick), "lotSize": _raw(listing.lot)}
    row |= {"isInverse": False, "isQuanto": False, "multiplier": 1}
    row |= {"underlyingToPositionMultiplier": 1, "underlyingToSettleMultiplier": None}
    if quote == "USD":
        worth = {"multiplier": -100_000_000, "underlyingToSettleMultiplier": -100_000_000}
        row |= {"isInverse": True, "settlCurrency": "XBt", **worth}
        row["underlyingToPositionMultiplier"] = None
    return row
