"""Kernel of layer 1: the events of one ticker, in the log's order, into its open buckets.

Messages of one flush are one step: their events are merged by `packet_id`, and the rows they close
belong to the flush's last message. Flushes and clocks follow each other as they stand in the log,
so the result is the same however the log is cut into groups.
"""

from __future__ import annotations

import math

from tickbus.kernels import book as levels
from tickbus.kernels.compiled import kernel
from tickbus_schemas.messages import ABSENT, PACKETS_PER_EPOCH, L2Flag, TradeFlag

from tickbus_features.buckets import freeze_to, reach, slot_at, slot_of, tick
from tickbus_features.expression import Int64s
from tickbus_features.layout import (
    BBO,
    BOOK,
    FAR,
    FAR_US,
    L2,
    QUOTES,
    RESET,
    STATUS,
    TRADE,
    TRADES,
    Clocks,
    FeedMessages,
    Losses,
    Packets,
    Quotes,
    Record,
    Records,
    Rows,
    Scratch,
    State,
    Trades,
)
from tickbus_features.order_flow import contribution, side_or_none

_ABSENT = ABSENT
_EPOCH_BITS = PACKETS_PER_EPOCH.bit_length() - 1
_ALL = TRADES | QUOTES | BOOK
_FIRST, _LAST = int(L2Flag.SNAPSHOT_FIRST), int(L2Flag.SNAPSHOT_LAST)
_GAP_BEFORE = int(L2Flag.GAP_BEFORE)
_NO_BAR = int(TradeFlag.BLOCK | TradeFlag.OFF_BOOK)
"""Trades that were not made in the book: they are no part of a bar."""


@kernel
def lose(state: State, feeds: int, from_timestamp: int) -> None:
    """A gap behind `from_timestamp`: the feeds are missing until they are found again."""
    ticker = state.ticker[0]
    if feeds & BOOK:
        ticker.book_valid = 0
        ticker.in_snapshot = 0
        if not ticker.quotes_from_bbo:
            feeds |= QUOTES
    ticker.losses += 1
    mark_missing(state, feeds, RESET, from_timestamp)


@kernel
def mark_missing(state: State, feeds: int, reset: int, from_timestamp: int) -> None:
    """Mark the open buckets that end behind a time; those opened later get the ticker's mark."""
    state.ticker[0].missing |= feeds
    for interval in range(state.grids.shape[0]):
        grid = state.grids[interval]
        start = grid.closed_to
        while start < grid.opened_to:
            if start + grid.length_us > from_timestamp:
                slot = state.slots[interval, slot_of(grid, start, state.slots.shape[1])]
                slot.missing |= feeds | reset
            start += grid.length_us


@kernel
def found(ticker: Record, feeds: int) -> None:
    """A feed is whole again from here on."""
    ticker.missing &= ~feeds


@kernel
def follow_epoch(state: State, epoch: int) -> None:
    """What lies between two publishers is not known."""
    ticker = state.ticker[0]
    if epoch != ticker.epoch:
        if ticker.epoch >= 0:
            lose(state, _ALL, _ABSENT)
        ticker.epoch = epoch


@kernel
def take_trade(state: State, trade: Trades, row: int) -> None:
    """Add a trade to its bar, or to the late ones where that is closed."""
    timestamp, qty, side = trade.timestamp[row], trade.qty[row], trade.side[row]
    price, packet_id = trade.price[row], trade.packet_id[row]
    rcv_timestamp = trade.rcv_timestamp[row]
    in_bar = not trade.flags[row] & _NO_BAR
    found(state.ticker[0], TRADES)
    for interval in range(state.grids.shape[0]):
        grid = state.grids[interval]
        if timestamp < grid.closed_to:
            if in_bar:
                grid.late_count += 1
                grid.late_volume += qty
                state.ticker[0].late_trades += 1
            continue
        slot = state.slots[interval, slot_at(grid, timestamp, state.slots.shape[1])]
        slot.packet_id = packet_id
        slot.rcv_timestamp = rcv_timestamp
        if not in_bar:
            continue
        if slot.trade_count == 0:
            slot.open = price
            slot.high = price
            slot.low = price
        slot.high = max(slot.high, price)
        slot.low = min(slot.low, price)
        slot.close = price
        slot.trade_count += 1
        slot.volume += qty
        slot.turnover += price * qty
        if side > 0:
            slot.taker_buy_volume += qty
        elif side < 0:
            slot.taker_sell_volume += qty


