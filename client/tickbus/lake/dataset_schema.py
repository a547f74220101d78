"""The columns of every table in the dataset, and their form in memory.

Times are plain int64, microseconds UTC: every program compares them without a conversion. An
absent integer or number is null in the file. In memory it is ABSENT or NaN, so that a column is
one array: the *plain form*, which the writer makes, the row hash is defined on, and verify gets
back from a file.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from tickbus_schemas.messages import ABSENT, BarBatch

Array: TypeAlias = npt.NDArray[Any]


class Text(NamedTuple):
    """A text column: `offsets` i32[rows + 1] (first is 0) into `data` u8, UTF-8."""

    offsets: npt.NDArray[np.int32]
    data: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.offsets) - 1


Values: TypeAlias = Array | Text
Rows: TypeAlias = dict[str, Values]
"""Column name to values, all of one length, in plain form."""


class Column(NamedTuple):
    """A column of a table: Arrow's type name, and whether nulls may stand in it."""

    name: str
    type: str
    nullable: bool = False


IN_PATH = (Column("exchange", "int16"), Column("ticker", "string"))
"""One value in a whole file."""
COMMON = (
    Column("timestamp", "int64"),
    Column("rcv_timestamp", "int64"),
    *IN_PATH,
    Column("seq_id", "int64"),
    Column("packet_id", "int64"),
)
_FLAGS = Column("flags", "uint16")
_TRADE = (
    Column("trade_id", "string"),
    Column("side", "int8"),
    Column("price", "float64"),
    Column("qty", "float64"),
    _FLAGS,
)
_L2 = (
    Column("action", "int8"),
    Column("side", "int8"),
    Column("price", "float64"),
    Column("qty", "float64"),
    Column("prev_update_id", "int64", True),
    Column("update_id", "int64", True),
    Column("is_snapshot", "bool"),
    Column("engine_timestamp", "int64", True),
    _FLAGS,
)
_BBO = (
    *(Column(name, "float64") for name in ("bid_px", "bid_sz", "ask_px", "ask_sz")),
    Column("update_id", "int64", True),
    Column("engine_timestamp", "int64", True),
    _FLAGS,
)
_STATUS = (
    Column("kind", "int8"),
    Column("feed", "string"),
    Column("reason", "string"),
    Column("from_id", "int64", True),
    Column("to_id", "int64", True),
    Column("from_timestamp", "int64", True),
    Column("to_timestamp", "int64", True),
    Column("line", "int32"),
)
_BUCKET = (Column("interval_ms", "int32"), Column("end_timestamp", "int64"))
_BAR = (
    *_BUCKET,
    *(
        Column(name, "float64", True) if width.code == "<f8" else Column(name, "int64", True)
        for name, width in BarBatch.columns.items()
        if name not in ("timestamp", "end_timestamp", "rcv_timestamp", "packet_id", "flags")
    ),
    _FLAGS,
)
_TABLES = {"trade": _TRADE, "l2": _L2, "bbo": _BBO, "status": _STATUS, "bar": _BAR}
FEEDS = ("trade", "l2", "bbo", "status", "book", "bar", "feature")


def level_columns(depth: int) -> list[str]:
    """`bid_px_01, bid_sz_01, ask_px_01, ask_sz_01, bid_px_02 ...` to `depth`."""
    return [
        f"{side}_{kind}_{level:02d}"
        for level in range(1, depth + 1)
        for side in ("bid", "ask")
        for kind in ("px", "sz")
    ]


@lru_cache(maxsize=256)
def columns(feed: str, *, depth: int = 10, names: tuple[str, ...] = ()) -> tuple[Column, ...]:
    """Columns of a feed's table in order; `depth` of book, `names` of the features in feature."""
    if feed == "book":
        own: tuple[Column, ...] = (
            Column("interval_ms", "int32"),
            Column("update_id", "int64", True),
            *(Column(name, "float64", True) for name in level_columns(depth)),
            *(Column(name, "bool") for name in ("crossed", "stale", "gap")),
        )
    elif feed == "feature":
        own = (*_BUCKET, *(Column(name, "float64", True) for name in names), _FLAGS)
    else:
        own = _TABLES[feed]
    return COMMON + own


@lru_cache(maxsize=256)
def table_hash(table: tuple[Column, ...]) -> str:
    """Tells tables of different columns apart."""
    names = "\0".join(f"{name}:{kind}" for name, kind, _ in table)
    return xxhash.xxh3_64_hexdigest(names.encode())


@lru_cache(maxsize=256)
def schema(table: tuple[Column, ...]) -> pa.Schema:
    """Arrow's schema of a table."""
    return pa.schema(
        [
            pa.field(column.name, pa.type_for_alias(column.type), nullable=column.nullable)
            for column in table
        ]
    )


def table_of(found: pa.Schema) -> tuple[Column, ...]:
    """The columns that a file has, in its order."""
    return tuple(
        Column(
            field.name,
            "float64" if str(field.type) == "double" else str(field.type),
            field.nullable,
        )
        for field in found
    )


def to_arrow(column: Column, values: Values) -> pa.Array:
    """The Arrow array of a column's plain form; numbers without nulls are not copied."""
    if isinstance(values, Text):
        buffers = [None, pa.py_buffer(values.offsets), pa.py_buffer(values.data)]
        return pa.StringArray.from_buffers(len(values), buffers[1], buffers[2])
    if column.nullable and values.dtype == np.float64:
        return pa.array(values, from_pandas=True)  # NaN is null
    if column.nullable:
        absent = values == ABSENT
        return pa.array(values, mask=absent) if absent.any() else pa.array(values)
    return pa.array(values)


def from_arrow(column: Column, values: pa.ChunkedArray) -> Values:
    """The plain form of a column that was read from a file.

    The caller checks beforehand that a column without nulls by definition has none.
    """
    if column.type == "string":
        return _text(values)
    if column.nullable and values.null_count:
        values = pc.fill_null(values, float("nan") if column.type == "float64" else ABSENT)
    numbers: Array = values.to_numpy()
    return numbers


def _text(values: pa.ChunkedArray) -> Text:
    array = pa.concat_arrays([chunk.cast(pa.string()) for chunk in values.chunks] or [_NO_TEXT])
    _, offset_bytes, text = array.buffers()
    if len(array) == 0:
        return Text(np.zeros(1, np.int32), np.zeros(0, np.uint8))
    offsets = np.frombuffer(offset_bytes, np.int32)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(text or b"", np.uint8)[offsets[0] : offsets[-1]]
    return Text(offsets - offsets[0], data)


_NO_TEXT = pa.array([], pa.string())
