"""Hyperliquid perpetuals.

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/subscriptions
Each message of a book is the whole book: the 20 best levels a side, at most every half second,
and after 5 s at the latest. Nothing has a number: a message that is lost is not missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import Side

from tickbus_ingest.exchanges import _hyperliquid as wire
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    PLAIN,
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
    UpdateIds,
    What,
)
from tickbus_ingest.venue.instruments import Instrument, Unread, each_of
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded

FUNDING_MS = 3_600_000
"""Funding is paid every hour: hyperliquid-docs/trading/funding"""
SIDES = {"B": Side.BUY, "A": Side.SELL}
"""The taker's: it hit bids or asks. WsTrade.side"""
CHANNELS = {
    "trades": ("trade",),
    "l2Book": ("l2",),
    "bbo": ("bbo",),
    "activeAssetCtx": ("ticker", "derivative"),
}
"""channel -> the feeds that it carries"""


# Beginnings of texts, which no document names: the request stands behind them.
ERRORS = {
    "Already subscribed": OnError.RETRY,
    "Cannot track more than": OnError.RETRY,
    "Error parsing JSON": OnError.REJECT,
    "Invalid subscription": OnError.REJECT,
}


class Venue(contract.Venue):
    """One route; every book whole, trades by hash, no time in the context of an asset."""

    exchange = Exchange.HYPERLIQUID
    evidence = Evidence.CHECKED
    docs = (
        "https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/subscriptions",
        "https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/timeouts-and-heartbeats",
        "https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/rate-limits",
        "https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/tick-and-lot-size",
    )
    websocket_urls = ("wss://api.hyperliquid.xyz",)
    rest_urls = ("https://api.hyperliquid.xyz",)
    examples = ("BTC", "ETH")
    units = PLAIN
    feeds = ("trade", "l2", "bbo", "ticker", "derivative", "instrument")
    snapshots = Snapshots.EVERY_FRAME
    update_ids = UpdateIds.NONE
    numbering_is_global = False
    trade_ids = TradeIds.UNIQUE
    levels = Levels("px", "sz")
    keepalive = Keepalive(b'{"method":"ping"}', 30.0)  # cut after 60 s without a message
    silence_s = 65.0  # two pongs are missing, and books come every 5 s at the latest
    errors = ERRORS
    limits = (
        # All are an address's. 1,000 subscriptions and 2,000 messages a minute, over 10 connections
        Limit(What.CONNECTIONS, 10),
        Limit(What.ATTEMPTS, 30, 60),
        Limit(What.STREAMS, 100),
        Limit(What.MESSAGES, 200, 60),
        Limit(What.WEIGHT, 1200, 60),
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        self._statistics, self._derivative = "ticker" in feeds, "derivative" in feeds
        acts: dict[type, tuple[bool, Callable[[Any, Rows], None]]] = {
            wire.Books: ("l2" in feeds, self._book),
            wire.Trades: ("trade" in feeds, self._trades),
            wire.Quotes: ("bbo" in feeds, self._quote),
            wire.Contexts: (self._statistics or self._derivative, self._context),
            wire.Pong: (True, self._pong),
            wire.Error: (True, self._error),
            wire.Answer: (True, self._answer),
        }
        self._acts = {kind: act if wanted else _ignore for kind, (wanted, act) in acts.items()}

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        """https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint/perpetuals"""
        return [Get("/info", weight=20, body=b'{"type":"meta"}')]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        rows = (row for body in bodies for row in decoded(wire.META, body).universe)
        return each_of(rows, wire.ASSET, wire.instrument_of)

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        return self.split("/ws", self.streams_by_channel(CHANNELS))

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return [_request("subscribe", stream) for stream in streams]

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return [_request("unsubscribe", stream) for stream in streams]

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        try:
            event = wire.EVENTS.decode(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            channel = decoded(wire.OTHER, frame).channel
            if not isinstance(channel, str):
                raise Reject("a frame without a channel") from None
            if channel in wire.OURS:
                decoded(wire.EVENTS, frame)  # Reject says what is wrong
            rows.ignored(channel)
            return
        self._acts[type(event)](event, rows)

    def _book(self, event: wire.Books, rows: Rows) -> None:
        book = event.data
        rows.l2(book.coin, book.time, *book.levels, snapshot=True)

    def _trades(self, event: wire.Trades, rows: Rows) -> None:
        """The first frame of a subscription holds the latest trades before it."""
        for one in event.data:
            rows.trade(one.coin, one.time, one.tid, SIDES[one.side], one.px, one.sz)

    def _quote(self, event: wire.Quotes, rows: Rows) -> None:
        bid, ask = (level or _NOTHING for level in event.data.bbo)
        rows.bbo(event.data.coin, event.data.time, bid.px, bid.sz, ask.px, ask.sz)

    def _context(self, event: wire.Contexts, rows: Rows) -> None:
        """Without a time. Open interest is in the base coin; `prevDayPx` is of 24 hours ago."""
        coin, context = event.data.coin, event.data.ctx
        if self._statistics:
            rows.ticker(
                coin, 0, open=context.prev_day_px, volume=context.day_base_vlm,
                turnover=context.day_ntl_vlm,
            )  # fmt: skip
        if self._derivative:
            rows.derivative(
                coin, 0, mark_price=context.mark_px, index_price=context.oracle_px,
                funding_rate=context.funding, funding_interval_ms=FUNDING_MS,
                open_interest=context.open_interest,
            )  # fmt: skip

    def _pong(self, event: wire.Pong, rows: Rows) -> None:
        rows.control("pong")

    def _error(self, event: wire.Error, rows: Rows) -> None:
        """The text holds the request that it is about."""
        rows.refused(event.data, self.on_error(event.data))

    def _answer(self, event: wire.Answer, rows: Rows) -> None:
        about = event.data.subscription
        rows.control(event.data.method, answer=True, stream=f"{about.type}:{about.coin}")


_NOTHING = wire.Level(0.0, 0.0)


def _ignore(event: Any, rows: Rows) -> None:
    rows.ignored(type(event).__struct_config__.tag)


def _request(method: str, stream: Stream) -> Request:
    channel = stream.name.partition(":")[0]
    frame = {"method": method, "subscription": {"type": channel, "coin": stream.ticker}}
    return Request(msgspec.json.encode(frame))
