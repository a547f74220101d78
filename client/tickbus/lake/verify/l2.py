"""The l2 rows of one ticker, packet by packet, in log order and file by file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tickbus_schemas.messages import ABSENT, SEQ_ID_ROWS

from tickbus.lake.manifest import DataFile, EmptyPacket

Int64s = npt.NDArray[np.int64]
_PACKET = ("timestamp", "packet_id", "prev_update_id", "update_id", "flags")
_LEVEL = ("side", "price", "qty")


@dataclass(frozen=True)
class Packets:
    """Packets of one file: a value a packet; their levels lie from `starts[n]` to `starts[n+1]`."""

    seq_id: Int64s
    """of the first level (for a packet without levels: where it would be)"""
    timestamp: Int64s
    packet_id: Int64s
    prev_update_id: Int64s
    update_id: Int64s
    flags: Int64s
    starts: Int64s
    side: npt.NDArray[np.int8]
    price: npt.NDArray[np.float64]
    qty: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.seq_id)


def packets(
    root: Path, files: Sequence[DataFile], empty: Sequence[EmptyPacket]
) -> Iterator[Packets]:
    """All packets of a ticker, a file at a time; `empty`: those that left no row.

    Files of one block that differ only in day are read together: at midnight packets of both days
    can stand in one message.
    """
    blocks: dict[str, list[DataFile]] = {}
    for file in files:
        blocks.setdefault(file.path.rpartition("/")[2], []).append(file)
    left = sorted(empty, key=lambda one: one.seq_id)
    names = list(blocks)
    for at, name in enumerate(names):
        last = max(file.last_seq_id for file in blocks[name])
        here = [one for one in left if one.seq_id <= last + SEQ_ID_ROWS or at == len(names) - 1]
        left = left[len(here) :]
        yield _of_block(root, blocks[name], here)


def _of_block(root: Path, files: list[DataFile], empty: list[EmptyPacket]) -> Packets:
    columns = [*_PACKET, "seq_id", *_LEVEL]
    tables = []
    for file in files:
        with pq.ParquetFile(root / file.path) as parquet:
            tables.append(parquet.read(columns))
    table = pa.concat_tables(tables)
    values = {name: _numbers(table[name]) for name in columns}
    order = np.argsort(values["seq_id"], kind="stable") if len(files) > 1 else None
    if order is not None:
        values = {name: column[order] for name, column in values.items()}
    return _with_empty(_grouped(values), empty)


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    if column.null_count:
        column = pc.fill_null(column, ABSENT)
    numbers: npt.NDArray[Any] = column.to_numpy()
    return numbers


def _grouped(values: dict[str, npt.NDArray[Any]]) -> Packets:
    """Levels to packets: a new one wherever a packet's value or the message changes."""
    keys = [values[name] for name in _PACKET] + [values["seq_id"] // SEQ_ID_ROWS]
    new = np.ones(len(keys[0]), np.bool_)
    new[1:] = False
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    first = np.flatnonzero(new)
    return Packets(
        seq_id=values["seq_id"][first],
        timestamp=values["timestamp"][first],
        packet_id=values["packet_id"][first],
        prev_update_id=values["prev_update_id"][first],
        update_id=values["update_id"][first],
        flags=values["flags"][first].astype(np.int64),
        starts=np.append(first, len(new)),
        side=_writable(values["side"]),
        price=_writable(values["price"]),
        qty=_writable(values["qty"]),
    )


def _writable(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A writable array: for Numba a read-only one has another type."""
    return np.require(column, requirements="W")


def _with_empty(found: Packets, empty: list[EmptyPacket]) -> Packets:
    """Insert the packets without levels at their places."""
    if not empty:
        return found
    at = np.searchsorted(found.seq_id, [one.seq_id for one in empty])

    def inserted(name: str) -> Int64s:
        return np.insert(getattr(found, name), at, [getattr(one, name) for one in empty])

    return Packets(
        seq_id=inserted("seq_id"),
        timestamp=inserted("timestamp"),
        packet_id=inserted("packet_id"),
        prev_update_id=inserted("prev_update_id"),
        update_id=inserted("update_id"),
        flags=inserted("flags"),
        starts=np.insert(found.starts, at, found.starts[at]),
        side=found.side,
        price=found.price,
        qty=found.qty,
    )
