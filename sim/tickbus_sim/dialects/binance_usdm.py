"""Binance USD-M futures.

https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tickbus_schemas.exchanges import Exchange

from tickbus_sim.dialects._binance import BinanceDialect

PUBLIC = "/public"
MARKET = "/market"
# Families that the public root owns; every other one belongs to the market root.
_PUBLIC_FAMILIES = ("bookTicker", "!bookTicker", "trade", "rpiDepth")


class Dialect(BinanceDialect):
    """Two roots since 2026-04-23: a stream of the other one is acknowledged and stays silent."""

    exchange = Exchange.BINANCE_USDM
    hosts = frozenset({"fstream.binance.com", "fapi.binance.com"})
    paths = ("/fapi/", f"{PUBLIC}/", f"{MARKET}/")
    routes = (PUBLIC, MARKET)
    feeds: ClassVar[Mapping[str, str]] = {
        **BinanceDialect.feeds,
        "markPrice": "derivative",
        "forceOrder": "liquidation",
    }
    is_futures = True
    ids_are_shared = True
    rest_root = "/fapi/v1"
    depth_limits = (5, 10, 20, 50, 100, 500, 1000)
    depth_limit_default = 500
    depth_limit_max = 1000
    depth_weights = ((50, 2), (100, 5), (500, 10), (1000, 20))
    messages_per_s = 10
    ping_interval_s = 180.0
    pong_deadline_s = 600.0

    def route_of(self, family: str) -> str:
        public = family in _PUBLIC_FAMILIES or family.startswith("depth")
        return PUBLIC if public else MARKET
