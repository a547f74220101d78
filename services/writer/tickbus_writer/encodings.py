"""How each column is laid out in Parquet, as measured: docs/decisions/0006.

Integers are DELTA_BINARY_PACKED and what takes few values is dictionary and runs; what is better
for a column of one feed stands at the feed (`tickbus_schemas.feeds`).

https://parquet.apache.org/docs/file-format/data-pages/encodings/
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tickbus.lake.dataset_schema import Column
from tickbus_schemas.feeds import OF_NAME, PLAIN, Feed

DELTA = "DELTA_BINARY_PACKED"
DICTIONARY = "dictionary"
HARDER = 3
"""levels above the common one for columns that are worth it"""

_BY_TYPE = {
    "int64": DELTA,
    "int32": DICTIONARY,
    "int16": DICTIONARY,
    "int8": DICTIONARY,
    "uint16": DICTIONARY,
    "float64": DICTIONARY,
    "string": DICTIONARY,
    "bool": PLAIN,
}


def encoding(feed: Feed, column: Column) -> str:
    """DICTIONARY or the name of a Parquet encoding."""
    if feed.smooth and column.type == "float64":
        return PLAIN
    return feed.encodings.get(column.name) or _BY_TYPE[column.type]


@lru_cache(maxsize=256)
def writer_options(feed: str, table: tuple[Column, ...], level: int) -> dict[str, Any]:
    """Arguments of `pyarrow.parquet.ParquetWriter` for a feed's table."""
    row = OF_NAME[feed]
    layout = {column.name: encoding(row, column) for column in table}
    harder = min(level + HARDER, 22)
    return {
        "compression": "zstd",
        "compression_level": {
            name: harder if row.smooth or name in row.harder else level for name in layout
        },
        "use_dictionary": [name for name, how in layout.items() if how == DICTIONARY],
        "column_encoding": {name: how for name, how in layout.items() if how != DICTIONARY},
        "write_statistics": ["timestamp", "rcv_timestamp", "seq_id", "packet_id"],
        # Arrow's own schema would make readers see the ticker as a dictionary type.
        "store_schema": False,
        "version": "2.6",
    }
