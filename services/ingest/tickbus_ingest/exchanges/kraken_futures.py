"""Kraken Futures: perpetuals and futures, inverse and linear, over one WebSocket.

Guide: https://docs.kraken.com/api/docs/guides/futures-websockets
A book begins with a snapshot; then each frame is one level, counted by one in each product. Each
product of a request is answered by itself; an error names neither feed nor product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import Side, TradeFlag

from tickbus_ingest.exchanges import _kraken_futures as wire
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    BASE,
    QUOTE,
    Evidence,
    Get,
    Keepalive,
    Levels,
    Limit,
    Line,
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
from tickbus_ingest.venue.wire_types import decoded, us_of

CARRIED = {
    "book": ("l2",),
    "trade": ("trade", "liquidation"),
    "ticker": ("bbo", "ticker", "derivative"),
}
"""feed of the venue -> the feeds that it carries"""
_FLAGS = {
    "fill": TradeFlag(0),
    "liquidation": TradeFlag.LIQUIDATION,
    "block": TradeFlag.BLOCK,
}
"""Any other type, such as a termination, is no match in the book."""


class Venue(contract.Venue):
    """One route; the best quotes are those of the ticker, once a second."""

    exchange = Exchange.KRAKEN_FUTURES
    evidence = Evidence.WORKS
    docs = (
        "https://docs.kraken.com/api/docs/guides/futures-websockets",
        "https://docs.kraken.com/exchange/api-reference/futures-websocket/book",
        "https://docs.kraken.com/exchange/api-reference/futures-websocket/trade",
        "https://docs.kraken.com/exchange/api-reference/futures-websocket/ticker",
        "https://docs.kraken.com/exchange/api-reference/futures-websocket/heartbeat",
        "https://docs.kraken.com/api-reference/instrument-details/get-instruments",
    )
    websocket_urls = ("wss://futures.kraken.com",)
    rest_urls = ("https://futures.kraken.com",)
    examples = ("PF_XBTUSD", "PI_XBTUSD")
    units = (
        Units("contract of 1 USD", QUOTE, of="inverse perpetuals and futures"),
        Units(BASE, QUOTE, of="linear perpetuals and futures"),
    )
    feeds = ("trade", "l2", "bbo", "ticker", "derivative", "liquidation", "instrument")
    snapshots = Snapshots.PUSHED
    # No document says by how much `seq` grows: in 2,392 of 2,392 recorded changes by one.
    update_ids = UpdateIds.COUNTED
    numbering_is_global = False  # a "subscription message sequence number": nobody says whose
    trade_ids = TradeIds.SEQUENCED  # recorded: 100 numbers in 100 trades, of each product
    levels = Levels("price", "qty")
    keepalive = Keepalive(b"", 30.0, as_ping=True)  # "at least every 60 seconds": guide
    silence_s = 70.0  # heartbeats come "at timed intervals", and nobody says at which
    limits = (
        Limit(What.ATTEMPTS, 30, 60),  # no number is known
        Limit(What.STREAMS, 300),  # no number is known: one of Kraken's spot market
        Limit(What.MESSAGES, 20, 1),  # 100 a second, according to other clients
        Limit(What.ARGUMENTS, 50),  # no number is known: products in one request
        Limit(What.WEIGHT, 1, 1),  # no number is known of public requests
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        acts: dict[type, tuple[str, Callable[[Any, Rows], None]]] = {
            wire.Change: ("book", self._change),
            wire.Snapshot: ("book", self._snapshot),
            wire.Trade: ("trade", self._trade),
            wire.Ticker: ("ticker", self._ticker),
        }
        self._acts = {
            kind: act if {*CARRIED[feed]} & {*feeds} else _ignore
            for kind, (feed, act) in acts.items()
        }

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get("/derivatives/api/v3/instruments")]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return wire.instruments(bodies)

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        return self.split("/ws/v1", self.streams_by_channel(CARRIED))

    def greet(self) -> list[Request]:
        """Heartbeats: a product may have nothing to say for long."""
        return [Request(b'{"event":"subscribe","feed":"heartbeat"}')]

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return self._requests("subscribe", streams)

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return self._requests("unsubscribe", streams)

    def _requests(self, event: str, streams: Sequence[Stream]) -> list[Request]:
        return [
            Request(
                msgspec.json.encode({"event": event, "feed": feed, "product_ids": some}), len(some)
            )
            for feed, some in self.tickers_by_channel(CARRIED, streams)
        ]

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        try:
            event = wire.EVENTS.decode(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
            self._other(frame, rows)
        else:
            self._acts[type(event)](event, rows)

    def _other(self, frame: bytes, rows: Rows) -> None:
        head: wire.Head = decoded(wire.HEAD, frame)
        if head.event:
            self._event(head, rows)
        elif head.feed in wire.FEEDS:
            decoded(wire.EVENTS, frame)  # which says what is wrong with it
        elif head.feed == "heartbeat":
            rows.control("heartbeat")
        elif head.feed:
            # `trade_snapshot` is history: trades from before the subscription.
            rows.ignored(head.feed[:40])
        else:
            raise Reject("neither of a feed nor an event")

    def _event(self, head: wire.Head, rows: Rows) -> None:
        event = head.event
        if event == "info":
            rows.control(event)
        elif event in ("error", "alert"):
            # "Invalid product id", "Invalid feed", "Json Error": of which request, nobody knows.
            rows.control(head.message[:200] or event, error=True, answer=True)
        elif event in ("subscribed", "unsubscribed", "subscribed_failed", "unsubscribed_failed"):
            for product in head.product_ids or [""]:
                stream = f"{head.feed}:{product}" if product else ""
                failed = event.endswith("_failed")
                rows.control(event, error=failed, answer=True, stream=stream)
        else:
            raise Reject(f"event {event[:40]!r}")

    def _snapshot(self, book: wire.Snapshot, rows: Rows) -> None:
        bids, asks = wire.levels(book.bids), wire.levels(book.asks)
        rows.l2(book.product_id, book.timestamp, bids, asks, book.seq, snapshot=True)

    def _change(self, one: wire.Change, rows: Rows) -> None:
        level, bids = wire.one_level(one), one.side == "buy"
        rows.l2(
            one.product_id, one.timestamp, level if bids else wire.NO_LEVELS,
            wire.NO_LEVELS if bids else level, one.seq,
        )  # fmt: skip

    def _trade(self, one: wire.Trade, rows: Rows) -> None:
        """A liquidation is a trade of this type: its order is the taker's."""
        side = Side.BUY if one.side == "buy" else Side.SELL
        forced = one.type == "liquidation" and "liquidation" in self.wanted
        if "trade" in self.wanted:
            flags = _FLAGS.get(one.type, TradeFlag.OFF_BOOK)
            identity = one.uid or str(one.seq)
            rows.trade(one.product_id, one.time, identity, side, one.price, one.qty, flags, one.seq)
        elif not forced:
            rows.ignored("trade")
        if forced:
            rows.liquidation(
                one.product_id, one.time, side, one.price, one.qty,
                average_price=one.price, filled_qty=one.qty,
            )  # fmt: skip

    def _ticker(self, one: wire.Ticker, rows: Rows) -> None:
        ticker, time = one.product_id, one.time
        quotes = (one.bid or 0.0, one.bid_size or 0.0, one.ask or 0.0, one.ask_size or 0.0)
        if "bbo" in self.wanted and (one.bid is not None or one.ask is not None):
            rows.bbo(ticker, time, *quotes)
        if "ticker" in self.wanted:
            rows.ticker(
                ticker, time, last_price=one.last, open=one.open, high=one.high, low=one.low,
                volume=one.volume, turnover=one.volume_quote, bid_px=one.bid, bid_sz=one.bid_size,
                ask_px=one.ask, ask_sz=one.ask_size,
            )  # fmt: skip
        if "derivative" in self.wanted:
            self._derivative(one, rows)

    def _derivative(self, one: wire.Ticker, rows: Rows) -> None:
        """The relative rates are rates; the others are amounts for a contract."""
        zero = 0.0 if one.tag == "perpetual" else None
        rate, predicted = one.relative_funding_rate, one.relative_funding_rate_prediction
        # The document calls it the time until then; all that were sent are times since 1970, or 0.
        due = int(one.next_funding_rate_time or 0)
        rows.derivative(
            one.product_id, one.time, mark_price=one.mark_price, index_price=one.index,
            last_price=one.last, open_interest=one.open_interest,
            funding_rate=zero if rate is None else rate,
            predicted_funding_rate=zero if predicted is None else predicted,
            next_funding_us=due if us_of(due) > us_of(one.time) else None,
        )  # fmt: skip


def _ignore(event: Any, rows: Rows) -> None:
    rows.ignored(type(event).__struct_config__.tag)
