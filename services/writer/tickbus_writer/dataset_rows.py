"""From a group's tables to rows of the dataset, column by column.

What a packet's levels share is kept once (`Packed`) until the rows are written: a fifth of the
memory, and the copies are made once a row group instead of once a group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tickbus.columns.group import Group
from tickbus.columns.table import Table
from tickbus.lake.dataset_schema import Array, Rows, Text, Values, level_columns
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import (
    ABSENT,
    SEQ_ID_ROWS,
    BarBatch,
    BboBatch,
    BookBatch,
    BookFlag,
    FeatureBatch,
    L2Batch,
    L2Flag,
    Status,
    TradeBatch,
)

from tickbus_writer import kernels
from tickbus_writer.partition import PartKey

DAY_US = 86_400_000_000
_ANY_SNAPSHOT = L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST
_LEVELS = ("side", "action", "price", "qty")
_FEED = {
    TradeBatch: "trade",
    L2Batch: "l2",
    BboBatch: "bbo",
    BookBatch: "book",
    BarBatch: "bar",
    FeatureBatch: "feature",
}


class Packed(NamedTuple):
    """Rows of one key; of l2 a row is a packet, whose levels follow each other in `levels`."""

    rows: Rows
    """column name to values; prices and sizes of a book are (rows, depth)"""
    levels: Rows
    counts: npt.NDArray[np.int32] | None
    """of l2: levels of each packet"""

    @property
    def size(self) -> int:
        """Rows that the file gets."""
        return len(self.rows["seq_id"]) if self.counts is None else int(self.counts.sum())


def packed(group: Group) -> Iterator[tuple[PartKey, Packed]]:
    """The rows of a group's messages by the file that they belong to."""
    for table in group.tables.values():
        rows = _of_table(table)
        key = PartKey(
            _FEED[table.kind],
            Exchange(table.exchange),
            table.ticker,
            day=0,
            catalogue=table.catalogue,
            depth=table.depth,
            names=tuple(table.features),
        )
        yield from _by_day(key, rows)
    by_ticker: dict[tuple[int, str], list[tuple[int, Status]]] = {}
    for seq, status in group.statuses:
        by_ticker.setdefault((status.exchange, status.ticker), []).append((seq, status))
    for (exchange, ticker), statuses in by_ticker.items():
        key = PartKey("status", Exchange(exchange), ticker, day=0)
        yield from _by_day(key, Packed(status_rows(statuses), {}, None))


def _of_table(table: Table) -> Packed:
    columns = table.columns
    if table.kind is L2Batch:
        rows: Rows = {name: columns[name] for name in columns if name not in (*_LEVELS, "levels")}
        rows["seq_id"] = packet_seq_ids(table)
        return Packed(rows, {name: columns[name] for name in _LEVELS}, columns["levels"])
    rows = {name: column for name, column in columns.items() if not name.startswith("trade_id")}
    if table.kind is TradeBatch:
        rows["trade_id"] = Text(columns["trade_id_offsets"], columns["trade_id_bytes"])
    if table.interval_ms or table.kind is BookBatch:
        rows["interval_ms"] = np.full(len(columns["timestamp"]), table.interval_ms, np.int32)
    rows.update(table.features)
    rows["seq_id"] = table.seq_id()
    return Packed(rows, {}, None)


def packet_seq_ids(table: Table) -> Array:
    """Of an L2 table: `seq_id` of the first level of each packet (or where it would stand)."""
    counts = table.columns["levels"].astype(np.int64)
    starts = np.cumsum(counts) - counts
    message_starts = np.cumsum(table.message_levels) - table.message_levels
    base = table.message_seq * SEQ_ID_ROWS - message_starts
    seq_ids: Array = np.repeat(base, table.message_rows) + starts
    return seq_ids


def status_rows(statuses: Sequence[tuple[int, Status]]) -> Rows:
    """Status messages are few: one row each, with the sequence that it came under."""

    def numbers(name: str, dtype: Any) -> Array:
        return np.array([getattr(status, name) for _, status in statuses], dtype)

    rows: Rows = {
        name: numbers(name, np.int64)
        for name in (
            "timestamp",
            "rcv_timestamp",
            "packet_id",
            "from_id",
            "to_id",
            "from_timestamp",
            "to_timestamp",
        )
    }
    rows["kind"] = numbers("kind", np.int8)
    rows["line"] = numbers("line", np.int32)
    rows["seq_id"] = np.array([seq * SEQ_ID_ROWS for seq, _ in statuses], np.int64)
    for name in ("feed", "reason"):
        rows[name] = _text([getattr(status, name) for _, status in statuses])
    return rows


def _text(texts: list[str]) -> Text:
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return Text(offsets, np.frombuffer(b"".join(encoded), np.uint8))


def _by_day(key: PartKey, rows: Packed) -> Iterator[tuple[PartKey, Packed]]:
    """Split by the UTC day of `timestamp`; nearly always there is only one."""
    timestamp: Any = rows.rows["timestamp"]
    if not rows.size:
        return
    first, last = int(timestamp.min()) // DAY_US, int(timestamp.max()) // DAY_US
    if first == last:
        yield key._replace(day=first), rows
        return
    days = timestamp // DAY_US
    for day in np.unique(days).tolist():
        part = _where(rows, days == day)
        if part.size:
            yield key._replace(day=day), part


