"""Books on a time grid: one ticker's L2 packets, gaps and clocks in, rows of its best levels out.

Grid point t is the book after every packet with timestamp <= t. It closes at the first packet after
t or at a clock of t + 1 s, whichever is first in the log, and nothing else closes it: ARCHITECTURE.
Packets and gaps of one flush are merged by `packet_id`; flushes and clocks follow each other as
they stand in the log, so the rows are the same however the log is cut into groups.
"""

from __future__ import annotations

from typing import Any

from tickbus.book.kernels import levels
from tickbus.compiled import kernel, part
from tickbus_schemas.messages import ABSENT, PACKETS_PER_EPOCH, BookFlag, L2Flag

from tickbus_book.kernels.grid_layout import DAY_US, Clocks, Gaps, Messages, Packet, Packets, Rows

FAR_US = 4_102_444_800_000_000
"""2100-01-01: a time outside [0, FAR_US) is no time"""
CLOCK_GRACE_US = 1_000_000
"""A clock closes the points that lie this long before it."""
STALE_US = 60_000_000
"""A book is stale when its last packet is older than this."""

MORE_ROWS, MORE_LEVELS = -1, -2
"""What `fold_ticker` asks for instead of an answer."""

_ABSENT = ABSENT
_EPOCH_BITS = PACKETS_PER_EPOCH.bit_length() - 1
_FIRST, _SNAPSHOT = int(L2Flag.SNAPSHOT_FIRST), int(L2Flag.SNAPSHOT)
_LAST, _GAP_BEFORE = int(L2Flag.SNAPSHOT_LAST), int(L2Flag.GAP_BEFORE)
_CROSSED, _STALE, _GAP = int(BookFlag.CROSSED), int(BookFlag.STALE), int(BookFlag.GAP)


@kernel
def _lose(ticker: Any, counts: Any) -> None:
    """Something is missing: updates mean nothing until the next snapshot is whole."""
    if ticker.gap == 0:
        counts.gaps += 1
    ticker.gap = 1
    ticker.whole = 0
    ticker.in_snapshot = 0


@part
def _follow_epoch(ticker: Any, counts: Any, epoch: int) -> None:
    """What lies between two publishers is not known."""
    if epoch != ticker.epoch:
        if ticker.epoch >= 0:
            _lose(ticker, counts)
        ticker.epoch = epoch


# ---------------------------------------------------------------- what follows in the log


@kernel
def _next_step(gaps: Any, messages: Any, clocks: Any, cursor: Any) -> int:
    """Begin what follows: 0 nothing, 1 a flush (its packets and gaps are marked off), 2 a clock.

    A message says how many of its flush follow directly: those that end together are one flush.
    """
    ends = FAR_US
    if cursor.gap < len(gaps.seq):
        ends = gaps.seq[cursor.gap] + gaps.more[cursor.gap]
    if cursor.message < len(messages.seq):
        ends = min(ends, messages.seq[cursor.message] + messages.more[cursor.message])
    if cursor.clock < len(clocks.seq) and clocks.seq[cursor.clock] < ends:
        return 2
    if ends == FAR_US:
        return 0
    cursor.gap_order = cursor.order = _ABSENT
    at = cursor.gap_end
    while at < len(gaps.seq) and gaps.seq[at] + gaps.more[at] == ends:
        at += 1
    cursor.gap_end = at
    at = cursor.message
    while at < len(messages.seq) and messages.seq[at] + messages.more[at] == ends:
        cursor.end += messages.rows[at]
        at += 1
    cursor.message = at
    return 1


@kernel
def _gap_is_next(gaps: Any, packets: Any, cursor: Any) -> bool:
    """Whether the flush goes on with a gap: by packet, and of one packet the gap is first."""
    cursor.gap_order = max(cursor.gap_order, gaps.packet_id[cursor.gap])
    if cursor.row == cursor.end:
        return True
    return bool(cursor.gap_order <= max(cursor.order, packets.packet_id[cursor.row]))


