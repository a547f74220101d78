"""Bybit linear contracts: perpetuals and futures that are settled in USDT or USDC.

https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tickbus_schemas.exchanges import Exchange

from tickbus_ingest.exchanges._bybit import Bybit
from tickbus_ingest.venue.contract import PLAIN, Evidence


class Venue(Bybit):
    """Quantities are in the base coin."""

    exchange = Exchange.BYBIT_LINEAR
    evidence = Evidence.CHECKED
    category = "linear"
    docs = (
        "https://bybit-exchange.github.io/docs/v5/ws/connect",
        "https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook",
        "https://bybit-exchange.github.io/docs/v5/websocket/public/trade",
        "https://bybit-exchange.github.io/docs/v5/websocket/public/ticker",
        "https://bybit-exchange.github.io/docs/v5/websocket/public/all-liquidation",
        "https://bybit-exchange.github.io/docs/v5/market/instrument",
    )
    feeds = ("trade", "l2", "bbo", "ticker", "derivative", "liquidation", "instrument")
    examples = ("BTCUSDT", "ETHUSDT")
    units = PLAIN
    channels: ClassVar[Mapping[str, str]] = {
        "trade": "publicTrade",
        # 50 levels come each 20 ms, 200 each 100 ms, 1000 each 200 ms: 200 keep the pace of the
        # other venues' books, and the best quotes come each 10 ms by themselves.
        "l2": "orderbook.200",
        "bbo": "orderbook.1",
        "ticker": "tickers",
        "derivative": "tickers",
        "liquidation": "allLiquidation",
    }
