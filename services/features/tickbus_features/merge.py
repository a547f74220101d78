"""Kernel of layer 1: the events of one ticker, in the log's order, into its open buckets.

Messages of one flush are one step: their events are merged by `packet_id`, and the rows they close
belong to the flush's last message. Flushes and clocks follow each other as they stand in the log,
so the result is the same however the log is cut into groups.
"""

from __future__ import annotations

from tickbus.book.kernels import levels
from tickbus.compiled import kernel, part
from tickbus_schemas.messages import ABSENT, PACKETS_PER_EPOCH

from tickbus_features.buckets import freeze_to, reach
from tickbus_features.events import (
    follow_epoch,
    take_bbo,
    take_clock,
    take_packet,
    take_status,
    take_trade,
    take_untimed,
)
from tickbus_features.expression import Int64s
from tickbus_features.layout import (
    BBO,
    FAR,
    FAR_US,
    L2,
    STATUS,
    TRADE,
    Clocks,
    FeedMessages,
    Losses,
    Order,
    Packets,
    Quotes,
    Record,
    Records,
    Rows,
    Scratch,
    State,
    Trades,
)

_ABSENT = ABSENT
_EPOCH_BITS = PACKETS_PER_EPOCH.bit_length() - 1


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
        cursor.row[feed] = cursor.end[feed]
        while cursor.message[feed] < feed_messages.seq.shape[0]:
            place = cursor.message[feed]
            if feed_messages.seq[place] + feed_messages.more[place] != ends:
                break
            cursor.end[feed] += feed_messages.rows[place]
            cursor.seq = max(cursor.seq, feed_messages.seq[place])
            cursor.message[feed] += 1
    return 1


@kernel
def _put_feed(
    cursor: Record, feed: int, packet_ids: Int64s, timestamps: Int64s, order: Order
) -> None:
    """Merge a feed's rows of the flush into its order, behind equal packets of feeds before it.

    Within a feed the order is the log's: updates kept back until a snapshot came follow it, though
    their packets are older.
    """
    rows = cursor.end[feed] - cursor.row[feed]
    if rows == 0:
        return
    least = _ABSENT
    for place in range(rows):
        row = cursor.row[feed] + place
        least = max(least, packet_ids[row])
        order.own[place] = least
    at, put = cursor.count - 1, cursor.count + rows - 1
    for place in range(rows - 1, -1, -1):
        while at >= 0 and order.key[at] > order.own[place]:
            _move(order, at, put)
            at -= 1
            put -= 1
        row = cursor.row[feed] + place
        order.key[put] = order.own[place]
        order.feed[put] = feed
        order.row[put] = row
        order.timestamp[put] = timestamps[row]
        order.packet_id[put] = packet_ids[row]
        put -= 1
    cursor.count += rows


@kernel
def _move(order: Order, source: int, target: int) -> None:
    order.key[target] = order.key[source]
    order.feed[target] = order.feed[source]
    order.row[target] = order.row[source]
    order.timestamp[target] = order.timestamp[source]
    order.packet_id[target] = order.packet_id[source]


@part
def _has_room(book: Int64s, l2: Packets, row: int, cursor: Record) -> bool:
    """Whether the book has room for a packet; the cursor says how much it is short of."""
    count = l2.levels[row]
    fits = levels.has_room(book, l2.side, l2.price, cursor.level, cursor.level + count)
    cursor.short = 0 if fits else count
    return bool(fits)


@kernel
def _fold_flush(
    state: State,
    book: Int64s,
    grace_us: int,
    losses: Losses,
    l2: Packets,
    bbo: Quotes,
    trade: Trades,
    cursor: Record,
    order: Order,
    scratch: Scratch,
    rows: Rows,
) -> bool:
    """The rest of the flush in its order; False: make more space and call again."""
    ticker = state.ticker[0]
    while cursor.at < cursor.count:
        feed, row = order.feed[cursor.at], order.row[cursor.at]
        timestamp, epoch = order.timestamp[cursor.at], order.packet_id[cursor.at] >> _EPOCH_BITS
        if feed == L2 and not _has_room(book, l2, row, cursor):
            return False
        if epoch != ticker.epoch and epoch >= 0:
            follow_epoch(state, epoch)
        if feed == STATUS:
            take_status(state, losses, row)
        elif not 0 <= timestamp < FAR_US:
            take_untimed(state, feed)
        elif not ticker.reach_from <= timestamp < ticker.reach_to and not reach(
            timestamp, grace_us, state, book, scratch, rows, cursor.seq, ticker.epoch
        ):
            return False
        elif feed == TRADE:
            take_trade(state, trade, row)
        elif feed == BBO:
            take_bbo(state, bbo, row)
        else:
            freeze_to(timestamp, state, book)
            take_packet(state, book, l2, row, cursor.level, scratch)
        if feed == L2:
            cursor.level += l2.levels[row]
        cursor.at += 1
    return True


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
    order: Order,
    scratch: Scratch,
    rows: Rows,
) -> bool:
    """Fold a group's events of one ticker; False: make more space and call again.

    Space for rows, unless `short` of the cursor says for how many levels the book has no room.

    state: State; book: the ticker's book; messages: four Messages (STATUS, L2, BBO, TRADE), and
    their columns Losses, Packets, Quotes, Trades; clocks: Clocks; cursors: one CURSOR, zero at the
    first call; order: Order, with space for all rows; scratch: Scratch; rows: Rows, appended to.
    """
    cursor = cursors[0]
    while True:
        if not _fold_flush(
            state, book, grace_us, losses, l2, bbo, trade, cursor, order, scratch, rows
        ):
            return False
        step = _next_step(messages, clocks, cursor)
        if step == 0:
            return True
        cursor.at = 0
        cursor.count = 0
        if step == 1:
            _put_feed(cursor, STATUS, losses.packet_id, losses.from_timestamp, order)
            _put_feed(cursor, L2, l2.packet_id, l2.timestamp, order)
            _put_feed(cursor, BBO, bbo.packet_id, bbo.timestamp, order)
            _put_feed(cursor, TRADE, trade.packet_id, trade.timestamp, order)
        elif take_clock(state, book, clocks, cursor.clock, scratch, rows):
            cursor.clock += 1
        else:
            return False