@kernel
def _next_message(messages: Any, cursor: Any) -> None:
    """Find the message of the next packet."""
    while cursor.row >= cursor.seq_end:
        cursor.seq_end += messages.rows[cursor.read]
        cursor.seq = messages.seq[cursor.read]
        cursor.read += 1


# ----------------------------------------------------------------------------------- rows


@kernel
def _look_up(ticker: Any, tops: Any, book: Any) -> None:
    """Take the best levels out of the book, where they may have changed."""
    if ticker.changed and ticker.held:
        for column in range(4):
            for level in range(tops.shape[2]):
                tops[0, column, level] = 0.0
        ticker.bid_levels = levels.top(book, 1, tops[0, 0], tops[0, 1])
        ticker.ask_levels = levels.top(book, -1, tops[0, 2], tops[0, 3])
        ticker.changed = 0


@part
def _quality(ticker: Any, tops: Any, timestamp: int) -> int:
    """Flags of a row at a time."""
    flags = _GAP if ticker.gap else 0
    if timestamp - ticker.timestamp > STALE_US:
        flags |= _STALE
    if ticker.bid_levels and ticker.ask_levels and tops[0, 0, 0] >= tops[0, 2, 0]:
        flags |= _CROSSED
    return flags


@kernel
def _put(
    ticker: Any, tops: Any, book: Any, place: int, timestamp: int, seq: int, rows: Any
) -> None:
    """Append a row of the interval at `place`; space was looked for."""
    row = rows.filled[place, 0]
    _look_up(ticker, tops, book)
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
    rows.flags[place, row] = _quality(ticker, tops, timestamp)
    rows.counts[0, place, row] = ticker.bid_levels
    rows.counts[1, place, row] = ticker.ask_levels
    for column in range(4):
        for level in range(tops.shape[2]):
            rows.tops[column, place, row, level] = tops[0, column, level]
    rows.filled[place, 0] = row + 1


