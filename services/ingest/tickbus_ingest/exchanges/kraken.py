"""Kraken Spot, WebSocket v2.

https://docs.kraken.com/exchange/guides/websockets/introduction
Book: https://docs.kraken.com/exchange/guides/websockets/book-checksum-v2
Nothing numbers the updates. Each carries the CRC32 of the ten best levels after it, made of the
wire's text without dots and leading zeros. A book keeps as many levels a side as were subscribed
to: what lies deeper falls out without a word.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from tickbus.book.orderbook import OrderBook
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import ABSENT, Side

from tickbus_ingest.exchanges._kraken import (
    BOOK,
    EVENTS,
    OTHER,
    TICKER,
    TRADE,
    Book,
    Books,
    Heartbeat,
    Other,
    Status,
    Subscription,
    Tickers,
    Trade,
    Trades,
    instruments,
)
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    BASE,
    BookForm,
    Evidence,
    Get,
    Keepalive,
    Levels,
    Limit,
    Line,
    OnError,
    Request,
    Route,
    Snapshots,
    Stream,
    TradeIds,
    Units,
    UpdateIds,
    What,
)
from tickbus_ingest.venue.instruments import Instrument, Unread
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded, us_of_datetime

DEPTH = 1000
"""Levels a side that are subscribed to: the most that Kraken gives (10, 25, 100, 500, 1000)."""
CHECKED = 10
"""Best levels of each side that a checksum covers, whatever the depth."""
EXACT = 2**50
"""A decimal of so many units of its last place is surely found again from its double."""
CARRIED = {BOOK: ("l2",), TRADE: ("trade",), TICKER: ("bbo", "ticker")}
CHANNELS = tuple(CARRIED)
"""Their places are the `req_id` of requests: an error names no channel."""
_PRICE = re.compile(rb'"price"\s*:\s*[0-9]+(?:\.([0-9]{1,18}))?\s*[,}]')
_QTY = re.compile(rb'"qty"\s*:\s*[0-9]+(?:\.([0-9]{1,18}))?\s*[,}]')


# Texts, for there are no codes: https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/book
ERRORS = {
    "not supported": OnError.REJECT,  # no such pair, depth or channel
    "Already subscribed": OnError.RETRY,
    "Exceeded msg rate": OnError.RETRY,
}


class Venue(contract.Venue):
    """One route; books by checksum, trades by number, times in everything."""

    exchange = Exchange.KRAKEN
    evidence = Evidence.WORKS
    docs = (
        "https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/book",
        "https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/trade",
        "https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/ticker",
        "https://docs.kraken.com/exchange/guides/websockets/book-checksum-v2",
        "https://docs.kraken.com/api-reference/market-data/get-tradable-asset-pairs",
    )
    websocket_urls = ("wss://ws.kraken.com",)
    rest_urls = ("https://api.kraken.com",)
    examples = ("BTC/USD", "ETH/USD")
    units = (Units(BASE, "absent"),)
    feeds = ("trade", "l2", "bbo", "ticker", "instrument")
    snapshots = Snapshots.PUSHED
    update_ids = UpdateIds.CHECKSUM
    numbering_is_global = False  # there is no number: one connection leads
    trade_ids = TradeIds.DENSE  # "a sequence number, unique per book": trade channel
    levels = Levels("price", "qty")
    # Without a subscription a connection ends after a minute; with one, heartbeats come.
    keepalive = Keepalive(b'{"method":"ping"}', 30.0)
    silence_s = 10.0  # heartbeats come about once a second
    errors = ERRORS
    limits = (
        Limit(What.ATTEMPTS, 150, 600),  # Cloudflare's, an address: introduction, about
        Limit(What.STREAMS, 300),  # no number is known: a snapshot of 1,000 levels has 90 kB
        Limit(What.MESSAGES, 5, 1),  # no number is known ("Exceeded msg rate"): far below trouble
        Limit(What.ARGUMENTS, 50),  # no number is known: symbols in one request
        Limit(What.WEIGHT, 1, 1),  # public REST: one request a second
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        self._quotes, self._statistics = "bbo" in feeds, "ticker" in feeds
        acts: dict[type, tuple[bool, Callable[[Any, Line, Rows], None]]] = {
            Books: ("l2" in feeds, self._books),
            Trades: ("trade" in feeds, self._trades),
            Tickers: (self._quotes or self._statistics, self._tickers),
            Status: (True, self._status),
            Heartbeat: (True, self._heartbeat),
        }
        self._acts = {kind: act if wanted else _ignore for kind, (wanted, act) in acts.items()}

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get("/0/public/AssetPairs")]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return [one for body in bodies for one in instruments(body)]

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        return self.split("/v2", self.streams_by_channel(CARRIED))

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """A second subscription to a channel is refused: `unsubscribe` comes before it.

        The snapshot of trades are the last 50: they fill what a short interruption left out.
        """
        return self._requests("subscribe", streams)

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return self._requests("unsubscribe", streams)

    def _requests(self, method: str, streams: Sequence[Stream]) -> list[Request]:
        """Requests for some symbols of one channel each; there is an answer for every symbol."""
        most = self.limit(What.ARGUMENTS)
        requests = []
        for number, channel in enumerate(CHANNELS):
            symbols = [one.ticker for one in streams if one.name.partition(":")[0] == channel]
            params: dict[str, Any] = {"channel": channel}
            if channel == BOOK:
                params["depth"] = DEPTH
            if channel == TICKER:
                params["event_trigger"] = "bbo" if self._quotes else "trades"
            if method == "subscribe":
                params["snapshot"] = True
            for n in range(0, len(symbols), most):
                some = symbols[n : n + most]
                frame = {"method": method, "params": params | {"symbol": some}, "req_id": number}
                requests.append(Request(msgspec.json.encode(frame), len(some)))
        return requests

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        try:
            event = EVENTS.decode(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._read_other(frame, line, rows)
            return
        self._acts[type(event)](event, line, rows)

    def _read_other(self, frame: bytes, line: Line, rows: Rows) -> None:
        other = decoded(OTHER, frame)
        if isinstance(other.channel, str):
            if other.channel in (*CHANNELS, "status"):
                decoded(EVENTS, frame)  # Reject says what is wrong
            rows.ignored(other.channel)
        elif other.method == "pong":
            rows.control("pong")
        elif isinstance(other.success, bool):
            self._answer(other, line, rows)
        else:
            raise Reject("neither of a channel nor an answer")

    def _answer(self, answer: Other, line: Line, rows: Rows) -> None:
        about = answer.result if isinstance(answer.result, Subscription) else Subscription()
        channel = about.channel
        if not channel and 0 <= answer.req_id < len(CHANNELS):
            channel = CHANNELS[answer.req_id]
        symbol = about.symbol or answer.symbol
        stream = f"{channel}:{symbol}" if channel and symbol else ""
        if answer.success:
            if channel == BOOK and about.depth > 0:
                line.memory[symbol] = about.depth
            rows.control("answer", stream=stream, answer=True)
        else:
            rows.refused(answer.error, self.on_error(answer.error), stream=stream)

    # --------------------------------------------------------------- events

    def _books(self, event: Books, line: Line, rows: Rows) -> None:
        whole = event.type == "snapshot"
        for book in event.data:
            rows.l2(
                book.symbol, _us(book.timestamp), book.bids, book.asks, snapshot=whole,
                checksum=book.checksum, form=self._form(book, line) if whole else None,
            )  # fmt: skip

    def _form(self, book: Book, line: Line) -> BookForm:
        """Depth as subscribed to; decimals of the text, which keeps an instrument's precision."""
        own = self.instruments.get(book.symbol)
        return BookForm(
            line.memory.get(book.symbol, DEPTH),
            _decimals(_PRICE, book, ABSENT if own is None else own.price_precision),
            _decimals(_QTY, book, ABSENT if own is None else own.qty_precision),
        )

    def _trades(self, event: Trades, line: Line, rows: Rows) -> None:
        trades = event.data
        if event.type == "snapshot":
            trades.sort(key=_trade_id)
        for trade in trades:
            rows.trade(
                trade.symbol, us_of_datetime(trade.timestamp), trade.trade_id,
                Side.BUY if trade.side == "buy" else Side.SELL, trade.price, trade.qty,
            )  # fmt: skip

    def _tickers(self, event: Tickers, line: Line, rows: Rows) -> None:
        for one in event.data:
            time_us = _us(one.timestamp)
            if self._quotes:
                rows.bbo(one.symbol, time_us, one.bid, one.bid_qty, one.ask, one.ask_qty)
            if self._statistics:
                rows.ticker(
                    one.symbol, time_us, last_price=one.last, high=one.high, low=one.low,
                    volume=one.volume, price_change=one.change, bid_px=one.bid,
                    bid_sz=one.bid_qty, ask_px=one.ask, ask_sz=one.ask_qty,
                )  # fmt: skip

    def _status(self, event: Status, line: Line, rows: Rows) -> None:
        """Of the engine, on connecting and at a change: nothing moves while it is not online."""
        systems = [one.system for one in event.data]
        is_online = all(system == "online" for system in systems)
        rows.control(f"status {', '.join(systems)}", notice=not is_online)

    def _heartbeat(self, event: Heartbeat, line: Line, rows: Rows) -> None:
        rows.control("heartbeat")

    # ------------------------------------------------------------- checksum

    def checksum(self, book: OrderBook, form: BookForm) -> int:
        """CRC32 of the best asks, then bids: price and size as whole units of their last place."""
        if ABSENT in (form.price_decimals, form.qty_decimals):
            return ABSENT
        bid_px, bid_sz, ask_px, ask_sz = book.top(CHECKED)
        prices = [*ask_px.tolist(), *bid_px.tolist()]
        sizes = [*ask_sz.tolist(), *bid_sz.tolist()]
        if not prices:
            return zlib.crc32(b"")
        of_price, of_size = 10.0**form.price_decimals, 10.0**form.qty_decimals
        largest = max(max(prices) * of_price, -min(prices) * of_price, max(sizes) * of_size)
        if largest >= EXACT:
            return ABSENT
        pairs = zip(prices, sizes, strict=True)
        text = "".join(
            [f"{round(price * of_price)}{round(size * of_size)}" for price, size in pairs]
        )
        return zlib.crc32(text.encode())


def _ignore(event: Any, line: Line, rows: Rows) -> None:
    rows.ignored(type(event).__struct_config__.tag)


def _trade_id(trade: Trade) -> int:
    return trade.trade_id


def _us(time: datetime | None) -> int:
    return 0 if time is None else us_of_datetime(time)


def _decimals(pattern: re.Pattern[bytes], book: Book, otherwise: int) -> int:
    """Decimals of the first price or size in the text of a book."""
    for side in (book.bids, book.asks):
        found = pattern.search(memoryview(side))
        if found:
            return len(found[1] or b"")
    return otherwise
