"""Every feed of a venue but its books: which policy takes its rows, and what interrupts it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from tickbus_schemas.feeds import OF_KIND
from tickbus_schemas.messages import ABSENT

from tickbus_ingest.session.kernels.trades import content_numbers
from tickbus_ingest.session.latest import LatestPolicy
from tickbus_ingest.session.quotes import QuotePolicy
from tickbus_ingest.session.tables import I64, Flush, Table
from tickbus_ingest.session.times import with_inferred
from tickbus_ingest.session.trades import TradePolicy
from tickbus_ingest.venue.contract import TradeIds
from tickbus_ingest.venue.feeds import BY_NAME, FEEDS, Feed, Kind, Treatment

_MESSAGES = {feed.name: kind for kind, feed in OF_KIND.items()}


class Policy(Protocol):
    """What every feed's policy does besides taking rows."""

    def interrupt(self, tickers: list[int], seen_us: list[int]) -> None:
        """What was sent of these tickers after `seen_us`, a venue time of each, may be lost."""


class Feeds:
    """The policies of one venue's feeds, by their treatment."""

    def __init__(self, tickers: int, trade_ids: TradeIds, *, wait_us: int) -> None:
        """`wait_us`: how long an early trade waits for the ones before it, in venue time."""
        self.trades: dict[str, TradePolicy] = {}
        self.events: dict[str, TradePolicy] = {}
        self.quotes: dict[str, QuotePolicy] = {}
        self.latest: dict[str, LatestPolicy] = {}
        for feed in FEEDS:
            name = feed.name
            match feed.treatment:
                case Treatment.TRADES:
                    policy = TradePolicy(tickers, trade_ids, wait_us=wait_us, feed=name)
                    self.trades[name] = policy
                case Treatment.EVENTS:
                    policy = TradePolicy(tickers, TradeIds.UNIQUE, wait_us=0, feed=name)
                    self.events[name] = policy
                case Treatment.QUOTES:
                    self.quotes[name] = QuotePolicy(tickers)
                case Treatment.LATEST:
                    tells = feed.tells_fields
                    self.latest[name] = LatestPolicy(
                        name, tickers, _merged(feed), tells_fields=tells
                    )
        self.policies: dict[str, Policy] = {
            **self.trades, **self.events, **self.quotes, **self.latest,
        }  # fmt: skip

    def take(self, feed: str, table: Table, seen_us: I64, out: Flush) -> None:
        """Publish what is new. `seen_us`: highest venue time seen before each row, 0 where none."""
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
            case Treatment.LATEST:
                self.latest[feed].take(table, seen_us, out)

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
