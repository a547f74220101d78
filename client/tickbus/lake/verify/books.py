"""Rebuilds books from l2 rows and compares them level by level with the book table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tickbus_schemas.messages import ABSENT

from tickbus.book.kernels import levels as kernel
from tickbus.lake.manifest import DataFile
from tickbus.lake.verify.findings import SHOWN_MAX, Findings
from tickbus.lake.verify.kernels.recompute import COMPARED, DONE, NO_BOOK, compare
from tickbus.lake.verify.l2 import Packets

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

_NEVER = np.iinfo(np.int64).max
_KINDS = ("bid_px", "bid_sz", "ask_px", "ask_sz")


@dataclass(frozen=True)
class Rows:
    """Rows of a book table, in the order of their packets."""

    timestamp: Int64s
    packet_id: Int64s
    update_id: Int64s
    interval_ms: Int64s
    levels: Floats
    """(rows, 4, depth): as `_KINDS`, best first; NaN where there is none"""

    def __len__(self) -> int:
        return len(self.timestamp)


@dataclass(frozen=True)
class Made:
    """The rebuilt books at the packets that rows name."""

    update_id: Int64s
    timestamp: Int64s
    following: Int64s
    """venue time of the next packet; `_NEVER` at the end"""
    fault: Int64s
    """first level that differs, or SAME or NO_BOOK of `kernels.recompute`"""
    value: Floats
    """the value of the rebuilt book there"""


class Replay:
    """The book of one ticker, moved forward packet by packet through its files."""

    def __init__(self, packets: Iterator[Packets]) -> None:
        self._files = packets
        self._now: Packets | None = next(packets, None)
        self._next: Packets | None = next(packets, None)
        self._progress = np.zeros(3, np.int64)
        self._book = kernel.new()
        self._update_id = self._timestamp = ABSENT
        """of the last packet of the files before"""

    def compare(self, rows: Rows) -> Made:
        """Apply every packet up to the one of a row, and compare the book with the row.

        A snapshot releases the updates that waited for it: all of them carry its packet_id, and of
        them the book gets those up to the update and the time of the row.
        """
        count = len(rows)
        made = Made(
            update_id=np.full(count, ABSENT),
            timestamp=np.full(count, ABSENT),
            following=np.full(count, _NEVER),
            fault=np.full(count, NO_BOOK),
            value=np.full(count, np.nan),
        )
        packets = np.zeros(count, np.int64)
        self._progress[COMPARED] = start = 0
        while self._now is not None:
            self._compare_in(self._now, rows, packets, made)
            stop = int(self._progress[COMPARED])
            at = packets[start:stop]
            made.update_id[start:stop] = np.append(self._update_id, self._now.update_id)[at]
            made.timestamp[start:stop] = np.append(self._timestamp, self._now.timestamp)[at]
            made.following[start:stop] = np.append(self._now.timestamp, _NEVER)[at]
            start = stop
            if stop == count:
                break
            self._leave(self._now)
        return made

    def _compare_in(self, file: Packets, rows: Rows, packets: Int64s, made: Made) -> None:
        """Compare until the rows or the file end."""
        while not compare(
            self._book,
            self._progress,
            file.packet_id,
            file.update_id,
            file.timestamp,
            file.flags,
            file.starts,
            file.side,
            file.price,
            file.qty,
            self._next is None,
            rows.packet_id,
            rows.update_id,
            rows.timestamp,
            rows.levels,
            packets,
            made.fault,
            made.value,
        ):
            packet = int(self._progress[DONE])
            start, stop = file.starts[packet : packet + 2].tolist()
            self._book = kernel.reserve(self._book, file.side, file.price, start, stop)

    def _leave(self, file: Packets) -> None:
        """Go on to the next file; all packets of this one are in the book."""
        if len(file):
            self._update_id = int(file.update_id[-1])
            self._timestamp = int(file.timestamp[-1])
        self._now, self._next = self._next, next(self._files, None)
        self._progress[DONE] = 0


def check_books(
    root: Path, ticker: str, files: Sequence[DataFile], replay: Replay, findings: Findings
) -> None:
    """Compare every row of a ticker's book table; rows that say `gap` are only counted.

    A grid row is the book after the last event at or before its time.
    """
    for file in files:
        with pq.ParquetFile(root / file.path) as parquet:
            depth = sum(name.startswith("bid_px_") for name in parquet.schema_arrow.names)
            table = parquet.read()
        is_gap = _numbers(table["gap"]).astype(np.bool_)
        _add(findings, "book rows with a gap", is_gap)
        rows = _rows(table, depth, ~is_gap)
        _judge(ticker, rows, replay.compare(rows), findings)


def _judge(ticker: str, rows: Rows, made: Made, findings: Findings) -> None:
    """Report rows that are wrong; of many only the first are listed."""
    has_book = made.fault != NO_BOOK
    _add(findings, "book rows before the first snapshot", ~has_book)
    _add(findings, "book rows compared", has_book)
    update = has_book & (made.update_id != rows.update_id)
    levels = made.fault >= 0
    of_grid = has_book & ~update & ~levels & (rows.interval_ms != 0)
    after = of_grid & (made.timestamp > rows.timestamp)
    # Late events: they came after the clock had closed the row.
    _add(findings, "late events", of_grid & ~after & (made.following <= rows.timestamp))
    wrong = np.flatnonzero(update | levels | after)
    for row in wrong[:SHOWN_MAX].tolist():
        where = f"{ticker} {rows.interval_ms[row]} ms {rows.timestamp[row]}"
        if update[row]:
            fault = f"its update is {rows.update_id[row]}; that of its packet is "
            fault += str(made.update_id[row])
        elif levels[row]:
            fault = _level_fault(rows, made, row)
        else:
            fault = f"an event of {made.timestamp[row]}, after its time, is in it"
        findings.problem("book", where, fault)
    if len(wrong) > SHOWN_MAX:
        findings.counts["book"] += len(wrong) - SHOWN_MAX


def _level_fault(rows: Rows, made: Made, row: int) -> str:
    """Which level of a row differs from the book."""
    kind, level = divmod(int(made.fault[row]), rows.levels.shape[2])
    stored = rows.levels[row, kind, level]
    return f"{_KINDS[kind]}_{level + 1:02d} is {stored}; l2 gives {made.value[row]}"


def _add(findings: Findings, fact: str, where: npt.NDArray[np.bool_]) -> None:
    count = int(where.sum())
    if count:
        findings.facts[fact] += count


def _rows(table: Any, depth: int, chosen: npt.NDArray[np.bool_]) -> Rows:
    """The chosen rows of a table, in the order of their packets."""
    numbers = {name: _numbers(table[name]) for name in _NEEDED}
    order = np.argsort(numbers["packet_id"], kind="stable")
    order = order[chosen[order]]
    columns = {name: column[order].astype(np.int64) for name, column in numbers.items()}
    return Rows(**columns, levels=_levels(table, depth)[order])


_NEEDED = ("timestamp", "packet_id", "update_id", "interval_ms")


def _levels(table: Any, depth: int) -> Floats:
    """(rows, 4, depth) of the level columns."""
    found = np.empty((table.num_rows, 4, depth))
    for place, kind in enumerate(_KINDS):
        for level in range(depth):
            column = table[f"{kind}_{level + 1:02d}"]
            found[:, place, level] = pc.fill_null(column, float("nan")).to_numpy()
    return found


def _numbers(column: Any) -> npt.NDArray[Any]:
    if column.null_count:
        column = pc.fill_null(column, ABSENT)
    numbers: npt.NDArray[Any] = column.to_numpy()
    return numbers
