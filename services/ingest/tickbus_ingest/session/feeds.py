"""Every feed of a venue but its books: which policy takes its rows, and what interrupts it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import ABSENT, DerivativeField

from tickbus_ingest.session.kernels.leaders import OTHER, TAKES_OVER, contents
from tickbus_ingest.session.kernels.trades import content_numbers
from tickbus_ingest.session.latest import LatestPolicy
from tickbus_ingest.session.leaders import Leaders
from tickbus_ingest.session.quotes import VALUES, QuotePolicy
from tickbus_ingest.session.tables import I64, Flush, Table
from tickbus_ingest.session.times import with_inferred
from tickbus_ingest.session.trades import TradePolicy
from tickbus_ingest.venue.contract import TradeIds, Venue
from tickbus_ingest.venue.rows import TICKER_VALUES

Bool = npt.NDArray[np.bool_]

_CONTENT = {"trade": ("price", "qty"), "liquidation": ("price", "qty"), "bbo": VALUES}
"""What tells two events of a feed apart that have no identity, beside side and time."""


class Policy(Protocol):
    """What every feed's policy does besides taking rows."""

    def interrupt(self, tickers: list[int], seen_us: list[int]) -> None:
        """What was sent of these tickers after `seen_us`, a venue time of each, may be lost."""


class Feeds:
    """The policies of one venue's feeds."""

    def __init__(self, tickers: int, venue: Venue, *, wait_us: int) -> None:
        """`wait_us`: how long an early trade waits for the ones before it, in venue time."""
        self.trades = TradePolicy(tickers, venue.trade_ids, wait_us=wait_us)
        self.liquidations = TradePolicy(tickers, TradeIds.UNIQUE, wait_us=0, feed="liquidation")
        self.quotes = QuotePolicy(tickers, has_ids=venue.numbering_is_global)
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
        self._has_trade_ids = venue.trade_ids is not TradeIds.NONE
        self._leaders = {feed: Leaders(tickers, is_state=False) for feed in _CONTENT}

    def take(self, feed: str, table: Table, seen_us: I64, out: Flush) -> None:
        """Publish what is new. `seen_us`: highest venue time seen before each row, 0 where none."""
        if feed in self.latest:
            self.latest[feed].take(table, seen_us, out)
            return
        for tickers, part in self._led(feed, table, seen_us, out):
            if tickers:
                times = [int(part.columns["seen_us"].max())] * len(tickers)
                self.policies[feed].interrupt(tickers, times)
            self._take_events(feed, part, out)

    def _take_events(self, feed: str, table: Table, out: Flush) -> None:
        columns = table.columns
        seen_us = columns.pop("seen_us")
        if feed == "bbo":
            self.quotes.take(table, seen_us, out)
            return
        columns["timestamp"] = with_inferred(
            feed, columns["timestamp"], columns["flags"], seen_us, columns["rcv_timestamp"], out
        )
        if feed == "trade":
            self.trades.take(table, out)
            return
        number = columns["number"] = np.empty(len(table), np.int64)
        content_numbers(
            table.ticker, columns["packet_id"], columns["timestamp"], columns["side"],
            columns["price"], columns["qty"], number,
        )  # fmt: skip
        columns["position_side"] = -columns["side"]  # a sell order closes a long position
        self.liquidations.take(table, out)

    # ----------------------------------------------------------- connections

    def leave(self, route: int, slot: int) -> dict[str, list[int]]:
        """A connection is gone: by feed, tickers that it led while another was ahead of it."""
        for one in self.latest.values():
            one.leave(route, slot)
        return {feed: leaders.leave(route, slot) for feed, leaders in self._leaders.items()}

    def _led(
        self, feed: str, table: Table, seen_us: I64, out: Flush
    ) -> Iterator[tuple[list[int], Table]]:
        """The rows that count, in parts: before each, something of these tickers may be missing."""
        columns = table.columns
        columns["seen_us"] = seen_us
        nameless = self._nameless(feed, table)
        if not nameless.any():
            yield [], table
            return
        content = np.empty(len(table), np.int64)
        names = _CONTENT[feed]
        values = [columns[name] for name in names]
        if "side" in columns:
            values.append(columns["side"].astype(np.float64))
        contents(np.stack(values, axis=1), columns["timestamp"], content)
        verdict = self._leaders[feed].judge(table, columns["timestamp"], content, nameless)
        others = verdict == OTHER
        if others.any():
            out.count_duplicates(feed, table.stands & others, int(np.count_nonzero(others)))
        takes_over = verdict == TAKES_OVER
        if not takes_over.any():
            yield [], table.take(~others) if others.any() else table
            return
        part = np.empty(len(table), np.int64)
        for _, start, stop in table.segments():
            part[start:stop] = np.cumsum(takes_over[start:stop])
        for n in range(int(part.max()) + 1):
            own = part == n
            tickers = np.unique(table.ticker[own & takes_over]).tolist()
            if (own & ~others).any():
                yield tickers, table.take(own & ~others)

    def _nameless(self, feed: str, table: Table) -> Bool:
        """Which rows have no identity: of whatever connection, the same could be said again."""
        columns = table.columns
        if feed == "trade":
            return np.full(len(table), not self._has_trade_ids)
        if feed == "liquidation":
            return np.equal(columns["timestamp"], 0)
        return np.equal(columns["update_id"], ABSENT) & np.equal(columns["timestamp"], 0)

    def resume_connected(self, feed: str, ticker: int, time_us: int) -> None:
        """A predecessor was connected at `time_us` and stored nothing of this feed since."""
        if feed == "bbo":
            self.quotes.resume(ticker, ABSENT, time_us, (0.0, 0.0, 0.0, 0.0))
        elif feed == "trade":
            self.trades.resume(ticker, ABSENT, time_us, stored=False)
        elif feed == "liquidation":
            self.liquidations.resume(ticker, ABSENT, time_us)
