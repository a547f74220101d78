"""Cuts closed rows of books into messages: their columns as they stand in one, behind its header.

A column is a msgpack binary: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tickbus.compiled import kernel

from tickbus_book.kernels.grid_layout import Rows

Bytes = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

_u64: Any = np.uint64
COLUMNS = 11
FRAME_BYTES = 5
"""Before a column at most: a code and the size."""
PLACE, PART, IN_SEQ, EPOCH, PACKET_ID, ROWS, START, STOP = range(8)
"""What is told of a message: place of its interval, number among those of the same rows, the stream
sequence that closed them and its epoch, packet_id of the last row, rows, where its columns lie."""


@kernel
def _put_column(data: Bytes, at: int, column: Bytes, start: int, size: int) -> int:
    """A part of a column as a msgpack binary; where it ends."""
    width = 1 if size < 1 << 8 else 2 if size < 1 << 16 else 4
    data[at] = 0xC4 + (width >> 1)
    for n in range(width):
        data[at + 1 + n] = (size >> 8 * (width - 1 - n)) & 0xFF
    at += 1 + width
    target, source = _u64(at), _u64(start)
    for n in range(_u64(size)):  # unsigned, so that it becomes a copy of blocks
        data[target + n] = column[source + n]
    return at + size


@kernel
def cut(rows: Any, rows_max: int, data: Bytes, told: I64) -> int:
    """Write the columns of all messages one behind another, and free the rows' space; how many.

    rows: Rows as a plain tuple; rows_max: rows of a message at most; data [out]: `data_bytes` long
    at least; told [out]: (messages, 8), PLACE and what follows it, a row for each row at least.
    """
    return _cut(Rows(*rows), rows_max, data, told)


@kernel
def _cut(rows: Any, rows_max: int, data: Bytes, told: I64) -> int:
    """`cut`, with names."""
    ints, counts = rows.ints.view(np.uint8), rows.counts.view(np.uint8)
    flags, tops = rows.flags.view(np.uint8), rows.tops.view(np.uint8)
    level_bytes = 8 * rows.tops.shape[3]
    tops = tops.reshape((4, rows.tops.shape[1], rows.tops.shape[2] * level_bytes))
    at = count = 0
    for place in range(len(rows.filled)):
        for message in range(rows.filled[place, 1]):
            first, closed, in_seq, epoch = rows.messages[place, message]
            for part in range((closed + rows_max - 1) // rows_max):
                row = first + part * rows_max
                size = min(rows_max, closed - part * rows_max)
                told[count, PLACE], told[count, PART] = place, part
                told[count, IN_SEQ], told[count, EPOCH] = in_seq, epoch
                told[count, PACKET_ID] = rows.ints[2, place, row + size - 1]
                told[count, ROWS], told[count, START] = size, at
                for n in range(4):
                    at = _put_column(data, at, ints[n, place], 8 * row, 8 * size)
                at = _put_column(data, at, flags[place], 2 * row, 2 * size)
                for n in range(2):
                    at = _put_column(data, at, counts[n, place], 4 * row, 4 * size)
                for n in range(4):
                    at = _put_column(
                        data, at, tops[n, place], level_bytes * row, level_bytes * size
                    )
                told[count, STOP] = at
                count += 1
        rows.filled[place] = 0
    return count


def data_bytes(rows: int, bytes_a_row: int) -> int:
    """Room that `cut` needs for so many rows, whatever messages they go into."""
    return rows * (bytes_a_row + COLUMNS * FRAME_BYTES)
