"""Feeds of which only the latest state counts: 24 h statistics, derivatives.

A venue may send what has changed only. A row holds all that is known of its ticker so far.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import ABSENT

from tickbus_ingest.session.kernels.latest import merge
from tickbus_ingest.session.kernels.leaders import LEADS, OTHER, contents
from tickbus_ingest.session.leaders import Leaders
from tickbus_ingest.session.tables import Flush, Table, grown
from tickbus_ingest.session.times import with_inferred

I64 = npt.NDArray[np.int64]
I8 = npt.NDArray[np.int8]
F64 = npt.NDArray[np.float64]


class LatestPolicy:
    """Merges partial messages of one feed, ticker by ticker; drops what says the same again."""

    def __init__(
        self, feed: str, tickers: int, values: tuple[str, ...], *, tells_fields: bool
    ) -> None:
        """`values`: the columns that may be left out, in the order of their bits in `fields`."""
        self._feed = feed
        self._names = values
        self._tells_fields = tells_fields
        self._last: F64 = np.full((tickers, len(values)), np.nan)
        self._last_us: I64 = np.zeros(tickers, np.int64)
        self._own: F64 = np.full((1, tickers, len(values)), np.nan)
        """what each connection said last: it may say what has changed only"""
        self._leaders = Leaders(tickers, is_state=True)

    def grow(self, tickers: int) -> None:
        """Make room for so many tickers."""
        self._last = grown(self._last, tickers, np.nan)
        self._last_us = grown(self._last_us, tickers)
        self._own = np.stack([grown(own, tickers, np.nan) for own in self._own])
        self._leaders.grow(tickers)

    def take(self, table: Table, seen_us: I64, out: Flush) -> None:
        """Publish rows that say something new."""
        columns = table.columns
        whole = [name for name in self._names if columns[name].dtype == np.int64]
        values = np.stack([_float(columns[name]) for name in self._names], axis=1)
        fields = np.zeros(len(table), np.uint16)
        fresh = np.empty(len(table), np.bool_)
        verdict = self._verdict(table, values)
        merge(
            table.ticker, columns["slot"], verdict != OTHER, verdict >= LEADS, columns["timestamp"],
            values, self._own, self._last, self._last_us, fields, fresh,
        )  # fmt: skip
        for place, name in enumerate(self._names):
            column = values[:, place]
            columns[name] = _whole(column) if name in whole else column
        columns["fields"] = fields
        columns["flags"] = np.zeros(len(table), np.uint16)
        columns["timestamp"] = with_inferred(
            self._feed, columns["timestamp"], columns["flags"], seen_us, columns["rcv_timestamp"],
            out,
        )  # fmt: skip
        if not fresh.all():
            out.count_duplicates(self._feed, table.stands & ~fresh, int(np.count_nonzero(~fresh)))
            table = table.take(fresh)
        if not self._tells_fields:
            del table.columns["fields"]
        if len(table):
            out.publish(self._feed, table)

    def leave(self, route: int, slot: int) -> None:
        """A connection is gone, and what it said last with it."""
        if slot < len(self._own):
            self._own[slot, self._leaders.of(route)] = np.nan
        self._leaders.leave(route, slot)

    def _verdict(self, table: Table, values: F64) -> I8:
        """Which rows count: those of the connection that leads."""
        most = int(table.columns["slot"].max()) + 1 - len(self._own)
        if most > 0:
            more = np.full((most, *self._own.shape[1:]), np.nan)
            self._own = np.concatenate((self._own, more))
        time, content = table.columns["timestamp"], np.empty(len(table), np.int64)
        contents(values, time, content)
        return self._leaders.judge(table, time, content)

    def interrupt(self, tickers: list[int], seen_us: list[int]) -> None:
        """The next message after a pause is published even if it says the same."""
        self._last_us[tickers] = 0


def _float(column: npt.NDArray[Any]) -> F64:
    """Whole numbers below 2**53 as doubles, ABSENT as NaN."""
    if column.dtype == np.float64:
        return column
    return np.where(column == ABSENT, np.nan, column.astype(np.float64))


def _whole(column: F64) -> I64:
    known = ~np.isnan(column)
    found = np.full(len(column), ABSENT, np.int64)
    found[known] = column[known].astype(np.int64)
    return found
