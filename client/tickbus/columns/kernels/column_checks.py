"""Value checks of many messages at once, over their concatenated columns.

The rules are those of `tickbus_schemas.values`, which gives the reason when one of these kernels
finds a bad message. Each returns one bool a message: True where it is bad. A kernel first checks a
whole column, in loops that the compiler vectorises; only if that fails it checks each message.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from tickbus.compiled import kernel, part

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Int8s = npt.NDArray[np.int8]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NONE, FINITE, FINITE_OR_NULL, DEPTHS = range(4)
"""Rules of `bad_fields`, besides those that `codes` makes."""
CODES_AT = 32
"""A code of such a rule is a bit of a number: codes are at least -28 and less than 31."""


def codes(allowed: Iterable[int]) -> int:
    """The rule that a column holds no other numbers than these."""
    bits = [CODES_AT + code for code in allowed]
    if not all(4 <= bit < 63 for bit in bits):
        raise ValueError(f"no rule of these codes fits into a number: {bits}")
    return sum(1 << bit for bit in bits)


_EXPONENT = 0x7FF0_0000_0000_0000
"""All set: the number is infinite or not a number (IEEE 754)."""


@part
def _any_not_finite(numbers: Floats) -> bool:
    wrong = False
    for bits in numbers.view(np.int64):
        wrong |= (bits & _EXPONENT) == _EXPONENT
    return wrong


@part
def _any_outside(codes: Int8s, lowest: int, highest: int) -> bool:
    wrong = False
    for code in codes:
        wrong |= (code < lowest) | (code > highest)
    return wrong


@part
def _any_zero(codes: Int8s) -> bool:
    wrong = False
    for code in codes:
        wrong |= code == 0
    return wrong


@kernel
def bad_levels(
    message_rows: Int64s,
    message_levels: Int64s,
    levels: Int32s,
    side: Int8s,
    action: Int8s,
    price: Floats,
    qty: Floats,
) -> Bools:
    """Messages of L2 packets and their levels: enums, finite numbers, counts that add up."""
    bad = np.zeros(len(message_rows), np.bool_)
    row = 0
    for message in range(len(message_rows)):
        counted, wrong = 0, False
        for n in range(row, row + message_rows[message]):
            counted += levels[n]
            wrong |= levels[n] < 0
        row += message_rows[message]
        bad[message] = wrong | (counted != message_levels[message])
    if (
        _any_outside(side, -1, 1)
        | _any_zero(side)
        | _any_outside(action, 1, 3)
        | _any_not_finite(price)
        | _any_not_finite(qty)
    ):
        start = 0
        for message in range(len(message_levels)):
            end = start + message_levels[message]
            bad[message] |= (
                _any_outside(side[start:end], -1, 1)
                | _any_zero(side[start:end])
                | _any_outside(action[start:end], 1, 3)
                | _any_not_finite(price[start:end])
                | _any_not_finite(qty[start:end])
            )
            start = end
    return bad


@kernel
def bad_trades(
    message_rows: Int64s,
    message_text: Int64s,
    offsets: Int32s,
    text: Bytes,
    side: Int8s,
    price: Floats,
    qty: Floats,
) -> Bools:
    """Messages of trades; `offsets` has rows + 1 entries a message, each from 0."""
    bad = np.zeros(len(message_rows), np.bool_)
    row = start = 0
    for message in range(len(message_rows)):
        end, text_end = row + message_rows[message], start + message_text[message]
        wrong = (offsets[row + message] != 0) | (offsets[end + message] != message_text[message])
        for n in range(row + message, end + message):
            wrong |= offsets[n] > offsets[n + 1]
        for n in range(start, text_end):
            wrong |= text[n] > 127
        wrong |= _any_outside(side[row:end], -1, 1)
        wrong |= _any_not_finite(price[row:end]) | _any_not_finite(qty[row:end])
        bad[message] = wrong
        row, start = end, text_end
    return bad


@kernel
def join_offsets(message_rows: Int64s, message_text: Int64s, offsets: Int32s) -> Int32s:
    """Offsets of the joined text (rows + 1) from those of its messages (rows + 1 each)."""
    joined = np.zeros(message_rows.sum() + 1, np.int32)
    row = start = 0
    for message in range(len(message_rows)):
        for n in range(row, row + message_rows[message]):
            joined[n + 1] = start + offsets[n + message + 1]
        row += message_rows[message]
        start += message_text[message]
    return joined


@kernel
def bad_fields(
    joined: Bytes, bounds: Int64s, checks: Int64s, message_rows: Int64s, depth: int
) -> Bools:
    """Messages in which a number of some field breaks the field's rule.

    joined and bounds: as of `kernels.message.join`; checks: for each joined field FINITE,
    FINITE_OR_NULL, DEPTHS (counts of levels, none above `depth`), NONE or a rule of `codes`. A
    field has as many numbers as rows, or as many as rows * depth.
    """
    bad = np.zeros(len(message_rows), np.bool_)
    rows = message_rows.sum()
    for field in range(len(checks)):
        values = joined[bounds[field, 0] : bounds[field, 1]]
        if checks[field] == DEPTHS:
            _mark_counts(bad, message_rows, values.view(np.int32), depth)
        elif checks[field] > DEPTHS:
            _mark_codes(bad, message_rows, values.view(np.int8), checks[field])
        elif checks[field] != NONE and _any_not_finite(values.view(np.float64)):
            numbers = values.view(np.float64)
            a_row = len(numbers) // rows
            _mark_numbers(bad, message_rows * a_row, numbers, checks[field] == FINITE_OR_NULL)
    return bad


@kernel
def _mark_numbers(bad: Bools, message_items: Int64s, numbers: Floats, null_allowed: bool) -> None:
    """Messages with an infinity, or with NaN unless that is null."""
    item = 0
    for message in range(len(message_items)):
        for n in range(item, item + message_items[message]):
            is_nan = numbers[n] != numbers[n]
            finite = numbers[n] - numbers[n] == 0.0
            bad[message] |= not (finite or (null_allowed and is_nan))
        item += message_items[message]


@kernel
def _mark_codes(bad: Bools, message_rows: Int64s, codes: Int8s, allowed: int) -> None:
    """Messages with a code that is not one of `allowed`, bits as of `codes`."""
    row = 0
    for message in range(len(message_rows)):
        for n in range(row, row + message_rows[message]):
            bit = CODES_AT + codes[n]
            bad[message] |= (bit < 4) | (bit > 62) | (((allowed >> (bit & 63)) & 1) == 0)
        row += message_rows[message]


@kernel
def _mark_counts(bad: Bools, message_rows: Int64s, counts: Int32s, most: int) -> None:
    """Messages with a count that is not within 0 and `most`."""
    row = 0
    for message in range(len(message_rows)):
        for n in range(row, row + message_rows[message]):
            bad[message] |= (counts[n] < 0) | (counts[n] > most)
        row += message_rows[message]
