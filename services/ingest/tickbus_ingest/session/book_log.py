"""What one ticker's book puts into the log: updates with their actions, and whole books.

It does not judge links; `sequencing.Sequencer` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tickbus.book.orderbook import OrderBook
from tickbus_schemas.messages import ABSENT

from tickbus_ingest.session.book_rules import BookRules
from tickbus_ingest.session.tables import (
    F64,
    I8,
    Flush,
    L2Table,
    Moment,
    Piece,
    moment_of,
    snapshot_table,
)
from tickbus_ingest.venue.contract import BookForm, UpdateIds, Venue


@dataclass(slots=True)
class Fallen:
    """Levels that left the venue's book by the packet at `row`, which does not say so."""

    row: int
    side: I8
    price: F64
    action: I8


class BookLog:
    """The book as it is published, and what is due to be published of it."""

    def __init__(self, ticker: int, venue: Venue, rules: BookRules) -> None:
        self.ticker = ticker
        self.book = OrderBook()
        self.form = BookForm()
        """as it came with the book that is followed"""
        self.last: Moment | None = None
        """of the last packet published"""
        self._venue = venue
        self._rules = rules
        self._snapshot_us = 0
        self._snapshot_levels = 0
        self._levels_since = 0

    # ---------------------------------------------------------------- publish

    def publish(self, table: L2Table, start: int, stop: int, out: Flush) -> None:
        """Publish updates that follow the book, and a full book where one is due."""
        while start < stop:
            end = self._snapshot_due(table, start, stop)
            due = end > 0
            end = end or stop
            self._apply(table, start, end)
            self._note(table, start, end, out)
            self._put(table, start, end, out)
            if due:
                self._publish_due(out)
            start = end

    @property
    def one_by_one(self) -> bool:
        """Each update must be looked at before the next one is applied."""
        rules = self._rules
        return bool(self.form.depth) or rules.crosses or rules.update_ids is UpdateIds.CHECKSUM

    def publish_checked(self, table: L2Table, start: int, stop: int, out: Flush) -> int:
        """Publish updates, each with the levels that fall out of the venue's book by it.

        Returns where the first one is whose checksum says that the book is wrong, `stop` if there
        is none: from there on nothing is published, and the book is worth nothing.
        """
        while start < stop:
            end = self._snapshot_due(table, start, stop)
            due = end > 0
            end = end or stop
            right, fallen = self._apply_checked(table, start, end, out)
            if right > start:
                self._note(table, start, right, out)
                self._put(*_with_fallen(table, start, right, fallen), out)
            if right < end:
                return right
            if due:
                self._publish_due(out)
            start = end
        return stop

    def replace(self, packet: L2Table, out: Flush) -> bool:
        """The levels of the packet are the book from now on; whether its checksum holds."""
        self.book.clear()
        self.book.apply(packet.side, packet.price, packet.qty)
        self.form = BookForm(
            int(packet.depth[0]), int(packet.price_decimals[0]), int(packet.qty_decimals[0])
        )
        return self._checksum_holds(int(packet.checksum[0]), out)

    def publish_book(self, moment: Moment, flags: int, out: Flush) -> None:
        """Put the whole book into the log."""
        side, price, qty = self.book.levels()
        table = snapshot_table(moment, side, price, qty, flags)
        out.l2.append(Piece(self.ticker, table, 0, len(table)))
        self.last = moment
        self._snapshot_us = moment.timestamp
        self._snapshot_levels = len(side)
        self._levels_since = 0

    def drop(self, table: L2Table, start: int, stop: int, fate: str, out: Flush) -> None:
        """These updates leave no row: `fate` says why."""
        out.fates[fate, "l2"] += int(np.count_nonzero(table.stands[start:stop]))
        if fate == "stale":
            out.counts["stale_events", "l2"] += stop - start
        elif fate == "duplicate":
            out.counts["duplicates", "l2"] += stop - start

    def holds(self, packet: L2Table) -> bool:
        """Whether the book is the packet's whole book already."""
        ours = self.book.levels()
        if len(ours[0]) != len(packet.side):
            return False
        other = OrderBook()
        other.apply(packet.side, packet.price, packet.qty)
        side, price, qty = other.levels()
        return (
            np.array_equal(side, ours[0])
            and np.array_equal(price, ours[1])
            and np.array_equal(qty, ours[2])
        )

    def has_levels(self, table: L2Table, at: int) -> bool:
        """Whether a packet's levels are what the book holds at their prices."""
        ours = zip(*(column.tolist() for column in self.book.levels()), strict=True)
        held = {(side, price): qty for side, price, qty in ours}
        own = slice(int(table.level_ends[at]), int(table.level_ends[at + 1]))
        sent = zip(table.side[own].tolist(), table.price[own].tolist(), strict=True)
        found = [held.get(place, 0.0) for place in sent]
        sizes: list[float] = table.qty[own].tolist()
        return found == sizes

    def _apply(self, table: L2Table, start: int, stop: int) -> None:
        first, last = int(table.level_ends[start]), int(table.level_ends[stop])
        table.action[first:last] = self.book.apply(
            table.side[first:last], table.price[first:last], table.qty[first:last]
        )

    def _note(self, table: L2Table, start: int, stop: int, out: Flush) -> None:
        """These updates are published."""
        self._levels_since += int(table.level_ends[stop] - table.level_ends[start])
        self.last = moment_of(table, stop - 1)
        out.fates["published", ""] += int(np.count_nonzero(table.stands[start:stop]))

    def _put(self, table: L2Table, start: int, stop: int, out: Flush) -> None:
        out.l2.append(Piece(self.ticker, table, start, stop))

    def _publish_due(self, out: Flush) -> None:
        assert self.last is not None
        self.publish_book(self.last, 0, out)
        out.counts["snapshots", "log"] += 1

    def _snapshot_due(self, table: L2Table, start: int, stop: int) -> int:
        """The end of the first packet after which a full book is due; 0 when none is.

        Decided packet by packet, so that it does not depend on how packets were batched.
        """
        log = self._rules.log
        wanted = log.books * self._snapshot_levels - self._levels_since
        first = int(table.level_ends[start])
        if int(table.level_ends[stop]) - first < wanted:
            return 0
        if int(table.timestamp[start:stop].max()) - self._snapshot_us < log.interval_us:
            return 0
        times = table.timestamp[start:stop] - self._snapshot_us >= log.interval_us
        due = times & (table.level_ends[start + 1 : stop + 1] - first >= wanted)
        return start + int(due.argmax()) + 1 if due.any() else 0

    # ------------------------------------- depth, crossed levels, checksum

    def _apply_checked(
        self, table: L2Table, start: int, stop: int, out: Flush
    ) -> tuple[int, list[Fallen]]:
        """Apply updates up to the first wrong one: where it is, and what fell out until then."""
        fallen: list[Fallen] = []
        for at in range(start, stop):
            self._apply(table, at, at + 1)
            gone = [
                Fallen(at - start, side, price, self.book.apply(side, price, np.zeros(len(price))))
                for side, price in self._gone(table, at)
            ]
            if not self._checksum_holds(int(table.checksum[at]), out):
                return at, fallen
            fallen += gone
        return stop, fallen

    def _gone(self, table: L2Table, at: int) -> Iterator[tuple[I8, F64]]:
        """Sides and prices of what leaves the book by the update just applied."""
        if self._rules.crosses and self.book.crossed:
            own = slice(int(table.level_ends[at]), int(table.level_ends[at + 1]))
            yield across(self.book, table.side[own], table.price[own], table.qty[own])
        deep = self.book.deeper_than(self.form.depth) if self.form.depth else None
        if deep is not None:
            yield deep

    def _checksum_holds(self, sent: int, out: Flush) -> bool:
        """Whether the book is the venue's, as far as that can be told."""
        if sent == ABSENT or self._rules.update_ids is not UpdateIds.CHECKSUM:
            return True
        own = self._venue.checksum(self.book, self.form)
        if own == ABSENT:
            out.counts["unchecked_updates", ""] += 1
            return True
        return own == sent


