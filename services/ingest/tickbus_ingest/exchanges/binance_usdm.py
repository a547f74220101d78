"""Binance USD-M futures.

Streams and routes: https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
Book: .../websocket-market-streams/How-to-manage-a-local-order-book-correctly
"""

from __future__ import annotations

from tickbus_schemas.exchanges import Exchange

from tickbus_ingest.exchanges._binance_futures import Futures
from tickbus_ingest.venue.contract import (
    PLAIN,
    Evidence,
    Route,
)

# Since 2026-04-23 a connection serves the streams of its route only; a wrong one is acknowledged
# and stays silent (binance-public-data issue 472).
PUBLIC = "/public/stream"
MARKET = "/market/stream"
_ON_PUBLIC = ("trade", "depth@", "bookTicker")


class Venue(Futures):
    """USD-M: two routes."""

    exchange = Exchange.BINANCE_USDM
    evidence = Evidence.WORKS
    docs = (
        "https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams",
    )
    websocket_urls = ("wss://fstream.binance.com",)
    rest_urls = ("https://fapi.binance.com",)
    examples = ("BTCUSDT", "ETHUSDT")
    units = PLAIN
    rest_root = "/fapi/v1"

    def routes(self) -> list[Route]:
        streams = self.streams()
        public = [one for one in streams if one.name.partition("@")[2].startswith(_ON_PUBLIC)]
        market = [one for one in streams if one not in set(public)]
        return [*self.split(PUBLIC, public), *self.split(MARKET, market)]
