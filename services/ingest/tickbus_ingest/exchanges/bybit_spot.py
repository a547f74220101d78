"""Bybit Spot.

https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tickbus_schemas.exchanges import Exchange

from tickbus_ingest.exchanges._bybit import Bybit
from tickbus_ingest.venue.contract import PLAIN, Evidence, Limit, What


class Venue(Bybit):
    """Quantities are in the base coin; a ticker is always whole, without the best quotes."""

    exchange = Exchange.BYBIT_SPOT
    evidence = Evidence.CHECKED
    category = "spot"
    docs = (
        "https://bybit-exchange.github.io/docs/v5/ws/connect",
        "https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook",
        "https://bybit-exchange.github.io/docs/v5/websocket/public/trade",
        "https://bybit-exchange.github.io/docs/v5/websocket/public/ticker",
        "https://bybit-exchange.github.io/docs/v5/market/instrument",
    )
    feeds = ("trade", "l2", "bbo", "ticker", "instrument")
    examples = ("BTCUSDT", "ETHUSDT")
    units = PLAIN
    channels: ClassVar[Mapping[str, str]] = {
        "trade": "publicTrade",
        # The same depths and paces as those of linear contracts.
        "l2": "orderbook.200",
        "bbo": "orderbook.1",
        "ticker": "tickers",
    }
    # https://bybit-exchange.github.io/docs/v5/ws/connect: of one request, on spot only.
    limits = (*Bybit.limits, Limit(What.ARGUMENTS, 10))
