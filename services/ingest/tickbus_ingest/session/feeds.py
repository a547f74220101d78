"""Every feed of a venue but its books: which policy takes its rows, and what interrupts it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from tickbus_schemas.messages import ABSENT, DerivativeField

from tickbus_ingest.session.kernels.trades import content_numbers
from tickbus_ingest.session.latest import LatestPolicy
from tickbus_ingest.session.quotes import QuotePolicy
from tickbus_ingest.session.tables import I64, Flush, Table
from tickbus_ingest.session.times import with_inferred
from tickbus_ingest.session.trades import TradePolicy
from tickbus_ingest.venue.contract import TradeIds
from tickbus_ingest.venue.rows import TICKER_VALUES


class Policy(Protocol):
    """What every feed's policy does besides taking rows."""

    def interrupt(self, tickers: list[int], seen_us: list[int]) -> None:
        """What was sent of these tickers after `seen_us`, a venue time of each, may be lost."""


class Feeds:
    """The policies of one venue's feeds."""

    def __init__(self, tickers: int, trade_ids: TradeIds, *, wait_us: int) -> None:
        """`wait_us`: how long an early trade waits for the ones before it, in venue time."""
        self.trades = TradePolicy(tickers, trade_ids, wait_us=wait_us)
        self.liquidations = TradePolicy(tickers, TradeIds.UNIQUE, wait_us=0, feed="liquidation")
        self.quotes = QuotePolicy(tickers)
        self.latest = {
            "ticker": LatestPolicy(
                "ticker", tickers, ("trade_count", *TICKER_VALUES), tells_fields=False
            ),
            "derivative": LatestPolicy(
                "derivative",
                tickers,
                tuple(str(field.name).lower() for field in DerivativeField),
                tells_fields=True,
            ),
        }
        self.policies: dict[str, Policy] = {
            "trade": self.trades, "liquidation": self.liquidations, "bbo": self.quotes,
            **self.latest,
        }  # fmt: skip

    def take(self, feed: str, table: Table, seen_us: I64, out: Flush) -> None:
        """Publish what is new. `seen_us`: highest venue time seen before each row, 0 where none."""
        columns = table.columns
        if feed in ("trade", "liquidation"):
            columns["timestamp"] = with_inferred(
                feed, columns["timestamp"], columns["flags"], seen_us, columns["rcv_timestamp"], out
            )
        if feed == "trade":
            self.trades.take(table, out)
        elif feed == "bbo":
            self.quotes.take(table, seen_us, out)
        elif feed == "liquidation":
            number = columns["number"] = np.empty(len(table), np.int64)
            content_numbers(
                table.ticker, columns["packet_id"], columns["timestamp"], columns["side"],
                columns["price"], columns["qty"], number,
            )  # fmt: skip
            columns["position_side"] = -columns["side"]  # a sell order closes a long position
            self.liquidations.take(table, out)
        else:
            self.latest[feed].take(table, seen_us, out)

    def resume_connected(self, feed: str, ticker: int, time_us: int) -> None:
        """A predecessor was connected at `time_us` and stored nothing of this feed since."""
        if feed == "bbo":
            self.quotes.resume(ticker, ABSENT, time_us, (0.0, 0.0, 0.0, 0.0))
        elif feed == "trade":
            self.trades.resume(ticker, ABSENT, time_us, stored=False)
        elif feed == "liquidation":
            self.liquidations.resume(ticker, ABSENT, time_us)
