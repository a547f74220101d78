"""Bybit v5, Spot. https://bybit-exchange.github.io/docs/v5/ws/connect"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from tickbus_schemas.exchanges import Exchange

from tickbus_sim.dialect import Listing, compact
from tickbus_sim.dialects._bybit import BybitDialect
from tickbus_sim.events import Derivative, Liquidation, Statistics


class Dialect(BybitDialect):
    """At most ten topics a request; tickers are always whole and hold no best quotes."""

    exchange = Exchange.BYBIT_SPOT
    hosts = frozenset({"stream.bybit.com", "stream-testnet.bybit.com", "api.bybit.com"})
    paths = ("/v5/public/spot", "/v5/market/")
    routes = ("/v5/public/spot",)
    feeds: ClassVar[Mapping[str, str]] = {
        "publicTrade": "trade",
        "orderbook": "l2",
        "orderbook.1": "bbo",
        "tickers": "ticker",
    }
    category = "spot"
    args_max = 10

    def row(self, listing: Listing) -> dict[str, Any]:
        """https://bybit-exchange.github.io/docs/v5/market/instrument"""
        contract = super().row(listing)
        return {
            "symbol": listing.ticker,
            "baseCoin": contract["baseCoin"],
            "quoteCoin": contract["quoteCoin"],
            "status": "Trading",
            "marginTrading": "none",
            "lotSizeFilter": {"basePrecision": listing.lot, "minOrderQty": listing.lot},
            "priceFilter": {"tickSize": listing.tick},
        }

    def statistics(self, event: Statistics) -> bytes:
        data = {"symbol": event.ticker, "lastPrice": event.last, "highPrice24h": event.high}
        data |= {"lowPrice24h": event.low, "prevPrice24h": event.open}
        data |= {"volume24h": event.volume, "turnover24h": event.turnover}
        frame = {"topic": f"tickers.{event.ticker}", "ts": event.time_ms, "type": "snapshot"}
        return compact(frame | {"cs": event.trades, "data": data})

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        return ()

    def liquidation(self, event: Liquidation) -> bytes:
        return b""
