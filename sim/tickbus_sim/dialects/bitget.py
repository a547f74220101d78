"""Bitget v3, Spot. https://www.bitget.com/docs/uta/quick-start"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tickbus_schemas.exchanges import Exchange

from tickbus_sim.dialect import Listing
from tickbus_sim.dialects._bitget import BitgetDialect, day_of
from tickbus_sim.events import Statistics


class Dialect(BitgetDialect):
    """The list names decimals, not steps."""

    exchange = Exchange.BITGET
    feeds: ClassVar[Mapping[str, str]] = {
        "publicTrade": "trade",
        "books": "l2",
        "books1": "bbo",
        "ticker": "ticker",
    }
    kinds = ("spot",)
    demo = ("BTCUSDT", "ETHUSDT", "SOLUSDT")

    def kind_of(self, symbol: str) -> str:
        return "spot"

    def row(self, listing: Listing) -> dict[str, Any]:
        ticker = listing.ticker
        row = {"symbol": ticker, "baseCoin": ticker.removesuffix("USDT"), "quoteCoin": "USDT"}
        row |= {"pricePrecision": str(listing.price_decimals), "minOrderQty": "0"}
        return row | {"quantityPrecision": str(listing.qty_decimals), "status": "online"}

    def statistics(self, event: Statistics) -> bytes:
        return self.told(event.ticker, "ticker", "snapshot", event.time_ms, day_of(event))
