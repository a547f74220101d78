"""Binance USD-M futures.

Streams and routes: https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
Book: .../websocket-market-streams/How-to-manage-a-local-order-book-correctly
An update names the one it follows (`pu`). After a snapshot with lastUpdateId L, updates with u < L
are dropped; the next must span L (pu < L <= u) or follow it (pu == L); then pu == previous u.
"""

from __future__ import annotations

from tickbus_schemas.exchanges import Exchange

from tickbus_ingest.exchanges._binance import Binance
from tickbus_ingest.exchanges.contract import Get, Kind, Limits, Line, Stream

# Since 2026-04-23 a connection serves the streams of its route only; a wrong one is acknowledged
# and stays silent (binance-public-data issue 472).
PUBLIC = "/public/stream"
MARKET = "/market/stream"
# Weight of GET /fapi/v1/depth by levels a side
DEPTH_WEIGHTS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}


class Venue(Binance):
    """USD-M: two routes, times everywhere, updates linked by `pu`."""

    exchange = Exchange.BINANCE_USDM
    ws_url = "wss://fstream.binance.com"
    rest_url = "https://fapi.binance.com"
    limits = Limits(
        connection_attempts_per_5min=300,
        connection_life_s=23.5 * 3600,  # the venue cuts at 24 h
        request_weight_per_min=2400,
        control_messages_per_s=10,
        streams_per_connection=200,  # 1024 by the page, 200 for balance (an older page)
    )
    depth_speeds = ("0ms", "100ms", "250ms", "500ms")
    ignored_channels = (
        "kline_", "markPrice", "forceOrder", "ticker", "miniTicker", "rpiDepth", "continuousKline_",
        "compositeIndex", "depth5@", "depth10@", "depth20@",
    )  # fmt: skip
    links_by_pu = True
    quotes_have_times = True

    def lines(self) -> list[Line]:
        """One connection a route, more where a route has too many streams."""
        public: list[Stream] = []
        market: list[Stream] = []
        for stream in self.streams:
            on_public = stream.kind in (Kind.DEPTH, Kind.QUOTE) or stream.channel == "trade"
            on_public = on_public or stream.channel.startswith(("depth", "rpiDepth"))
            (public if on_public else market).append(stream)
        most = self.limits.streams_per_connection
        return [
            Line(path, tuple(streams[n : n + most]))
            for path, streams in ((PUBLIC, public), (MARKET, market))
            for n in range(0, len(streams), most)
        ]

    @classmethod
    def instruments_request(cls) -> Get:
        """https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Exchange-Information"""
        return Get("/fapi/v1/exchangeInfo", weight=1)

    def snapshot_request(self, ticker: str, limit: int) -> Get:
        """The 1000 best levels a side unless fewer are asked for."""
        levels = min((n for n in DEPTH_WEIGHTS if n >= limit), default=1000) if limit else 1000
        return Get(f"/fapi/v1/depth?symbol={ticker}&limit={levels}", DEPTH_WEIGHTS[levels], ticker)
