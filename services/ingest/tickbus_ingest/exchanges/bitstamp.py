"""Bitstamp: spot markets and perpetuals, WebSocket v2.

https://www.bitstamp.net/websocket/v2/
Changes of a book (`diff_order_book`) name nothing that they follow: a lost one would go unnoticed.
So books are those of `order_book`, the 100 best levels a side, whole in every message.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, unquote

import msgspec
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import Side

from tickbus_ingest.exchanges import _bitstamp as wire
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    BASE,
    Evidence,
    Get,
    Keepalive,
    Limit,
    Line,
    Poll,
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
from tickbus_ingest.venue.wire_types import decoded

TRADE, BOOK = "live_trades_", "order_book_"
CHANNELS = {TRADE: "trade", BOOK: "l2"}
"""What stands before a ticker in a channel's name -> the feed that it carries."""
SUMMARY, SUMMARY_S = "/api/v2/ticker/", 60.0
SIDES = (Side.BUY, Side.SELL)
_FOR_GOOD = ("Bad subscription string", "Incorrect JSON format", "Unauthorized")
"""Words of errors that tell of a wrong request, as code 4009 does of a private channel; others are
the venue's failures, and what stays silent is asked for again."""
_PRIVATE = 4009


class Venue(contract.Venue):
    """One route; every book whole, trades by id, times in everything."""

    exchange = Exchange.BITSTAMP
    evidence = Evidence.BETA
    docs = (
        "https://www.bitstamp.net/websocket/v2/",
        "https://www.bitstamp.net/api/#tag/Market-info",
        "https://www.bitstamp.net/api/#section/Request-limits",
    )
    websocket_urls = ("wss://ws.bitstamp.net",)
    rest_urls = ("https://www.bitstamp.net",)
    examples = ("btcusd", "ethusd")
    units = (Units(BASE, "absent"),)
    feeds = ("trade", "l2", "ticker", "instrument")
    snapshots = Snapshots.EVERY_FRAME
    update_ids = UpdateIds.NONE
    numbering_is_global = False
    trade_ids = TradeIds.UNIQUE
    keepalive = Keepalive(b'{"event":"bts:heartbeat"}', 30.0)
    silence_s = 65.0  # two answers to heartbeats are missing
    limits = (
        Limit(What.ATTEMPTS, 10, 10),  # no number is known
        Limit(What.STREAMS, 100),  # no number is known
        Limit(What.MESSAGES, 10, 1),  # no number is known
        # Request-limits: 400 requests a second and 10,000 in 10 minutes
        Limit(What.WEIGHT, 400, 1),
        Limit(What.WEIGHT, 10_000, 600),
    )

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get("/api/v2/markets/")]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return wire.instruments(bodies)

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        return self.split(
            "",
            [
                Stream(channel + ticker, ticker, (feed,))
                for ticker in self.tickers
                for channel, feed in CHANNELS.items()
                if feed in self.wanted
            ],
        )

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """One channel a frame."""
        return [_request("bts:subscribe", stream) for stream in streams]

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return [_request("bts:unsubscribe", stream) for stream in streams]

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        told = decoded(wire.FRAME, frame)
        match told.event:
            case "data" if told.channel.startswith(BOOK):
                self._book(told, rows)
            case "trade":
                self._trade(told, rows)
            case "bts:subscription_succeeded" | "bts:unsubscription_succeeded":
                rows.control(told.event, answer=True, stream=told.channel)
            case "bts:heartbeat":
                rows.control("heartbeat")
            case "bts:request_reconnect":
                rows.control("the venue asks for another connection", closing=True)
            case "bts:error":
                _refused(told, rows)
            case _ if told.channel:
                rows.ignored(told.channel[:40])
            case _:
                raise Reject(f"event {told.event[:40]!r}")

    def _book(self, told: wire.Frame, rows: Rows) -> None:
        if "l2" not in self.wanted:
            rows.ignored("order_book")
            return
        book = decoded(wire.BOOK, told.data)
        ticker = told.channel.removeprefix(BOOK)
        rows.l2(ticker, book.microtimestamp, book.bids, book.asks, snapshot=True)

    def _trade(self, told: wire.Frame, rows: Rows) -> None:
        if "trade" not in self.wanted:
            rows.ignored("live_trades")
            return
        one = decoded(wire.TRADE, told.data)
        if one.type not in (0, 1):
            raise Reject(f"type {one.type} of a trade")
        rows.trade(
            told.channel.removeprefix(TRADE), one.microtimestamp, one.id, SIDES[one.type],
            one.price_str, one.amount_str,
        )  # fmt: skip

    # ----------------------------------------------------------------- REST

    def polls(self) -> list[Poll]:
        """https://www.bitstamp.net/api/#tag/Tickers"""
        if "ticker" not in self.wanted:
            return []
        return [
            Poll(Get(f"{SUMMARY}{quote(ticker, safe='')}/"), SUMMARY_S) for ticker in self.tickers
        ]

    def parse_poll(self, body: bytes, get: Get, rows: Rows) -> None:
        """The body does not name its market."""
        day = decoded(wire.SUMMARY, body)
        ticker = unquote(get.path.removeprefix(SUMMARY).removesuffix("/"))
        rows.ticker(
            ticker, day.timestamp * 1_000_000, last_price=day.last, open=day.open_24,
            high=day.high, low=day.low, volume=day.volume, bid_px=day.bid, ask_px=day.ask,
        )  # fmt: skip


def _refused(told: wire.Frame, rows: Rows) -> None:
    failure = decoded(wire.FAILURE, told.data)
    is_wrong = failure.code == _PRIVATE or failure.message.startswith(_FOR_GOOD)
    is_final = is_wrong and bool(told.channel)
    code = "" if failure.code is None else f"{failure.code} "
    rows.control(
        f"{code}{failure.message}"[:300] or "refused without a reason", error=True, fatal=is_final,
        answer=True, stream=told.channel if is_final else "",
    )  # fmt: skip


def _request(event: str, stream: Stream) -> Request:
    return Request(msgspec.json.encode({"event": event, "data": {"channel": stream.name}}))
