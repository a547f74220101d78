"""Binance USD-M futures.

https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
"""

from __future__ import annotations

from tickbus_schemas.exchanges import Exchange

from tickbus_sim.dialects._binance import FuturesDialect

PUBLIC = "/public"
MARKET = "/market"
# Families that the public root owns; every other one belongs to the market root.
_PUBLIC_FAMILIES = ("bookTicker", "!bookTicker", "trade", "rpiDepth")


class Dialect(FuturesDialect):
    """Two roots since 2026-04-23: a stream of the other one is acknowledged and stays silent."""

    exchange = Exchange.BINANCE_USDM
    hosts = frozenset({"fstream.binance.com", "fapi.binance.com"})
    paths = ("/fapi/", f"{PUBLIC}/", f"{MARKET}/")
    routes = (PUBLIC, MARKET)
    rest_root = "/fapi/v1"

    def route_of(self, family: str) -> str:
        public = family in _PUBLIC_FAMILIES or family.startswith("depth")
        return PUBLIC if public else MARKET
