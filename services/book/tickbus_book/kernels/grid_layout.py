"""Where the grid kernel keeps what: records of the state, columns that come in, rows that go out.

The state is a few NumPy records, so that a checkpoint is their bytes and a kernel names its fields.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import ABSENT

I64: TypeAlias = npt.NDArray[np.int64]
Records: TypeAlias = npt.NDArray[np.void]

DAY_US = 86_400_000_000
FILLED_BYTES_MAX = 256 * 1024**2
"""A grid restarts rather than fill a silence of more than a day, or of more bytes than this."""

TICKER = np.dtype(
    [
        ("epoch", "<i8"),  # of the last packet, gap or clock; -1 before the first
        ("begun", "<i8"),  # there was a whole book once
        ("whole", "<i8"),  # updates may be applied
        ("gap", "<i8"),  # something is missing, and no snapshot has mended it
        ("in_snapshot", "<i8"),
        ("held", "<i8"),  # the book has what rows show (not so while a snapshot is read)
        ("changed", "<i8"),  # since its best levels were looked up
        ("timestamp", "<i8"),  # the latest of the packets in the shown book
        ("rcv_timestamp", "<i8"),  # of the last packet in it, as the next two
        ("packet_id", "<i8"),
        ("update_id", "<i8"),
        ("bid_levels", "<i8"),
        ("ask_levels", "<i8"),
        ("told", "<i8"),  # flags of the last row on change; -1 before the first
    ]
)
GRID = np.dtype(
    [
        ("length_us", "<i8"),  # 0: a row a change
        ("jump_us", "<i8"),  # a longer step restarts the grid
        ("next_us", "<i8"),  # the point that closes next; ABSENT before the first whole book
        ("closed_us", "<i8"),  # the last one closed; ABSENT: none
    ]
)
COUNTS = np.dtype(
    [
        ("late", "<i8"),  # packets at or before a point that was closed
        ("left_out", "<i8"),  # packets that do not follow the book
        ("gaps", "<i8"),
        ("restarts", "<i8"),  # of grids, after a jump in time
    ]
)
CURSOR = np.dtype(
    [
        ("clock", "<i8"),  # next clock
        ("gap", "<i8"),  # next gap
        ("gap_end", "<i8"),  # behind the last gap of the flush
        ("gap_order", "<i8"),  # its packet_id so far: within a feed it never goes back
        ("message", "<i8"),  # behind the last message of the flush
        ("read", "<i8"),  # behind the message of the next packet
        ("seq", "<i8"),  # stream sequence of that message
        ("seq_end", "<i8"),  # behind its last packet
        ("row", "<i8"),  # next packet
        ("end", "<i8"),  # behind the last packet of the flush
        ("order", "<i8"),  # as `gap_order`
        ("level", "<i8"),  # first level of the next packet
        ("after", "<i8"),  # a packet after this time, and not
        ("until", "<i8"),  # after that, closes nothing and is not late
    ]
)


class Gaps(NamedTuple):
    """Gap statuses of the book, i64 each, in log order."""

    seq: I64
    more: I64
    packet_id: I64
    """ABSENT: of a message that could not be read"""


class Messages(NamedTuple):
    """L2 messages, i64 each, in log order."""

    seq: I64
    rows: I64
    more: I64


class Packets(NamedTuple):
    """Columns of L2Batch: a row a packet, the last three a row a level."""

    timestamp: Any
    rcv_timestamp: Any
    packet_id: Any
    prev_update_id: Any
    update_id: Any
    flags: Any
    levels: Any
    side: Any
    price: Any
    qty: Any


class Packet(NamedTuple):
    """One of them inside the kernel, with the stream sequence of its message."""

    seq: int
    timestamp: int
    rcv_timestamp: int
    packet_id: int
    prev_update_id: int
    update_id: int
    flags: int
    levels: int


class Clocks(NamedTuple):
    """Clock messages of the shard, i64 each."""

    seq: I64
    timestamp: I64
    """ABSENT: messages are missing here, of whatever ticker"""
    epoch: I64


class State(NamedTuple):
    """All that is kept of one ticker but its levels."""

    ticker: Records
    """TICKER, one"""
    grids: Records
    """GRID, one an interval"""
    tops: npt.NDArray[np.float64]
    """(2, 4, depth): best levels as shown, as told last on change; bid px, sz, ask px, sz"""


class Rows(NamedTuple):
    """Space for closed rows of one ticker, and the messages that they go into."""

    ints: I64
    """(4, intervals, capacity): timestamp, rcv_timestamp, packet_id, update_id"""
    tops: npt.NDArray[np.float64]
    """(4, intervals, capacity, depth): bid px, bid sz, ask px, ask sz; 0 where there is none"""
    counts: npt.NDArray[np.int32]
    """(2, intervals, capacity): levels of bids and asks"""
    flags: npt.NDArray[np.uint16]
    """(intervals, capacity)"""
    messages: I64
    """(intervals, capacity, 4): first row, rows, stream sequence that closed them, its epoch"""
    filled: I64
    """(intervals, 2): rows and messages"""


def row_bytes(depth: int) -> int:
    """Of a row in a message."""
    return 4 * 8 + 2 + 2 * 4 + 4 * 8 * depth


def new_state(intervals_ms: list[int], depth: int) -> State:
    """The state before the first packet; interval 0: a row whenever the best levels change."""
    ticker = np.zeros(1, TICKER)
    ticker["epoch"] = ticker["told"] = -1
    ticker["update_id"] = ABSENT
    grids = np.zeros(len(intervals_ms), GRID)
    grids["length_us"] = [1_000 * length for length in intervals_ms]
    filled_max = FILLED_BYTES_MAX // row_bytes(depth)
    grids["jump_us"] = [min(DAY_US, filled_max * 1_000 * length) for length in intervals_ms]
    grids["next_us"] = grids["closed_us"] = ABSENT
    return State(ticker, grids, np.zeros((2, 4, depth)))


def new_rows(intervals: int, depth: int, capacity: int = 64) -> Rows:
    """Space for `capacity` rows of each interval."""
    return Rows(
        ints=np.empty((4, intervals, capacity), np.int64),
        tops=np.empty((4, intervals, capacity, depth)),
        counts=np.empty((2, intervals, capacity), np.int32),
        flags=np.empty((intervals, capacity), np.uint16),
        messages=np.empty((intervals, capacity, 4), np.int64),
        filled=np.zeros((intervals, 2), np.int64),
    )


def with_more_space(rows: Rows) -> Rows:
    """The same rows in twice the space."""
    intervals, capacity = rows.flags.shape
    more = new_rows(intervals, rows.tops.shape[3], 2 * capacity)
    pairs: Any = zip(rows, more, strict=True)
    for old, new in pairs:
        new[tuple(map(slice, old.shape))] = old
    return more
