"""Value checks of many messages at once, over their concatenated columns.

The rules are those of `tickbus_schemas.codec.check_values`, which gives the reason when one of
these kernels finds a message bad. Each kernel returns one bool a message: True where it is bad.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@njit(cache=True, nogil=True)
def bad_levels(
    message_rows: Int64s,
    message_levels: Int64s,
    levels: npt.NDArray[np.int32],
    side: npt.NDArray[np.int8],
    action: npt.NDArray[np.int8],
    price: npt.NDArray[np.float64],
    qty: npt.NDArray[np.float64],
) -> Bools:
    """Messages of L2 packets and their levels: enums, finite numbers, counts that add up."""
    bad = np.zeros(len(message_rows), np.bool_)
    row = level = 0
    for message in range(len(message_rows)):
        wrong = False
        counted = 0
        for count in levels[row : row + message_rows[message]]:
            wrong |= count < 0
            counted += count
        wrong |= counted != message_levels[message]
        row += message_rows[message]
        end = level + message_levels[message]
        for n in range(level, end):
            wrong |= (side[n] != 1) & (side[n] != -1)
            wrong |= (action[n] < 1) | (action[n] > 3)
            # Not finite: subtracting it from itself gives NaN.
            wrong |= (price[n] - price[n] != 0.0) | (qty[n] - qty[n] != 0.0)
        level = end
        bad[message] = wrong
    return bad


@njit(cache=True, nogil=True)
def bad_trades(
    message_rows: Int64s,
    message_text: Int64s,
    offsets: npt.NDArray[np.int32],
    text: npt.NDArray[np.uint8],
    side: npt.NDArray[np.int8],
    price: npt.NDArray[np.float64],
    qty: npt.NDArray[np.float64],
) -> Bools:
    """Messages of trades; `offsets` has rows + 1 entries a message, each from 0."""
    bad = np.zeros(len(message_rows), np.bool_)
    row = start = 0
    for message in range(len(message_rows)):
        wrong = False
        end = row + message_rows[message]
        for n in range(row, end):
            wrong |= (side[n] < -1) | (side[n] > 1)
            wrong |= (price[n] - price[n] != 0.0) | (qty[n] - qty[n] != 0.0)
            wrong |= offsets[n + message] > offsets[n + message + 1]
        wrong |= offsets[row + message] != 0
        wrong |= offsets[end + message] != message_text[message]
        row = end
        for n in range(start, start + message_text[message]):
            wrong |= text[n] > 127
        start += message_text[message]
        bad[message] = wrong
    return bad


@njit(cache=True, nogil=True)
def join_offsets(
    message_rows: Int64s, message_text: Int64s, offsets: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """Offsets of the joined text (rows + 1) from those of its messages (rows + 1 each)."""
    joined = np.zeros(message_rows.sum() + 1, np.int32)
    row = start = 0
    for message in range(len(message_rows)):
        for n in range(row, row + message_rows[message]):
            joined[n + 1] = start + offsets[n + message + 1]
        row += message_rows[message]
        start += message_text[message]
    return joined


@njit(cache=True, nogil=True)
def bad_numbers(
    message_items: Int64s, column: npt.NDArray[np.float64], null_allowed: bool
) -> Bools:
    """Messages with an infinity, or with NaN unless that is null; `message_items` numbers each."""
    bad = np.zeros(len(message_items), np.bool_)
    item = 0
    for message in range(len(message_items)):
        wrong = False
        for n in range(item, item + message_items[message]):
            finite = column[n] - column[n] == 0.0
            wrong |= not (finite or (null_allowed and column[n] != column[n]))
        item += message_items[message]
        bad[message] = wrong
    return bad


@njit(cache=True, nogil=True)
def bad_counts(message_rows: Int64s, column: npt.NDArray[np.int32], most: int) -> Bools:
    """Messages with a count that is not within 0 and `most`."""
    bad = np.zeros(len(message_rows), np.bool_)
    row = 0
    for message in range(len(message_rows)):
        wrong = False
        for n in range(row, row + message_rows[message]):
            wrong |= (column[n] < 0) | (column[n] > most)
        row += message_rows[message]
        bad[message] = wrong
    return bad


def warm() -> None:
    """Compile or load all kernels, so that no reader pays for it on its first message."""
    none: Any = np.zeros(0, np.int64)
    i4, i1, u1, f8 = (np.zeros(0, code) for code in ("<i4", "<i1", "<u1", "<f8"))
    bad_levels(none, none, i4, i1, i1, f8, f8)
    bad_trades(none, none, i4, u1, i1, f8, f8)
    join_offsets(none, none, i4)
    bad_numbers(none, f8, False)
    bad_counts(none, i4, 0)
