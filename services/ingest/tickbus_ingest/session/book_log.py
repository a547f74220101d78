"""What one ticker's book puts into the log: updates with their actions, whole books, gaps.

It does not judge links; `books.TickerBook` does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tickbus.book.orderbook import OrderBook
from tickbus_schemas.messages import ABSENT, StatusKind

from tickbus_ingest.session.book_rules import BookRules
from tickbus_ingest.session.tables import (
    Flush,
    L2Table,
    Moment,
    Piece,
    StatusRow,
    moment_of,
    snapshot_table,
)
from tickbus_ingest.venue.contract import UpdateIds, Venue


@dataclass(slots=True)
class Lost:
    """The last update published before a gap, and what the announced gap reaches to."""

    from_id: int
    from_us: int
    to_id: int = ABSENT
    to_us: int = ABSENT
    stored: bool = False
    """the gap is not announced yet: what follows will tell whether there is one"""


class BookLog:
    """The book as it is published, and what is due to be published of it."""

    def __init__(self, ticker: int, name: str, venue: Venue, rules: BookRules) -> None:
        self.ticker = ticker
        self.name = name
        self.book = OrderBook()
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
            if due:
                self._publish_due(out)
            start = end

    def publish_checked(self, table: L2Table, at: int, out: Flush) -> bool:
        """Publish one update, with the levels that fall out of the venue's book.

        False, and nothing published, where the venue's checksum says that the book is wrong.
        """
        due = self._snapshot_due(table, at, at + 1)
        self._apply(table, at, at + 1)
        whole = self._without_deep_levels(table, at)
        if not self._checksum_holds(int(table.checksum[at])):
            return False
        if whole is table:
            self._note(table, at, at + 1, out)
        else:
            self._note(whole, 0, 1, out)
        if due:
            self._publish_due(out)
        return True

    def replace(self, packet: L2Table) -> bool:
        """The levels of the packet are the book from now on; whether its checksum holds."""
        self.book.clear()
        self.book.apply(packet.side, packet.price, packet.qty)
        return self._checksum_holds(int(packet.checksum[0]))

    def publish_book(self, moment: Moment, flags: int, out: Flush) -> None:
        """Put the whole book into the log."""
        side, price, qty = self.book.levels()
        table = snapshot_table(moment, side, price, qty, flags)
        out.l2.append(Piece(self.ticker, table, 0, len(table)))
        self.last = moment
        self._snapshot_us = moment.timestamp
        self._snapshot_levels = len(side)
        self._levels_since = 0

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
        self._levels_since += int(table.level_ends[stop] - table.level_ends[start])
        self.last = moment_of(table, stop - 1)
        out.l2.append(Piece(self.ticker, table, start, stop))
        out.fates["published", ""] += int(np.count_nonzero(table.stands[start:stop]))

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

    # ------------------------------------------------- depth and checksum

    def _without_deep_levels(self, table: L2Table, at: int) -> L2Table:
        """Remove what lies deeper than the venue's books; the packet with those removals."""
        depth = self._rules.depth
        if not depth or len(self.book) <= depth:
            return table
        bid_px, _, ask_px, _ = self.book.top(len(self.book))
        deep = bid_px[depth:], ask_px[depth:]
        price = np.concatenate(deep)
        if not len(price):
            return table
        side = np.repeat(np.array((1, -1), np.int8), (len(deep[0]), len(deep[1])))
        none = np.zeros(len(price))
        action = self.book.apply(side, price, none)
        packet = table.cut(at, at + 1)
        packet.side = np.concatenate((packet.side, side))
        packet.price = np.concatenate((packet.price, price))
        packet.qty = np.concatenate((packet.qty, none))
        packet.action = np.concatenate((packet.action, action))
        packet.level_ends = np.array((0, len(packet.side)), np.int64)
        return packet

    def _checksum_holds(self, sent: int) -> bool:
        if sent == ABSENT or self._rules.update_ids is not UpdateIds.CHECKSUM:
            return True
        return self._venue.checksum(self.book, self._venue.instruments[self.name]) == sent

    # ------------------------------------------------------------- statuses

    def announce_gap(self, lost: Lost, reason: str, moment: Moment, out: Flush) -> None:
        """What lies between the two sides of `lost` is missing."""
        gap = self._status(StatusKind.GAP, moment, reason)
        gap.from_id, gap.from_timestamp = lost.from_id, lost.from_us
        gap.to_id, gap.to_timestamp = lost.to_id, lost.to_us
        out.statuses.append(gap)
        out.counts["gaps", "l2"] += 1

    def announce_resync(self, reason: str, moment: Moment, out: Flush) -> None:
        """The book is thrown away, and a new one is asked for."""
        out.statuses.append(self._status(StatusKind.RESYNC, moment, reason))
        out.counts["resyncs", ""] += 1

    def announce_snapshot(self, source: str, moment: Moment, out: Flush) -> None:
        """A book was joined to the stream."""
        out.statuses.append(self._status(StatusKind.SNAPSHOT, moment, source))
        out.counts["snapshots", source.lower()] += 1

    def _status(self, kind: StatusKind, moment: Moment, reason: str) -> StatusRow:
        return StatusRow(
            self.ticker,
            kind,
            moment.timestamp,
            moment.rcv_timestamp,
            moment.packet_id,
            "l2",
            reason,
        )
