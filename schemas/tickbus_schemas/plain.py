"""The decoded form of a message: plain values, as `json-schema.json` describes them.

For people, JSON and tests. It visits every value in Python; programs read the columns.
"""

from __future__ import annotations

import itertools
from base64 import b64encode
from math import isnan
from typing import Any

from tickbus_schemas.columns import ABSENT
from tickbus_schemas.messages import BookBatch, FeatureBatch, Header, L2Batch
from tickbus_schemas.values import column


def plain(message: Header) -> dict[str, Any]:
    """Fields by name: columns as lists, absent values as None, trade ids as text, bytes as base64.

    The columns must have been checked (`codec.decode`).
    """
    fields: dict[str, Any] = {"type": type(message).__name__}
    for name in message.__struct_fields__:
        value = getattr(message, name)
        width = message.columns.get(name)
        if width is None:
            fields[name] = b64encode(value).decode() if isinstance(value, bytes) else _known(value)
        elif width.per in ("rows", "levels", "rows*depth"):
            fields[name] = _values(value, width.code)
    for name in message.texts:
        fields[name] = texts(message, name)
    if isinstance(message, FeatureBatch):
        fields["values"] = [_values(values, "<f8") for values in message.values]
    elif isinstance(message, BookBatch):
        for name in ("bid_px", "bid_sz", "ask_px", "ask_sz"):
            fields[name] = _by_row(fields[name], message.depth)
    return fields


def texts(message: Header, name: str) -> list[str]:
    """A text column, such as `trade_id`, row by row."""
    ends = column(getattr(message, f"{name}_offsets"), "<i4").tolist()
    text = getattr(message, f"{name}_bytes").decode("ascii")
    return [text[start:end] for start, end in itertools.pairwise(ends)]


def _values(data: bytes, code: str) -> list[Any]:
    return [_known(value) for value in column(data, code).tolist()]


def _known(value: Any) -> Any:
    absent = value == ABSENT or (isinstance(value, float) and isnan(value))
    return None if absent else value


def _by_row(values: list[Any], depth: int) -> list[list[Any]]:
    return [values[start : start + depth] for start in range(0, len(values), depth)]


_PER_MESSAGE = frozenset(("schema", "epoch", "message_no", "more", "depth", "catalogue", "names"))


def plain_rows(message: Header) -> list[dict[str, Any]]:
    """The rows as dicts of plain values, `exchange` and `ticker` in each.

    Of an L2Batch the level rows, each with its packet's values; of a FeatureBatch a key a feature.
    A message without columns is one row.
    """
    fields = {name: value for name, value in plain(message).items() if name not in _PER_MESSAGE}
    del fields["type"]
    if isinstance(message, FeatureBatch):
        columns = fields.pop("values")
        fields |= dict(zip(message.names, columns, strict=True))
    by_row = {name: value for name, value in fields.items() if isinstance(value, list)}
    if not by_row:
        return [fields]
    shared = {name: value for name, value in fields.items() if name not in by_row}
    if isinstance(message, L2Batch):
        by_row = _by_level(message, by_row)
    return [
        shared | dict(zip(by_row, values, strict=True))
        for values in zip(*by_row.values(), strict=True)
    ]


def _by_level(message: L2Batch, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Packet values repeated for each of the packet's levels."""
    counts = columns.pop("levels")
    return {
        name: values
        if message.columns[name].per == "levels"
        else [value for value, count in zip(values, counts, strict=True) for _ in range(count)]
        for name, values in columns.items()
    }