def across(book: OrderBook, side: I8, price: F64, qty: F64) -> tuple[I8, F64]:
    """Levels of the book that an update's own levels cross: side, price.

    side, price, qty: the update, which the book holds already. All other levels are older than its
    own ones; those cross one another only where the update itself is crossed, and stay.
    """
    is_bid, comes = side == 1, qty > 0
    bids, asks = price[is_bid & comes], price[~is_bid & comes]
    held_side, held_price, _ = book.levels()
    crossed = np.where(
        held_side == 1,
        (held_price >= asks.min(initial=np.inf)) & ~np.isin(held_price, bids),
        (held_price <= bids.max(initial=-np.inf)) & ~np.isin(held_price, asks),
    )
    return held_side[crossed], held_price[crossed]


def _with_fallen(
    table: L2Table, start: int, stop: int, fallen: list[Fallen]
) -> tuple[L2Table, int, int]:
    """The packets with removals of what fell out behind the levels of each; their new place."""
    if not fallen:
        return table, start, stop
    packets = table.cut(start, stop)
    counts = np.zeros(len(packets), np.int64)
    np.add.at(counts, [one.row for one in fallen], [len(one.price) for one in fallen])
    places = np.repeat(packets.level_ends[1:], counts)
    price = np.concatenate([one.price for one in fallen])
    for name, values in (
        ("side", np.concatenate([one.side for one in fallen])),
        ("price", price),
        ("qty", np.zeros(len(price))),
        ("action", np.concatenate([one.action for one in fallen])),
    ):
        setattr(packets, name, np.insert(getattr(packets, name), places, values))
    packets.level_ends[1:] += np.cumsum(counts)
    return packets, 0, len(packets)
