"""The hash of a table's rows: the same however they were grouped, encoded or compressed.

Defined as XXH3-128 (hex) over, in this order: `exchange`, 0, `ticker`, 0, the number of rows as
decimal text, 0; then for each further column in the table's order: its name, 0, its type, 0, and
the XXH3-128 digest of its values. Values are little-endian and in plain form (see
`tickbus.lake.dataset_schema`: a null integer is -2**63, a null number the NaN 0x7ff8000000000000, a
boolean one byte); text is the digest of the lengths (i32), then the digest of the UTF-8 bytes.

https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import xxhash
from tickbus_schemas.exchanges import Exchange

from tickbus.lake.dataset_schema import IN_PATH, Column, Rows, Text, from_arrow, table_of


class RowHash:
    """Hash of the rows of one file, added piece by piece."""

    def __init__(self, table: tuple[Column, ...]) -> None:
        self._columns = [column for column in table if column not in IN_PATH]
        self._values = {column.name: xxhash.xxh3_128() for column in self._columns}
        """of text: the lengths"""
        self._texts = {
            column.name: xxhash.xxh3_128() for column in self._columns if column.type == "string"
        }
        self._rows = 0

    def update(self, rows: Rows) -> None:
        """Add rows: every column of the table but `exchange` and `ticker`."""
        for column in self._columns:
            values = rows[column.name]
            digest = self._values[column.name]
            if isinstance(values, Text):
                digest.update(np.diff(values.offsets).data)
                self._texts[column.name].update(values.data.data)
            elif column.type == "float64" and column.nullable:
                missing = np.isnan(values)
                # NaNs can have different bits.
                numbers = np.where(missing, np.nan, values) if missing.any() else values
                digest.update(np.ascontiguousarray(numbers).data)
            else:
                digest.update(np.ascontiguousarray(values).data)
        self._rows += len(rows["seq_id"])

    def hexdigest(self, exchange: str, ticker: str) -> str:
        """The hash of all rows so far, of one ticker of one exchange (its token)."""
        whole = xxhash.xxh3_128(f"{exchange}\0{ticker}\0{self._rows}\0".encode())
        for column in self._columns:
            whole.update(f"{column.name}\0{column.type}\0".encode())
            whole.update(self._values[column.name].digest())
            if column.name in self._texts:
                whole.update(self._texts[column.name].digest())
        return whole.hexdigest()


def of_file(path: Path, look: Callable[[Rows], None] = lambda _: None) -> str:
    """The hash of the rows of one Parquet file of a dataset; `look` sees them piece by piece.

    '' when `exchange` or `ticker` are not one value in all rows, which no file of ours has.
    """
    with pq.ParquetFile(path) as file:
        table = table_of(file.schema_arrow)
        rows = RowHash(table)
        owners: set[tuple[int, str]] = set()
        for group in range(file.num_row_groups):
            read = file.read_row_group(group)
            plain = {
                column.name: from_arrow(column, read[column.name])
                for column in table
                if column not in IN_PATH
            }
            rows.update(plain)
            look(plain)
            pairs = read.group_by(["exchange", "ticker"]).aggregate([])
            owners |= set(
                zip(*(pairs[name].to_pylist() for name in ("exchange", "ticker")), strict=True)
            )
    if len(owners) != 1:
        return ""
    exchange, ticker = owners.pop()
    return rows.hexdigest(Exchange(exchange).token, ticker)
