"""Pieces of JSON text read in place by compiled code; each refuses what it does not know.

Positions go forward through the text; -1 stands for a refusal.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus.compiled import part

U8 = npt.NDArray[np.uint8]

_TRUE = np.frombuffer(b"true", np.uint8)
_FALSE = np.frombuffer(b"false", np.uint8)
_TEN = 10.0 ** np.arange(23)
_EXACT = 2**53  # below it an integer, and its quotient by 10**22 or less, is the nearest double
_DIGITS_MAX = 18
_LONG = 10**15  # from here on a number has more than 15 significant digits
QUOTE, BACKSLASH, DOT, COMMA, COLON = 34, 92, 46, 44, 58
ZERO, NINE, OPEN_LIST, CLOSE_LIST, CLOSE = 48, 57, 91, 93, 125


@part
def char(text: U8, at: int) -> int:
    """One character; an unsigned index saves the test for a negative one."""
    byte: int = text[np.uint64(at)]
    return byte


@part
def same(text: U8, start: int, end: int, other: U8, other_start: int, other_end: int) -> bool:
    if end - start != other_end - other_start:
        return False
    for n in range(end - start):  # noqa: SIM110  # Numba compiles no generator expression
        if char(text, start + n) != other[other_start + n]:
            return False
    return True


@part
def string_end(text: U8, at: int, end: int) -> int:
    """Where the string that begins at `at` (after its quote) ends; -1 unless plain ASCII."""
    while at < end:
        byte = char(text, at)
        if byte == QUOTE:
            return at
        if byte == BACKSLASH or byte < 32 or byte > 126:
            return -1
        at += 1
    return -1


@part
def integer(text: U8, at: int, end: int) -> tuple[int, int]:
    """An unsigned integer and the position behind it; position -1 when it is none of ours."""
    start = at
    value = np.int64(0)
    while at < end and ZERO <= char(text, at) <= NINE:
        value = value * 10 + (char(text, at) - ZERO)
        at += 1
    digits = at - start
    if digits == 0 or digits > _DIGITS_MAX or (digits > 1 and char(text, start) == ZERO):
        return 0, -1
    return int(value), at


@part
def decimal(text: U8, at: int, end: int) -> tuple[float, int, int]:
    """A quoted decimal from behind its quote: value, position behind the closing quote, is_long.

    Position -1 when the text is not `digits[.digits]` or not exact by one division.
    """
    start = at
    value = np.int64(0)
    while at < end and ZERO <= char(text, at) <= NINE:
        value = value * 10 + (char(text, at) - ZERO)
        at += 1
    whole = at - start
    fraction = 0
    if at < end and char(text, at) == DOT:
        at += 1
        while at < end and ZERO <= char(text, at) <= NINE:
            value = value * 10 + (char(text, at) - ZERO)
            at += 1
        fraction = at - start - whole - 1
        if fraction == 0:
            return 0.0, -1, 0
    if whole == 0 or (whole > 1 and char(text, start) == ZERO) or whole + fraction > _DIGITS_MAX:
        return 0.0, -1, 0
    if at >= end or char(text, at) != QUOTE:
        return 0.0, -1, 0
    is_long = 0
    if value >= _LONG:
        while fraction > 0 and value % 10 == 0:
            value //= 10
            fraction -= 1
        if value >= _EXACT:
            return 0.0, -1, 0
        is_long = 1 if value >= _LONG else 0
    return value / _TEN[fraction], at + 1, is_long


@part
def boolean(text: U8, at: int, end: int) -> tuple[int, int]:
    """1 or 0 for true or false, and the position behind it (-1: neither)."""
    if same(text, at, min(at + len(_TRUE), end), _TRUE, 0, len(_TRUE)):
        return 1, at + len(_TRUE)
    if same(text, at, min(at + len(_FALSE), end), _FALSE, 0, len(_FALSE)):
        return 0, at + len(_FALSE)
    return 0, -1
