"""Books made again from l2 rows, compared level by level with the book table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tickbus_schemas.messages import ABSENT, L2Flag

from tickbus.kernels import book as kernel
from tickbus.manifest import DataFile
from tickbus.verify.findings import Findings
from tickbus.verify.l2 import Packets

Floats = npt.NDArray[np.float64]


class Replay:
    """The book of one ticker, moved forward packet by packet through its files."""

    def __init__(self, packets: Iterator[Packets]) -> None:
        self._files = packets
        self._now: Packets | None = next(packets, None)
        self._next: Packets | None = next(packets, None)
        self._done = 0
        """packets of `_now` that are in the book"""
        self._book = kernel.new()
        self.valid = False
        self.update_id = ABSENT
        self.timestamp = ABSENT

    def forward_to(self, packet_id: int, update_id: int) -> None:
        """Put every packet up to `packet_id` into the book, of that packet up to `update_id`.

        A snapshot releases the updates that waited for it: all of them carry its packet_id.
        """
        while self._now is not None:
            start, end = np.searchsorted(self._now.packet_id, (packet_id, packet_id + 1)).tolist()
            if start < end:
                meant = np.flatnonzero(self._now.update_id[start:end] == update_id)
                end = start + int(meant[-1]) + 1 if len(meant) else end
            self._apply(self._now, max(end, self._done))
            if self._done < len(self._now) or self._next is None:
                return
            self._now, self._next, self._done = self._next, next(self._files, None), 0

    def next_timestamp(self) -> int | None:
        """Venue time of the packet that comes next; None at the end."""
        if self._now is None:
            return None
        if self._done < len(self._now):
            return int(self._now.timestamp[self._done])
        return int(self._next.timestamp[0]) if self._next is not None else None

    def top(self, depth: int) -> Floats:
        """Prices and sizes (4, depth): bids, then asks, best first; NaN where there is none."""
        found = np.full((4, depth), np.nan)
        kernel.top(self._book, 1, found[0], found[1])
        kernel.top(self._book, -1, found[2], found[3])
        return found

    def _apply(self, packets: Packets, end: int) -> None:
        first = (packets.flags & int(L2Flag.SNAPSHOT_FIRST)) != 0
        empties = self._done + np.flatnonzero(first[self._done : end])
        for start, stop in zip(
            [self._done, *empties.tolist()], [*empties.tolist(), end], strict=True
        ):
            if first[start : start + 1].any():
                kernel.clear(self._book)
                self.valid = True
            begin, finish = int(packets.starts[start]), int(packets.starts[stop])
            side, price = packets.side, packets.price
            self._book = kernel.reserve(self._book, side, price, begin, finish)
            kernel.fold(self._book, side, price, packets.qty, begin, finish)
        if end > self._done:
            self.update_id = int(packets.update_id[end - 1])
            self.timestamp = int(packets.timestamp[end - 1])
        self._done = end


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
        columns = {name: _numbers(table[name]) for name in _NEEDED}
        levels = _levels(table, depth)
        # Rows of several intervals that one event closed: in the order of their packets.
        for row in np.argsort(columns["packet_id"], kind="stable").tolist():
            if columns["gap"][row]:
                findings.facts["book rows with a gap"] += 1
                continue
            replay.forward_to(int(columns["packet_id"][row]), int(columns["update_id"][row]))
            if not replay.valid:
                findings.facts["book rows before the first snapshot"] += 1
                continue
            findings.facts["book rows compared"] += 1
            timestamp = int(columns["timestamp"][row])
            fault = _fault(replay, levels[row], int(columns["update_id"][row]))
            if not fault and columns["interval_ms"][row]:
                fault = _grid_fault(replay, timestamp, findings)
            if fault:
                where = f"{ticker} {columns['interval_ms'][row]} ms {timestamp}"
                findings.problem("book", where, fault)


_NEEDED = ("timestamp", "packet_id", "update_id", "interval_ms", "gap")


def _fault(replay: Replay, stored: Floats, update_id: int) -> str:
    """What is wrong with a row's levels; '' if nothing is."""
    made = replay.top(stored.shape[1])
    if replay.update_id != update_id:
        return f"its update is {update_id}; that of its packet is {replay.update_id}"
    same = (made == stored) | (np.isnan(made) & np.isnan(stored))
    if same.all():
        return ""
    side, level = np.argwhere(~same)[0].tolist()
    name = ("bid_px", "bid_sz", "ask_px", "ask_sz")[side]
    return f"{name}_{level + 1:02d} is {stored[side, level]}; l2 gives {made[side, level]}"


def _grid_fault(replay: Replay, timestamp: int, findings: Findings) -> str:
    """What is wrong with a grid row's choice of events; '' if nothing is."""
    if replay.timestamp > timestamp:
        return f"an event of {replay.timestamp}, after its time, is in it"
    following = replay.next_timestamp()
    if following is not None and following <= timestamp:
        findings.facts["late events"] += 1  # came after the clock had closed the row
    return ""


def _levels(table: Any, depth: int) -> Floats:
    """(rows, 4, depth) of the level columns."""
    found = np.empty((table.num_rows, 4, depth))
    for place, kind in enumerate(("bid_px", "bid_sz", "ask_px", "ask_sz")):
        for level in range(depth):
            column = table[f"{kind}_{level + 1:02d}"]
            found[:, place, level] = pc.fill_null(column, float("nan")).to_numpy()
    return found


def _numbers(column: Any) -> npt.NDArray[Any]:
    if column.null_count:
        column = pc.fill_null(column, ABSENT)
    numbers: npt.NDArray[Any] = column.to_numpy()
    return numbers
