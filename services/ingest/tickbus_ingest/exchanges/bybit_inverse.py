"""Bybit inverse contracts: perpetuals and futures that are settled in the coin that they are on.

https://bybit-exchange.github.io/docs/v5/websocket/public/ticker
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tickbus_schemas.exchanges import Exchange

from tickbus_ingest.exchanges._bybit import Bybit
from tickbus_ingest.exchanges._bybit_instruments import Listed
from tickbus_ingest.venue.contract import BASE_SUMMED, Evidence, Units


class Venue(Bybit):
    """Quantities are contracts of 1 USD; turnover and the value of open interest are in the coin.

    The documents say of no unit what it is: in the example of the REST tickers, `openInterestValue`
    is `openInterest` divided by the price. https://bybit-exchange.github.io/docs/v5/market/tickers
    """

    exchange = Exchange.BYBIT_INVERSE
    evidence = Evidence.BETA  # nobody recorded this market
    category = "inverse"
    examples = ("BTCUSD", "ETHUSD")
    units = (Units("contract of 1 USD", BASE_SUMMED),)
    sums_quote = False
    docs = (
        "https://bybit-exchange.github.io/docs/v5/ws/connect",
        "https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook",
        "https://bybit-exchange.github.io/docs/v5/websocket/public/trade",
        "https://bybit-exchange.github.io/docs/v5/websocket/public/ticker",
        "https://bybit-exchange.github.io/docs/v5/websocket/public/all-liquidation",
        "https://bybit-exchange.github.io/docs/v5/market/instrument",
        "https://www.bybit.com/en/help-center/article/Inverse-Contract-Introduction",
    )
    feeds = ("trade", "l2", "bbo", "ticker", "derivative", "liquidation", "instrument")
    channels: ClassVar[Mapping[str, str]] = {
        "trade": "publicTrade",
        # The same depths and paces as those of linear contracts.
        "l2": "orderbook.200",
        "bbo": "orderbook.1",
        "ticker": "tickers",
        "derivative": "tickers",
        "liquidation": "allLiquidation",
    }

    @classmethod
    def contract_of(cls, row: Listed) -> dict[str, Any]:
        """A contract stands for one unit of the quote currency."""
        return {"contract_size": 1.0, "contract_unit": row.quote_coin, "inverse": True}
