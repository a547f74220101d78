"""Cuts the columns of many tickers into messages: as they stand in one, behind its header.

A column is a msgpack binary: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tickbus.compiled import kernel

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]

FRAME_BYTES = 5
"""Before a column at most: a code and the size."""
ROWS, LEVELS, OFFSETS, TEXT = range(4)
"""What a column has one value for: a row, a level, the ends of a row's text, a character."""
DIGITS_MAX = 20

_u64: Any = np.uint64


class Columns(NamedTuple):
    """The columns of a table as one run of bytes, in the order of the message's fields."""

    data: U8
    starts: I64
    widths: I64
    per: I64


class Layout(NamedTuple):
    """Of the columns of a message, in its order."""

    widths: I64
    """bytes of a value"""
    per: I64
    """ROWS, LEVELS, OFFSETS or TEXT"""


def columns_of(columns: Sequence[npt.NDArray[Any]], layout: Layout) -> Columns:
    """The columns [rows], [levels], [rows + 1] or [characters], as `layout` says."""
    parts: list[Any] = [np.ascontiguousarray(values) for values in columns]
    ends = list(accumulate((part.nbytes for part in parts), initial=0))
    return Columns(np.frombuffer(b"".join(parts), np.uint8), np.array(ends[:-1], np.int64), *layout)


def cut(columns: Columns, bounds: I64) -> tuple[bytes, list[int]]:
    """Bytes of all messages one behind another, and where each ends.

    bounds [messages, 4]: first row, end of rows, first level, end of levels.
    """
    messages = len(bounds)
    room = len(columns.data) + messages * len(columns.starts) * (FRAME_BYTES + 4)
    out, ends = np.empty(room, np.uint8), np.empty(messages + 1, np.int64)
    ends[0] = 0
    _cut(columns.data, columns.starts, columns.widths, columns.per, bounds, out, ends)
    return out[: ends[-1]].tobytes(), ends.tolist()


@kernel
def _frame(data: U8, at: int, size: int) -> int:
    """The head of a msgpack binary; where its content begins."""
    width = 1 if size < 1 << 8 else 2 if size < 1 << 16 else 4
    data[at] = 0xC4 + (width >> 1)
    for n in range(width):
        data[at + 1 + n] = (size >> 8 * (width - 1 - n)) & 0xFF
    return at + 1 + width


@kernel
def _copy(source: U8, start: int, size: int, out: U8, at: int) -> None:
    target, begin = _u64(at), _u64(start)
    for n in range(_u64(size)):  # unsigned, so that it becomes a copy of blocks
        out[target + n] = source[begin + n]


@kernel
def _cut(data: U8, starts: I64, widths: I64, per: I64, bounds: I64, out: U8, ends: I64) -> None:
    at = 0
    for message in range(len(bounds)):
        row, row_end, level, level_end = bounds[message]
        text = text_end = 0
        for column in range(len(starts)):
            start, width = starts[column], widths[column]
            if per[column] == ROWS:
                size = (row_end - row) * width
                at = _frame(out, at, size)
                _copy(data, start + row * width, size, out, at)
            elif per[column] == LEVELS:
                size = (level_end - level) * width
                at = _frame(out, at, size)
                _copy(data, start + level * width, size, out, at)
            elif per[column] == OFFSETS:
                size = (row_end - row + 1) * 4
                at = _frame(out, at, size)
                text = _offset(data, start + row * 4)
                for n in range(row_end - row + 1):
                    own = _offset(data, start + (row + n) * 4)
                    text_end = own
                    for k in range(4):
                        out[at + 4 * n + k] = ((own - text) >> 8 * k) & 0xFF
            else:
                size = text_end - text
                at = _frame(out, at, size)
                _copy(data, start + text, size, out, at)
            at += size
        ends[message + 1] = at


@kernel
def _offset(data: U8, at: int) -> int:
    value = np.int64(0)
    for k in range(4):
        value |= np.int64(data[at + k]) << 8 * k
    return int(value)


def number_texts(numbers: I64) -> tuple[I32, U8]:
    """Decimal texts of whole numbers: offsets i32[n + 1] into the characters."""
    text = np.empty(len(numbers) * DIGITS_MAX, np.uint8)
    offsets = np.zeros(len(numbers) + 1, np.int32)
    _write_numbers(numbers, text, offsets)
    return offsets, text[: offsets[-1]]


@kernel
def _write_numbers(numbers: I64, text: U8, offsets: I32) -> None:
    at = 0
    for n in range(len(numbers)):
        value = numbers[n]
        if value < 0:
            text[at] = 45
            at += 1
            value = -value
        digits = 1
        rest = value // 10
        while rest > 0:
            digits += 1
            rest //= 10
        for k in range(digits):
            text[at + digits - 1 - k] = 48 + value % 10
            value //= 10
        at += digits
        offsets[n + 1] = at
