"""Binance Spot.

Streams and book: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
Updates cover ids U..u without holes, so one follows U - 1. After a snapshot with lastUpdateId L,
updates with u <= L are dropped; the next must satisfy U <= L + 1 <= u; then U == previous u + 1.
"""

from __future__ import annotations

from tickbus_schemas.exchanges import Exchange

from tickbus_ingest.exchanges._binance import Binance
from tickbus_ingest.exchanges.contract import Get, Limits, Line

STREAM = "/stream"
LEVELS_MAX = 5000


class Venue(Binance):
    """Spot: one route; bookTicker and REST books carry no time."""

    exchange = Exchange.BINANCE_SPOT
    ws_url = "wss://stream.binance.com:9443"
    rest_url = "https://api.binance.com"
    limits = Limits(
        connection_attempts_per_5min=300,
        connection_life_s=23.5 * 3600,  # the venue cuts at 24 h
        request_weight_per_min=6000,
        control_messages_per_s=5,
        streams_per_connection=1024,
    )
    drop_equal = True
    depth_speeds = ("100ms", "1000ms")
    ignored_channels = (
        "kline_", "ticker", "miniTicker", "avgPrice", "blockTrade", "referencePrice", "depth5",
        "depth10", "depth20",
    )  # fmt: skip
    links_by_pu = False
    quotes_have_times = False

    def lines(self) -> list[Line]:
        """One connection, more where there are too many streams."""
        most = self.limits.streams_per_connection
        streams = tuple(self.streams)
        return [Line(STREAM, streams[n : n + most]) for n in range(0, len(streams), most)]

    @classmethod
    def instruments_request(cls) -> Get:
        """https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints"""
        return Get("/api/v3/exchangeInfo?permissions=SPOT", weight=20)

    def snapshot_request(self, ticker: str, limit: int) -> Get:
        """The 5000 best levels a side unless fewer are asked for; weight by the levels."""
        levels = min(limit, LEVELS_MAX) if limit else LEVELS_MAX
        weight = 5 if levels <= 100 else 25 if levels <= 500 else 50 if levels <= 1000 else 250
        return Get(f"/api/v3/depth?symbol={ticker}&limit={levels}", weight, ticker)
