"""Joins the columns of many messages: one array a column. This is the hot path of every reader.

Only compiled kernels loop over messages or rows.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import (
    MESSAGES,
    BookBatch,
    FeatureBatch,
    Header,
    L2Batch,
    TradeBatch,
)
from tickbus_schemas.values import CODES, FINITE, FINITE_OR_NULL

from tickbus.columns.kernels import column_checks
from tickbus.columns.kernels.message import SIZE, START, join
from tickbus.columns.rules import FIELDS, MORE
from tickbus.columns.scanned import Scanned

Array: TypeAlias = npt.NDArray[Any]
Int64s: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


class _Column(NamedTuple):
    name: str
    dtype: np.dtype[Any]
    per: str


class _Plan(NamedTuple):
    """What is the same for every message of a kind."""

    fields: dict[str, int]
    first: int
    """field of the first column; the others follow"""
    columns: tuple[_Column, ...]
    checks: Int64s
    """of `column_checks.bad_fields`, for each column and at the end for a FeatureBatch's values"""


def _plan(kind: type[Header]) -> _Plan:
    columns = tuple(
        _Column(name, np.dtype("u1" if width.per == "text" else width.code), width.per)
        for name, width in kind.columns.items()
    )
    fields = FIELDS[kind]
    first = fields[columns[0].name]
    names = [one.name for one in columns] + ["values"] * (kind is FeatureBatch)
    assert [fields[name] for name in names] == list(range(first, first + len(names))), kind
    checks = np.array([_check(kind, name) for name in names], np.int64)
    return _Plan(fields, first, columns, checks)


def _check(kind: type[Header], name: str) -> int:
    if name in FINITE[kind]:
        return column_checks.FINITE
    if name in FINITE_OR_NULL[kind]:
        return column_checks.FINITE_OR_NULL
    if name in CODES[kind]:
        return column_checks.codes(CODES[kind][name])
    if kind is BookBatch and name in ("bid_levels", "ask_levels"):
        return column_checks.DEPTHS
    return column_checks.NONE


_PLANS = {kind: _plan(kind) for kind in MESSAGES if kind.columns}
_F8 = np.dtype("<f8")
_NO_COUNTS = np.zeros(0, np.int64)


class Joined:
    """The columns of many messages of one kind (and one depth or list of names), joined.

    places: of the messages in `scanned`, at least one, in the order wanted; names: of a
    FeatureBatch's values.
    """

    def __init__(
        self, kind: type[Header], scanned: Scanned, places: Int64s, names: tuple[str, ...] = ()
    ) -> None:
        self.kind = kind
        self._plan = plan = _PLANS[kind]
        self._messages = len(places)
        last = plan.first + len(plan.checks)
        listed = last - 1 if kind is FeatureBatch else -1
        joined, bounds = join(scanned.data, scanned.found, places, plan.first, last, listed)
        parts = [joined[begin:end] for begin, end in bounds.tolist()]
        self.columns: dict[str, Array] = {
            column.name: part.view(column.dtype)
            for column, part in zip(plan.columns, parts, strict=False)
        }
        values = parts[len(plan.columns) :]
        self.features: dict[str, Array] = {
            name: part.view(_F8) for name, part in zip(names, values, strict=True)
        }
        found = scanned.found
        self.message_rows: Int64s = found[places, plan.fields["timestamp"], SIZE] >> 3
        self.message_more: Int64s = found[places, MORE, START]
        self.message_levels = (
            found[places, plan.fields["side"], SIZE] if kind is L2Batch else _NO_COUNTS
        )
        self.depth = int(found[places[0], plan.fields["depth"], START]) if kind is BookBatch else 0
        if kind is TradeBatch:
            text = found[places, plan.fields["trade_id_bytes"], SIZE]
            self.bad = self._bad_trades(text)
            if not self.bad.any():
                self.columns["trade_id_offsets"] = column_checks.join_offsets(
                    self.message_rows, text, self.columns["trade_id_offsets"]
                )
        elif kind is L2Batch:
            self.bad = self._bad_levels()
        else:
            checks = plan.checks
            if kind is FeatureBatch:
                checks = np.concatenate((checks[:-1], checks[-1:].repeat(len(names))))
            self.bad = column_checks.bad_fields(
                joined, bounds, checks, self.message_rows, self.depth
            )

    bad: Bools
    """one bool a message: its values break the rules of `tickbus_schemas.values`"""

    def _bad_levels(self) -> Bools:
        columns = self.columns
        return column_checks.bad_levels(
            self.message_rows,
            self.message_levels,
            columns["levels"],
            columns["side"],
            columns["action"],
            columns["price"],
            columns["qty"],
        )

    def _bad_trades(self, text: Int64s) -> Bools:
        columns = self.columns
        return column_checks.bad_trades(
            self.message_rows,
            text,
            columns["trade_id_offsets"],
            columns["trade_id_bytes"],
            columns["side"],
            columns["price"],
            columns["qty"],
        )

    @cached_property
    def _row_ends(self) -> Int64s:
        return _ends(self.message_rows)

    @cached_property
    def _level_ends(self) -> Int64s:
        return _ends(self.message_levels)

    def part(self, first: int, last: int) -> tuple[dict[str, Array], dict[str, Array]]:
        """Columns and features of messages `first` to `last` (not included), without a copy."""
        if last - first == self._messages and self.kind is not BookBatch:
            return self.columns, self.features
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


def _ends(counts: Int64s) -> Int64s:
    return cast(Int64s, np.concatenate((np.zeros(1, np.int64), np.cumsum(counts))))