def _where(rows: Packed, mask: npt.NDArray[np.bool_]) -> Packed:
    """The rows for which `mask` is set."""
    kept = {name: _masked(values, mask) for name, values in rows.rows.items()}
    if rows.counts is None:
        return Packed(kept, {}, None)
    of_levels = np.repeat(mask, rows.counts)
    levels = {name: _masked(values, of_levels) for name, values in rows.levels.items()}
    return Packed(kept, levels, rows.counts[mask])


def _masked(values: Values, mask: npt.NDArray[np.bool_]) -> Values:
    if not isinstance(values, Text):
        return values[mask]
    lengths = np.diff(values.offsets)
    offsets = np.zeros(int(mask.sum()) + 1, np.int32)
    np.cumsum(lengths[mask], out=offsets[1:])
    return Text(offsets, values.data[np.repeat(mask, lengths)])


def join(pieces: Sequence[Packed]) -> Packed:
    """Pieces of one key, one after the other."""
    if len(pieces) == 1:
        return pieces[0]
    counts = [piece.counts for piece in pieces if piece.counts is not None]
    return Packed(
        join_rows([piece.rows for piece in pieces]),
        join_rows([piece.levels for piece in pieces]),
        np.concatenate(counts) if counts else None,
    )


def join_rows(pieces: Sequence[Rows]) -> Rows:
    """Rows of several pieces, one after the other."""
    if len(pieces) == 1:
        return pieces[0]
    return {name: _join([piece[name] for piece in pieces]) for name in pieces[0]}


def _join(pieces: list[Values]) -> Values:
    texts = [piece for piece in pieces if isinstance(piece, Text)]
    if not texts:
        return np.concatenate([_array(piece) for piece in pieces])
    starts = np.cumsum([0] + [len(text.data) for text in texts], dtype=np.int32)
    offsets = [text.offsets[1:] + start for text, start in zip(texts, starts, strict=False)]
    return Text(
        np.concatenate([np.zeros(1, np.int32), *offsets]),
        np.concatenate([text.data for text in texts]),
    )


def cut_rows(rows: Rows, first: int, last: int) -> Rows:
    """Rows `first` to `last` (exclusive), without a copy."""
    return {name: _cut(values, first, last) for name, values in rows.items()}


def _cut(values: Values, first: int, last: int) -> Values:
    if not isinstance(values, Text):
        return values[first:last]
    offsets = values.offsets[first : last + 1]
    return Text(offsets - offsets[0], values.data[offsets[0] : offsets[-1]])


def in_order(rows: Rows) -> Rows:
    """The rows by `seq_id`: those of several intervals come one interval after the other."""
    seq_id = _array(rows["seq_id"])
    if len(seq_id) < 2 or (seq_id[1:] > seq_id[:-1]).all():
        return rows
    order = np.argsort(seq_id, kind="stable")
    return {name: _array(values)[order] for name, values in rows.items()}


def expand(feed: str, packed: Packed) -> Rows:
    """The rows as the file has them, all columns in plain form."""
    shape = _EXPAND.get(feed)
    return shape(packed) if shape else dict(packed.rows)


def _expand_l2(packed: Packed) -> Rows:
    counts = packed.counts
    assert counts is not None
    of_packets = {name: _array(values) for name, values in packed.rows.items()}
    of_packets["is_snapshot"] = (of_packets["flags"] & int(_ANY_SNAPSHOT)) != 0
    of_packets["engine_timestamp"] = _sent(of_packets["engine_timestamp"])
    rows: Rows = {}
    for name, values in of_packets.items():
        column = rows[name] = np.empty(packed.size, values.dtype)
        fill = kernels.number if name == "seq_id" else kernels.spread
        fill(values, counts, column)
    return rows | packed.levels


def _expand_bbo(packed: Packed) -> Rows:
    rows = dict(packed.rows)
    rows["engine_timestamp"] = _sent(_array(rows["engine_timestamp"]))
    return rows


def _sent(engine_timestamp: Array) -> Array:
    """In a message 0 says that the venue sends no engine time; in a file that is null."""
    unsent = engine_timestamp == 0
    return np.where(unsent, ABSENT, engine_timestamp) if unsent.any() else engine_timestamp


def _expand_book(packed: Packed) -> Rows:
    rows = dict(packed.rows)
    flags = _array(rows.pop("flags"))
    for name, flag in (
        ("crossed", BookFlag.CROSSED),
        ("stale", BookFlag.STALE),
        ("gap", BookFlag.GAP),
    ):
        rows[name] = (flags & int(flag)) != 0
    sides = {}
    for side in ("bid", "ask"):
        levels = _array(rows.pop(f"{side}_levels"))
        for kind in ("px", "sz"):
            sides[side, kind] = _by_level(_array(rows.pop(f"{side}_{kind}")), levels)
    depth = sides["bid", "px"].shape[0]
    for name in level_columns(depth):
        side, kind, level = name.split("_")
        rows[name] = sides[side, kind][int(level) - 1]
    return rows


def _by_level(matrix: Array, levels: Array) -> Array:
    """(rows, depth) to (depth, rows), with NaN where the book has no such level."""
    depth = matrix.shape[1]
    turned = np.ascontiguousarray(matrix.T)
    if len(levels) and levels.min() < depth:
        turned[np.arange(depth)[:, None] >= levels[None, :]] = np.nan
    return turned


_EXPAND: dict[str, Callable[[Packed], Rows]] = {
    "l2": _expand_l2,
    "bbo": _expand_bbo,
    "book": _expand_book,
}


def _array(values: Values) -> Array:
    assert not isinstance(values, Text)
    return values
