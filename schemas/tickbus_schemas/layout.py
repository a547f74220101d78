"""The lengths that a message's columns must have, checked before anything looks inside them.

For each message type its `columns` table is written out as one function, as dataclasses do it: a
loop over the table costs five times as much, and every reader pays it for every message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import MESSAGES, BarBatch, BookBatch, FeatureBatch, Header

ITEM_BYTES = {"<i8": 8, "<f8": 8, "<i4": 4, "<u2": 2, "<i1": 1}
"""Bytes of a value, by the code of a `Width`."""

_DAY_MS = 86_400_000
# How many values a column has, by its `per`; `rows` is known when these are evaluated. A text
# column has any length: its offsets say which, and they are values.
_COUNT = {
    "rows": "rows",
    "rows+1": "(rows + 1)",
    "levels": "len(m.side)",
    "rows*depth": "rows * m.depth",
}


def _lengths(kind: type[Header]) -> list[tuple[str, list[str]]]:
    """(bytes that they must have, names of the columns) for each group of like columns."""
    groups: dict[str, list[str]] = {}
    for name, width in kind.columns.items():
        if width.per != "text":
            must = f"{_COUNT[width.per]} * {ITEM_BYTES[width.code]}"
            groups.setdefault(must, []).append(name)
    return list(groups.items())


def _written_out(kind: type[Header]) -> Callable[[Header], int]:
    """A function message -> rows, or 0 where a length is wrong (or there is no row at all)."""
    if not kind.columns:
        return lambda message: 1
    tests = " and ".join(
        " == ".join([*(f"len(m.{name})" for name in names), must]) for must, names in _lengths(kind)
    )
    source = f"lambda m: rows if (rows := len(m.timestamp) >> 3) and {tests} else 0"
    return cast("Callable[[Header], int]", eval(source))  # its only input is our own table


ROWS: dict[type[Header], Callable[[Header], int]] = {kind: _written_out(kind) for kind in MESSAGES}
"""Per type: the rows of a message (packets of an L2Batch), 0 when its columns do not fit."""


def rows(message: Header) -> int:
    """Rows of a batch (packets of an L2Batch), 1 for a message without columns.

    Reject for a batch without rows or with a column of a length that the others do not imply.
    """
    count = ROWS[type(message)](message)
    if not count:
        raise Reject(_why_misfit(message))
    if type(message) in _DERIVED:
        _check_derived(cast("BookBatch | BarBatch | FeatureBatch", message), count)
    return count


_DERIVED = frozenset(kind for kind in MESSAGES if "interval_ms" in kind.__struct_fields__)


def _check_derived(message: BookBatch | BarBatch | FeatureBatch, count: int) -> None:
    if message.interval_ms and _DAY_MS % message.interval_ms:
        raise Reject(f"interval of {message.interval_ms} ms does not divide a day")
    if isinstance(message, FeatureBatch):
        names, values = message.names, message.values
        if len(values) != len(names) or len(set(names)) != len(names):
            raise Reject("features: one column for each name, each name once")
        if any(len(column) != 8 * count for column in values):
            raise Reject("features: a column has not one value a row")


def _why_misfit(message: Header) -> str:
    """Names the column; only a refused message pays for it."""
    known = {"m": message, "rows": len(message.timestamp) >> 3}  # type: ignore[attr-defined]  # every type with columns has it
    for must, names in _lengths(type(message)):
        length = eval(must, known)
        for name in names:
            if len(getattr(message, name)) != length:
                return f"{name}: {len(getattr(message, name))} bytes where {length} belong"
    return "a batch without rows"
