"""The book of one ticker and its explicit state: SYNCING -> LIVE -> GAP -> SYNCING.

Only a LIVE book publishes updates. Updates that arrive while there is no book wait, bounded, for a
snapshot; they are published behind it, with the packet_id of the packet that released them, so
that packet_id never goes back in the log. What the venue's rules are is data (`contract.Venue`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tickbus_schemas.continuity import Verdict
from tickbus_schemas.messages import ABSENT, L2Flag

from tickbus_ingest.session.arbiter import NOBODY, Arbiter
from tickbus_ingest.session.asking import Asking
from tickbus_ingest.session.book_log import BookLog
from tickbus_ingest.session.book_rules import SETTLE_S, BookRules, State
from tickbus_ingest.session.book_statuses import BookStatuses, Lost
from tickbus_ingest.session.sequencing import Broken, Sequencer
from tickbus_ingest.session.tables import Flush, L2Table, Moment, moment_of
from tickbus_ingest.session.waiting import Waiting
from tickbus_ingest.session.whole_books import WholeBooks
from tickbus_ingest.venue.contract import Snapshots, Venue


class TickerBook:
    """Feed it every update and snapshot of one ticker, in order of arrival."""

    def __init__(
        self, ticker: int, name: str, venue: Venue, rules: BookRules, arbiter: Arbiter
    ) -> None:
        self.ticker = ticker
        self.name = name
        self.state = State.SYNCING
        self._rules = rules
        self._arbiter = arbiter
        self.log = BookLog(ticker, venue, rules)
        self._statuses = BookStatuses(ticker, name, rules)
        self._sequencer = Sequencer(ticker, self.log, rules, arbiter)
        self._asking = Asking(ticker, rules)
        self._waiting = Waiting()
        self._whole = WholeBooks()
        self._pending: L2Table | None = None
        """a pulled snapshot that no update has joined yet"""
        self._pending_since_s: float | None = None
        self._lost: Lost | None = None
        self._said_waiting = False

    def resume(self, update_id: int, timestamp: int) -> None:
        """A predecessor stored updates up to this one."""
        self._lost = Lost(update_id, timestamp, stored=True)
        self._sequencer.number = max(update_id, 0)

    @property
    def waiting_packets(self) -> int:
        """Updates that wait for a snapshot."""
        return self._waiting.packets

    @property
    def held_since_us(self) -> int:
        """Venue time of the oldest update that waits; 0 when none does."""
        if self._sequencer.early is not None:
            return int(self._sequencer.early.timestamp[0])
        return int(self._waiting.first.timestamp[0]) if self._waiting else 0

    @property
    def is_early(self) -> bool:
        """Whether updates wait for the one that they follow."""
        return self._sequencer.early is not None

    @property
    def waiting_frames(self) -> int:
        """Frames whose update waits."""
        early = self._sequencer.early
        frames = 0 if early is None else int(np.count_nonzero(early.stands))
        return frames + self._waiting.frames

    # ---------------------------------------------------------------- updates

    def take(self, table: L2Table, start: int, stop: int, out: Flush) -> None:
        """Take the packets [start, stop), which are this ticker's: updates and whole books."""
        for at in (start + np.flatnonzero(table.whole[start:stop])).tolist():
            if start < at:
                self.update(table, start, at, out)
            self.push(table, at, out)
            start = at + 1
        if start < stop:
            self.update(table, start, stop, out)

    def update(self, table: L2Table, start: int, stop: int, out: Flush) -> None:
        """Take the updates [start, stop)."""
        if self.state is State.LIVE:
            self._resync_if(self._sequencer.take(table, start, stop, out), out)
        elif start < stop:
            self._wait(table, start, stop, out)

    def _wait(self, table: L2Table, start: int, stop: int, out: Flush) -> None:
        """Keep updates for which there is no book; ask for one."""
        self._asking.note_unjoined(stop - start)
        if self._lost is not None and self._rules.has_numbers:
            fresh = self._lost.first_not_stored(table, start, stop)
            if fresh > start:
                self.log.drop(table, start, fresh, "stale", out)
                start = fresh
        if start < stop:
            for dropped in self._waiting.add(table.cut(start, stop)):
                self.log.drop(dropped, 0, len(dropped), "gap", out)
            if self._pending is not None:
                self._join(out)
                return
        if self._pending is None and self._asking.ask_first(out):
            self.state = State.SYNCING

    # ------------------------------------------------------------------- gaps

    def _resync_if(self, broken: Broken | None, out: Flush) -> None:
        """Where the book is broken, what is left of the updates waits for another one."""
        if broken is None:
            return
        self._open_gap(broken.table, broken.at, broken.reason, out)
        if broken.start < broken.stop:
            self._wait(broken.left, broken.start, broken.stop, out)

    def _open_gap(self, table: L2Table, at: int, reason: str, out: Flush) -> None:
        """The update at `at` does not follow the last one published."""
        last = self.log.last
        assert last is not None
        lost = Lost(
            last.update_id, last.timestamp, int(table.update_id[at]), int(table.timestamp[at])
        )
        moment = moment_of(table, at)
        self._statuses.gap(lost, reason, moment, out)
        self._resync(lost, reason, moment, out)

    def lose(self, reason: str, rcv_timestamp: int, packet_id: int, out: Flush) -> None:
        """Published updates never reached the log, which says so itself: sync anew."""
        last = self.log.last
        if self.state is not State.LIVE or last is None:
            return
        lost = Lost(last.update_id, last.timestamp, last.update_id, last.timestamp)
        moment = Moment(last.timestamp, 0, rcv_timestamp, packet_id, last.update_id)
        self._resync(lost, reason, moment, out)
        early = self._sequencer.take_early()
        if early is not None:
            self._wait(early, 0, len(early), out)

    def hole(self, line: int, reason: str, rcv_timestamp: int, packet_id: int, out: Flush) -> None:
        """Updates that `line` should have brought before this packet are missing: sync anew.

        How many is not known; the gap ends with the new book, which announces it.
        """
        last = self.log.last
        if self.state is not State.LIVE or last is None:
            return
        if not self._arbiter.leads(self.ticker, line):
            return  # the book is what another connection brought
        lost = Lost(last.update_id, last.timestamp, stored=True, reason=reason)
        moment = Moment(last.timestamp, 0, rcv_timestamp, packet_id, last.update_id)
        self._resync(lost, reason, moment, out)

    def interrupt(self, out: Flush, *, resubscribed: bool) -> None:
        """The connection is gone and no other carries this ticker.

        Where numbers tell what was lost, the next update says so. Else the book is worth nothing
        until a new one comes. `resubscribed`: the new connection will ask for it by itself.
        """
        self._sequencer.is_interrupted = True
        if self._rules.snapshots is Snapshots.PULLED or self.state is not State.LIVE:
            return
        last = self.log.last
        assert last is not None
        self._lost = Lost(last.update_id, last.timestamp, stored=True)
        self.state = State.GAP
        self._sequencer.forget("gap", out)
        self._sequencer.stop()
        self._pending = None
        self._asking.interrupted(resubscribed=resubscribed)

    def ask(self, out: Flush) -> None:
        """Ask for a book now, unless there is one or it is asked for already."""
        if self.state is State.GAP and not self._asking.is_asked and self._asking.ask(out):
            self.state = State.SYNCING

    def _resync(self, lost: Lost, reason: str, moment: Moment, out: Flush) -> None:
        self.state = State.GAP
        self._sequencer.stop()
        self._lost = lost
        self._ask_for_another(reason, moment, out)

    def _ask_for_another(self, reason: str, moment: Moment, out: Flush) -> None:
        self._pending = None
        self._statuses.resync(reason, moment, out)
        if self._asking.broken(moment.timestamp, out):
            self.state = State.SYNCING

    # -------------------------------------------------------- pushed snapshots

    def push(self, table: L2Table, at: int, out: Flush) -> None:
        """Take a whole book that came over a connection."""
        line = int(table.line[at])
        every = self._rules.snapshots is Snapshots.EVERY_FRAME
        live = self.state is State.LIVE
        if live and not every and not self._arbiter.takes(self.ticker, line):
            self.log.drop(table, at, at + 1, "duplicate", out)
            return
        packet = table.cut(at, at + 1)
        if every and live:
            fate = self._whole.fate(packet, line, leads=self._arbiter.leads(self.ticker, line))
            if fate:
                self.log.drop(packet, 0, 1, fate, out)
                return
        if live and not every and not self._rules.is_global:
            if self._follows(packet, line):
                self._arbiter.lead(self.ticker, line)
                self.log.drop(packet, 0, 1, "duplicate", out)
                return
            self._lost = self._taken_over(line)
        if not self._rules.has_numbers:
            self._sequencer.number += not self._is_last_again(packet)
            packet.update_id[0] = self._sequencer.number
        elif live and self._rules.is_global:
            self._lost = self._behind(packet)
        if self._replace(packet, line, out):
            if every:
                self._whole.publish(packet)
            if not (every and live):
                self._statuses.snapshot("pushed", moment_of(packet, 0), out)
            out.fates["published", ""] += int(np.count_nonzero(packet.stands))
            self._release(int(packet.packet_id[0]), out)

    def _follows(self, packet: L2Table, line: int) -> bool:
        """Whether another connection begins with the very book: it can go on from here."""
        is_other = not self._arbiter.leads(self.ticker, line)
        return is_other and not self._rules.has_numbers and self.log.holds(packet)

    def _taken_over(self, line: int) -> Lost | None:
        """What a LIVE book lacks when another connection, that counts alone, begins with its own.

        Its book holds the updates between the two, but they were not published one by one.
        """
        last = self.log.last
        if last is None or self._arbiter.leads(self.ticker, line):
            return self._lost
        reason = "another connection begins with a book of its own"
        return Lost(last.update_id, last.timestamp, stored=True, reason=reason)

    def _behind(self, packet: L2Table) -> Lost | None:
        """What a LIVE book lacks that a pushed one has: updates that no connection brought.

        A book from REST may have come while there was no connection.
        """
        last = self.log.last
        assert last is not None
        if int(packet.update_id[0]) <= last.update_id or packet.timestamp[0] < last.timestamp:
            return None
        return Lost(last.update_id, last.timestamp, stored=True)

    def _replace(self, packet: L2Table, line: int, out: Flush) -> bool:
        """The packet's levels are the book from now on; False when its checksum is wrong."""
        moment = moment_of(packet, 0)
        if self._is_last_again(packet):
            self._lost = None
        if not self.log.replace(packet, out):
            self.log.drop(packet, 0, 1, "gap", out)
            reason = "the checksum of a snapshot is wrong"
            if self.state is State.LIVE:
                self._open_gap(packet, 0, reason, out)
            else:
                self._ask_for_another(reason, moment, out)
            return False
        self._sequencer.forget("stale", out)
        for table in self._waiting.leave_what_follows(int(packet.update_id[0]), line, self._rules):
            self.log.drop(table, 0, len(table), "stale", out)
        joined_prev = ABSENT
        if self._waiting:
            first = self._waiting.first
            joined_prev = int(first.prev_update_id[0])
            moment = _not_behind(moment, int(first.timestamp[0]))
        self._begin(moment, packet, line, joined_prev, out)
        return True

    def _is_last_again(self, packet: L2Table) -> bool:
        """Whether a whole book is the last one published, of the same time: nothing is missing.

        The time must be the venue's: one that is inferred stands still as long as we hear nothing.
        """
        lost, last = self._lost, self.log.last
        if lost is None or not lost.stored or last is None:
            return False
        told = not int(packet.flags[0]) & L2Flag.TIME_INFERRED
        same_time = int(packet.timestamp[0]) == lost.from_us == last.timestamp
        return told and same_time and self.log.holds(packet)

    def _begin(
        self, moment: Moment, packet: L2Table, line: int, joined_prev: int, out: Flush
    ) -> None:
        """Go LIVE with the book of this packet."""
        flags = L2Flag(int(packet.flags[0])) & L2Flag.TIME_INFERRED
        if moment.timestamp != int(packet.timestamp[0]):
            flags = L2Flag.TIME_INFERRED
        lost, self._lost = self._lost, None
        if lost is not None and self._statuses.rest_of_gap(lost, moment, joined_prev, out):
            flags |= L2Flag.GAP_BEFORE
        self.state = State.LIVE
        self._sequencer.begin(moment, line)
        self._asking.answered()
        self._pending = None
        self._said_waiting = False
        self.log.publish_book(moment, flags, out)

    # -------------------------------------------------------- pulled snapshots

    def pulled(self, table: L2Table, out: Flush) -> None:
        """Take a book from REST: one packet, its time inferred where its flags say so."""
        if self.state is State.LIVE:
            return  # one was asked for before and came after all
        if self._lost is not None and self._lost.is_behind(table):
            self._ask_anew()  # older than what is stored: its updates would be stored twice
            return
        self._pending = table
        self._pending_since_s = None
        self._join(out)

    def failed(self, reason: str, *, for_good: bool, out: Flush) -> None:
        """The snapshot could not be fetched: ask again, later each time."""
        if self.state is State.LIVE:
            return
        self._ask_anew()
        if for_good:
            self._say_waiting(reason, out)

    def _ask_anew(self) -> None:
        self._pending = None
        self._asking.anew()

    def _join(self, out: Flush) -> None:
        """Find the waiting update that follows the pending snapshot; go LIVE with it."""
        assert self._pending is not None
        snapshot_id = int(self._pending.update_id[0])
        contained, verdict = self._waiting.join(snapshot_id, drop_equal=self._rules.drops_equal)
        for table in contained:
            self.log.drop(table, 0, len(table), "stale", out)
        if verdict is Verdict.GAP:
            self._ask_anew()  # the snapshot is older than the first update that waits
        elif verdict is not None:
            first = self._waiting.first
            joined_us, prev = int(first.timestamp[0]), int(first.prev_update_id[0])
            self._go_live(int(first.packet_id[0]), joined_us, prev, out)

    def _go_live(
        self, released_by: int, joined_us: int | None, joined_prev: int, out: Flush
    ) -> None:
        """Publish the pending snapshot and everything that waits behind it."""
        packet = self._pending
        assert packet is not None
        moment = moment_of(packet, 0)
        moment = replace(moment, packet_id=max(moment.packet_id, released_by))
        if joined_us is not None:
            moment = _not_behind(moment, joined_us)
        self.log.replace(packet, out)
        self._begin(moment, packet, NOBODY, joined_prev, out)
        self._statuses.snapshot("REST", moment, out)
        self._release(moment.packet_id, out)

    def _release(self, released_by: int, out: Flush) -> None:
        """Publish what waited behind a book."""
        for table in self._waiting.take_all():
            np.maximum(table.packet_id, released_by, out=table.packet_id)
            self.update(table, 0, len(table), out)

    # ------------------------------------------------------------------- time

    def tick(self, now_s: float, packet_id: int, out: Flush, *, settle: bool = False) -> None:
        """Time has passed: ask for a snapshot that is overdue, publish one that nothing joins."""
        if self.state is State.LIVE:
            self._resync_if(self._sequencer.tick(now_s, out, settle=settle), out)
            if not settle or self.state is State.LIVE:
                return
        if self._pending is not None:
            if self._pending_since_s is None:
                self._pending_since_s = now_s
            if settle or now_s - self._pending_since_s >= SETTLE_S:
                self._go_live(packet_id, None, ABSENT, out)
                return
        elif self._asking.ask_due(now_s, self._waiting.packets, out):
            self.state = State.SYNCING
        if settle:
            self._say_waiting("the input ended before a snapshot came", out)

    def ask_last(self, out: Flush) -> None:
        """The input has ended: a book whose updates still wait is asked for once more."""
        if not self._waiting or self._asking.is_asked or self._pending is not None:
            return
        if self._asking.ask(out):
            self.state = State.SYNCING

    def _say_waiting(self, reason: str, out: Flush) -> None:
        """Say once that updates are not published, because there is no book for them."""
        if not self._said_waiting and self._waiting:
            self._said_waiting = True
            self._statuses.no_snapshot(self._waiting, reason, out)


def _not_behind(moment: Moment, joined_us: int) -> Moment:
    """The moment of a book, not after the update that joins it: grid points would be lost."""
    return replace(moment, timestamp=min(moment.timestamp, joined_us))
