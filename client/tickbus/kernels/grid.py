"""Books on a time grid: one ticker's L2 packets, gaps and clocks in, rows of its best levels out.

Grid point t is the book after every packet with timestamp <= t. It closes at the first packet after
t or at a clock of t + 1 s, whichever is first in the log, and nothing else closes it: ARCHITECTURE.
Packets and gaps of one flush are merged by `packet_id`; flushes and clocks follow each other as
they stand in the log, so the rows are the same however the log is cut into groups.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tickbus_schemas.messages import ABSENT, PACKETS_PER_EPOCH, BookFlag, L2Flag

from tickbus.kernels import book as levels
from tickbus.kernels.compiled import kernel, part
from tickbus.kernels.grid_layout import (
    DAY_US,
    L2,
    STATUS,
    Clocks,
    Gaps,
    Messages,
    Packets,
    Rows,
    State,
)

FAR_US = 4_102_444_800_000_000
"""2100-01-01: a time outside [0, FAR_US) is no time"""
CLOCK_GRACE_US = 1_000_000
"""A clock closes the points that lie this long before it."""
STALE_US = 60_000_000
"""A book is stale when its last packet is older than this."""

_ABSENT = ABSENT
_FIRST, _SNAPSHOT = int(L2Flag.SNAPSHOT_FIRST), int(L2Flag.SNAPSHOT)
_LAST, _GAP_BEFORE = int(L2Flag.SNAPSHOT_LAST), int(L2Flag.GAP_BEFORE)
_CROSSED, _STALE, _GAP = int(BookFlag.CROSSED), int(BookFlag.STALE), int(BookFlag.GAP)


@kernel
def _lose(ticker: Any) -> None:
    """Something is missing: updates mean nothing until the next snapshot is whole."""
    if ticker.gap == 0:
        ticker.gaps += 1
    ticker.gap = 1
    ticker.whole = 0
    ticker.in_snapshot = 0


@kernel
def _follow_epoch(ticker: Any, epoch: int) -> None:
    """What lies between two publishers is not known."""
    if epoch != ticker.epoch:
        if ticker.epoch >= 0:
            _lose(ticker)
        ticker.epoch = epoch


@kernel
def _look_up(ticker: Any, shown: Any, book: Any) -> None:
    """Take the best levels out of the book, where they may have changed."""
    if ticker.changed and ticker.held:
        shown[:] = 0.0
        ticker.bid_levels = levels.top(book, 1, shown[0], shown[1])
        ticker.ask_levels = levels.top(book, -1, shown[2], shown[3])
        ticker.changed = 0


@kernel
def _quality(ticker: Any, shown: Any, timestamp: int) -> int:
    """Flags of a row at a time."""
    flags = _GAP if ticker.gap else 0
    if timestamp - ticker.timestamp > STALE_US:
        flags |= _STALE
    if ticker.bid_levels and ticker.ask_levels and shown[0, 0] >= shown[2, 0]:
        flags |= _CROSSED
    return flags


@kernel
def _put(state: Any, book: Any, place: int, timestamp: int, seq: int, rows: Any) -> bool:
    """Append a row of the interval at `place`; False when there is no space."""
    ticker, shown = state.ticker[0], state.tops[0]
    row = rows.filled[place, 0]
    if row == rows.flags.shape[1]:
        return False
    _look_up(ticker, shown, book)
    message = rows.filled[place, 1] - 1
    if message < 0 or rows.messages[place, message, 2] != seq:
        message += 1
        rows.messages[place, message, 0] = row
        rows.messages[place, message, 1] = 0
        rows.messages[place, message, 2] = seq
        rows.messages[place, message, 3] = ticker.epoch
        rows.filled[place, 1] = message + 1
    rows.messages[place, message, 1] += 1
    rows.ints[0, place, row] = timestamp
    rows.ints[1, place, row] = ticker.rcv_timestamp
    rows.ints[2, place, row] = ticker.packet_id
    rows.ints[3, place, row] = ticker.update_id
    rows.flags[place, row] = _quality(ticker, shown, timestamp)
    rows.counts[0, place, row] = ticker.bid_levels
    rows.counts[1, place, row] = ticker.ask_levels
    for column in range(4):
        for level in range(shown.shape[1]):
            rows.tops[column, place, row, level] = shown[column, level]
    rows.filled[place, 0] = row + 1
    return True


@kernel
def _whole_point(timestamp: int, length_us: int) -> int:
    """The first point at or after a time."""
    return -(-timestamp // length_us) * length_us


@part
def _reach(state: Any, book: Any, timestamp: int, is_packet: bool, seq: int, rows: Any) -> bool:
    """Close the points before a time; False: no space, call again."""
    for place in range(state.grids.shape[0]):
        grid = state.grids[place]
        if grid.length_us == 0 or grid.next_us == _ABSENT:
            continue
        ahead = timestamp - grid.next_us
        if ahead > grid.jump_us or (is_packet and -ahead > grid.jump_us + grid.length_us):
            grid.next_us = _whole_point(timestamp, grid.length_us)
            grid.closed_us = _ABSENT
            state.ticker[0].restarts += 1
        while grid.next_us < timestamp:
            if not _put(state, book, place, grid.next_us, seq, rows):
                return False
            grid.closed_us = grid.next_us
            grid.next_us += grid.length_us
    return True


@part
def _tell_change(state: Any, book: Any, timestamp: int, seq: int, rows: Any) -> None:
    """A row if the best levels or their quality are not as told last; space was looked for."""
    ticker, shown, told = state.ticker[0], state.tops[0], state.tops[1]
    if not ticker.begun or ticker.in_snapshot:
        return
    for place in range(state.grids.shape[0]):
        if state.grids[place].length_us == 0:
            _look_up(ticker, shown, book)
            flags = _quality(ticker, shown, timestamp)
            if flags != ticker.told or not np.array_equal(shown, told):
                ticker.told = flags
                told[:] = shown
                _put(state, book, place, timestamp, seq, rows)


@part
def _judge(ticker: Any, packets: Any, row: int) -> bool:
    """Whether a packet belongs into the book; what is missing before it is missing from now on."""
    flags = packets.flags[row]
    if flags & _GAP_BEFORE:
        _lose(ticker)
    if flags & _FIRST:
        return True
    if flags & _SNAPSHOT:
        return bool(ticker.in_snapshot)
    if ticker.whole and not levels.follows(
        ticker.update_id, packets.prev_update_id[row], packets.update_id[row]
    ):
        _lose(ticker)
    return bool(ticker.whole)


@part
def _take(state: Any, book: Any, packets: Any, row: int, level: int) -> None:
    """Apply a packet whose levels begin at `level`."""
    ticker, flags = state.ticker[0], packets.flags[row]
    if flags & _FIRST:
        _look_up(ticker, state.tops[0], book)
        levels.clear(book)
        ticker.in_snapshot = 1
        ticker.whole = ticker.held = 0
    levels.fold(book, packets.side, packets.price, packets.qty, level, level + packets.levels[row])
    if ticker.in_snapshot and not flags & _LAST:
        return
    timestamp = packets.timestamp[row]
    if ticker.in_snapshot:
        ticker.in_snapshot = ticker.gap = 0
        ticker.begun = ticker.whole = ticker.held = 1
        for place in range(state.grids.shape[0]):
            grid = state.grids[place]
            if grid.length_us and grid.next_us == _ABSENT:
                grid.next_us = _whole_point(timestamp, grid.length_us)
    ticker.changed = 1
    if timestamp > ticker.timestamp or ticker.timestamp - timestamp > DAY_US:
        ticker.timestamp = timestamp
    ticker.rcv_timestamp = packets.rcv_timestamp[row]
    ticker.packet_id = packets.packet_id[row]
    ticker.update_id = packets.update_id[row]


@part
def _is_late(grids: Any, timestamp: int) -> bool:
    """Whether a point at or after this time was closed."""
    late = False
    for place in range(grids.shape[0]):
        late |= grids[place].closed_us != _ABSENT and timestamp <= grids[place].closed_us
    return late


@part
def _packet(state: Any, book: Any, packets: Any, cursor: Any, rows: Any) -> bool:
    """The next packet; False: make more space for rows or levels and call again."""
    ticker, row = state.ticker[0], cursor.row[L2]
    level, count = cursor.level, packets.levels[row]
    cursor.short = 0
    if not levels.has_room(book, packets.side, packets.price, level, level + count):
        cursor.short = count
        return False
    timestamp, seq = packets.timestamp[row], packets.seq[row]
    for place in range(state.grids.shape[0]):
        if state.grids[place].length_us == 0 and rows.filled[place, 0] == rows.flags.shape[1]:
            return False
    _follow_epoch(ticker, packets.packet_id[row] // PACKETS_PER_EPOCH)
    if not 0 <= timestamp < FAR_US:
        _lose(ticker)
        ticker.left_out += 1
        return True
    belongs = _judge(ticker, packets, row)
    if not _reach(state, book, timestamp, True, seq, rows):
        return False
    ticker.late += _is_late(state.grids, timestamp)
    if belongs:
        _take(state, book, packets, row, level)
    else:
        ticker.left_out += 1
    _tell_change(state, book, timestamp, seq, rows)
    return True


@kernel
def _clock(state: Any, book: Any, clocks: Any, cursor: Any, rows: Any) -> bool:
    """The next clock; False: make more space for rows and call again."""
    at = cursor.clock
    if clocks.timestamp[at] == _ABSENT:
        _lose(state.ticker[0])
        return True
    _follow_epoch(state.ticker[0], clocks.epoch[at])
    limit = clocks.timestamp[at] - CLOCK_GRACE_US + 1
    return _reach(state, book, limit, False, clocks.seq[at], rows)


@kernel
def _next_step(messages: Any, clocks: Any, cursor: Any) -> int:
    """Begin what follows in the log: 0 nothing, 1 a flush (its rows are marked off), 2 a clock.

    A message says how many of its flush follow directly: those that end together are one flush.
    """
    ends = FAR_US
    for feed in range(2):
        place = cursor.message[feed]
        if place < messages[feed].seq.shape[0]:
            ends = min(ends, messages[feed].seq[place] + messages[feed].more[place])
    if cursor.clock < clocks.seq.shape[0] and clocks.seq[cursor.clock] < ends:
        return 2
    if ends == FAR_US:
        return 0
    for feed in range(2):
        cursor.order[feed] = _ABSENT
        found = messages[feed]
        while cursor.message[feed] < found.seq.shape[0]:
            place = cursor.message[feed]
            if found.seq[place] + found.more[place] != ends:
                break
            cursor.end[feed] += found.rows[place]
            cursor.message[feed] += 1
    return 1


@part
def _next_feed(packet_ids: Any, cursor: Any) -> int:
    """Feed of the flush's next row by packet, -1 when there is none."""
    chosen, least = -1, 0
    for feed in range(2):
        row = cursor.row[feed]
        if row < cursor.end[feed]:
            cursor.order[feed] = max(cursor.order[feed], packet_ids[feed][row])
            if chosen < 0 or cursor.order[feed] < least:
                chosen, least = feed, cursor.order[feed]
    return chosen


