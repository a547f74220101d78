"""Rebuilds books packet by packet, and compares them with book rows on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import L2Flag

from tickbus.book.kernels import levels
from tickbus.compiled import kernel

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

_FIRST = int(L2Flag.SNAPSHOT_FIRST)
DONE, COMPARED, BEGUN = range(3)
"""Packets of the file that are in the book, rows compared, whether there was a snapshot."""
SAME, NO_BOOK = -1, -2


@kernel
def _target(
    packet_id: I64, update_id: I64, timestamp: I64, done: int, wanted: int, wanted_update: int,
    wanted_us: int,
) -> int:  # fmt: skip
    """Packets up to the wanted one; of several with its packet_id up to the wanted update.

    A snapshot and the first update behind it may have the same number, too: of these the row shows
    the last one that is not after its time.
    """
    end = done
    while end < len(packet_id) and packet_id[end] <= wanted:
        end += 1
    at = end - 1
    found = end
    while at >= 0 and packet_id[at] == wanted:
        if update_id[at] == wanted_update:
            found = max(done, at + 1)
            if timestamp[at] <= wanted_us:
                return found
        at -= 1
    return found


@kernel
def _forward(
    book: I64, progress: I64, flags: I64, starts: I64, side: Any, price: F64, qty: F64, target: int
) -> bool:
    """Apply packets to the book; False: there is no room for the next one."""
    while progress[DONE] < target:
        packet = progress[DONE]
        start, stop = starts[packet], starts[packet + 1]
        if not levels.has_room(book, side, price, start, stop):
            return False
        if flags[packet] & _FIRST:
            levels.clear(book)
            progress[BEGUN] = 1
        levels.fold(book, side, price, qty, start, stop)
        progress[DONE] = packet + 1
    return True


@kernel
def _first_difference(book: I64, told: F64, made: F64) -> int:
    """The first level at which book and row differ; `made` [out]: the book's best levels."""
    depth = told.shape[1]
    made[:] = np.nan
    levels.top(book, 1, made[0], made[1])
    levels.top(book, -1, made[2], made[3])
    for kind in range(4):
        for level in range(depth):
            found, other = made[kind, level], told[kind, level]
            if found != other and not (np.isnan(found) and np.isnan(other)):
                return int(kind * depth + level)
    return SAME


@kernel
def compare(
    book: I64,
    progress: I64,
    packet_id: I64,
    update_id: I64,
    timestamp: I64,
    flags: I64,
    starts: I64,
    side: Any,
    price: F64,
    qty: F64,
    is_last: bool,
    row_packet_id: I64,
    row_update_id: I64,
    row_us: I64,
    told: F64,
    packets: I64,
    fault: I64,
    made: F64,
) -> bool:
    """Compare rows with the book after the packet that each names, until the file ends.

    False: reserve room for the levels of packet DONE and call again.

    progress [in, out]: DONE, COMPARED, BEGUN; packet_id, update_id, timestamp, flags and starts
    (one more) of the file's packets, side, price and qty of their levels; is_last: there is no
    other file behind it, in which the packet of a row may be. Of the rows, in the order of their
    packets: told (rows, 4, depth) bid px, bid sz, ask px, ask sz, NaN where there is none; packets
    [out]: how many of the file are in its book; fault [out]: first place that differs as kind *
    depth + level, SAME or NO_BOOK; made [out]: what the book has there.
    """
    depth = told.shape[2]
    top = np.empty((4, depth))
    while progress[COMPARED] < len(row_packet_id):
        row = progress[COMPARED]
        target = _target(
            packet_id, update_id, timestamp, progress[DONE], row_packet_id[row],
            row_update_id[row], row_us[row],
        )  # fmt: skip
        if not _forward(book, progress, flags, starts, side, price, qty, target):
            return False
        if target == len(packet_id) and not is_last:
            return True
        packets[row] = target
        fault[row] = NO_BOOK
        if progress[BEGUN]:
            fault[row] = place = _first_difference(book, told[row], top)
            if place >= 0:
                made[row] = top[place // depth, place % depth]
        progress[COMPARED] = row + 1
    return True