@kernel
def take_quote(
    state: State, timestamp: int, bid_px: float, bid_sz: float, ask_px: float, ask_sz: float
) -> None:
    """Add the order flow of a best quote; a late one counts in the oldest open bucket."""
    ticker = state.ticker[0]
    bid_px, bid_sz = side_or_none(bid_px, bid_sz, -math.inf)
    ask_px, ask_sz = side_or_none(ask_px, ask_sz, math.inf)
    flow = 0.0
    if not ticker.missing & QUOTES:
        flow = contribution(
            bid_px,
            bid_sz,
            ask_px,
            ask_sz,
            ticker.bid_px,
            ticker.bid_sz,
            ticker.ask_px,
            ticker.ask_sz,
        )
    ticker.bid_px = bid_px
    ticker.bid_sz = bid_sz
    ticker.ask_px = ask_px
    ticker.ask_sz = ask_sz
    found(ticker, QUOTES)
    for interval in range(state.grids.shape[0]):
        grid = state.grids[interval]
        slot = state.slots[interval, slot_at(grid, timestamp, state.slots.shape[1])]
        slot.order_flow += flow
        slot.quote_count += 1


@kernel
def touch(state: State, timestamp: int, packet_id: int, rcv_timestamp: int, is_book: int) -> None:
    """Note an event as the last one of its bucket; a late book event is in the next book."""
    for interval in range(state.grids.shape[0]):
        grid = state.grids[interval]
        at = max(timestamp, grid.frozen_to) if is_book else timestamp
        slot = state.slots[interval, slot_at(grid, at, state.slots.shape[1])]
        slot.packet_id = packet_id
        slot.rcv_timestamp = rcv_timestamp
        slot.l2_count += is_book


@kernel
def take_bbo(state: State, bbo: Quotes, row: int) -> None:
    """A best quote of the venue; the first one ends the time in which the book gave them."""
    ticker = state.ticker[0]
    if not ticker.quotes_from_bbo:
        ticker.quotes_from_bbo = 1
        mark_missing(state, QUOTES, 0, _ABSENT)
    take_quote(
        state,
        bbo.timestamp[row],
        bbo.bid_px[row],
        bbo.bid_sz[row],
        bbo.ask_px[row],
        bbo.ask_sz[row],
    )
    touch(state, bbo.timestamp[row], bbo.packet_id[row], bbo.rcv_timestamp[row], 0)


@kernel
def take_packet(
    state: State, book: Int64s, l2: Packets, row: int, level: int, scratch: Scratch
) -> None:
    """Apply a book packet whose levels begin at `level`; the best quote after it where needed."""
    best = scratch.best
    ticker = state.ticker[0]
    timestamp, flags = l2.timestamp[row], l2.flags[row]
    is_first = flags & _FIRST
    linked = levels.follows(ticker.update_id, l2.prev_update_id[row], l2.update_id[row])
    if flags & _GAP_BEFORE or (ticker.book_valid and not is_first and not linked):
        lose(state, BOOK, ticker.l2_timestamp)
    if is_first:
        levels.clear(book)
        ticker.book_valid = 0
        ticker.in_snapshot = 1
    if ticker.in_snapshot or ticker.book_valid:
        levels.apply(
            book, l2.side, l2.price, l2.qty, scratch.actions, level, level + l2.levels[row]
        )
        ticker.update_id = l2.update_id[row]
        ticker.l2_timestamp = timestamp
    if ticker.in_snapshot and flags & _LAST:
        ticker.in_snapshot = 0
        ticker.book_valid = 1
        found(ticker, BOOK)
    touch(state, timestamp, l2.packet_id[row], l2.rcv_timestamp[row], 1)
    if ticker.book_valid and not ticker.quotes_from_bbo:
        best[:] = 0.0
        levels.top(book, 1, best[0:1], best[1:2])
        levels.top(book, -1, best[2:3], best[3:4])
        take_quote(state, timestamp, best[0], best[1], best[2], best[3])


@kernel
def _next_step(messages: FeedMessages, clocks: Clocks, cursor: Record) -> int:
    """Begin what follows in the log: 0 nothing, 1 a flush (its rows are marked off), 2 a clock.

    A message says how many of its flush follow directly: those that end together are one flush.
    """
    ends = FAR
    for feed in range(4):
        place = cursor.message[feed]
        if place < messages[feed].seq.shape[0]:
            ends = min(ends, messages[feed].seq[place] + messages[feed].more[place])
    if cursor.clock < clocks.seq.shape[0] and clocks.seq[cursor.clock] < ends:
        return 2
    if ends == FAR:
        return 0
    cursor.seq = 0
    for feed in range(4):
        feed_messages = messages[feed]
        while cursor.message[feed] < feed_messages.seq.shape[0]:
            place = cursor.message[feed]
            if feed_messages.seq[place] + feed_messages.more[place] != ends:
                break
            cursor.end[feed] += feed_messages.rows[place]
            cursor.seq = max(cursor.seq, feed_messages.seq[place])
            cursor.message[feed] += 1
    return 1


