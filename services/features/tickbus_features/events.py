"""Kernels of layer 1: what a trade, a best quote, a book packet, a gap or a clock does.

The caller has opened and closed the buckets that the event's time opens and closes (`reach`).
"""

from __future__ import annotations

import math

from tickbus.book.kernels import levels
from tickbus.compiled import kernel
from tickbus_schemas.messages import ABSENT, L2Flag, TradeFlag

from tickbus_features.buckets import slot_at, slot_of, tick
from tickbus_features.expression import Int64s
from tickbus_features.layout import (
    BOOK,
    L2,
    QUOTES,
    RESET,
    TRADES,
    Clocks,
    Losses,
    Packets,
    Quotes,
    Record,
    Rows,
    Scratch,
    State,
    Trades,
)
from tickbus_features.order_flow import contribution, side_or_none

_ABSENT = ABSENT
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
        if grid.closed_to == _ABSENT:
            continue  # no grid yet: there is no bucket between its bounds
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
        levels.fold(book, l2.side, l2.price, l2.qty, level, level + l2.levels[row])
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
def take_untimed(state: State, feed: int) -> None:
    """An event with a time that is none: it is left out, and a book without it is not valid."""
    state.ticker[0].untimed += 1
    if feed == L2:
        lose(state, BOOK, _ABSENT)


@kernel
def take_status(state: State, losses: Losses, row: int) -> None:
    """Feeds that broke, feeds that are whole again."""
    if losses.lost[row]:
        lose(state, losses.lost[row], losses.from_timestamp[row])
    if losses.found[row]:
        found(state.ticker[0], losses.found[row])


@kernel
def take_clock(
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
