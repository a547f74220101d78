"""Binance Spot.

Streams and book: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
Updates cover ids U..u without holes, so one follows U - 1. After a snapshot with lastUpdateId L,
updates with u <= L are dropped; the next must satisfy U <= L + 1 <= u; then U == previous u + 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec
from msgspec import UNSET, Raw, UnsetType
from tickbus_schemas.exchanges import Exchange

from tickbus_ingest.exchanges._binance import Binance
from tickbus_ingest.exchanges._binance_wire import BARE_QUOTE, COMBINED_QUOTE, SpotQuote
from tickbus_ingest.venue.contract import (
    PLAIN,
    Evidence,
    Get,
    Limit,
    Line,
    Route,
    Snapshots,
    UpdateIds,
    What,
)
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded

STREAM = "/stream"
LEVELS_MAX = 5000
_NAME_BYTES = 100
"""A stream's name ends before this place of a frame."""


class Venue(Binance):
    """Spot: one route; bookTicker and REST books carry no time."""

    exchange = Exchange.BINANCE_SPOT
    evidence = Evidence.WORKS
    docs = ("https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams",)
    websocket_urls = ("wss://stream.binance.com:9443",)
    rest_urls = ("https://api.binance.com",)
    examples = ("BTCUSDT", "ETHUSDT")
    units = PLAIN
    rest_root = "/api/v3"
    feeds = ("trade", "trade:aggregate", "l2", "bbo", "ticker", "instrument")
    channels: ClassVar[Mapping[str, str]] = {
        "trade": "trade",
        "trade:aggregate": "aggTrade",
        "l2": "depth@100ms",
        "bbo": "bookTicker",
        "ticker": "ticker",
    }
    snapshots = Snapshots.PULLED
    update_ids = UpdateIds.LINKED
    links_by_pu = False
    drops_equal = True
    connection_life_s = 23.5 * 3600  # the venue cuts at 24 h
    limits = (
        Limit(What.ATTEMPTS, 300, 300),
        Limit(What.STREAMS, 1024),
        Limit(What.MESSAGES, 5, 1),
        Limit(What.WEIGHT, 6000, 60),
    )
    weight_header = "X-MBX-USED-WEIGHT-1M"

    def routes(self) -> list[Route]:
        return self.split(STREAM, self.streams())

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        """As on every market, but that quotes do not name their event."""
        if b"@bookTicker" in frame[:_NAME_BYTES]:
            try:
                quote = COMBINED_QUOTE.decode(frame).data
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                quote = decoded(COMBINED_QUOTE, frame).data  # Reject with the reason
            self._spot_quote(quote, rows)
            return
        super().read(frame, line, rows)

    def _read_stream(self, stream: str, data: Raw, frame: bytes, rows: Rows) -> None:
        if stream.endswith("@bookTicker"):  # the name stands elsewhere in the frame
            self._spot_quote(decoded(BARE_QUOTE, data), rows)
        else:
            super()._read_stream(stream, data, frame, rows)

    def _read_bare(self, name: str | UnsetType, frame: bytes, rows: Rows) -> None:
        if name is UNSET:
            self._spot_quote(decoded(BARE_QUOTE, frame), rows)
        else:
            super()._read_bare(name, frame, rows)

    def _spot_quote(self, quote: SpotQuote, rows: Rows) -> None:
        if "bookTicker" not in self._families:
            rows.ignored("bookTicker")
            return
        rows.bbo(quote.s, 0, quote.b, quote.B, quote.a, quote.A, quote.u)

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        """https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints"""
        return [Get("/api/v3/exchangeInfo?permissions=SPOT", weight=20)]

    def snapshot_request(self, ticker: str, levels: int) -> Get:
        """The 5000 best levels a side unless fewer are asked for; weight by the levels."""
        most = min(levels, LEVELS_MAX) if levels else LEVELS_MAX
        weight = 5 if most <= 100 else 25 if most <= 500 else 50 if most <= 1000 else 250
        return self.depth_request(ticker, most, weight)
