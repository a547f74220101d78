"""What the values of a column may be, once its length is right.

The rules are data, so that a reader of many messages can hold them in one vectorised pass over its
concatenated columns; `check_values` holds them message by message, with Python only.
"""

from __future__ import annotations

import itertools
from math import isfinite, isinf
from typing import Any, cast

from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import (
    MESSAGES,
    BookBatch,
    FeatureBatch,
    Header,
    L2Batch,
    TradeBatch,
)

_CAST = {"<i8": "q", "<f8": "d", "<i4": "i", "<u2": "H", "<i1": "b"}

CODES: dict[type[Header], dict[str, tuple[int, ...]]] = {
    kind: {name: tuple(kind.codes[name].names) for name in kind.columns if name in kind.codes}
    for kind in MESSAGES
}
"""i1 columns and the codes that they may hold. Flags are not here: a later one is not refused."""


def _numbers(kind: type[Header], *, null: bool) -> tuple[str, ...]:
    """The f8 columns of a kind in which NaN is null, or those that have none."""
    return tuple(
        name
        for name, width in kind.columns.items()
        if width.code == "<f8" and (width.absent is not None) == null
    )


FINITE = {kind: _numbers(kind, null=False) for kind in MESSAGES}
"""f8 columns without NaN and infinities."""

FINITE_OR_NULL = {kind: _numbers(kind, null=True) for kind in MESSAGES} | {
    FeatureBatch: ("values",)
}
"""f8 columns whose NaN is null; infinities are refused."""

_PLAIN_NUMBERS = {
    kind: tuple(name for name, said in kind.__annotations__.items() if said is float)
    for kind in MESSAGES
}
"""The same of fields that are no columns."""

_ALLOWED_BYTES = {
    kind: [(name, bytes(code & 0xFF for code in codes)) for name, codes in columns.items()]
    for kind, columns in CODES.items()
}


def column(data: bytes, code: str) -> memoryview:
    """The values of a column as Python numbers, without a copy; code as in `Width`."""
    return memoryview(data).cast(cast(Any, _CAST[code]))


def check_values(message: Header) -> None:
    """Reject unless every value of every column keeps the rules; lengths were checked before."""
    kind = type(message)
    for name, allowed in _ALLOWED_BYTES[kind]:
        if getattr(message, name).translate(None, allowed):
            raise Reject(f"{name}: a value that is none of {sorted(CODES[kind][name])}")
    for name in FINITE[kind]:
        if not _all_finite(column(getattr(message, name), "<f8")):
            raise Reject(f"{name}: a value that is not finite")
    for name in FINITE_OR_NULL[kind]:
        _check_no_infinity(name, getattr(message, name))
    for name in _PLAIN_NUMBERS[kind]:
        if isinf(getattr(message, name)):
            raise Reject(f"{name}: an infinite value (NaN is null)")
    if isinstance(message, L2Batch):
        _check_levels(message)
    elif isinstance(message, TradeBatch):
        _check_text(message)
    elif isinstance(message, BookBatch):
        _check_depths(message)


def _all_finite(values: memoryview) -> bool:
    # A sum is three times faster than a look at each, and is not finite if any value is not; a
    # sum of huge values may overflow, so only then each is looked at.
    return isfinite(sum(values)) or all(map(isfinite, values))


def _check_no_infinity(name: str, data: bytes | list[bytes]) -> None:
    for values in data if isinstance(data, list) else [data]:
        if any(map(isinf, column(values, "<f8"))):
            raise Reject(f"{name}: an infinite value (NaN is null)")


def _check_levels(message: L2Batch) -> None:
    levels = column(message.levels, "<i4")
    if min(levels, default=0) < 0 or sum(levels) != len(message.side):
        raise Reject("levels: counts that are not those of the level rows")


def _check_depths(message: BookBatch) -> None:
    for name in ("bid_levels", "ask_levels"):
        counts = column(getattr(message, name), "<i4")
        if min(counts) < 0 or max(counts) > message.depth:
            raise Reject(f"{name}: not within 0 and depth")


def _check_text(message: TradeBatch) -> None:
    offsets = column(message.trade_id_offsets, "<i4").tolist()
    if offsets[0] != 0 or offsets[-1] != len(message.trade_id_bytes):
        raise Reject("trade_id: offsets do not span the text")
    if any(start > end for start, end in itertools.pairwise(offsets)):
        raise Reject("trade_id: offsets go back")
    if not message.trade_id_bytes.isascii():
        raise Reject("trade_id: not ASCII")
