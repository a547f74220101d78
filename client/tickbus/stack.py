"""Many messages of one kind become one array a column; the hot path of every reader.

Per message this costs a few passes in C over lists of bytes; per row nothing but one copy and one
look of a compiled kernel at each value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from tickbus_schemas.layout import ROWS
from tickbus_schemas.messages import (
    MESSAGES,
    BookBatch,
    FeatureBatch,
    Header,
    L2Batch,
    TradeBatch,
)
from tickbus_schemas.values import FINITE, FINITE_OR_NULL

from tickbus import column_checks

Array: TypeAlias = npt.NDArray[Any]
Int64s: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


class Unsound(Exception):
    """Some message of the stack breaks the rules of layout; `codec.check` tells which and why."""


class _Column(NamedTuple):
    name: str
    dtype: np.dtype[Any]
    per: str


class _Plan(NamedTuple):
    """What is the same for every message of a kind."""

    rows_of: Callable[[Header], int]
    """rows of a message, 0 when its columns do not fit together"""
    fields_of: Callable[[Any], tuple[Any, ...]]
    columns: tuple[_Column, ...]


_more_of = attrgetter("more")


def _plan(kind: type[Header]) -> _Plan:
    columns = tuple(
        _Column(name, np.dtype("u1" if width.per == "text" else width.code), width.per)
        for name, width in kind.columns.items()
    )
    return _Plan(ROWS[kind], attrgetter(*kind.columns), columns)


_PLANS = {kind: _plan(kind) for kind in MESSAGES if kind.columns}
_NO_COUNTS = np.zeros(0, np.int64)


class Stack:
    """The columns of many messages of one kind (and one depth or list of names), joined."""

    def __init__(self, kind: type[Header], messages: Sequence[Any]) -> None:
        """Join; Unsound when the columns of some message do not fit together."""
        self.kind = kind
        self._plan = _PLANS[kind]
        self.depth: int = messages[0].depth if kind is BookBatch else 0
        self.catalogue: str = messages[0].catalogue if kind is FeatureBatch else ""
        self.message_rows = np.fromiter(map(self._plan.rows_of, messages), np.int64, len(messages))
        self.message_more = np.fromiter(map(_more_of, messages), np.int64, len(messages))
        if not self.message_rows.all():
            raise Unsound
        fields = zip(*map(self._plan.fields_of, messages), strict=True)
        data: dict[str, tuple[bytes, ...]] = dict(zip(kind.columns, fields, strict=True))
        self.columns = {
            column.name: _joined(data[column.name], column.dtype) for column in self._plan.columns
        }
        self.message_levels = _lengths(data["side"]) if kind is L2Batch else _NO_COUNTS
        self._message_text = _lengths(data["trade_id_bytes"]) if kind is TradeBatch else _NO_COUNTS
        self.features = _joined_features(messages) if kind is FeatureBatch else {}
        self.bad = self._bad_values()
        """one bool a message: its values break the rules of `tickbus_schemas.values`"""
        self._row_ends = _ends(self.message_rows)
        self._level_ends = _ends(self.message_levels)
        if kind is TradeBatch and not self.bad.any():
            self.columns["trade_id_offsets"] = column_checks.join_offsets(
                self.message_rows, self._message_text, self.columns["trade_id_offsets"]
            )

    def _bad_values(self) -> Bools:
        columns, rows = self.columns, self.message_rows
        if self.kind is L2Batch:
            return column_checks.bad_levels(
                rows,
                self.message_levels,
                columns["levels"],
                columns["side"],
                columns["action"],
                columns["price"],
                columns["qty"],
            )
        if self.kind is TradeBatch:
            return column_checks.bad_trades(
                rows,
                self._message_text,
                columns["trade_id_offsets"],
                columns["trade_id_bytes"],
                columns["side"],
                columns["price"],
                columns["qty"],
            )
        bad = np.zeros(len(rows), np.bool_)
        for name in FINITE.get(self.kind, ()):
            bad |= column_checks.bad_numbers(rows * max(self.depth, 1), columns[name], False)
        for name in FINITE_OR_NULL.get(self.kind, ()):
            numbers = [columns[name]] if name in columns else self.features.values()
            for column in numbers:
                bad |= column_checks.bad_numbers(rows, column, True)
        if self.kind is BookBatch:
            for name in ("bid_levels", "ask_levels"):
                bad |= column_checks.bad_counts(rows, columns[name], self.depth)
        return bad

    def part(self, first: int, last: int) -> tuple[dict[str, Array], dict[str, Array]]:
        """Columns and features of messages `first` to `last` (not included), without a copy."""
        row, row_end = int(self._row_ends[first]), int(self._row_ends[last])
        rows = slice(row, row_end)
        columns: dict[str, Array] = {}
        for column in self._plan.columns:
            joined = self.columns[column.name]
            if column.per == "rows":
                columns[column.name] = joined[rows]
            elif column.per == "levels":
                columns[column.name] = joined[self._level_ends[first] : self._level_ends[last]]
            elif column.per == "rows*depth":
                columns[column.name] = joined.reshape(-1, self.depth)[rows]
            elif column.per == "text":
                offsets = self.columns["trade_id_offsets"]
                columns[column.name] = joined[offsets[row] : offsets[row_end]]
            else:
                columns[column.name] = joined[row : row_end + 1] - joined[row]
        return columns, {name: joined[rows] for name, joined in self.features.items()}


def _joined_features(messages: Sequence[FeatureBatch]) -> dict[str, Array]:
    """A column a name over messages of the same names; Unsound where one does not fit."""
    names = messages[0].names
    lengths = [8 * (len(message.timestamp) >> 3) for message in messages]
    if len(set(names)) != len(names) or any(len(m.values) != len(names) for m in messages):
        raise Unsound
    joined = {}
    for at, name in enumerate(names):
        column = tuple(message.values[at] for message in messages)
        if list(map(len, column)) != lengths:
            raise Unsound
        joined[name] = _joined(column, np.dtype("<f8"))
    return joined


def _lengths(column: tuple[bytes, ...]) -> Int64s:
    return np.fromiter(map(len, column), np.int64, len(column))


def _joined(column: tuple[bytes, ...], dtype: np.dtype[Any]) -> Array:
    # A bytearray, so that all arrays are writable: kernels are compiled once for one kind.
    return np.frombuffer(bytearray().join(column), dtype)


def _ends(counts: Int64s) -> Int64s:
    return cast(Int64s, np.concatenate((np.zeros(1, np.int64), np.cumsum(counts))))
