"""KuCoin Futures, classic API: perpetuals and futures, inverse and linear.

Channels: https://www.kucoin.com/docs-new/3470082w0 and the pages beside it
Each frame of a book is one level, counted by one; it joins a book over REST, which other clients
ask for without a key (tardis-node, src/realtimefeeds/kucoinfutures.ts). Open interest and the rate
that is paid next come over REST only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import Side

from tickbus_ingest.exchanges import _kucoin_futures as wire
from tickbus_ingest.exchanges._kucoin import Act, KuCoin
from tickbus_ingest.exchanges._kucoin_wire import data_of
from tickbus_ingest.venue.contract import (
    BASE_SUMMED,
    QUOTE,
    Evidence,
    Get,
    Limit,
    Poll,
    Units,
    UpdateIds,
    What,
)
from tickbus_ingest.venue.instruments import Instrument, Unread
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded

CONTRACTS = "/api/v1/contracts/"
CONTRACT_S = 60.0
"""Between requests for a contract: at weight 3, 1,000 contracts take 1,500 of 2,000 in 30 s."""


class Venue(KuCoin):
    """Quantities are in lots, which are contracts of `multiplier` coins, or of 1 USD."""

    exchange = Exchange.KUCOIN_FUTURES
    evidence = Evidence.BETA  # nobody recorded this market
    docs = (
        "https://www.kucoin.com/docs-new/websocket-api/base-info/introduction",
        "https://www.kucoin.com/docs-new/3470084w0",
        "https://www.kucoin.com/docs-new/3470082w0",
        "https://www.kucoin.com/docs-new/3470087w0",
        "https://www.kucoin.com/docs-new/3470089w0",
        "https://www.kucoin.com/docs/rest/futures-trading/market-data/get-symbols-list",
        "https://www.kucoin.com/docs-new/rate-limit",
    )
    websocket_urls = ("wss://ws-api-futures.kucoin.com",)
    rest_urls = ("https://api-futures.kucoin.com",)
    examples = ("XBTUSDTM", "ETHUSDTM")
    units = (
        Units("lot of `multiplier` in the base currency", QUOTE, of="linear perpetuals"),
        Units(
            "lot of 1 unit of the quote currency", BASE_SUMMED, of="inverse perpetuals and futures"
        ),
    )
    feeds = ("trade", "l2", "bbo", "ticker", "derivative", "instrument")
    update_ids = UpdateIds.COUNTED
    channels: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "/contractMarket/execution": ("trade",),
        "/contractMarket/level2": ("l2",),
        "/contractMarket/tickerV2": ("bbo",),
        "/contractMarket/snapshot": ("ticker",),
        "/contract/instrument": ("derivative",),
    }
    limits = (
        Limit(What.ATTEMPTS, 30, 60),
        # "100 topics": Kucoin/kucoin-futures-api-docs, Request Rate Limit (2022)
        Limit(What.STREAMS, 100),
        Limit(What.MESSAGES, 100, 10),
        Limit(What.ARGUMENTS, 100),  # symbols in one topic: the documents of spot
        Limit(What.WEIGHT, 2000, 30),  # of public REST requests
    )

    def acts(self) -> Mapping[str, tuple[Any, Act]]:
        return {
            "/contractMarket/execution": (wire.Trade, self._trade),
            "/contractMarket/level2": (wire.Update, self._update),
            "/contractMarket/tickerV2": (wire.Quote, self._quote),
            "/contractMarket/snapshot": (wire.Day, self._day),
            "/contract/instrument": (wire.Marks, self._marks),
        }

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get(f"{CONTRACTS}active", weight=3)]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return wire.instruments(bodies)

    # --------------------------------------------------------------- frames

    def _trade(self, symbol: str, one: wire.Trade, frame: bytes, rows: Rows) -> None:
        side = Side.BUY if one.side == "buy" else Side.SELL
        rows.trade(symbol, one.ts // 1000, one.trade_id, side, one.price, one.size)

    def _update(self, symbol: str, one: wire.Update, frame: bytes, rows: Rows) -> None:
        bids, asks = wire.sides(one.change)
        rows.l2(symbol, one.timestamp, bids, asks, one.sequence)

    def _quote(self, symbol: str, one: wire.Quote, frame: bytes, rows: Rows) -> None:
        rows.bbo(
            symbol, one.ts // 1000, one.best_bid_price or 0.0, one.best_bid_size or 0.0,
            one.best_ask_price or 0.0, one.best_ask_size or 0.0, one.sequence,
        )  # fmt: skip

    def _day(self, symbol: str, one: wire.Day, frame: bytes, rows: Rows) -> None:
        """No volume: it is in coins, and quantities are in lots.

        The turnover is in the settlement currency, which is the quote currency unless inverse.
        """
        listed = self.instruments.get(symbol)
        in_quote = listed is not None and not listed.inverse
        rows.ticker(
            symbol, one.ts // 1000, last_price=one.last_price, open=one.price24_hours_before,
            high=one.high_price, low=one.low_price, price_change=one.price_chg,
            turnover=one.turnover if in_quote else None,
        )  # fmt: skip

    def _marks(self, symbol: str, one: wire.Marks, frame: bytes, rows: Rows) -> None:
        """A rate each minute is the predicted one; each period comes the one that is paid."""
        predicted = one.granularity <= wire.PREDICTED_MS
        rows.derivative(
            symbol, one.timestamp, mark_price=one.mark_price, index_price=one.index_price,
            predicted_funding_rate=one.funding_rate if predicted else None,
            funding_rate=None if predicted else one.funding_rate,
        )  # fmt: skip

    # ----------------------------------------------------------------- REST

    def snapshot_request(self, ticker: str, levels: int) -> Get:
        """All levels."""
        return Get(f"/api/v1/level2/snapshot?symbol={quote(ticker, safe='')}", 3, ticker)

    def parse_snapshot(self, body: bytes, ticker: str, rows: Rows) -> None:
        book = decoded(wire.BOOK, data_of(body))
        bids, asks = wire.side_of(book.bids), wire.side_of(book.asks)
        rows.l2(ticker, book.ts // 1000, bids, asks, book.sequence, snapshot=True)

    def polls(self) -> list[Poll]:
        """https://www.kucoin.com/docs/rest/futures-trading/market-data/get-symbol-detail"""
        if "derivative" not in self.wanted:
            return []
        paths = [f"{CONTRACTS}{quote(ticker, safe='')}" for ticker in self.tickers]
        return [Poll(Get(path, 3), CONTRACT_S) for path in paths]

    def parse_poll(self, body: bytes, get: Get, rows: Rows) -> None:
        """A body has no time. `nextFundingRateTime` is left out: it is the time until then."""
        one: wire.State = decoded(wire.STATE, data_of(body))
        rows.derivative(
            one.symbol, 0, open_interest=one.open_interest, funding_rate=one.funding_fee_rate,
            next_funding_us=one.next_funding_rate_date_time,
            funding_interval_ms=one.funding_rate_granularity,
        )  # fmt: skip
