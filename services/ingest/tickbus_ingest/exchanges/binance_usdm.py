"""Binance USD-M futures.

Streams and routes: https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
Book: .../websocket-market-streams/How-to-manage-a-local-order-book-correctly
An update names the one it follows (`pu`). After a snapshot with lastUpdateId L, updates with u < L
are dropped; the next must span L (pu < L <= u) or follow it (pu == L); then pu == previous u.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec
from tickbus_schemas.exchanges import Exchange

from tickbus_ingest.exchanges._binance import Binance
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

# Since 2026-04-23 a connection serves the streams of its route only; a wrong one is acknowledged
# and stays silent (binance-public-data issue 472).
PUBLIC = "/public/stream"
MARKET = "/market/stream"
_ON_PUBLIC = ("trade", "depth@", "bookTicker")
# Weight of GET /fapi/v1/depth by levels a side
DEPTH_WEIGHTS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}
OPEN_INTEREST_S = 30.0
"""No channel carries it: weight 1 a ticker, so 1,000 tickers take 2,000 of 2,400 a minute."""


class OpenInterest(msgspec.Struct):
    symbol: str
    open_interest: float = msgspec.field(name="openInterest")
    time: Time


_OPEN_INTEREST: msgspec.json.Decoder[Any] = json_decoder(OpenInterest)


class Venue(Binance):
    """USD-M: two routes, times everywhere, updates linked by `pu`."""

    exchange = Exchange.BINANCE_USDM
    docs = (
        "https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams",
    )
    websocket_urls = ("wss://fstream.binance.com",)
    rest_urls = ("https://fapi.binance.com",)
    rest_root = "/fapi/v1"
    feeds = (
        "trade", "trade:aggregate", "l2", "bbo", "ticker", "derivative", "liquidation",
        "instrument",
    )  # fmt: skip
    channels: ClassVar[Mapping[str, str]] = {
        "trade": "trade",
        "trade:aggregate": "aggTrade",
        "l2": "depth@100ms",
        "bbo": "bookTicker",
        "ticker": "ticker",
        "derivative": "markPrice@1s",
        "liquidation": "forceOrder",
    }
    snapshots = Snapshots.PULLED
    update_ids = UpdateIds.LINKED
    connection_life_s = 23.5 * 3600  # the venue cuts at 24 h
    limits = (
        Limit(What.ATTEMPTS, 300, 300),
        Limit(What.STREAMS, 200),  # 1024 by the page, 200 for balance (an older page)
        Limit(What.MESSAGES, 10, 1),
        Limit(What.WEIGHT, 2400, 60),
    )
    weight_header = "X-MBX-USED-WEIGHT-1M"

    def routes(self) -> list[Route]:
        streams = self.streams()
        public = [one for one in streams if one.name.partition("@")[2].startswith(_ON_PUBLIC)]
        market = [one for one in streams if one not in set(public)]
        return [*self.split(PUBLIC, public), *self.split(MARKET, market)]

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        """https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Exchange-Information"""
        return [Get("/fapi/v1/exchangeInfo", weight=1)]

    def snapshot_request(self, ticker: str, levels: int) -> Get:
        """The 1000 best levels a side unless fewer are asked for."""
        most = min((n for n in DEPTH_WEIGHTS if n >= levels), default=1000) if levels else 1000
        return self.depth_request(ticker, most, DEPTH_WEIGHTS[most])

    def polls(self) -> list[Poll]:
        """https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Open-Interest"""
        if "derivative" not in self.wanted:
            return []
        return [
            Poll(Get(f"/fapi/v1/openInterest?symbol={quote(ticker)}"), OPEN_INTEREST_S)
            for ticker in self.tickers
        ]

    def parse_poll(self, body: bytes, get: Get, rows: Rows) -> None:
        found = decoded(_OPEN_INTEREST, body)
        rows.derivative(found.symbol, found.time, open_interest=found.open_interest)
