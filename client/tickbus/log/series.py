"""The columns of a message as polars series over the same memory (tickbus[lake])."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import structs
from tickbus_schemas.messages import BookBatch, FeatureBatch, Header, L2Batch, Message

_ARROW = {"<i8": pa.int64(), "<f8": pa.float64(), "<i4": pa.int32(), "<u2": pa.uint16()}
_ARROW["<i1"] = pa.int8()


def types_of(kind: type[Header]) -> dict[str, Any]:
    """Polars types of the fields of a message without columns that may be absent."""
    absent: dict[type[Any], Any] = {int: pl.Int64, float: pl.Float64}
    return {
        field.name: absent[type(field.default)]
        for field in structs.fields(kind)
        if type(field.default) in absent
    }


def series_of(message: Message) -> list[pl.Series]:
    """One series a column; all of the message's rows (levels of L2)."""
    series = []
    for name, width in message.columns.items():
        data: bytes = getattr(message, name)
        if width.per == "rows" and isinstance(message, L2Batch):
            if name != "levels":
                series.append(_repeated(name, data, width.code, message))
        elif width.per in ("rows", "levels"):
            series.append(_series(name, data, width.code))
        elif width.per == "rows*depth" and isinstance(message, BookBatch):
            flat = _series(name, data, width.code)
            series.append(flat.reshape((-1, message.depth)))
    for name in message.texts:
        offsets, text = (getattr(message, f"{name}_{part}") for part in ("offsets", "bytes"))
        series.append(_texts(name, offsets, text))
    if isinstance(message, FeatureBatch):
        series += [
            _series(name, data, "<f8")
            for name, data in zip(message.names, message.values, strict=True)
        ]
    return series


def _series(name: str, data: bytes, code: str) -> pl.Series:
    """Arrow's view of the bytes, and polars' view of that."""
    kind: Any = _ARROW[code]
    count = len(data) // (kind.bit_width // 8)
    return _named(name, pa.Array.from_buffers(kind, count, [None, pa.py_buffer(data)]))


def _texts(name: str, offsets: bytes, data: bytes) -> pl.Series:
    count = len(offsets) // 4 - 1
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return _named(name, pa.Array.from_buffers(pa.string(), count, buffers))


def _repeated(name: str, data: bytes, code: str, message: L2Batch) -> pl.Series:
    counts = np.frombuffer(message.levels, "<i4")
    return pl.Series(name, np.repeat(np.frombuffer(data, code), counts))


def _named(name: str, array: Any) -> pl.Series:
    made = pl.from_arrow(array)
    assert isinstance(made, pl.Series)
    return made.alias(name)
