"""Price levels of a whole flush: JSON text of many books' sides to columns, by one kernel.

What the kernel does not take (see `kernels/levels.py`) is decided by `_plainly`, with a full JSON
decoder: rows or a reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Raw
from tickbus.compiled import STRING_BYTES
from tickbus_schemas.errors import Reject

from tickbus_ingest.session.kernels.levels import (
    KEYS_WITH_SIDE,
    LEVEL_VALUES,
    WORD_BYTES,
    read_sides,
)
from tickbus_ingest.venue.contract import Levels

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]
U64 = npt.NDArray[np.uint64]
Bool = npt.NDArray[np.bool_]

LEVEL_BYTES_MIN = 6  # `[1,2],` is the shortest level


@dataclass(slots=True)
class LevelColumns:
    """Levels of update i are rows [ends[i], ends[i+1])."""

    ends: I64
    side: I8
    price: F64
    qty: F64
    long_decimals: int
    refused: dict[int, str]
    """updates whose levels are not understood, and why; they have no rows here"""


def read_levels(texts: Sequence[bytes | Raw], shape: Levels) -> LevelColumns:
    """Columns of the sides `texts`: bids and asks of each update, in this order.

    Where levels name their side or tell it by a sign, the bids of an update come first here too.
    """
    known = _shape(shape)
    lengths = np.fromiter(map(_length, texts), np.int64, len(texts))
    text_ends = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(lengths, out=text_ends[1:])
    text = np.frombuffer(b"".join((*texts, known.behind)), np.uint8)
    room = len(text) // LEVEL_BYTES_MIN + 1
    side, price, qty = np.empty(room, np.int8), np.empty(room), np.empty(room)
    updates = len(texts) // 2
    ends, bad = np.zeros(updates + 1, np.int64), np.zeros(updates, np.bool_)
    filled, longs = read_sides(
        text, text_ends, *known.places, *known.names, side, price, qty, ends, bad,
        np.empty(LEVEL_VALUES),
    )  # fmt: skip
    found = LevelColumns(ends, side[:filled], price[:filled], qty[:filled], longs, {})
    return _mended(found, bad, texts, shape) if bad.any() else found


def _length(text: bytes | Raw) -> int:
    return len(text) if isinstance(text, bytes) else len(memoryview(text))


class _Shape(NamedTuple):
    """`Levels` as `read_sides` takes them."""

    places: tuple[int, int, int, int]
    """of price, size and count in arrays, or -1; how many keys an object has"""
    names: tuple[U64, U64, I64]
    behind: bytes
    """what the kernel may read behind the last text"""


@lru_cache
def _shape(shape: Levels) -> _Shape:
    price, size = shape.price, shape.size
    keys = KEYS_WITH_SIDE if shape.side else 2
    is_array = isinstance(price, int) and isinstance(size, int)
    names = [f'{one}"'.encode() for one in (price, size, shape.side, shape.bid, shape.ask)]
    words = -(-max(map(len, names)) // WORD_BYTES)
    text, mask = (
        np.frombuffer(b"".join(one.ljust(words * WORD_BYTES, b"\0") for one in some), np.uint64)
        for some in (names, [b"\xff" * len(one) for one in names])
    )
    return _Shape(
        (int(price), int(size), shape.count, keys) if is_array else (-1, -1, -1, keys),
        (text.reshape(-1, words), mask.reshape(-1, words), np.array([len(one) for one in names])),
        bytes(STRING_BYTES + words * WORD_BYTES),
    )


def _mended(
    found: LevelColumns, bad: Bool, texts: Sequence[bytes | Raw], shape: Levels
) -> LevelColumns:
    """The same with the levels that only a full decoder understands."""
    sides, prices, qtys, counts = [], [], [], np.diff(found.ends)
    longs, refused, done = found.long_decimals, found.refused, 0
    for n in np.flatnonzero(bad).tolist():
        start = int(found.ends[n])
        try:
            rows = [
                row
                for own, side in enumerate((1, -1))
                for row in _plainly(bytes(texts[2 * n + own]), side, shape)
            ]
        except Reject as error:
            refused[n] = str(error)
            continue
        rows.sort(key=_ask_last)
        levels = np.array(rows, np.float64).reshape(-1, 4)
        sides += [found.side[done:start], levels[:, 0].astype(np.int8)]
        prices += [found.price[done:start], levels[:, 1]]
        qtys += [found.qty[done:start], levels[:, 2]]
        counts[n] = len(levels)
        longs += int(levels[:, 3].sum())
        done = start
    sides.append(found.side[done:])
    ends = np.zeros(len(bad) + 1, np.int64)
    np.cumsum(counts, out=ends[1:])
    return LevelColumns(
        ends,
        np.concatenate(sides),
        np.concatenate([*prices, found.price[done:]]),
        np.concatenate([*qtys, found.qty[done:]]),
        longs,
        refused,
    )


def _ask_last(row: tuple[int, float, float, int]) -> int:
    return -row[0]


def _plainly(text: bytes, side: int, shape: Levels) -> list[tuple[int, float, float, int]]:
    """(side, price, size, how many of both have too many digits). Reject for anything else."""
    if not text:
        return []
    try:
        levels = msgspec.json.decode(text, type=list[Any] | None) or []
        values = [
            (level[shape.side] if shape.side else side, level[shape.price], level[shape.size])
            for level in levels
        ]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        raise Reject("price levels are not a list in JSON") from None
    except (TypeError, LookupError):
        side_too = ", or no side" if shape.side else ""
        raise Reject(f"a price level has no price or no size{side_too}") from None
    if shape.count >= 0:
        return [_signed(level, shape) for level in levels]
    return [
        (
            _side_of(own, shape) if shape.side else side,
            number(price), number(size), is_long(price) + is_long(size),
        )
        for own, price, size in values
    ]  # fmt: skip


def _signed(level: Any, shape: Levels) -> tuple[int, float, float, int]:
    """A level whose size is above 0 for a bid and below 0 for an ask, and gone at a count of 0."""
    try:
        count = number(level[shape.count])
    except LookupError:
        raise Reject("a price level has no count") from None
    price, size = number(level[shape.price]), number(level[shape.size])
    if not size or count < 0:
        raise Reject(f"a price level of size {size:g} and count {count:g} is of no side")
    longs = is_long(level[shape.price]) + is_long(level[shape.size])
    return (1 if size > 0 else -1), price, (abs(size) if count else 0.0), longs


def _side_of(word: object, shape: Levels) -> int:
    if word == shape.bid:
        return 1
    if word == shape.ask:
        return -1
    raise Reject(f"a price level is of side {str(word)[:40]!r}: {shape.bid} or {shape.ask}")


_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
DIGITS_MAX = 64
LONG_DIGITS = 15  # up to here the shortest text of the nearest double is the number again


def number(value: object) -> float:
    """The nearest double of a decimal text or a JSON number; Reject for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Reject(f"not a number: {str(value)[:40]!r}")
    if isinstance(value, str) and not (
        len(value) <= DIGITS_MAX and _DECIMAL.fullmatch(value, 0, DIGITS_MAX)
    ):
        raise Reject(f"not a number: {value[:40]!r}")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise Reject(f"number out of range: {str(value)[:40]}")
    return found


def is_long(value: object) -> bool:
    """Whether a decimal text has more significant digits than a double gives back."""
    digits = str(value).lower().lstrip("-").partition("e")[0]
    if "." in digits:
        digits = digits.rstrip("0")
    return len(digits.replace(".", "").lstrip("0")) > LONG_DIGITS
