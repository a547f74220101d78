"""Coinbase Advanced Trade, the public market data of its spot and futures products.

https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-overview
`sequence_num` counts all messages of a connection, whatever their channel; nothing counts those of
a product. A subscription to level2 begins with the whole book, which of BTC-USD has more than 4 MiB
(https://github.com/ccxt/ccxt/issues/23597).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Raw
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import Side

from tickbus_ingest.exchanges import _coinbase as wire
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    BASE,
    Evidence,
    Get,
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
from tickbus_ingest.venue.wire_types import decoded, known, us_of_datetime

CARRIES = {"level2": ("l2",), "market_trades": ("trade",), "ticker": ("bbo", "ticker")}
"""Channel, as it is subscribed to -> feeds."""
TICKERS_PER_FRAME = 30
NUMBER = "sequence_num"
"""Of the last message, in a line's memory."""
ENGINE_TIME = b'"event_time":"'


# Texts; the documents name none of them: https://docs.cdp.coinbase.com/coinbase-app/
ERRORS = {
    "subscribe or unsubscribe required": OnError.REJECT,
    "failed to parse": OnError.REJECT,
    "is not a valid": OnError.REJECT,  # channel or product
    "rate limit exceeded": OnError.RETRY,
}


class Venue(contract.Venue):
    """One route; books by the connection's count, trades by id."""

    exchange = Exchange.COINBASE
    evidence = Evidence.CHECKED
    docs = (
        "https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels",
        "https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-rate-limits",
        "https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/websocket/level2",
        "https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/websocket/market-trades",
        "https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/websocket/ticker",
        "https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/products/list-public-products",
    )
    websocket_urls = ("wss://advanced-trade-ws.coinbase.com",)
    rest_urls = ("https://api.coinbase.com",)
    examples = ("BTC-USD", "ETH-USD")
    units = (
        Units(BASE, "absent", of="spot"),
        Units("contract of `contract_size` in `contract_root_unit`", "absent", of="futures"),
    )
    feeds = ("trade", "l2", "bbo", "ticker", "instrument")
    snapshots = Snapshots.PUSHED  # level2: the first event of a product is its whole book
    update_ids = UpdateIds.PER_CONNECTION
    numbering_is_global = False  # each connection begins at 0
    # Ids grow, and no document says that they count by one.
    trade_ids = TradeIds.UNIQUE
    levels = Levels("price_level", "new_quantity", "side", "bid", "offer")
    silence_s = 10.0  # heartbeats come each second
    errors = ERRORS
    limits = (
        # 8 connections and 8 messages a second, both of an address: websocket-rate-limits. A new
        # connection sends 4 frames, so two of them within a second stay below.
        Limit(What.ATTEMPTS, 2, 1),
        Limit(What.MESSAGES, 4, 1),
        # No number is known. A hole costs every book of its connection, so it carries few.
        Limit(What.STREAMS, TICKERS_PER_FRAME * len(CARRIES)),
        Limit(What.ARGUMENTS, TICKERS_PER_FRAME),
        Limit(What.WEIGHT, 10, 1),  # public REST, requests of an address
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        self._quotes, self._statistics = "bbo" in feeds, "ticker" in feeds
        self._books_wanted = "l2" in feeds
        acts: dict[type, tuple[bool, Callable[[Any, Rows], None]]] = {
            wire.Books: (self._books_wanted, _books),
            wire.Trades: ("trade" in feeds, self._trades),
            wire.Tickers: (self._quotes or self._statistics, self._tickers),
            wire.Heartbeats: (True, self._heartbeat),
            wire.Subscriptions: (True, self._subscribed),
        }
        self._acts = {kind: act if wanted else _ignore for kind, (wanted, act) in acts.items()}

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        path = "/api/v3/brokerage/market/products"
        return [Get(f"{path}?product_type={kind}") for kind in ("SPOT", "FUTURE")]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return [one for body in bodies for one in wire.instruments(body)]

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        return self.split("", self.streams_by_channel(CARRIES))

    def greet(self) -> list[Request]:
        """Heartbeats, once a second: without them a quiet channel is closed after 60 to 90 s."""
        return [Request(b'{"type":"subscribe","channel":"heartbeats"}')]

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """One channel a frame; the first one within 5 s of the connection."""
        return self._requests("subscribe", streams)

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return self._requests("unsubscribe", streams)

    def _requests(self, kind: str, streams: Sequence[Stream]) -> list[Request]:
        """Each is answered with one list of all subscriptions."""
        return [
            Request(msgspec.json.encode({"type": kind, "product_ids": some, "channel": channel}))
            for channel, some in self.tickers_by_channel(CARRIES, streams, TICKERS_PER_FRAME)
        ]

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        """A refused message is not counted: the next one finds the hole that it leaves."""
        one = wire.one_book(frame) if self._books_wanted else None
        if one is not None:
            message, start, end = one
            _follow(message.sequence_num, line, rows)
            levels = Raw(memoryview(frame)[start:end])
            _book(message, message.events[0], levels, _engine_us(frame, start, end), rows)
            line.memory[NUMBER] = message.sequence_num
            return
        try:
            message = wire.MESSAGES.decode(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._read_other(frame, line, rows)
            return
        _follow(message.sequence_num, line, rows)
        self._acts[type(message)](message, rows)
        line.memory[NUMBER] = message.sequence_num

    def _read_other(self, frame: bytes, line: Line, rows: Rows) -> None:
        """An error, which has no number, or a channel that is none of ours."""
        other = decoded(wire.OTHER, frame)
        if other.channel in wire.CHANNELS:
            decoded(wire.MESSAGES, frame)  # Reject says what is wrong
        if other.channel and other.sequence_num is not None:
            _follow(other.sequence_num, line, rows)
            rows.ignored(other.channel)
            line.memory[NUMBER] = other.sequence_num
        elif other.type == "error":
            rows.refused(other.message, self.on_error(other.message))
        else:
            raise Reject("neither of a channel nor an error")

    # --------------------------------------------------------------- events

    def _trades(self, message: wire.Trades, rows: Rows) -> None:
        """Newest first on the wire. A snapshot holds the latest trades before a subscription:

        they fill what a short interruption left out. `side` is the maker's.
        """
        time_us = _us(message.timestamp)
        for event in message.events:
            for one in sorted(event.trades, key=_trade_id):
                rows.trade(
                    one.product_id, _us(one.time), one.trade_id,
                    Side.SELL if one.side == "BUY" else Side.BUY, one.price, one.size,
                    event_us=time_us,
                )  # fmt: skip

    def _tickers(self, message: wire.Tickers, rows: Rows) -> None:
        """With each trade; the change of the day is in percent, so it stays absent."""
        time_us = _us(message.timestamp)
        for event in message.events:
            for one in event.tickers:
                bid_px, bid_sz = known(one.best_bid), known(one.best_bid_quantity)
                ask_px, ask_sz = known(one.best_ask), known(one.best_ask_quantity)
                if self._quotes:
                    rows.bbo(
                        one.product_id, time_us, bid_px or 0.0, bid_sz or 0.0, ask_px or 0.0,
                        ask_sz or 0.0,
                    )  # fmt: skip
                if self._statistics:
                    rows.ticker(
                        one.product_id, time_us, last_price=known(one.price),
                        high=known(one.high_24_h), low=known(one.low_24_h),
                        volume=known(one.volume_24_h), bid_px=bid_px, bid_sz=bid_sz,
                        ask_px=ask_px, ask_sz=ask_sz,
                    )  # fmt: skip

    def _heartbeat(self, message: wire.Heartbeats, rows: Rows) -> None:
        rows.control("heartbeat")

    def _subscribed(self, message: wire.Subscriptions, rows: Rows) -> None:
        rows.control("subscriptions", answer=True)


def _ignore(message: Any, rows: Rows) -> None:
    rows.ignored(type(message).__struct_config__.tag)


_trade_id = attrgetter("trade_id")


def _follow(number: int, line: Line, rows: Rows) -> None:
    """Whether this message is the next one of its connection; the last one may come again."""
    last = line.memory.get(NUMBER)
    if last is not None and not last <= number <= last + 1:
        rows.lost(f"sequence_num {number} after {last}")


def _books(message: wire.Books, rows: Rows) -> None:
    for book in message.events:
        text = bytes(book.updates)
        _book(message, book, text, _engine_us(text, 0, len(text)), rows)


def _book(
    message: wire.Books, book: wire.Book, levels: bytes | Raw, engine_us: int, rows: Rows
) -> None:
    rows.l2(
        book.product_id, _us(message.timestamp), levels, b"", snapshot=book.type == "snapshot",
        engine_us=engine_us,
    )  # fmt: skip


def _engine_us(text: bytes, start: int, end: int) -> int:
    """When the matching engine changed the last level in [start, end); 0: not told, as in 1970."""
    start = text.rfind(ENGINE_TIME, start, end)
    if start < 0:
        return 0
    start += len(ENGINE_TIME)
    return _us(text[start : text.find(b'"', start, end)].decode(errors="replace"))


def _us(time: str) -> int:
    """Microseconds of an RFC 3339 time; of nanoseconds whole microseconds are left."""
    try:
        return us_of_datetime(datetime.fromisoformat(time))
    except ValueError:
        raise Reject(f"not a time: {time[:40]!r}") from None
