"""Kernels of the bucket grid: open, freeze, close.

Buckets are [start, start + length). Several are open at once, because one closes only a grace time
after its end; its book is frozen before that, at the first book event behind its end. Every step
can be stopped when the space for rows is used up, and be begun again with the same event.
"""

from __future__ import annotations

import math

from tickbus.book.kernels import levels
from tickbus.compiled import kernel
from tickbus_schemas.messages import ABSENT, BookFlag

from tickbus_features.catalogue import BAR_COLUMNS, DEPTH
from tickbus_features.evaluate import evaluate
from tickbus_features.expression import Float64s, Int64s
from tickbus_features.layout import (
    BOOK,
    CLOCK_GRACE_US,
    DAY_US,
    FLOATS,
    QUOTES,
    RESET,
    TRADES,
    Record,
    Rows,
    Scratch,
    State,
    Uint16s,
)

_ABSENT, _DEPTH = ABSENT, DEPTH
_BAR, _FLOATS = len(BAR_COLUMNS), len(FLOATS)
_FILLED, _GAP, _CROSSED = int(BookFlag.FILLED), int(BookFlag.GAP), int(BookFlag.CROSSED)


@kernel
def slot_of(grid: Record, start: int, ring: int) -> int:
    """Where the bucket that begins at `start` has its slot."""
    return int((start // grid.length_us) % ring)


@kernel
def slot_at(grid: Record, timestamp: int, ring: int) -> int:
    """Slot of the open bucket of a time; a time before all open ones has the oldest one's."""
    if timestamp >= grid.opened_to - grid.length_us:
        return int(grid.last_slot)
    start = max(timestamp - timestamp % grid.length_us, grid.closed_to)
    return int(slot_of(grid, start, ring))


@kernel
def start_grid(grid: Record, timestamp: int) -> None:
    """Begin with the bucket of a time; nothing is known of the past."""
    start = timestamp - timestamp % grid.length_us
    grid.closed_to = start
    grid.opened_to = start
    grid.frozen_to = start
    grid.partial = 1
    grid.age = 0
    grid.close = math.nan


@kernel
def open_slot(state: State, interval: int) -> None:
    """Make the next bucket's slot ready."""
    ticker, grid = state.ticker[0], state.grids[interval]
    place = slot_of(grid, grid.opened_to, state.slots.shape[1])
    slot = state.slots[interval, place]
    slot.open = math.nan
    slot.high = math.nan
    slot.low = math.nan
    slot.close = math.nan
    slot.volume = 0.0
    slot.turnover = 0.0
    slot.taker_buy_volume = 0.0
    slot.taker_sell_volume = 0.0
    slot.trade_count = 0
    slot.order_flow = 0.0
    slot.quote_count = 0
    slot.l2_count = 0
    slot.packet_id = _ABSENT
    slot.frozen = 0
    slot.missing = ticker.missing
    if grid.partial:
        slot.missing |= TRADES
    grid.partial = 0
    grid.last_slot = place
    grid.opened_to += grid.length_us


@kernel
def freeze(ticker: Record, slot: Record, book: Int64s) -> None:
    """Keep the best levels of the book as it is now; all null while it is not valid."""
    slot.frozen = 1
    if not ticker.book_valid:
        slot.book[:, :] = math.nan
        return
    slot.book[0, :] = math.nan
    slot.book[1, :] = 0.0
    slot.book[2, :] = math.nan
    slot.book[3, :] = 0.0
    levels.top(book, 1, slot.book[0], slot.book[1])
    levels.top(book, -1, slot.book[2], slot.book[3])


@kernel
def _fill_bar(grid: Record, slot: Record, values: Float64s) -> None:
    """BAR_COLUMNS; an empty bar stands at the close before."""
    traded = slot.trade_count > 0
    values[0] = slot.open if traded else grid.close
    values[1] = slot.high if traded else grid.close
    values[2] = slot.low if traded else grid.close
    values[3] = slot.close if traded else grid.close
    values[4] = slot.volume
    values[5] = slot.turnover / slot.volume if slot.volume > 0.0 else math.nan
    values[6] = slot.taker_buy_volume
    values[7] = slot.taker_sell_volume
    values[8] = slot.taker_buy_volume - slot.taker_sell_volume
    values[9] = slot.trade_count


@kernel
def _fill_book(slot: Record, values: Float64s) -> None:
    """FLOW_COLUMNS and BOOK_COLUMNS."""
    values[_BAR] = math.nan if slot.missing & QUOTES else slot.order_flow
    values[_BAR + 1] = slot.quote_count
    values[_BAR + 2] = slot.l2_count
    place = _BAR + 3
    for column in range(4):
        for level in range(_DEPTH):
            values[place] = slot.book[column, level]
            place += 1


@kernel
def _next_row(rows: Rows, interval: int, seq: int, epoch: int) -> int:
    """Index of a new row; it joins the message of the same stream sequence, or begins one."""
    row = rows.counts[interval, 0]
    message = rows.counts[interval, 1]
    if message == 0 or rows.messages[interval, message - 1, 2] != seq:
        rows.messages[interval, message, 0] = row
        rows.messages[interval, message, 1] = 0
        rows.messages[interval, message, 2] = seq
        rows.messages[interval, message, 3] = epoch
        rows.counts[interval, 1] = message + 1
    else:
        message -= 1
    rows.messages[interval, message, 1] += 1
    rows.counts[interval, 0] = row + 1
    return int(row)


@kernel
def _write_bar(
    grid: Record, slot: Record, values: Float64s, ints: Int64s, floats: Float64s, flags: Uint16s
) -> None:
    """INTS, FLOATS and the flags of a bar."""
    ints[0] = grid.closed_to
    ints[1] = grid.closed_to + grid.length_us
    ints[2] = grid.rcv_timestamp
    ints[3] = grid.packet_id
    ints[4] = slot.trade_count
    ints[5] = grid.late_count
    for column in range(_FLOATS - 1):
        floats[column] = values[column]
    floats[_FLOATS - 1] = grid.late_volume
    flags[0] = 0
    if slot.trade_count == 0:
        flags[0] |= _FILLED
    if slot.missing & TRADES:
        flags[0] |= _GAP


@kernel
def _write_features(slot: Record, scratch: Scratch, floats: Float64s, flags: Uint16s) -> None:
    """The published values and their flags."""
    for place in range(scratch.published.shape[0]):
        floats[_FLOATS + place] = scratch.values[scratch.published[place]]
    flags[1] = 0
    if slot.missing & (TRADES | QUOTES | BOOK):
        flags[1] |= _GAP
    if slot.book[0, 0] >= slot.book[2, 0]:
        flags[1] |= _CROSSED


@kernel
def close_oldest(
    state: State, interval: int, book: Int64s, scratch: Scratch, rows: Rows, seq: int, epoch: int
) -> bool:
    """Turn the oldest open bucket into a row; False when there is no space left for one."""
    if rows.counts[interval, 0] == rows.ints.shape[1]:
        return False
    ticker, grid = state.ticker[0], state.grids[interval]
    if grid.closed_to == grid.opened_to:
        open_slot(state, interval)
    slot = state.slots[interval, slot_of(grid, grid.closed_to, state.slots.shape[1])]
    if not slot.frozen:
        freeze(ticker, slot, book)
        grid.frozen_to = grid.closed_to + grid.length_us
    if slot.packet_id != _ABSENT:
        grid.packet_id = slot.packet_id
        grid.rcv_timestamp = slot.rcv_timestamp
    if slot.missing & RESET:
        grid.age = 0
    grid.age += 1
    row = _next_row(rows, interval, seq, epoch)
    values, floats, flags = scratch.values, rows.floats[interval, row], rows.flags[interval, row]
    _fill_bar(grid, slot, values)
    _write_bar(grid, slot, values, rows.ints[interval, row], floats, flags)
    grid.close = values[3]
    if slot.missing & TRADES:
        values[:_BAR] = math.nan  # no feature is made of a bar that is not whole
    _fill_book(slot, values)
    history = state.history[interval]
    evaluate(
        scratch.steps,
        scratch.constants,
        scratch.tracked,
        values,
        scratch.stack,
        history,
        grid.age,
    )
    _write_features(slot, scratch, floats, flags)
    grid.late_count = 0
    grid.late_volume = 0.0
    grid.closed_to += grid.length_us
    return True


@kernel
def _restart(
    timestamp: int,
    state: State,
    interval: int,
    book: Int64s,
    scratch: Scratch,
    rows: Rows,
    seq: int,
    epoch: int,
) -> bool:
    """Close what holds events and begin anew at a time that is too far away to fill up to."""
    grid = state.grids[interval]
    while grid.closed_to < grid.opened_to:
        if not close_oldest(state, interval, book, scratch, rows, seq, epoch):
            return False
    start_grid(grid, timestamp)
    state.ticker[0].restarts += 1
    return True


@kernel
def reach(
    timestamp: int,
    grace_us: int,
    state: State,
    book: Int64s,
    scratch: Scratch,
    rows: Rows,
    seq: int,
    epoch: int,
) -> bool:
    """Close and open all buckets that an event of this time closes and opens; False: no space.

    Needed only for a time outside the ticker's [reach_from, reach_to).
    """
    ticker = state.ticker[0]
    reach_from, reach_to = -DAY_US, ABSENT
    for interval in range(state.grids.shape[0]):
        grid = state.grids[interval]
        if grid.closed_to == _ABSENT:
            start_grid(grid, timestamp)
        elif (
            timestamp - grid.opened_to > grid.jump_us or grid.closed_to - timestamp > DAY_US
        ) and not _restart(timestamp, state, interval, book, scratch, rows, seq, epoch):
            return False
        while grid.closed_to + grid.length_us + grace_us <= timestamp:
            if not close_oldest(state, interval, book, scratch, rows, seq, epoch):
                return False
        while grid.opened_to <= timestamp:
            open_slot(state, interval)
        reach_from = max(reach_from, grid.closed_to - DAY_US)
        boundary = min(grid.closed_to + grid.length_us + grace_us, grid.opened_to)
        reach_to = boundary if reach_to == _ABSENT else min(reach_to, boundary)
    ticker.reach_from = reach_from
    ticker.reach_to = reach_to
    return True


@kernel
def tick(
    timestamp: int, state: State, book: Int64s, scratch: Scratch, rows: Rows, seq: int, epoch: int
) -> bool:
    """Close what a clock of this time closes; False: no space left for rows."""
    ticker = state.ticker[0]
    for interval in range(state.grids.shape[0]):
        grid = state.grids[interval]
        if grid.closed_to == _ABSENT:
            continue
        if timestamp - grid.opened_to > grid.jump_us:
            # What the ticker had is closed; its next event begins a new grid or, near, goes on.
            while grid.closed_to < grid.opened_to:
                if not close_oldest(state, interval, book, scratch, rows, seq, epoch):
                    return False
            continue
        while grid.closed_to + grid.length_us + CLOCK_GRACE_US <= timestamp:
            if not close_oldest(state, interval, book, scratch, rows, seq, epoch):
                return False
    ticker.reach_to = ABSENT
    return True


@kernel
def freeze_to(timestamp: int, state: State, book: Int64s) -> None:
    """Freeze the book of all open buckets that end at or before a book event's time."""
    for interval in range(state.grids.shape[0]):
        grid = state.grids[interval]
        while grid.frozen_to + grid.length_us <= timestamp:
            slot = state.slots[interval, slot_of(grid, grid.frozen_to, state.slots.shape[1])]
            freeze(state.ticker[0], slot, book)
            grid.frozen_to += grid.length_us
