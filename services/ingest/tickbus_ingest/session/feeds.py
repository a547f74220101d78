"""Every feed of a venue but its books: which policy takes its rows, and what interrupts it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
from tickbus_schemas.feeds import OF_KIND
from tickbus_schemas.messages import ABSENT

from tickbus_ingest.session.kernels.leaders import OTHER, TAKES_OVER, contents
from tickbus_ingest.session.kernels.trades import content_numbers
from tickbus_ingest.session.latest import LatestPolicy
from tickbus_ingest.session.leaders import Leaders
from tickbus_ingest.session.quotes import VALUES, QuotePolicy
from tickbus_ingest.session.tables import I64, Flush, Table
from tickbus_ingest.session.times import with_inferred
from tickbus_ingest.session.trades import TradePolicy
from tickbus_ingest.venue.contract import TradeIds, Venue
from tickbus_ingest.venue.feeds import BY_NAME, FEEDS, Feed, Kind, Treatment

_MESSAGES = {feed.name: kind for kind, feed in OF_KIND.items()}

Bool = npt.NDArray[np.bool_]

_CONTENT = {
    Treatment.TRADES: ("price", "qty", "side"),
    Treatment.EVENTS: ("price", "qty", "side"),
    Treatment.QUOTES: VALUES,
}
"""What tells two events apart that have no identity, beside their time."""


class Policy(Protocol):
    """What every feed's policy does besides taking rows."""

    def interrupt(self, tickers: list[int], seen_us: list[int]) -> None:
        """What was sent of these tickers after `seen_us`, a venue time of each, may be lost."""

    def grow(self, tickers: int) -> None:
        """Make room for so many tickers."""


class Feeds:
    """The policies of one venue's feeds, by their treatment."""

    def __init__(self, tickers: int, venue: Venue, *, wait_us: int) -> None:
        """`wait_us`: how long an early trade waits for the ones before it, in venue time."""
        self.trades: dict[str, TradePolicy] = {}
        self.events: dict[str, TradePolicy] = {}
        self.quotes: dict[str, QuotePolicy] = {}
        self.latest: dict[str, LatestPolicy] = {}
        for feed in FEEDS:
            name = feed.name
            match feed.treatment:
                case Treatment.TRADES:
                    policy = TradePolicy(tickers, venue.trade_ids, wait_us=wait_us, feed=name)
                    self.trades[name] = policy
                case Treatment.EVENTS:
                    policy = TradePolicy(tickers, TradeIds.UNIQUE, wait_us=0, feed=name)
                    self.events[name] = policy
                case Treatment.QUOTES:
                    self.quotes[name] = QuotePolicy(tickers, has_ids=venue.numbering_is_global)
                case Treatment.LATEST:
                    tells = feed.tells_fields
                    self.latest[name] = LatestPolicy(
                        name, tickers, _merged(feed), tells_fields=tells
                    )
        self.policies: dict[str, Policy] = {
            **self.trades, **self.events, **self.quotes, **self.latest,
        }  # fmt: skip
        self._has_trade_ids = venue.trade_ids is not TradeIds.NONE
        self._leaders = {feed: Leaders(tickers, is_state=False) for feed in self.policies}

    def take(self, feed: str, table: Table, seen_us: I64, out: Flush) -> None:
        """Publish what is new. `seen_us`: highest venue time seen before each row, 0 where none."""
        if BY_NAME[feed].treatment is Treatment.LATEST:
            self.latest[feed].take(table, seen_us, out)
            return
        for tickers, part in self._led(feed, table, seen_us, out):
            if tickers:
                times = [int(part.columns["seen_us"].max())] * len(tickers)
                self.policies[feed].interrupt(tickers, times)
            self._take_events(feed, part, part.columns.pop("seen_us"), out)

    def _take_events(self, feed: str, table: Table, seen_us: I64, out: Flush) -> None:
        match BY_NAME[feed].treatment:
            case Treatment.TRADES:
                _infer(feed, table, seen_us, out)
                self.trades[feed].take(table, out)
            case Treatment.EVENTS:
                _infer(feed, table, seen_us, out)
                _number(table)
                self.events[feed].take(table, out)
            case Treatment.QUOTES:
                self.quotes[feed].take(table, seen_us, out)

    def tick(self, now_s: float, out: Flush, *, settle: bool) -> None:
        """Time has passed: what has waited for too long goes out."""
        for policy in self.trades.values():
            policy.tick(now_s, out, settle=settle)

    @property
    def waiting(self) -> int:
        """Frames whose row waits."""
        return sum(policy.waiting for policy in self.trades.values())

    @property
    def held_since_us(self) -> list[int]:
        """Venue times since which rows wait, a ticker each."""
        return [time_us for policy in self.trades.values() for time_us in policy.held_since_us]

    # ----------------------------------------------------------- connections

    def leave(self, route: int, slot: int) -> dict[str, list[int]]:
        """A connection is gone: by feed, tickers that it led while another was ahead of it."""
        for one in self.latest.values():
            one.leave(route, slot)
        return {feed: leaders.leave(route, slot) for feed, leaders in self._leaders.items()}

    def grow(self, tickers: int) -> None:
        """Make room for so many tickers."""
        for policy in self.policies.values():
            policy.grow(tickers)
        for leaders in self._leaders.values():
            leaders.grow(tickers)

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
        names = _CONTENT[BY_NAME[feed].treatment]
        values = [columns[name].astype(np.float64) for name in names]
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
        treatment = BY_NAME[feed].treatment
        if treatment is Treatment.TRADES:
            return np.full(len(table), not self._has_trade_ids)
        if treatment is Treatment.EVENTS:
            return np.equal(columns["timestamp"], 0)
        return np.equal(columns["update_id"], ABSENT) & np.equal(columns["timestamp"], 0)

    def resume_connected(self, feed: str, ticker: int, time_us: int) -> None:
        """A predecessor was connected at `time_us` and stored nothing of this feed since."""
        match BY_NAME[feed].treatment:
            case Treatment.QUOTES:
                self.quotes[feed].resume(ticker, ABSENT, time_us, (0.0, 0.0, 0.0, 0.0))
            case Treatment.TRADES:
                self.trades[feed].resume(ticker, ABSENT, time_us, stored=False)
            case Treatment.EVENTS:
                self.events[feed].resume(ticker, ABSENT, time_us)


def _merged(feed: Feed) -> tuple[str, ...]:
    """The columns that a message may leave out, in the order of their bits in `fields`."""
    kinds = (Kind.COUNT, Kind.DUE, Kind.VALUE)
    left_out = {one.name for one in feed.columns if one.kind in kinds}
    return tuple(name for name in _MESSAGES[feed.name].columns if name in left_out)


def _infer(feed: str, table: Table, seen_us: I64, out: Flush) -> None:
    columns = table.columns
    columns["timestamp"] = with_inferred(
        feed, columns["timestamp"], columns["flags"], seen_us, columns["rcv_timestamp"], out
    )


def _number(table: Table) -> None:
    """Numbers of events without an id; a sell order closes a long position."""
    columns = table.columns
    number = columns["number"] = np.empty(len(table), np.int64)
    content_numbers(
        table.ticker, columns["packet_id"], columns["timestamp"], columns["side"],
        columns["price"], columns["qty"], number,
    )  # fmt: skip
    columns["position_side"] = -columns["side"]
