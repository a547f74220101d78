"""One Parquet file while it grows: rows gather, are spilled as row groups, and are hashed."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tickbus.lake.dataset_schema import IN_PATH, Rows, Text, schema, to_arrow
from tickbus.lake.rowhash import RowHash
from tickbus_schemas.messages import SCHEMA

from tickbus_writer.dataset_rows import Packed, cut_rows, expand, in_order, join, join_rows
from tickbus_writer.encodings import writer_options
from tickbus_writer.partition import PartKey


class Part:
    """Rows of one key in one block; `path` is its temporary file.

    Row groups have `row_group_rows` rows, except the last one and those before a `spill`: where
    they end depends on the rows alone, so every writer makes the same file.
    """

    def __init__(self, key: PartKey, path: str, *, zstd_level: int, row_group_rows: int) -> None:
        self.key = key
        self.path = path
        self.rows = 0
        self.first_seq_id = 0
        self.last_seq_id = 0
        self.first_timestamp = 2**63 - 1
        self.last_timestamp = -(2**63)
        self._zstd_level = zstd_level
        self._row_group_rows = row_group_rows
        self._waiting: list[Packed] = []
        self._rest: list[Rows] = []
        """expanded rows that did not fill a row group: none or one piece, before `_waiting`"""
        self._rows_waiting = 0
        self._hash = RowHash(key.table)
        self._writer: pq.ParquetWriter | None = None

    def append(self, pieces: list[Packed]) -> None:
        """Take the rows of one group; pieces may interleave (several intervals of a ticker)."""
        self._waiting += pieces
        self._rows_waiting += sum(piece.size for piece in pieces)
        if self._rows_waiting >= self._row_group_rows:
            rows = self._take()
            full = self._rows_waiting // self._row_group_rows * self._row_group_rows
            for first in range(0, full, self._row_group_rows):
                self._write(cut_rows(rows, first, first + self._row_group_rows))
            if full < self._rows_waiting:
                self._rest = [cut_rows(rows, full, self._rows_waiting)]
            self._rows_waiting -= full

    def spill(self) -> None:
        """Write the rows that wait as one row group."""
        if self._rows_waiting:
            self._write(self._take())
            self._rows_waiting = 0

    def close(self, stream_range: str) -> str:
        """Write the footer, with the schema's version and the block's name; the rows' hash."""
        self.spill()
        assert self._writer is not None  # a part is made for rows
        self._writer.add_key_value_metadata(
            {"tickbus.schema": str(SCHEMA), "tickbus.range": stream_range}
        )
        self._writer.close()
        return self._hash.hexdigest(self.key.exchange.token, self.key.ticker)

    def abandon(self) -> None:
        """Close the file as it is; the temporary is removed by its owner."""
        if self._writer is not None:
            with contextlib.suppress(OSError):  # a full disk has been told of already
                self._writer.close()

    def _take(self) -> Rows:
        """All rows that wait, in plain form."""
        pieces = self._rest
        if self._waiting:
            pieces = [*pieces, in_order(expand(self.key.feed, join(self._waiting)))]
        self._rest, self._waiting = [], []
        return join_rows(pieces)

    def _write(self, rows: Rows) -> None:
        if self._writer is None:
            self._writer = self._open()
        self._note(rows)
        self._hash.update(rows)
        table = self._table(rows)
        self._writer.write_table(table, row_group_size=table.num_rows)

    def _note(self, rows: Rows) -> None:
        seq_id, timestamp = rows["seq_id"], rows["timestamp"]
        assert not isinstance(seq_id, Text)
        assert not isinstance(timestamp, Text)
        if not self.rows:
            self.first_seq_id = int(seq_id[0])
        self.rows += len(seq_id)
        self.last_seq_id = int(seq_id[-1])
        self.first_timestamp = min(self.first_timestamp, int(timestamp.min()))
        self.last_timestamp = max(self.last_timestamp, int(timestamp.max()))

    def _open(self) -> pq.ParquetWriter:
        table = self.key.table
        options: dict[str, Any] = writer_options(self.key.feed, table, self._zstd_level)
        fields = list(schema(table))
        at = [column.name for column in table].index("ticker")
        # One index a row instead of one text a row; the file's schema says string all the same.
        fields[at] = pa.field("ticker", pa.dictionary(pa.int32(), pa.string()), nullable=False)
        return pq.ParquetWriter(self.path, pa.schema(fields), **options)

    def _table(self, rows: Rows) -> pa.Table:
        assert self._writer is not None
        count = len(rows["seq_id"])
        constants = {
            "exchange": pa.array(np.full(count, int(self.key.exchange), np.int16)),
            "ticker": pa.DictionaryArray.from_arrays(
                pa.array(np.zeros(count, np.int32)), pa.array([self.key.ticker])
            ),
        }
        arrays = [
            constants[column.name] if column in IN_PATH else to_arrow(column, rows[column.name])
            for column in self.key.table
        ]
        return pa.Table.from_arrays(arrays, schema=self._writer.schema)
