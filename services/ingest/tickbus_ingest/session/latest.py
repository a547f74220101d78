"""Feeds of which only the latest state counts: 24 h statistics, derivatives.

A venue may send what has changed only. A row holds all that is known of its ticker so far.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import ABSENT

from tickbus_ingest.session.kernels.latest import merge
from tickbus_ingest.session.tables import Flush, Table, grown
from tickbus_ingest.session.times import with_inferred

I64 = npt.NDArray[np.int64]
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

    def grow(self, tickers: int) -> None:
        """Make room for so many tickers."""
        self._last = grown(self._last, tickers, np.nan)
        self._last_us = grown(self._last_us, tickers)

    def take(self, table: Table, seen_us: I64, out: Flush) -> None:
        """Publish rows that say something new."""
        columns = table.columns
        whole = [name for name in self._names if columns[name].dtype == np.int64]
        values = np.stack([_float(columns[name]) for name in self._names], axis=1)
        fields = np.zeros(len(table), np.uint16)
        fresh = np.empty(len(table), np.bool_)
        merge(table.ticker, columns["timestamp"], values, self._last, self._last_us, fields, fresh)
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
            out.fates["duplicate", self._feed] += int(np.count_nonzero(table.stands & ~fresh))
            out.counts["duplicates", self._feed] += int(np.count_nonzero(~fresh))
            table = table.take(fresh)
        if not self._tells_fields:
            del table.columns["fields"]
        if len(table):
            out.publish(self._feed, table)

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
