"""OKX v5, public channels. https://www.okx.com/docs-v5/en/#overview-websocket"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from tickbus_schemas.exchanges import Exchange

from tickbus_sim import dialect as contract
from tickbus_sim.book import BookEvent, Levels, NaiveBook
from tickbus_sim.dialect import (
    CONTROL,
    BadRequest,
    Books,
    Line,
    Listing,
    Reply,
    Resource,
    Topic,
    compact,
    count,
    decoding,
    parse,
)
from tickbus_sim.events import Change, Derivative, Liquidation, Quote, Statistics, Trade

PUBLIC, BUSINESS = "/ws/v5/public", "/ws/v5/business"
_BY_TYPE = ("liquidation-orders",)
"""Channels that are subscribed to by instrument type."""
ARGUMENTS_BYTES = 65_536
_UNDERLYING = "underlying"
"""A list of its own: what options are written on."""


class _Arg(msgspec.Struct, gc=False, omit_defaults=True):
    channel: str
    instId: str = ""
    instType: str = ""


class _Request(msgspec.Struct, gc=False):
    op: str
    args: list[_Arg]


class _Frame(msgspec.Struct, gc=False):
    arg: _Arg
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    action: str = "snapshot"
    event: str = ""


class _Book(msgspec.Struct, gc=False):
    asks: list[list[str]]
    bids: list[list[str]]
    ts: str = "0"
    seqId: int = 0
    prevSeqId: int = 0


_request = decoding(msgspec.json.Decoder(_Request).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_books = decoding(msgspec.json.Decoder(list[_Book]).decode)


class Dialect(contract.Dialect):
    """Books are pushed, and linked by prevSeqId; the client sends the text `ping`."""

    exchange = Exchange.OKX
    hosts = frozenset({"ws.okx.com", "wspap.okx.com", "wsaws.okx.com", "www.okx.com"})
    paths = ("/ws/v5/", "/api/v5/")
    routes = (PUBLIC, BUSINESS)
    feeds = {  # noqa: RUF012  # a constant of the contract's ClassVar
        "trades-all": "trade",
        "trades": "trade:aggregate",
        "books": "l2",
        "bbo-tbt": "bbo",
        "tickers": "ticker",
        "mark-price": "derivative",
        "funding-rate": "derivative",
        "open-interest": "derivative",
        "index-tickers": "derivative",
        "liquidation-orders": "liquidation",
    }
    index_families = frozenset({"index-tickers"})
    book_family = "books"
    books = Books.PUSHED
    depth = 400
    demo = ("BTC-USDT-SWAP", "ETH-USDT-SWAP", "SOL-USDT")
    ids_are_shared = True
    contract_size = "0.01"
    id_keys = ("arg", "action", "seqId", "prevSeqId", "tradeId", "ts")
    idle_s = 30.0

    # ---------------------------------------------------------- connections

    def route_of(self, family: str) -> str:
        return BUSINESS if family == "trades-all" or family.startswith("candle") else PUBLIC

    def request(self, line: Line, text: bytes) -> Reply:
        if text == b"ping":
            return Reply((b"pong",))
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return _error("60012", f"Invalid request: {text[:80].decode(errors='replace')}")
        if asked.op not in ("subscribe", "unsubscribe"):
            return _error("60012", f"Invalid request: op {asked.op}")
        if not asked.args:
            return _error("60013", "Invalid args: none")
        if len(text) > ARGUMENTS_BYTES:
            return _error("60013", "Invalid args: more than 64 KB")
        return Reply(tuple(self._carry_out(line, asked.op, arg) for arg in asked.args))

    def _carry_out(self, line: Line, op: str, arg: _Arg) -> bytes:
        symbol = "" if arg.channel in _BY_TYPE else arg.instId
        name = symbol or arg.instType
        known = arg.channel in self.feeds and self.route_of(arg.channel) == line.route
        if not known or not name:
            shown = f"Wrong URL or channel:{arg.channel},instId:{arg.instId}"
            return _error("60018", f"{shown} doesn't exist").frames[0]
        name, topic = f"{arg.channel}:{name}", Topic(symbol, arg.channel, arg.channel)
        if op == "subscribe":
            line.streams[name] = topic
        else:
            line.streams.pop(name, None)
        return compact({"event": op, "arg": arg, "connId": "a1b2c3d4"})

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        if text == b"pong":
            return CONTROL
        try:
            frame = _frame(text)
        except msgspec.MsgspecError:
            return CONTROL if b'"event"' in text[:200] else None
        if frame.event or frame.data is msgspec.UNSET:
            return CONTROL
        return Topic(frame.arg.instId, frame.arg.channel, frame.arg.channel)

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            frame = _frame(text)
            parts = _books(frame.data)  # type: ignore[arg-type]  # what is unset is no book
        except (msgspec.MsgspecError, TypeError):
            return None
        if not parts:
            return None
        first, last = parts[0], parts[-1]
        try:
            return BookEvent(
                frame.arg.instId,
                [(level[0], level[1]) for part in parts for level in part.bids],
                [(level[0], level[1]) for part in parts for level in part.asks],
                last.seqId,
                max(first.prevSeqId, 0),
                whole=frame.action == "snapshot",
                event_ms=int(last.ts),
            )
        except (IndexError, ValueError):
            return None  # a level without a size, a time that is no number

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        bids, asks = book.top(self.depth)
        return _book_frame(symbol, "snapshot", bids, asks, book.event_ms, book.last_id, -1)

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        if not path.startswith("/api/v5/"):
            return None
        symbol = query.get("instId", [""])[0]
        if path == "/api/v5/public/instruments":
            kind, index = (query.get(name, [""])[0] for name in ("instType", "uly"))
            return Resource("instruments", f"{kind} {index}".strip())
        if path == "/api/v5/public/underlying":
            return Resource("instruments", _UNDERLYING)
        if path in ("/api/v5/market/books", "/api/v5/market/books-full"):
            if not symbol:
                raise BadRequest(compact({"code": "50014", "msg": "instId can not be empty"}))
            try:
                return Resource("book", symbol, count(query.get("sz", [""])[0], 1))
            except ValueError:
                body = compact({"code": "51000", "msg": "Parameter sz error", "data": []})
                raise BadRequest(body) from None
        return Resource(path.rpartition("/")[2], symbol)

    def read_body(self, text: bytes) -> BookEvent | None:
        try:
            (book,) = parse(text)["data"]
            bids, asks = (
                [(level[0], level[1]) for level in book[side]] for side in ("bids", "asks")
            )
            ms, last_id = int(book["ts"]), int(book["seqId"])
            return BookEvent("", bids, asks, last_id, whole=True, event_ms=ms)
        except (msgspec.DecodeError, LookupError, TypeError, ValueError):
            return None

    def write_body(self, symbol: str, book: NaiveBook, levels: int) -> bytes:
        bids, asks = book.top(levels)
        data: dict[str, Any] = {"asks": _rows(asks), "bids": _rows(bids), "ts": str(book.event_ms)}
        return compact({"code": "0", "msg": "", "data": [data | {"seqId": book.last_id}]})

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        if resource.symbol == _UNDERLYING:
            options = {_index(one.ticker) for one in listed if _type(one.ticker) == "OPTION"}
            return compact({"code": "0", "msg": "", "data": [sorted(options)]})
        kind, _, index = resource.symbol.partition(" ")
        rows = [_instrument(one) for one in listed]
        rows = [row for row in rows if row["instType"] == (kind or row["instType"])]
        rows = [row for row in rows if row["uly"] == (index or row["uly"])]
        return compact({"code": "0", "msg": "", "data": rows})

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        row = {"instId": event.ticker, "tradeId": str(event.number), "px": event.price}
        row |= {"sz": event.qty, "side": "sell" if event.sells else "buy"}
        return _data("trades-all", event.ticker, row | {"ts": str(event.time_ms)})

    def change(self, event: Change) -> bytes:
        ids = event.last_id, event.prev_id
        return _book_frame(event.ticker, "update", event.bids, event.asks, event.time_ms, *ids)

    def quote(self, event: Quote) -> bytes:
        row: dict[str, Any] = {"asks": _rows([event.ask]), "bids": _rows([event.bid])}
        row |= {"ts": str(event.time_ms), "seqId": event.update_id}
        return _data("bbo-tbt", event.ticker, row)

    def statistics(self, event: Statistics) -> bytes:
        row = {"instType": _type(event.ticker), "instId": event.ticker, "last": event.last}
        row |= {"lastSz": event.last_qty, "askPx": event.ask[0], "askSz": event.ask[1]}
        row |= {"bidPx": event.bid[0], "bidSz": event.bid[1], "open24h": event.open}
        row |= {"high24h": event.high, "low24h": event.low}
        # Of contracts in coins, of coins in the currency that they are quoted in.
        is_spot = _type(event.ticker) == "SPOT"
        row |= {"volCcy24h": event.turnover if is_spot else self._coins(event.volume)}
        row |= {"vol24h": event.volume, "sodUtc0": event.open, "sodUtc8": event.open}
        return _data("tickers", event.ticker, row | {"ts": str(event.time_ms)})

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        kind, ms = _type(event.ticker), str(event.time_ms)
        if kind == "SPOT":
            return
        head = {"instType": kind, "instId": event.ticker}
        mark = head | {"markPx": event.mark, "ts": ms}
        yield "mark-price", _data("mark-price", event.ticker, mark)
        interest = head | {"oi": event.open_interest, "oiCcy": self._coins(event.open_interest)}
        interest |= {"oiUsd": self._coins(event.open_interest_value), "ts": ms}
        yield "open-interest", _data("open-interest", event.ticker, interest)
        rate = {"fundingRate": event.funding_rate, "nextFundingRate": ""}
        times = {"fundingTime": str(event.next_funding_ms)}
        times |= {"nextFundingTime": str(event.next_funding_ms + 8 * 3_600_000), "ts": ms}
        yield "funding-rate", _data("funding-rate", event.ticker, head | rate | times)

    def _coins(self, contracts: str) -> str:
        return str(Decimal(contracts) * Decimal(self.contract_size))

    def liquidation(self, event: Liquidation) -> bytes:
        kind = _type(event.ticker)
        if kind == "SPOT":
            return b""
        detail = {"side": "sell" if event.sells else "buy", "bkPx": event.price, "sz": event.qty}
        detail |= {"posSide": "long" if event.sells else "short", "bkLoss": "0", "ccy": ""}
        row = {"instType": kind, "instId": event.ticker, "uly": "", "instFamily": ""}
        data = [row | {"details": [detail | {"ts": str(event.time_ms)}]}]
        return compact({"arg": {"channel": "liquidation-orders", "instType": kind}, "data": data})


def _rows(levels: Levels) -> list[list[str]]:
    return [[price, qty, "0", "0" if not float(qty) else "1"] for price, qty in levels]


def _data(channel: str, symbol: str, row: dict[str, Any]) -> bytes:
    return compact({"arg": {"channel": channel, "instId": symbol}, "data": [row]})


def _book_frame(
    symbol: str, action: str, bids: Levels, asks: Levels, ms: int, seq_id: int, prev_id: int
) -> bytes:
    row: dict[str, Any] = {"asks": _rows(asks), "bids": _rows(bids), "ts": str(ms)}
    row |= {"checksum": 0}
    row |= {"seqId": seq_id, "prevSeqId": prev_id}
    arg = {"channel": "books", "instId": symbol}
    return compact({"arg": arg, "action": action, "data": [row]})


def _type(ticker: str) -> str:
    parts = ticker.split("-")
    if parts[-1] == "SWAP":
        return "SWAP"
    return {3: "FUTURES", 5: "OPTION"}.get(len(parts), "SPOT")


def _index(ticker: str) -> str:
    """What a contract is written on."""
    return "-".join(ticker.split("-")[:2])


def _expiry(date: str) -> str:
    """Venue time of an expiry such as `261225`: 08:00 UTC that day."""
    try:
        at = datetime.strptime(date, "%y%m%d").replace(tzinfo=UTC, hour=8)
    except ValueError:
        return ""
    return str(int(at.timestamp() * 1000))


def _instrument(listing: Listing) -> dict[str, str]:
    """A contract in coins of its base, or, where it is quoted in USD, in USD and settled in coins.

    What it is worth is left open where nobody knows: no recording tells it but in a list.
    """
    parts, kind = listing.ticker.split("-"), _type(listing.ticker)
    base, quote = parts[0], parts[1] if len(parts) > 1 else ""
    row = {"instType": kind, "instId": listing.ticker, "state": "live", "listTime": "0"}
    row |= {"tickSz": listing.tick, "lotSz": listing.lot, "minSz": listing.lot, "expTime": ""}
    row |= {"baseCcy": "", "quoteCcy": "", "settleCcy": "", "ctVal": "", "ctMult": ""}
    row |= {"ctValCcy": "", "ctType": "", "uly": "", "instFamily": "", "stk": "", "optType": ""}
    if kind == "SPOT":
        return row | {"baseCcy": base, "quoteCcy": quote}
    is_inverse = quote == "USD"
    row |= {"ctVal": listing.contract_size, "ctMult": "1" if listing.contract_size else ""}
    row |= {"settleCcy": base if is_inverse else quote, "uly": _index(listing.ticker)}
    row |= {"ctValCcy": base, "instFamily": row["uly"]}
    if kind == "OPTION":
        return row | {"expTime": _expiry(parts[2]), "stk": parts[3], "optType": parts[-1]}
    row |= {"ctType": "inverse", "ctValCcy": quote} if is_inverse else {"ctType": "linear"}
    return row | ({"expTime": _expiry(parts[2])} if kind == "FUTURES" else {})


def _error(code: str, text: str) -> Reply:
    return Reply((compact({"event": "error", "code": code, "msg": text, "connId": "a1b2c3d4"}),))
