"""Binance COIN-M futures.

https://developers.binance.com/docs/derivatives/coin-margined-futures/websocket-market-streams
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from tickbus_schemas.exchanges import Exchange

from tickbus_sim.dialect import Listing
from tickbus_sim.dialects._binance import FuturesDialect
from tickbus_sim.events import Derivative, Instrument, Statistics


class Dialect(FuturesDialect):
    """One root; quantities are contracts of 100 USD (BTC) or 10 USD (others)."""

    exchange = Exchange.BINANCE_COINM
    hosts = frozenset({"dstream.binance.com", "dapi.binance.com"})
    paths = ("/dapi/",)
    routes = ("",)
    rest_root = "/dapi/v1"
    demo = ("BTCUSD_PERP", "ETHUSD_PERP", "SOLUSD_PERP")

    def instrument(self, ticker: str, listed: Instrument) -> Instrument:
        """Contracts are whole."""
        return replace(listed, qty_decimals=0)

    def _symbol(self, listing: Listing) -> dict[str, object]:
        symbol = super()._symbol(listing)
        symbol["contractStatus"] = symbol.pop("status")
        suffix = listing.ticker.partition("_")[2]
        return symbol | {
            "contractType": "CURRENT_QUARTER" if suffix.isdigit() else "PERPETUAL",
            "contractSize": _contract_usd(listing.ticker),
            "marginAsset": symbol["baseAsset"],
        }

    # --------------------------------------------------------------- market

    def turnover(self, event: Statistics) -> str:
        """The sum of the base currency; that of all contracts at the last price comes near."""
        usd = Decimal(event.volume) * _contract_usd(event.ticker)
        return f"{usd / Decimal(event.last):.8f}"

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        """Delivery contracts have no funding."""
        if event.ticker.partition("_")[2].isdigit():
            event = replace(event, funding_rate="", next_funding_ms=0)
        return super().derivative(event)


def _contract_usd(ticker: str) -> int:
    return 100 if ticker.startswith("BTC") else 10
