"""The race of the connections that carry the same: who brings each event first, and by how much.

It decides nothing: what counts is decided by ids, times and leaders. It tells how good each
connection is. Events are trades, book updates and quotes; those that two connections bring at all.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tickbus_schemas.messages import ABSENT

from tickbus_ingest.session.arrived import Arrived
from tickbus_ingest.session.decoding import Decoded
from tickbus_ingest.session.kernels.leaders import contents
from tickbus_ingest.session.kernels.race import (
    BUCKETS,
    COUNTS,
    DROPS,
    FIELDS,
    MISSED,
    SINCE_US,
    SLOTS,
    WAYS,
    WINS,
    race_keys,
    run_race,
    settle_race,
)
from tickbus_ingest.session.quotes import VALUES
from tickbus_ingest.session.tables import I32, I64, Array
from tickbus_ingest.venue.contract import Line, TradeIds, UpdateIds, Venue
from tickbus_ingest.venue.feeds import FEEDS, Treatment

SETTLE_US = 2_000_000
"""What a connection has not brought after this time it will not bring; else it is counted back."""
SAMPLES_MAX = 100_000
"""Leads of one connection between two reports."""
_RACED = (Treatment.TRADES, Treatment.BOOK, Treatment.QUOTES)
_FEEDS = [feed.name for feed in FEEDS if feed.treatment in _RACED]


@dataclass(slots=True)
class LineReport:
    """How one line did among those of its route since the last report; times in us."""

    name: str
    line: int
    """number of its present connection"""
    wins: int
    """events that it brought first"""
    drops: int
    """events that it brought later than another one: they were dropped"""
    gaps: int
    """events that another one brought, and it never did"""
    lead_us: tuple[int, int] = (0, 0)
    """median and 99th percentile of how much earlier it was, where it was first"""
    behind_us: tuple[int, int] = (0, 0)
    """the same of how much later, where it was not"""

    @property
    def facts(self) -> dict[str, Any]:
        """For /status and logs."""
        return {
            "name": self.name, "line": self.line, "wins": self.wins, "drops": self.drops,
            "gaps": self.gaps, "median_lead_us": self.lead_us[0], "p99_lead_us": self.lead_us[1],
            "median_behind_us": self.behind_us[0], "p99_behind_us": self.behind_us[1],
        }  # fmt: skip

    @property
    def text(self) -> str:
        """As the log says it."""
        return (
            f"{self.name} wins={self.wins} drops={self.drops} gaps={self.gaps} "
            f"lead_us={self.lead_us[0]}/{self.lead_us[1]} "
            f"behind_us={self.behind_us[0]}/{self.behind_us[1]}"
        )


@dataclass(slots=True)
class _Tally:
    """Of one line, by its name: it may have had several connections since the last report."""

    line: int = 0
    counts: I64 = field(default_factory=lambda: np.zeros(COUNTS, np.int64))
    leads: list[I64] = field(default_factory=list)
    lags: list[I64] = field(default_factory=list)
    samples: int = 0


class Race:
    """Among the connections of one session."""

    def __init__(self, venue: Venue) -> None:
        self._has_trade_ids = venue.trade_ids is not TradeIds.NONE
        self._ids_are_global = venue.numbering_is_global
        linked = venue.update_ids in (UpdateIds.LINKED, UpdateIds.COUNTED)
        self._has_update_ids = linked and venue.numbering_is_global
        self._events: I64 = np.zeros((0, WAYS, FIELDS), np.int64)
        self._counts: I64 = np.zeros((0, COUNTS), np.int64)
        self._runners: dict[int, Line] = {}
        self._heard_us: dict[int, int] = {}
        """by runner: when it brought something last"""
        self._tallies: defaultdict[str, _Tally] = defaultdict(_Tally)

    @property
    def is_on(self) -> bool:
        """Whether two connections carry one route."""
        return len({runner // SLOTS for runner in self._runners}) < len(self._runners)

    def enter(self, line: Line, route: int, slot: int) -> None:
        """A connection is open."""
        runner = route * SLOTS + slot
        if runner >= len(self._counts):
            more = np.zeros(((route + 1) * SLOTS - len(self._counts), COUNTS), np.int64)
            self._counts = np.concatenate((self._counts, more))
        self._runners[runner] = line
        self._tallies[line.name].line = line.number

    def leave(self, route: int, slot: int) -> None:
        """A connection is gone."""
        runner = route * SLOTS + slot
        line = self._runners.pop(runner, None)
        if line is None:
            return
        heard_us = self._heard_us.pop(runner, 0)
        if len(self._events):  # what it had not brought when it brought its last it never will
            settle_race(heard_us, self._events, self._counts)
        self._add_up(runner, line.name)
        self._counts[runner] = 0

    def run(self, decoded: Decoded, arrived: Arrived) -> None:
        """Enter the events of a batch."""
        if not self.is_on:
            return
        if not len(self._events):
            self._events = np.zeros((BUCKETS, WAYS, FIELDS), np.int64)
        runners = arrived.route.astype(np.int64) * SLOTS + arrived.slot
        for runner in np.unique(runners).tolist():
            self._heard_us[runner] = int(arrived.received_us[runners == runner].max())
        for place, feed in enumerate(_FEEDS):
            columns = decoded.tables.get(feed)
            if columns is None or (feed == "trade" and not self._has_trade_ids):
                continue
            one, two = self._identity(feed, columns, decoded)
            frame, ticker, count = columns["frame"], columns["ticker"], len(one)
            if feed == "l2" and self._has_update_ids and columns["whole"].any():
                kept = ~columns["whole"]  # whole books begin a subscription: no race
                one, two, frame, ticker = one[kept], two[kept], frame[kept], ticker[kept]
                count = len(one)
            key, lead_us = np.empty(count, np.int64), np.empty(count, np.int64)
            winner, loser = np.empty(count, np.int32), np.empty(count, np.int32)
            race_keys(place, arrived.route, ticker, one, two, frame, key)
            later = run_race(
                key, frame, arrived.route, arrived.slot, arrived.received_us, self._events,
                self._counts, winner, loser, lead_us,
            )  # fmt: skip
            if later:
                self._time(winner[:later], loser[:later], lead_us[:later])

    def report(self, now_us: int) -> list[LineReport]:
        """How each line did since the last report; nothing of lines that run alone."""
        if len(self._events):
            settle_race(now_us - SETTLE_US, self._events, self._counts)
        for runner, line in self._runners.items():
            self._add_up(runner, line.name)
        names = {line.name for line in self._runners.values()} if self.is_on else set()
        reports = []
        for name in sorted(self._tallies):
            tally = self._tallies[name]
            if name in names or tally.counts.any():
                wins, drops, gaps = tally.counts[[WINS, DROPS, MISSED]].tolist()
                reports.append(
                    LineReport(
                        name, tally.line, wins, drops, gaps, _middle_and_most(tally.leads),
                        _middle_and_most(tally.lags),
                    )
                )  # fmt: skip
            self._tallies[name] = _Tally(tally.line)
        return reports

    def _identity(self, feed: str, columns: dict[str, Array], decoded: Decoded) -> tuple[I64, I64]:
        """Two numbers of each event that are the same on every connection."""
        time = columns["timestamp"]
        if feed == "trade":
            return columns["number"], np.zeros_like(time)
        if feed == "bbo":
            if self._ids_are_global and (columns["update_id"] != ABSENT).all():
                return columns["update_id"], np.zeros_like(time)
            content = np.empty(len(time), np.int64)
            contents(np.stack([columns[name] for name in VALUES], axis=1), time, content)
            return content, time
        if self._has_update_ids:
            return columns["update_id"], np.zeros_like(time)
        assert decoded.levels is not None
        counts: I64 = np.diff(decoded.levels.ends)
        return time, columns["checksum"] ^ counts

    def _time(self, winner: I32, loser: I32, lead_us: I64) -> None:
        for runner, line in self._runners.items():
            tally = self._tallies[line.name]
            if tally.samples > SAMPLES_MAX:
                continue
            for rows, samples in ((winner == runner, tally.leads), (loser == runner, tally.lags)):
                if rows.any():
                    samples.append(lead_us[rows])
                    tally.samples += len(samples[-1])

    def _add_up(self, runner: int, name: str) -> None:
        counts = self._counts[runner]
        since_us = int(counts[SINCE_US])
        counts[SINCE_US] = 0
        self._tallies[name].counts += counts
        counts[:] = 0
        counts[SINCE_US] = since_us


def _middle_and_most(samples: list[I64]) -> tuple[int, int]:
    """Median and 99th percentile; 0 of nothing."""
    if not samples:
        return 0, 0
    middle, most = np.percentile(np.concatenate(samples), (50, 99)).tolist()
    return int(middle), int(most)
