"""Binance Spot.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

from __future__ import annotations

from tickbus_schemas.exchanges import Exchange

from tickbus_sim.dialects._binance import BinanceDialect


class Dialect(BinanceDialect):
    """One root; updates count without holes; quotes and bodies carry no time."""

    exchange = Exchange.BINANCE_SPOT
    hosts = frozenset(
        (
            "stream.binance.com",
            "data-stream.binance.vision",
            "api.binance.com",
            *(f"api{number}.binance.com" for number in range(1, 5)),
            "api-gcp.binance.com",
            "data-api.binance.vision",
        )
    )
    paths = ("/api/v3",)
    routes = ("",)
    is_futures = False
    rest_root = "/api/v3"
    depth_limit_default = 100
    depth_limit_max = 5000
    depth_weights = ((100, 5), (500, 25), (1000, 50), (5000, 250))
    messages_per_s = 5
    ping_interval_s = 20.0
    pong_deadline_s = 60.0
