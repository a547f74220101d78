"""How each column is laid out in Parquet, as measured: docs/decisions/0006.

Integers are DELTA_BINARY_PACKED and what takes few values is dictionary and runs. Where a packet's
value stands in each of its levels, plain bytes under zstd cost a third less than deltas, and so do
sizes of quotes, which repeat the one before. Prices and quantities are worth a higher level: they
are nine tenths of an l2 file.

https://parquet.apache.org/docs/file-format/data-pages/encodings/
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tickbus.lake.dataset_schema import Column

DELTA = "DELTA_BINARY_PACKED"
DICTIONARY = "dictionary"
PLAIN = "PLAIN"
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
_EXCEPTIONS = {
    ("l2", "rcv_timestamp"): PLAIN,
    ("l2", "prev_update_id"): PLAIN,
    ("l2", "update_id"): PLAIN,
    ("l2", "packet_id"): PLAIN,
    ("bbo", "bid_sz"): PLAIN,
    ("bbo", "ask_sz"): PLAIN,
    ("trade", "trade_id"): "DELTA_BYTE_ARRAY",
}
_HARDER = {
    ("l2", "price"),
    ("l2", "qty"),
    ("bbo", "bid_sz"),
    ("bbo", "ask_sz"),
    ("bbo", "timestamp"),
    ("bbo", "engine_timestamp"),
    ("trade", "timestamp"),
    ("trade", "price"),
    ("trade", "qty"),
}
_SMOOTH = {"book", "bar", "feature"}
"""Derived numbers hardly repeat: a dictionary is longer than the values."""


def encoding(feed: str, column: Column) -> str:
    """DICTIONARY or the name of a Parquet encoding."""
    if feed in _SMOOTH and column.type == "float64":
        return PLAIN
    return _EXCEPTIONS.get((feed, column.name)) or _BY_TYPE[column.type]


@lru_cache(maxsize=256)
def writer_options(feed: str, table: tuple[Column, ...], level: int) -> dict[str, Any]:
    """Arguments of `pyarrow.parquet.ParquetWriter` for a feed's table."""
    layout = {column.name: encoding(feed, column) for column in table}
    harder = min(level + HARDER, 22)
    hard = feed in _SMOOTH
    return {
        "compression": "zstd",
        "compression_level": {
            name: harder if hard or (feed, name) in _HARDER else level for name in layout
        },
        "use_dictionary": [name for name, how in layout.items() if how == DICTIONARY],
        "column_encoding": {name: how for name, how in layout.items() if how != DICTIONARY},
        "write_statistics": ["timestamp", "rcv_timestamp", "seq_id", "packet_id"],
        # Arrow's own schema would make readers see the ticker as a dictionary type.
        "store_schema": False,
        "version": "2.6",
    }
