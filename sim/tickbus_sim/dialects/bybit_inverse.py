"""Bybit v5, inverse contracts. https://bybit-exchange.github.io/docs/v5/ws/connect"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from tickbus_schemas.exchanges import Exchange

from tickbus_sim.dialect import Listing
from tickbus_sim.dialects._bybit import BybitDialect
from tickbus_sim.events import Derivative, Instrument, Statistics


class Dialect(BybitDialect):
    """Contracts of 1 USD, which are settled in the coin that they are on."""

    exchange = Exchange.BYBIT_INVERSE
    hosts = frozenset({"stream.bybit.com", "stream-testnet.bybit.com", "api.bybit.com"})
    paths = ("/v5/public/inverse", "/v5/market/")
    routes = ("/v5/public/inverse",)
    category = "inverse"
    demo = ("BTCUSD", "ETHUSD", "SOLUSDZ26")

    def instrument(self, ticker: str, listed: Instrument) -> Instrument:
        """Contracts are whole."""
        return replace(listed, qty_decimals=0)

    def row(self, listing: Listing) -> dict[str, Any]:
        coin, _, expiry = listing.ticker.partition("USD")
        row = super().row(listing) | {"baseCoin": coin, "quoteCoin": "USD", "settleCoin": coin}
        return row | {"contractType": "InverseFutures" if expiry else "InversePerpetual"}

    # --------------------------------------------------------------- market

    def statistics(self, event: Statistics) -> bytes:
        """The turnover is in the coin; that of all contracts at the mean price comes near."""
        return super().statistics(replace(event, turnover=_coins(event.volume, event.vwap)))

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        return super().derivative(
            replace(event, open_interest_value=_coins(event.open_interest, event.mark))
        )


def _coins(contracts: str, price: str) -> str:
    return f"{Decimal(contracts) / Decimal(price):.8f}"