@part
def _whole_point(timestamp: int, length_us: int) -> int:
    """The first point at or after a time."""
    return -(-timestamp // length_us) * length_us


@kernel
def _reach(
    ticker: Any,
    grids: Any,
    tops: Any,
    book: Any,
    timestamp: int,
    is_packet: bool,
    seq: int,
    counts: Any,
    rows: Any,
) -> bool:
    """Close the points before a time; False: no space, call again."""
    has_space = True
    for place in range(len(grids)):
        grid = grids[place]
        if grid.length_us == 0 or grid.next_us == _ABSENT:
            continue
        ahead = timestamp - grid.next_us
        if ahead > grid.jump_us or (is_packet and -ahead > grid.jump_us + grid.length_us):
            grid.next_us = _whole_point(timestamp, grid.length_us)
            grid.closed_us = _ABSENT
            counts.restarts += 1
        while grid.next_us < timestamp and has_space:
            has_space = rows.filled[place, 0] < rows.flags.shape[1]
            if has_space:
                _put(ticker, tops, book, place, grid.next_us, seq, rows)
                grid.closed_us = grid.next_us
                grid.next_us += grid.length_us
    return has_space


@kernel
def _is_late(grids: Any, timestamp: int) -> bool:
    """Whether a point at or after this time was closed."""
    late = False
    for place in range(len(grids)):
        late |= grids[place].closed_us != _ABSENT and timestamp <= grids[place].closed_us
    return late


@kernel
def _note_open(grids: Any, cursor: Any) -> None:
    """Between which times a packet closes nothing and is not late, so that most need no look."""
    cursor.after, cursor.until = -1, FAR_US
    for place in range(len(grids)):
        grid = grids[place]
        if grid.length_us == 0 or grid.next_us == _ABSENT:
            continue
        back = grid.closed_us
        if back == _ABSENT:
            back = grid.next_us - grid.length_us
        cursor.after = max(cursor.after, back)
        cursor.until = min(cursor.until, grid.next_us)


@kernel
def _tell_change(
    ticker: Any, grids: Any, tops: Any, book: Any, timestamp: int, seq: int, rows: Any
) -> None:
    """A row if the best levels or their quality are not as told last; space was looked for."""
    if not ticker.begun or ticker.in_snapshot:
        return
    _look_up(ticker, tops, book)
    flags = _quality(ticker, tops, timestamp)
    changed = flags != ticker.told
    for column in range(4):
        for level in range(tops.shape[2]):
            changed |= tops[0, column, level] != tops[1, column, level]
    if changed:
        ticker.told = flags
        tops[1] = tops[0]
        _put(ticker, tops, book, _on_change(grids), timestamp, seq, rows)


@part
def _on_change(grids: Any) -> int:
    """The place of the interval 0; -1: there is none."""
    found = -1
    for place in range(len(grids)):
        if grids[place].length_us == 0:
            found = place
    return found


# -------------------------------------------------------------------------------- packets


@part
def _is_timed(packet: Any) -> bool:
    return bool(0 <= packet.timestamp < FAR_US)


@part
def _judge(ticker: Any, counts: Any, packet: Any) -> bool:
    """Whether a packet belongs into the book; what is missing before it is missing from now on."""
    _follow_epoch(ticker, counts, packet.packet_id >> _EPOCH_BITS)
    if packet.flags & _GAP_BEFORE or not _is_timed(packet):
        _lose(ticker, counts)
    if not _is_timed(packet):
        return False
    if packet.flags & _FIRST:
        return True
    if packet.flags & _SNAPSHOT:
        return bool(ticker.in_snapshot)
    if ticker.whole and not levels.follows(
        ticker.update_id, packet.prev_update_id, packet.update_id
    ):
        _lose(ticker, counts)
    return bool(ticker.whole)


@kernel
def _take_gap(ticker: Any, counts: Any, packet_id: int) -> None:
    """Something is missing, of the epoch of this packet if it is known."""
    if packet_id != _ABSENT:
        _follow_epoch(ticker, counts, packet_id >> _EPOCH_BITS)
    _lose(ticker, counts)


@kernel
def _begin_snapshot(ticker: Any, tops: Any, book: Any) -> None:
    """Rows go on to show the book before it until it is whole."""
    _look_up(ticker, tops, book)
    levels.clear(book)
    ticker.in_snapshot = 1
    ticker.whole = ticker.held = 0


@kernel
def _end_snapshot(ticker: Any, grids: Any, timestamp: int, cursor: Any) -> None:
    """The book is whole; grids that have not begun begin here."""
    ticker.in_snapshot = ticker.gap = 0
    ticker.begun = ticker.whole = ticker.held = 1
    for place in range(len(grids)):
        grid = grids[place]
        if grid.length_us and grid.next_us == _ABSENT:
            grid.next_us = _whole_point(timestamp, grid.length_us)
    _note_open(grids, cursor)


@part
def _show(ticker: Any, packet: Any) -> None:
    """Rows show the book as it is with this packet."""
    ticker.changed = 1
    if packet.timestamp > ticker.timestamp or ticker.timestamp - packet.timestamp > DAY_US:
        ticker.timestamp = packet.timestamp
    ticker.rcv_timestamp = packet.rcv_timestamp
    ticker.packet_id = packet.packet_id
    ticker.update_id = packet.update_id


@part
def _take(
    ticker: Any,
    grids: Any,
    tops: Any,
    book: Any,
    side: Any,
    price: Any,
    qty: Any,
    packet: Any,
    cursor: Any,
) -> None:
    """Apply a packet that belongs into the book."""
    if packet.flags & _FIRST:
        _begin_snapshot(ticker, tops, book)
    levels.fold(book, side, price, qty, cursor.level, cursor.level + packet.levels)
    if ticker.in_snapshot and packet.flags & _LAST:
        _end_snapshot(ticker, grids, packet.timestamp, cursor)
    if not ticker.in_snapshot:
        _show(ticker, packet)


@kernel
def _fold(
    ticker: Any,
    grids: Any,
    tops: Any,
    book: Any,
    gaps: Any,
    messages: Any,
    packets: Any,
    clocks: Any,
    cursor: Any,
    counts: Any,
    rows: Any,
) -> int:
    """`fold_ticker`, with names; columns that are read in the loop are taken out before it."""
    timestamp, rcv_timestamp, packet_id = (
        packets.timestamp,
        packets.rcv_timestamp,
        packets.packet_id,
    )
    prev_update_id, update_id = packets.prev_update_id, packets.update_id
    flags, level_count = packets.flags, packets.levels
    side, price, qty = packets.side, packets.price, packets.qty
    on_change = _on_change(grids)
    _note_open(grids, cursor)
    while True:
        if cursor.gap < cursor.gap_end and _gap_is_next(gaps, packets, cursor):
            _take_gap(ticker, counts, gaps.packet_id[cursor.gap])
            cursor.gap += 1
        elif cursor.row < cursor.end:
            if cursor.row >= cursor.seq_end:
                _next_message(messages, cursor)
            row = cursor.row
            packet = Packet(
                cursor.seq,
                timestamp[row],
                rcv_timestamp[row],
                packet_id[row],
                prev_update_id[row],
                update_id[row],
                flags[row],
                level_count[row],
            )
            last = cursor.level + packet.levels
            if not levels.has_room(book, side, price, cursor.level, last):
                return MORE_LEVELS
            if on_change >= 0 and rows.filled[on_change, 0] == rows.flags.shape[1]:
                return MORE_ROWS
            belongs = _judge(ticker, counts, packet)
            if not cursor.after < packet.timestamp <= cursor.until and _is_timed(packet):
                if not _reach(
                    ticker, grids, tops, book, packet.timestamp, True, packet.seq, counts, rows
                ):
                    return MORE_ROWS
                counts.late += _is_late(grids, packet.timestamp)
                _note_open(grids, cursor)
            if belongs:
                _take(ticker, grids, tops, book, side, price, qty, packet, cursor)
            else:
                counts.left_out += 1
            if on_change >= 0 and _is_timed(packet):
                _tell_change(ticker, grids, tops, book, packet.timestamp, packet.seq, rows)
            cursor.order = max(cursor.order, packet.packet_id)
            cursor.level += packet.levels
            cursor.row += 1
        else:
            step = _next_step(gaps, messages, clocks, cursor)
            if step == 0:
                return int(rows.filled[:, 0].sum())
            if step == 2:
                if not _clock(ticker, grids, tops, book, clocks, cursor, counts, rows):
                    return MORE_ROWS
                cursor.clock += 1
                _note_open(grids, cursor)


@kernel
def _clock(
    ticker: Any,
    grids: Any,
    tops: Any,
    book: Any,
    clocks: Any,
    cursor: Any,
    counts: Any,
    rows: Any,
) -> bool:
    """The next clock; False: make more space for rows and call again."""
    at = cursor.clock
    if clocks.timestamp[at] == _ABSENT:
        _lose(ticker, counts)
        return True
    _follow_epoch(ticker, counts, clocks.epoch[at])
    limit = clocks.timestamp[at] - CLOCK_GRACE_US + 1
    return _reach(ticker, grids, tops, book, limit, False, clocks.seq[at], counts, rows)


@kernel
def fold_ticker(
    ticker: Any,
    grids: Any,
    tops: Any,
    book: Any,
    gaps: Any,
    messages: Any,
    packets: Any,
    clocks: Any,
    cursors: Any,
    counts: Any,
    rows: Any,
) -> int:
    """Fold a group's packets of one ticker; how many rows were closed.

    MORE_ROWS or MORE_LEVELS: make space for rows, or for the levels of the cursor's packet, and
    call again.

    ticker, grids, tops: a State, one by one; book: the ticker's book; gaps: Gaps; messages and
    their columns: Messages and Packets; clocks: Clocks; cursors: one CURSOR, zero at the first
    call; counts: one COUNTS, added to; rows: Rows, appended to. Named tuples come as plain ones,
    records by themselves: anything else is typed anew at each call, in Python, which takes a
    millisecond.
    """
    return _fold(
        ticker[0],
        grids,
        tops,
        book,
        Gaps(*gaps),
        Messages(*messages),
        Packets(*packets),
        Clocks(*clocks),
        cursors[0],
        counts[0],
        Rows(*rows),
    )
