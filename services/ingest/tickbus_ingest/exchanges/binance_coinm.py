"""Binance COIN-M futures: contracts of a fixed value in USD, margined and settled in the coin.

Streams: https://developers.binance.com/docs/derivatives/coin-margined-futures/websocket-market-streams
Book: .../websocket-market-streams/How-to-manage-a-local-order-book-correctly
Quantities and open interest are in contracts. Since 2026-06-30 the streams of the whole market
carry USD-M, too: their tickers were not asked for, and are spelled differently. `markPrice` carries
the index price since then; before, only <pair>@indexPrice did.
"""

from __future__ import annotations

from typing import Any

from tickbus_schemas.exchanges import Exchange

from tickbus_ingest.exchanges._binance_futures import Futures
from tickbus_ingest.exchanges._binance_instruments import Symbol
from tickbus_ingest.exchanges._binance_wire import TickerEvent
from tickbus_ingest.venue.contract import (
    BASE_SUMMED,
    Evidence,
    Route,
    Units,
)
from tickbus_ingest.venue.rows import Rows

STREAM = "/stream"


class Venue(Futures):
    """COIN-M: one route, quantities in contracts."""

    exchange = Exchange.BINANCE_COINM
    evidence = Evidence.WORKS
    docs = (
        "https://developers.binance.com/docs/derivatives/coin-margined-futures/websocket-market-streams",
        "https://developers.binance.com/docs/derivatives/coin-margined-futures/common-definition",
    )
    websocket_urls = ("wss://dstream.binance.com",)
    rest_urls = ("https://dapi.binance.com",)
    examples = ("BTCUSD_PERP", "ETHUSD_PERP")
    units = (Units("contract of a fixed value in USD (BTCUSD 100, others 10)", BASE_SUMMED),)
    rest_root = "/dapi/v1"

    def routes(self) -> list[Route]:
        return self.split(STREAM, self.streams())

    @classmethod
    def contract_of(cls, symbol: Symbol) -> dict[str, Any]:
        """A contract stands for a fixed amount of the quote currency, 10 or 100 USD."""
        return {
            "contract_size": symbol.contract_size,
            "contract_unit": symbol.quote_asset,
            "inverse": True,
        }

    def _ticker(self, event: TickerEvent, rows: Rows) -> None:
        """No turnover: `q` sums the base currency here, `v` contracts.

        https://developers.binance.com/docs/derivatives/coin-margined-futures/websocket-market-streams/Individual-Symbol-Ticker-Streams
        """
        rows.ticker(
            event.s, event.E, trade_count=event.n, last_price=event.c, last_qty=event.Q,
            open=event.o, high=event.h, low=event.low, volume=event.v, price_change=event.p,
        )  # fmt: skip
