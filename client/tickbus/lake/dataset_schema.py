"""The columns of every table in the dataset, and their form in memory.

Times are plain int64, microseconds UTC: every program compares them without a conversion. An
absent integer or number is null in the file. In memory it is ABSENT or NaN, so that a column is
one array: the *plain form*, which the writer makes, the row hash is defined on, and verify gets
back from a file.
"""

from __future__ import annotations

from functools import lru_cache, partial
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from msgspec import inspect, structs
from tickbus_schemas.feeds import OF_NAME, Feed
from tickbus_schemas.messages import ABSENT, Header

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
FEEDS = tuple(OF_NAME)
_TYPES = {"<i8": "int64", "<f8": "float64", "<i4": "int32", "<u2": "uint16", "<i1": "int8"}
_BITS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63}


@lru_cache(maxsize=256)
def columns(feed: str, *, depth: int = 10, names: tuple[str, ...] = ()) -> tuple[Column, ...]:
    """Columns of a feed's table in order; `depth` of book, `names` of the features in feature."""
    row = OF_NAME[feed]
    own: list[Column] = []
    for _, several in groupby(row.table or _fields(row.kind), partial(_per, row.kind)):
        own += _columns(row, list(several), depth, names)
    types = {column.name: column for column in own}
    copies = [types[source]._replace(name=name) for name, source in row.copies.items()]
    return (*COMMON, *own, *copies)


def _fields(kind: type[Header]) -> list[str]:
    """What a message has besides what every table has; a text as one."""
    left_out = {column.name for column in COMMON}.union(Header.__struct_fields__)
    left_out |= {f"{name}_offsets" for name in kind.texts}
    of_text = {f"{name}_bytes": name for name in kind.texts}
    return [of_text.get(name, name) for name in kind.__struct_fields__ if name not in left_out]


def _per(kind: type[Header], name: str) -> str:
    return kind.columns[name].per if name in kind.columns else ""


def _columns(feed: Feed, fields: list[str], depth: int, names: tuple[str, ...]) -> list[Column]:
    """The columns of fields that follow each other and have as many values a row."""
    kind = feed.kind
    if _per(kind, fields[0]) == "rows*depth":
        return [
            Column(level_column(name, level), "float64", True)
            for level in range(1, depth + 1)
            for name in fields
        ]
    own = []
    for name in fields:
        if name in feed.flag_columns:
            own.append(Column(name, "bool"))
        elif name in kind.texts:
            own.append(Column(name, "string"))
        elif name in kind.columns:
            width = kind.columns[name]
            null = width.absent is not None or name in feed.nullable
            own.append(Column(name, _TYPES[width.code], null))
        elif name == "values":
            own += [Column(feature, "float64", True) for feature in names]
        else:
            own.append(_of_field(kind, name))
    return own


def _of_field(kind: type[Header], name: str) -> Column:
    """The column of a field that a message has once."""
    (field,) = (field for field in structs.fields(kind) if field.name == name)
    match inspect.type_info(field.type):
        case inspect.IntType(ge=int(low), le=int(high)):
            bits = max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0)
            fits = next(type for type, most in _BITS.items() if bits <= most)
            return Column(name, fits, field.default == ABSENT)
        case inspect.FloatType():
            return Column(name, "float64", True)
        case inspect.StrType():
            return Column(name, "string")
        case inspect.BoolType():
            return Column(name, "bool")
    raise TypeError(f"no column is made of {kind.__name__}.{name}")


def level_column(name: str, level: int) -> str:
    """`bid_px_01`: of `bid_px`, level 1 is the best."""
    return f"{name}_{level:02d}"


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
