"""Binance COIN-M futures: contracts of a fixed value in USD, margined and settled in the coin.

Streams: https://developers.binance.com/docs/derivatives/coin-margined-futures/websocket-market-streams
Book: .../websocket-market-streams/How-to-manage-a-local-order-book-correctly
Books are linked as on USD-M (`pu`); all streams share one route. Since 2026-06-30 the streams of
the whole market carry USD-M, too: their tickers were not asked for, and are spelled differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec
from tickbus_schemas.exchanges import Exchange

from tickbus_ingest.exchanges._binance import Binance, Symbol, TickerEvent
from tickbus_ingest.venue.contract import (
    Get,
    Limit,
    Poll,
    Route,
    Snapshots,
    UpdateIds,
    What,
)
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import Time, decoded, json_decoder

STREAM = "/stream"
# Weight of GET /dapi/v1/depth by levels a side
# https://developers.binance.com/docs/derivatives/coin-margined-futures/market-data/rest-api/Order-Book
DEPTH_WEIGHTS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}
OPEN_INTEREST_S = 30.0
"""No channel carries it: weight 1 a ticker."""


class OpenInterest(msgspec.Struct):
    """In contracts."""

    symbol: str
    open_interest: float = msgspec.field(name="openInterest")
    time: Time


_OPEN_INTEREST: msgspec.json.Decoder[Any] = json_decoder(OpenInterest)


class Venue(Binance):
    """COIN-M: one route, quantities in contracts, updates linked by `pu`."""

    exchange = Exchange.BINANCE_COINM
    docs = (
        "https://developers.binance.com/docs/derivatives/coin-margined-futures/websocket-market-streams",
        "https://developers.binance.com/docs/derivatives/coin-margined-futures/common-definition",
    )
    websocket_urls = ("wss://dstream.binance.com",)
    rest_urls = ("https://dapi.binance.com",)
    rest_root = "/dapi/v1"
    feeds = (
        "trade", "trade:aggregate", "l2", "bbo", "ticker", "derivative", "liquidation",
        "instrument",
    )  # fmt: skip
    channels: ClassVar[Mapping[str, str]] = {
        # In no document, as on USD-M; sent: tardis-node, src/realtimefeeds/binance.ts
        "trade": "trade",
        "trade:aggregate": "aggTrade",
        "l2": "depth@100ms",
        "bbo": "bookTicker",
        "ticker": "ticker",
        # Carries the index price since 2026-06-30; before, only <pair>@indexPrice did.
        "derivative": "markPrice@1s",
        "liquidation": "forceOrder",
    }
    snapshots = Snapshots.PULLED
    update_ids = UpdateIds.LINKED
    connection_life_s = 23.5 * 3600  # the venue cuts at 24 h
    limits = (
        Limit(What.ATTEMPTS, 300, 300),  # Spot's: no page of this market names one
        Limit(What.STREAMS, 200),  # 1024 by the page, 200 for balance (an older page)
        Limit(What.MESSAGES, 10, 1),
        Limit(What.WEIGHT, 2400, 60),  # `rateLimits` of exchangeInfo
    )
    weight_header = "X-MBX-USED-WEIGHT-1M"

    def routes(self) -> list[Route]:
        return self.split(STREAM, self.streams())

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        """https://developers.binance.com/docs/derivatives/coin-margined-futures/market-data/rest-api/Exchange-Information"""
        return [Get("/dapi/v1/exchangeInfo", weight=1)]

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

    def snapshot_request(self, ticker: str, levels: int) -> Get:
        """The 1000 best levels a side unless fewer are asked for."""
        most = min((n for n in DEPTH_WEIGHTS if n >= levels), default=1000) if levels else 1000
        return self.depth_request(ticker, most, DEPTH_WEIGHTS[most])

    def polls(self) -> list[Poll]:
        """https://developers.binance.com/docs/derivatives/coin-margined-futures/market-data/rest-api/Open-Interest"""
        if "derivative" not in self.wanted:
            return []
        return [
            Poll(Get(f"/dapi/v1/openInterest?symbol={quote(ticker)}"), OPEN_INTEREST_S)
            for ticker in self.tickers
        ]

    def parse_poll(self, body: bytes, get: Get, rows: Rows) -> None:
        found = decoded(_OPEN_INTEREST, body)
        rows.derivative(found.symbol, found.time, open_interest=found.open_interest)
