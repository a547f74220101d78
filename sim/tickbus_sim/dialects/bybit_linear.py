"""Bybit v5, linear contracts. https://bybit-exchange.github.io/docs/v5/ws/connect"""

from __future__ import annotations

from tickbus_schemas.exchanges import Exchange

from tickbus_sim.dialects._bybit import BybitDialect


class Dialect(BybitDialect):
    """USDT and USDC perpetuals and futures."""

    exchange = Exchange.BYBIT_LINEAR
    hosts = frozenset({"stream.bybit.com", "stream-testnet.bybit.com", "api.bybit.com"})
    paths = ("/v5/public/linear", "/v5/market/")
    routes = ("/v5/public/linear",)
    category = "linear"
