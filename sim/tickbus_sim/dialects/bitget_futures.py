"""Bitget v3, futures of USDT and USDC. https://www.bitget.com/docs/uta/quick-start"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from tickbus_schemas.exchanges import Exchange

from tickbus_sim.dialect import Listing, compact
from tickbus_sim.dialects._bitget import LIQUIDATION, BitgetDialect, day_of
from tickbus_sim.events import Derivative, Liquidation


class Dialect(BitgetDialect):
    """One ticker tells statistics, marks and funding; liquidations are those of all symbols."""

    exchange = Exchange.BITGET_FUTURES
    feeds: ClassVar[Mapping[str, str]] = {
        "publicTrade": "trade",
        "books": "l2",
        "books1": "bbo",
        "ticker": "ticker derivative",
        LIQUIDATION: "liquidation",
    }
    kinds = ("usdt-futures", "usdc-futures")
    marks_tell_day = True
    demo = ("BTCUSDT", "ETHUSDT", "SOLUSDT")

    def kind_of(self, symbol: str) -> str:
        """USDC's perpetuals are named so."""
        return "usdc-futures" if symbol.endswith("PERP") else "usdt-futures"

    def row(self, listing: Listing) -> dict[str, Any]:
        ticker = listing.ticker
        quote = "USDC" if ticker.endswith("PERP") else "USDT"
        base = ticker.removesuffix("PERP").removesuffix("USDT")
        row = {"symbol": ticker, "baseCoin": base, "quoteCoin": quote, "status": "online"}
        row |= {"priceMultiplier": listing.tick, "quantityMultiplier": listing.lot}
        row |= {"minOrderQty": listing.lot, "type": "perpetual", "fundInterval": "8"}
        return row | {"deliveryTime": ""}

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        assert event.day is not None
        row = day_of(event.day) | {"markPrice": event.mark, "indexPrice": event.index}
        row |= {"fundingRate": event.funding_rate, "openInterest": event.open_interest}
        row |= {"nextFundingTime": str(event.next_funding_ms), "deliveryTime": ""}
        yield "ticker", self.told(event.ticker, "ticker", "snapshot", event.time_ms, row)

    def liquidation(self, event: Liquidation) -> bytes:
        """`side` is that of the position."""
        row = {"symbol": event.ticker, "side": "buy" if event.sells else "sell"}
        row |= {"price": event.price, "amount": event.qty, "ts": str(event.time_ms)}
        arg = {"instType": self.kind_of(event.ticker), "topic": LIQUIDATION}
        return compact({"action": "update", "arg": arg, "data": [row], "ts": event.time_ms})
