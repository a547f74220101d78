"""From a group's tables to rows of the dataset, column by column.

What a packet's levels share is kept once (`Packed`) until the rows are written: a fifth of the
memory, and the copies are made once a row group instead of once a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tickbus.columns.group import Group
from tickbus.columns.table import Table
from tickbus.lake.dataset_schema import (
    COMMON,
    IN_PATH,
    Array,
    Rows,
    Text,
    Values,
    columns,
    level_column,
)
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.feeds import FEEDS, OF_KIND, OF_NAME, Feed
from tickbus_schemas.messages import ABSENT, SEQ_ID_ROWS, Header

from tickbus_writer import kernels
from tickbus_writer.partition import PartKey

DAY_US = 86_400_000_000
_EVERYWHERE = frozenset(column.name for column in COMMON)
_LEFT_OUT = {
    feed.name: [
        name
        for name, width in feed.kind.columns.items()
        if width.per == "rows" and feed.table and name not in (*feed.table, *_EVERYWHERE, "levels")
    ]
    for feed in FEEDS
}
"""columns of a message that its file has in another form"""


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
            OF_KIND[table.kind].name,
            Exchange(table.exchange),
            table.ticker,
            day=0,
            catalogue=table.catalogue,
            depth=table.depth,
            names=tuple(table.features),
        )
        yield from _by_day(key, rows)
    for kind, messages in group.singles.items():
        if kind in OF_KIND:
            yield from _of_singles(OF_KIND[kind], messages)


def _of_singles(
    feed: Feed, messages: Sequence[tuple[int, Header]]
) -> Iterator[tuple[PartKey, Packed]]:
    by_ticker: dict[tuple[int, str], list[tuple[int, Header]]] = {}
    for seq, message in messages:
        by_ticker.setdefault((message.exchange, message.ticker), []).append((seq, message))
    for (exchange, ticker), own in by_ticker.items():
        key = PartKey(feed.name, Exchange(exchange), ticker, day=0)
        yield from _by_day(key, message_rows(feed, own))


def _of_table(table: Table) -> Packed:
    held, kind = table.columns, table.kind
    rows: Rows = {
        name: held[name]
        for name, width in kind.columns.items()
        if width.per in ("rows", "rows*depth")
    }
    levels: Rows = {
        name: held[name] for name, width in kind.columns.items() if width.per == "levels"
    }
    if levels:
        counts = rows.pop("levels")
        rows["seq_id"] = packet_seq_ids(table)
        return Packed(rows, levels, _array(counts))
    for name in kind.texts:
        rows[name] = Text(held[f"{name}_offsets"], held[f"{name}_bytes"])
    if "interval_ms" in kind.__struct_fields__:
        rows["interval_ms"] = np.full(len(held["timestamp"]), table.interval_ms, np.int32)
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


def message_rows(feed: Feed, messages: Sequence[tuple[int, Header]]) -> Packed:
    """Messages without columns are few: one row each, with the sequence that it came under."""
    rows: Rows = {"seq_id": np.array([seq * SEQ_ID_ROWS for seq, _ in messages], np.int64)}
    for column in columns(feed.name):
        if column not in IN_PATH and column.name not in (*rows, *feed.copies):
            values = [getattr(message, column.name) for _, message in messages]
            is_text = column.type == "string"
            rows[column.name] = _text(values) if is_text else np.array(values, column.type)
    return Packed(rows, {}, None)


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
    row = OF_NAME[feed]
    rows = dict(packed.rows)
    for name, bits in row.flag_columns.items():
        rows[name] = (_array(rows["flags"]) & bits) != 0
    for name, width in row.kind.columns.items():
        if width.absent == 0:
            rows[name] = _sent(_array(rows[name]))
        elif width.per == "rows*depth":
            levels = _array(rows[f"{name.partition('_')[0]}_levels"])
            matrix = _by_level(_array(rows.pop(name)), levels)
            rows |= {level_column(name, level): column for level, column in enumerate(matrix, 1)}
    for name, source in row.copies.items():
        rows[name] = rows[source]
    for name in _LEFT_OUT[feed]:
        del rows[name]
    return rows if packed.counts is None else _of_levels(rows, packed.counts) | packed.levels


def _of_levels(of_packets: Rows, counts: npt.NDArray[np.int32]) -> Rows:
    """The packets' values in each of their levels."""
    rows: Rows = {}
    size = int(counts.sum())
    for name, values in of_packets.items():
        column = rows[name] = np.empty(size, _array(values).dtype)
        fill = kernels.number if name == "seq_id" else kernels.spread
        fill(_array(values), counts, column)
    return rows


def _sent(times: Array) -> Array:
    """In a message 0 says that the venue sends no such time; in a file that is null."""
    unsent = times == 0
    return np.where(unsent, ABSENT, times) if unsent.any() else times


def _by_level(matrix: Array, levels: Array) -> Array:
    """(rows, depth) to (depth, rows), with NaN where the book has no such level."""
    depth = matrix.shape[1]
    turned = np.ascontiguousarray(matrix.T)
    if len(levels) and levels.min() < depth:
        turned[np.arange(depth)[:, None] >= levels[None, :]] = np.nan
    return turned


def _array(values: Values) -> Array:
    assert not isinstance(values, Text)
    return values
