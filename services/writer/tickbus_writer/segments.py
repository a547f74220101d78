"""Cuts of a group: where a block ends, where memory is emptied, and the part in between.

Both rules read the messages only, so every writer cuts at the same ones, however they arrived.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from tickbus.columns.group import Group
from tickbus.columns.table import Table
from tickbus_schemas.messages import L2Batch

Int64s = npt.NDArray[np.int64]
BLOCK_SEQS = 2**20
"""a block ends before each multiple of this many sequences"""
_NS = 1_000_000_000


class Cutter:
    """Says where a block ends: before a multiple of 2**20 sequences, or of `block_s` store time."""

    def __init__(self, block_s: int) -> None:
        self._block_ns = block_s * _NS
        self._seq_block = 0
        self._time_block = 0

    def open(self, seq: int, stored_ns: int) -> None:
        """A block starts with this message."""
        self._seq_block = seq // BLOCK_SEQS
        self._time_block = stored_ns // self._block_ns

    def count(self, seqs: Int64s, stored_ns: Int64s) -> tuple[int, str]:
        """How many of the next messages are in the open block, and what ends it ('': nothing).

        The server's clock may be set back: only a later time ends a block.
        """
        beyond = seqs // BLOCK_SEQS != self._seq_block
        late = stored_ns // self._block_ns > self._time_block
        ends = beyond | late
        first = int(ends.argmax()) if ends.any() else len(ends)
        if first == len(ends):
            return first, ""
        return first, "sequence" if beyond[first] else "time"


class Filling:
    """Says after which messages all rows in memory are written, each `bytes_max` of rows."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0

    def fulls(self, message_bytes: Int64s) -> list[int]:
        """Places in the next messages behind which memory is to be emptied (exclusive ends)."""
        total = int(message_bytes.sum())
        if self._bytes + total < self._bytes_max:
            self._bytes += total
            return []
        ends = []
        for place, size in enumerate(message_bytes.tolist()):  # rare: once each `bytes_max`
            self._bytes += size
            if self._bytes >= self._bytes_max:
                ends.append(place + 1)
                self._bytes = 0
        return ends


def message_bytes(group: Group) -> Int64s:
    """Bytes in memory of each message of a group (the text of trade ids left out)."""
    sizes = np.zeros(group.messages, np.int64)
    for table in group.tables.values():
        row_bytes = sum(array.itemsize for array in table.features.values())
        level_bytes = 0
        for name, array in table.columns.items():
            per = table.kind.columns[name].per
            if per == "levels":
                level_bytes += array.itemsize
            elif per != "text":
                row_bytes += array.itemsize * (table.depth if per == "rows*depth" else 1)
        held = table.message_rows * row_bytes
        if table.kind is L2Batch:
            held = held + table.message_levels * level_bytes
        sizes[np.searchsorted(group.seqs, table.message_seq)] += held
    return sizes


def segment(group: Group, first: int, last: int) -> Group:
    """Messages `first` to `last` (exclusive) of a group, as a group; columns are not copied."""
    if first == 0 and last == group.messages:
        return group
    low, high = int(group.seqs[first]), int(group.seqs[last - 1])

    def inside(seq: int) -> bool:
        return low <= seq <= high

    tables = {key: _cut(table, low, high) for key, table in group.tables.items()}
    return replace(
        group,
        seqs=group.seqs[first:last],
        stored_ns=group.stored_ns[first:last],
        numbers=group.numbers[first:last],
        tables={key: table for key, table in tables.items() if len(table.message_seq)},
        singles={
            kind: [one for one in several if inside(one[0])]
            for kind, several in group.singles.items()
        },
        rejected=[one for one in group.rejected if inside(one.seq)],
        traced=[one for one in group.traced if inside(one.seq)],
        breaks=[one for one in group.breaks if inside(one.seq)],
        missing=[one for one in group.missing if inside(one.last_seq + 1)],
    )


def _cut(table: Table, low: int, high: int) -> Table:
    """The messages of a table with low <= sequence <= high."""
    first = int(np.searchsorted(table.message_seq, low))
    last = int(np.searchsorted(table.message_seq, high, side="right"))
    rows = _span(table.message_rows, first, last)
    levels = _span(table.message_levels, first, last)
    columns = {}
    for name, array in table.columns.items():
        per = table.kind.columns[name].per
        if per in ("rows", "rows*depth"):
            columns[name] = array[rows]
        elif per == "levels":
            columns[name] = array[levels]
    for name in table.kind.texts:
        offsets = table.columns[f"{name}_offsets"][rows.start : rows.stop + 1]
        columns[f"{name}_offsets"] = offsets - offsets[0]
        columns[f"{name}_bytes"] = table.columns[f"{name}_bytes"][offsets[0] : offsets[-1]]
    return replace(
        table,
        columns=columns,
        message_seq=table.message_seq[first:last],
        message_rows=table.message_rows[first:last],
        message_levels=table.message_levels[first:last],
        features={name: array[rows] for name, array in table.features.items()},
    )


def _span(counts: Int64s, first: int, last: int) -> slice:
    start = int(counts[:first].sum())
    return slice(start, start + int(counts[first:last].sum()))
