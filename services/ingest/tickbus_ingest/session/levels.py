"""Price levels of a whole flush: JSON text of many books' sides to columns, by one kernel.

What the kernel does not take (see `kernels/levels.py`) is decided by `_plainly`, with a full JSON
decoder: rows or a reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Raw
from tickbus_schemas.errors import Reject

from tickbus_ingest.session.kernels.levels import read_sides
from tickbus_ingest.venue.contract import Levels

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]
U8 = npt.NDArray[np.uint8]
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
    """Columns of the sides `texts`: bids and asks of each update, in this order."""
    lengths = np.fromiter(map(_length, texts), np.int64, len(texts))
    text_ends = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(lengths, out=text_ends[1:])
    text = np.frombuffer(b"".join(texts), np.uint8)
    room = len(text) // LEVEL_BYTES_MIN + 1
    side, price, qty = np.empty(room, np.int8), np.empty(room), np.empty(room)
    updates = len(texts) // 2
    ends, bad = np.zeros(updates + 1, np.int64), np.zeros(updates, np.bool_)
    filled, longs = read_sides(text, text_ends, *_shape(shape), side, price, qty, ends, bad)
    found = LevelColumns(ends, side[:filled], price[:filled], qty[:filled], longs, {})
    return _mended(found, bad, texts, shape) if bad.any() else found


def _length(text: bytes | Raw) -> int:
    return len(text) if isinstance(text, bytes) else len(memoryview(text))


def _shape(shape: Levels) -> tuple[int, int, U8, U8]:
    """Places in arrays, and keys in objects."""
    if isinstance(shape.price, int) and isinstance(shape.size, int):
        return shape.price, shape.size, _NO_KEY, _NO_KEY
    price, size = str(shape.price).encode(), str(shape.size).encode()
    return -1, -1, np.frombuffer(price, np.uint8), np.frombuffer(size, np.uint8)


_NO_KEY = np.frombuffer(b"\0", np.uint8)


def _mended(
    found: LevelColumns, bad: Bool, texts: Sequence[bytes | Raw], shape: Levels
) -> LevelColumns:
    """The same with the levels that only a full decoder understands."""
    sides, prices, qtys, counts = [], [], [], np.diff(found.ends)
    longs, refused, done = found.long_decimals, found.refused, 0
    for n in np.flatnonzero(bad).tolist():
        start = int(found.ends[n])
        try:
            both = [_plainly(bytes(texts[2 * n + own]), shape) for own in range(2)]
        except Reject as error:
            refused[n] = str(error)
            continue
        sides += [found.side[done:start], *(_repeated(1 - 2 * k, both[k]) for k in range(2))]
        prices += [found.price[done:start], *(np.array(own, np.float64)[:, 0] for own in both)]
        qtys += [found.qty[done:start], *(np.array(own, np.float64)[:, 1] for own in both)]
        counts[n] = sum(map(len, both))
        longs += sum(long for own in both for _, _, long in own.tolist())
        done = start
    sides.append(found.side[done:])
    ends = np.zeros(len(bad) + 1, np.int64)
    np.cumsum(counts, out=ends[1:])
    return LevelColumns(
        ends,
        np.concatenate(sides),
        np.concatenate([*prices, found.price[done:]]),
        np.concatenate([*qtys, found.qty[done:]]),
        int(longs),
        refused,
    )


def _repeated(side: int, levels: F64) -> I8:
    return np.full(len(levels), side, np.int8)


def _plainly(text: bytes, shape: Levels) -> F64:
    """[levels, 3]: price, size, whether a number has too many digits. Reject for anything else."""
    if not text:
        return np.empty((0, 3))
    try:
        levels = msgspec.json.decode(text, type=list[Any] | None) or []
        pairs = [(level[shape.price], level[shape.size]) for level in levels]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        raise Reject("price levels are not a list in JSON") from None
    except (TypeError, LookupError):
        raise Reject("a price level has no price or no size") from None
    rows = [(number(price), number(size), is_long(price) + is_long(size)) for price, size in pairs]
    return np.array(rows, np.float64).reshape(-1, 3)


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
