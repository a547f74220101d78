"""Deribit v2, public channels. https://docs.deribit.com/articles/notifications"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
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
    decoding,
    parse,
)
from tickbus_sim.events import Change, Derivative, Instrument, Liquidation, Quote, Trade
from tickbus_sim.numbers import decimal_of, is_number, json_number

ROUTE = "/ws/api/v2"
INTERVALS = ("100ms", "agg2")
PLATFORM = "platform_state"
"""Others need a login."""
NEVER_MS = 32_503_708_800_000
"""Expiry of what does not expire."""
_DATED = re.compile(r"\d{1,2}[A-Z]{3}\d{2}", re.ASCII)


class _Request(msgspec.Struct, gc=False):
    method: str
    id: int | None = None
    params: msgspec.Raw = msgspec.Raw(b"{}")


class _Channels(msgspec.Struct, gc=False):
    channels: list[str]


class _Interval(msgspec.Struct, gc=False):
    interval: float


class _Params(msgspec.Struct, gc=False):
    channel: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Frame(msgspec.Struct, gc=False):
    params: _Params
    method: str = ""


class _Book(msgspec.Struct, gc=False):
    instrument_name: str
    type: str
    timestamp: int
    change_id: int
    bids: list[tuple[str, msgspec.Raw, msgspec.Raw]]
    asks: list[tuple[str, msgspec.Raw, msgspec.Raw]]
    prev_change_id: int | None = None


_request = decoding(msgspec.json.Decoder(_Request).decode)
_channels = decoding(msgspec.json.Decoder(_Channels).decode)
_interval = decoding(msgspec.json.Decoder(_Interval).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_book = decoding(msgspec.json.Decoder(_Book).decode)


class Dialect(contract.Dialect):
    """Books are pushed, and linked by prev_change_id; the venue asks whether the client lives."""

    exchange = Exchange.DERIBIT
    hosts = frozenset({"www.deribit.com", "streams.deribit.com", "test.deribit.com"})
    paths = ("/ws/api/v2", "/api/v2/public/")
    routes = (ROUTE,)
    feeds = {  # noqa: RUF012  # a constant of the contract's ClassVar
        "trades": "trade liquidation",
        "book": "l2",
        "quote": "bbo",
        "ticker": "ticker derivative",
    }
    book_family = "book"
    books = Books.PUSHED
    marks_tell_day = True
    ids_are_shared = True
    id_keys = ("instrument_name", "trade_id", "trade_seq", "change_id", "timestamp")
    demo = ("BTC-PERPETUAL", "ETH_USDC-PERPETUAL", "SOL_USDC")
    heartbeat_s = 10.0
    idle_s = 30.0  # who does not answer a test_request is cut off

    def instrument(self, ticker: str, listed: Instrument) -> Instrument:
        """Amounts of inverse contracts are whole USD."""
        return replace(listed, qty_decimals=0) if _is_inverse(ticker) else listed

    # ---------------------------------------------------------- connections

    def heartbeat(self, line: Line) -> bytes:
        if "heartbeat" not in line.memory:
            return b""
        return compact(
            {"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}}
        )

    def request(self, line: Line, text: bytes) -> Reply:
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return _error(None, -32700, "Parse error")
        method = asked.method.removeprefix("public/")
        try:
            if method in ("subscribe", "unsubscribe"):
                return self._carry_out(line, asked, method)
            if method == "set_heartbeat":
                line.memory["heartbeat"] = _interval(asked.params).interval
                return _result(asked.id, "ok")
        except msgspec.MsgspecError:
            return _error(asked.id, -32602, "Invalid params")
        if method == "test":
            return _result(asked.id, {"version": "1.2.26"})
        return _error(asked.id, -32601, "Method not found")

    def _carry_out(self, line: Line, asked: _Request, method: str) -> Reply:
        """Channels that do not exist are left out of the answer; one that needs a login ends it."""
        names = _channels(asked.params).channels
        if not names:
            return _error(asked.id, -32602, "Invalid params")
        if any(name.endswith(".raw") for name in names):
            return _error(asked.id, 13778, "raw_subscriptions_not_available_for_unauthorized")
        taken = [name for name in names if name == PLATFORM or self._is_known(name)]
        for name in taken:
            if name == PLATFORM:
                continue  # nothing of a market
            if method == "subscribe":
                line.streams[name] = self._topic(name)
            else:
                line.streams.pop(name, None)
        return _result(asked.id, taken)

    def _is_known(self, name: str) -> bool:
        topic = self._topic(name)
        words = name.split(".")
        return topic.family in self.feeds and (len(words) == 2 or words[2] in INTERVALS)

    def _topic(self, name: str) -> Topic:
        """Of `book.BTC-PERPETUAL.100ms`; others of whole markets or grouped have no symbol."""
        words = name.split(".")
        if len(words) == (2 if words[0] == "quote" else 3) and words[0] in self.feeds and words[1]:
            return Topic(words[1], words[0], name)
        return Topic("", name, name)

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        try:
            frame = _frame(text)
        except msgspec.MsgspecError:
            return CONTROL if b'"result"' in text or b'"error"' in text else None
        if frame.params.channel == PLATFORM:
            return CONTROL
        if frame.method == "subscription" and frame.params.channel:
            return self._topic(frame.params.channel)
        return CONTROL if frame.method == "heartbeat" else None

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            frame = _frame(text)
            book = _book(frame.params.data)
            bids, asks = (
                [(decimal_of(price), decimal_of(amount)) for _, price, amount in side]
                for side in (book.bids, book.asks)
            )
        except (msgspec.MsgspecError, ValueError):
            return None  # no frame of a book, or a level without numbers
        if not frame.params.channel.startswith("book."):
            return None
        return BookEvent(
            book.instrument_name, bids, asks, book.change_id, book.prev_change_id or 0,
            whole=book.type == "snapshot", event_ms=book.timestamp,
        )  # fmt: skip

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        bids, asks = book.top(0)
        row = {"timestamp": book.event_ms, "type": "snapshot", "change_id": book.last_id}
        row |= {"instrument_name": symbol, "bids": _rows(bids, "new"), "asks": _rows(asks, "new")}
        return _told(f"book.{symbol}.100ms", row)

    def identity(self, text: bytes) -> dict[str, Any]:
        try:
            data = parse(text)["params"]["data"]
            data = data[0] if isinstance(data, list) else data
            return {key: data[key] for key in self.id_keys if key in data}
        except (msgspec.MsgspecError, LookupError, TypeError):
            return {}

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        name = path.removeprefix("/api/v2/public/")
        if name == path:
            return None
        if name == "get_instruments":
            if "currency" not in query:
                raise BadRequest(_error(None, -32602, "Invalid params").frames[0])
            return Resource("instruments", query.get("kind", [""])[0])
        return Resource(name, query.get("instrument_name", [""])[0])

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        rows = [_instrument(one) for one in listed]
        wanted = [row for row in rows if resource.symbol in ("", row["kind"])]
        return compact({"jsonrpc": "2.0", "result": wanted, "testnet": False})

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        row: dict[str, Any] = {"trade_seq": event.number, "trade_id": str(3 * event.number)}
        row |= {
            "timestamp": event.time_ms,
            "price": json_number(event.price),
            "amount": json_number(event.qty),
        }
        row |= {"instrument_name": event.ticker, "direction": "sell" if event.sells else "buy"}
        if event.is_liquidation:
            row["liquidation"] = "T"
        return _told(f"trades.{event.ticker}.100ms", [row])

    def change(self, event: Change) -> bytes:
        row: dict[str, Any] = {"timestamp": event.time_ms, "type": "change"}
        row |= {"prev_change_id": event.prev_id, "change_id": event.last_id}
        row |= {"instrument_name": event.ticker}
        row |= {"bids": _rows(event.bids, "change"), "asks": _rows(event.asks, "change")}
        return _told(f"book.{event.ticker}.100ms", row)

    def quote(self, event: Quote) -> bytes:
        row: dict[str, Any] = {"timestamp": event.time_ms, "instrument_name": event.ticker}
        return _told(f"quote.{event.ticker}", row | _best(event.bid, event.ask))

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        """One frame tells the statistics, too; of spot there is nothing else."""
        day = event.day
        assert day is not None
        numbers = {"last_price": day.last, "mark_price": event.mark, "index_price": event.index}
        numbers |= {"estimated_delivery_price": event.index}
        if _kind(event.ticker) != "spot":
            numbers |= {"open_interest": event.open_interest}
        if event.ticker.endswith("PERPETUAL"):
            numbers |= {"current_funding": event.funding_rate, "funding_8h": event.funding_rate}
        usd, coins = day.turnover, day.volume
        if _is_inverse(event.ticker):
            usd, coins = day.volume, f"{Decimal(day.volume) / Decimal(day.last):.8f}"
        stats = {"high": day.high, "low": day.low, "volume": coins, "volume_usd": usd}
        stats |= {"volume_notional": usd}
        row: dict[str, Any] = {"timestamp": event.time_ms, "instrument_name": event.ticker}
        row |= {"state": "open", "stats": {name: json_number(text) for name, text in stats.items()}}
        row |= {name: json_number(text) for name, text in numbers.items()} | _best(day.bid, day.ask)
        yield "ticker", _told(f"ticker.{event.ticker}.100ms", row)

    def liquidation(self, event: Liquidation) -> bytes:
        return b""  # its trade said so


def _told(channel: str, data: Any) -> bytes:
    params = {"channel": channel, "data": data}
    return compact({"jsonrpc": "2.0", "method": "subscription", "params": params})


def _result(number: int | None, result: Any) -> Reply:
    return Reply((compact({"jsonrpc": "2.0", "id": number, "result": result, "testnet": False}),))


def _error(number: int | None, code: int, text: str) -> Reply:
    error = {"code": code, "message": text}
    return Reply((compact({"jsonrpc": "2.0", "id": number, "error": error, "testnet": False}),))


def _rows(levels: Levels, action: str) -> list[tuple[str, msgspec.Raw, msgspec.Raw]]:
    return [
        (action if Decimal(qty) else "delete", json_number(price), json_number(qty))
        for price, qty in levels
    ]


def _best(bid: tuple[str, str], ask: tuple[str, str]) -> dict[str, msgspec.Raw]:
    (bid_px, bid_sz), (ask_px, ask_sz) = bid, ask
    named = {"best_bid_price": bid_px, "best_bid_amount": bid_sz}
    named |= {"best_ask_price": ask_px, "best_ask_amount": ask_sz}
    return {name: json_number(text) for name, text in named.items()}


def _kind(ticker: str) -> str:
    """Of BTC-PERPETUAL, BTC-26DEC25, BTC-26DEC25-90000-C, BTC_USDC."""
    parts = ticker.split("-")
    return "spot" if len(parts) == 1 else "option" if len(parts) > 3 else "future"


def _is_inverse(ticker: str) -> bool:
    return _kind(ticker) == "future" and "_" not in ticker.split("-")[0]


def _expiry_ms(parts: Sequence[str]) -> int:
    """Expiry of a contract such as 26DEC25: 08:00 UTC that day."""
    if len(parts) < 2 or _DATED.fullmatch(parts[1]) is None:
        return NEVER_MS
    try:
        at = datetime.strptime(parts[1], "%d%b%y").replace(tzinfo=UTC, hour=8)
    except ValueError:
        return NEVER_MS
    return int(at.timestamp() * 1000)


def _instrument(listing: Listing) -> dict[str, Any]:
    """A row of the list; a name with one currency is that of a contract settled in coins."""
    ticker, kind = listing.ticker, _kind(listing.ticker)
    parts = ticker.split("-")
    base, _, quote = parts[0].partition("_")
    inverse = not quote
    settles = quote or base
    quote = quote or (base if kind == "option" else "USD")
    row: dict[str, Any] = {"instrument_name": ticker, "kind": kind, "is_active": True}
    row |= {"base_currency": base, "quote_currency": quote, "settlement_currency": settles}
    row |= {"instrument_type": "reversed" if inverse else "linear", "state": "open"}
    row |= {"tick_size": json_number(listing.tick), "tick_size_steps": []}
    row |= {"min_trade_amount": json_number(listing.lot), "contract_size": json_number(listing.lot)}
    row |= {"expiration_timestamp": _expiry_ms(parts)}
    if kind == "future":
        row |= {"settlement_period": "perpetual" if parts[-1] == "PERPETUAL" else "month"}
    if kind == "option":
        row |= {"settlement_period": "month", "option_type": "put" if parts[-1] == "P" else "call"}
        row |= {"strike": json_number(parts[2])} if is_number(parts[2]) else {}
    return row