@kernel
def _fold(
    state: Any,
    book: Any,
    messages: Any,
    gaps: Any,
    packets: Any,
    clocks: Any,
    cursors: Any,
    rows: Any,
) -> bool:
    """`fold_ticker`, with names."""
    cursor, ticker = cursors[0], state.ticker[0]
    packet_ids = (gaps.packet_id, packets.packet_id)
    while True:
        feed = _next_feed(packet_ids, cursor)
        if feed == L2:
            if not _packet(state, book, packets, cursor, rows):
                return False
            cursor.level += packets.levels[cursor.row[L2]]
            cursor.row[L2] += 1
        elif feed == STATUS:
            if gaps.packet_id[cursor.row[STATUS]] != _ABSENT:
                _follow_epoch(ticker, gaps.packet_id[cursor.row[STATUS]] // PACKETS_PER_EPOCH)
            _lose(ticker)
            cursor.row[STATUS] += 1
        else:
            step = _next_step(messages, clocks, cursor)
            if step == 0:
                return True
            if step == 2:
                if not _clock(state, book, clocks, cursor, rows):
                    return False
                cursor.clock += 1


@kernel
def fold_ticker(
    ticker: Any,
    grids: Any,
    tops: Any,
    book: Any,
    messages: Any,
    gaps: Any,
    packets: Any,
    clocks: Any,
    cursors: Any,
    rows: Any,
) -> bool:
    """Fold a group's packets of one ticker; False: make more space and call again.

    Space for rows, unless `short` of the cursor says for how many levels the book has no room.

    ticker, grids, tops: a State, one by one; book: the ticker's book; messages: two Messages
    (STATUS, L2), and their columns Gaps and Packets; clocks: Clocks; cursors: one CURSOR, zero at
    the first call; rows: Rows, appended to. Named tuples come as plain ones, records by
    themselves: anything else is typed anew at each call, in Python, which takes a millisecond.
    """
    return _fold(
        State(ticker, grids, tops),
        book,
        (Messages(*messages[STATUS]), Messages(*messages[L2])),
        Gaps(*gaps),
        Packets(*packets),
        Clocks(*clocks),
        cursors,
        Rows(*rows),
    )