@kernel
def _look_at(cursor: Record, feed: int, packet_ids: Int64s, least: int) -> None:
    """Note the packet of a feed's next row.

    Within a feed the order is the log's: updates kept back until a snapshot came follow it, though
    their packets are older.
    """
    row = cursor.row[feed]
    cursor.order[feed] = max(least, packet_ids[row]) if row < cursor.end[feed] else FAR


@kernel
def _next_feed(cursor: Record) -> int:
    """Feed of the flush's next event by packet, -1 when there is none."""
    chosen, least = -1, FAR
    for feed in range(4):
        if cursor.order[feed] < least:
            chosen, least = feed, cursor.order[feed]
    return chosen


@kernel
def fold_ticker(
    state: State,
    book: Int64s,
    grace_us: int,
    messages: FeedMessages,
    losses: Losses,
    l2: Packets,
    bbo: Quotes,
    trade: Trades,
    clocks: Clocks,
    cursors: Records,
    scratch: Scratch,
    rows: Rows,
) -> bool:
    """Fold a group's events of one ticker; False: make more space and call again.

    Space for rows, unless the book has no room for the largest packet: then for its levels.

    state: State; book: the ticker's book; messages: four Messages (STATUS, L2, BBO, TRADE), and
    their columns Losses, Packets, Quotes, Trades; clocks: Clocks; cursors: one CURSOR as
    `new_cursor` gives it at the first call; scratch: Scratch; rows: Rows, appended to.
    """
    cursor, ticker = cursors[0], state.ticker[0]
    while True:
        feed = _next_feed(cursor)
        if feed < 0:
            step = _next_step(messages, clocks, cursor)
            if step == 0:
                return True
            if step == 1:
                _look_at(cursor, STATUS, losses.packet_id, _ABSENT)
                _look_at(cursor, L2, l2.packet_id, _ABSENT)
                _look_at(cursor, BBO, bbo.packet_id, _ABSENT)
                _look_at(cursor, TRADE, trade.packet_id, _ABSENT)
            elif not _take_clock(state, book, clocks, cursor.clock, scratch, rows):
                return False
            else:
                cursor.clock += 1
            continue
        row, order = cursor.row[feed], cursor.order[feed]
        if feed == TRADE:
            timestamp, packet_id = trade.timestamp[row], trade.packet_id[row]
        elif feed == BBO:
            timestamp, packet_id = bbo.timestamp[row], bbo.packet_id[row]
        elif feed == L2:
            if not levels.has_room(book, l2.levels[row]):
                return False
            timestamp, packet_id = l2.timestamp[row], l2.packet_id[row]
        else:
            timestamp, packet_id = ticker.reach_from, losses.packet_id[row]
        if packet_id >= 0 and packet_id >> _EPOCH_BITS != ticker.epoch:
            follow_epoch(state, packet_id >> _EPOCH_BITS)
        timed = 0 <= timestamp < FAR_US
        if (
            timed
            and not ticker.reach_from <= timestamp < ticker.reach_to
            and feed != STATUS
            and not reach(timestamp, grace_us, state, book, scratch, rows, cursor.seq, ticker.epoch)
        ):
            return False
        if feed == STATUS:
            _take_status(state, losses, row)
            cursor.row[feed] += 1
            _look_at(cursor, feed, losses.packet_id, order)
        elif feed == L2:
            if timed:
                freeze_to(timestamp, state, book)
                take_packet(state, book, l2, row, cursor.level, scratch)
            else:
                lose(state, BOOK, _ABSENT)
            cursor.level += l2.levels[row]
            cursor.row[feed] += 1
            _look_at(cursor, feed, l2.packet_id, order)
        elif feed == BBO:
            if timed:
                take_bbo(state, bbo, row)
            cursor.row[feed] += 1
            _look_at(cursor, feed, bbo.packet_id, order)
        else:
            if timed:
                take_trade(state, trade, row)
            cursor.row[feed] += 1
            _look_at(cursor, feed, trade.packet_id, order)
        if not timed and feed != STATUS:
            ticker.untimed += 1


@kernel
def _take_status(state: State, losses: Losses, row: int) -> None:
    """Feeds that broke, feeds that are whole again; a status has no venue time and closes none."""
    if losses.lost[row]:
        lose(state, losses.lost[row], losses.from_timestamp[row])
    if losses.found[row]:
        found(state.ticker[0], losses.found[row])


@kernel
def _take_clock(
    state: State, book: Int64s, clocks: Clocks, at: int, scratch: Scratch, rows: Rows
) -> bool:
    """Close what a clock closes, or note that messages are missing; False: no space for rows."""
    timestamp = clocks.timestamp[at]
    if timestamp == _ABSENT:
        lose(state, _ALL, _ABSENT)
        return True
    follow_epoch(state, clocks.epoch[at])
    epoch = state.ticker[0].epoch
    return bool(tick(timestamp, state, book, scratch, rows, clocks.seq[at], epoch))
