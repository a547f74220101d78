"""What both futures markets of Binance share, apart from the family of all three."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from tickbus_ingest.exchanges._binance import Binance
from tickbus_ingest.venue.contract import Get, Limit, Poll, Snapshots, UpdateIds, What
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import Time, decoded, json_decoder

# Weight of GET .../depth by levels a side
# https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Order-Book
# https://developers.binance.com/docs/derivatives/coin-margined-futures/market-data/rest-api/Order-Book
DEPTH_WEIGHTS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}
OPEN_INTEREST_S = 30.0
"""No channel carries it: weight 1 a ticker, so 1,000 tickers take 2,000 of 2,400 a minute."""


class OpenInterest(msgspec.Struct):
    symbol: str
    open_interest: float = msgspec.field(name="openInterest")
    time: Time


_OPEN_INTEREST: msgspec.json.Decoder[Any] = json_decoder(OpenInterest)


class Futures(Binance):
    """Times everywhere, updates linked by `pu`, open interest over REST only.

    After a snapshot with lastUpdateId L, updates with u < L are dropped; the next must span L
    (pu < L <= u) or follow it (pu == L); then pu == previous u.
    """

    feeds = (
        "trade", "trade:aggregate", "l2", "bbo", "ticker", "derivative", "liquidation",
        "instrument",
    )  # fmt: skip
    channels: ClassVar[Mapping[str, str]] = {
        # In no document, but sent: tardis-node, src/realtimefeeds/binance.ts
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
        Limit(What.ATTEMPTS, 300, 300),  # Spot's: no page of these markets names one
        Limit(What.STREAMS, 200),  # 1024 by the page, 200 for balance (an older page)
        Limit(What.MESSAGES, 10, 1),
        Limit(What.WEIGHT, 2400, 60),  # `rateLimits` of exchangeInfo
    )
    weight_header = "X-MBX-USED-WEIGHT-1M"

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get(f"{cls.rest_root}/exchangeInfo", weight=1)]

    def snapshot_request(self, ticker: str, levels: int) -> Get:
        """The 1000 best levels a side unless fewer are asked for."""
        most = min((n for n in DEPTH_WEIGHTS if n >= levels), default=1000) if levels else 1000
        return self.depth_request(ticker, most, DEPTH_WEIGHTS[most])

    def polls(self) -> list[Poll]:
        """Market data, "Open Interest" of either market's REST documents."""
        if "derivative" not in self.wanted:
            return []
        return [
            Poll(Get(f"{self.rest_root}/openInterest?symbol={quote(ticker)}"), OPEN_INTEREST_S)
            for ticker in self.tickers
        ]

    def parse_poll(self, body: bytes, get: Get, rows: Rows) -> None:
        found = decoded(_OPEN_INTEREST, body)
        rows.derivative(found.symbol, found.time, open_interest=found.open_interest)
