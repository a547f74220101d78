"""The book of one ticker and its explicit state: SYNCING -> LIVE -> GAP -> SYNCING.

Only a LIVE book publishes updates. Updates that arrive while there is no book wait, bounded, for a
snapshot; they are published behind it, with the packet_id of the packet that released them, so
that packet_id never goes back in the log. What the venue's rules are is data (`contract.Venue`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tickbus_schemas.continuity import Continuity, Verdict
from tickbus_schemas.messages import ABSENT, L2Flag

from tickbus_ingest.session.arbiter import NOBODY, Arbiter
from tickbus_ingest.session.book_log import BookLog, Lost
from tickbus_ingest.session.book_rules import BookRules, State
from tickbus_ingest.session.tables import Flush, L2Table, Moment, joined_l2, moment_of
from tickbus_ingest.session.waiting import Waiting
from tickbus_ingest.venue.contract import Snapshots, Venue

WAITING_UPDATES = 2
"""Updates that must wait before a snapshot is pulled; asked too early it joins nothing
(github.com/bmoscon/cryptostore issue 57)."""
FIRST_UPDATE_S = 0.2
"""A ticker with a single update is asked for after this time all the same."""
SILENT_S = 3.0
"""A ticker without any update is asked for after this time; a pushed snapshot has so long."""
SETTLE_S = 1.0
"""A snapshot that no update joins is published after this time."""
RETRY_S_MAX = 10.0
LAG_MAX_US = 60_000_000
"""No connection lags further behind another: the venue has set its clock back."""
SOON_US = 10_000_000
"""A pushed book that breaks again within this venue time is not asked for at once."""
SETTLE_US = int(SETTLE_S * 1e6)
ANEW = "the venue numbers its updates anew: what lies between is not known"


class TickerBook:
    """Feed it every update and snapshot of one ticker, in order of arrival."""

    def __init__(
        self, ticker: int, name: str, venue: Venue, rules: BookRules, arbiter: Arbiter
    ) -> None:
        self.ticker = ticker
        self.name = name
        self.log = BookLog(ticker, name, venue, rules)
        self.state = State.SYNCING
        self._venue = venue
        self._rules = rules
        self._arbiter = arbiter
        self._continuity = Continuity(drop_equal=rules.drops_equal)
        self._waiting = Waiting()
        self._early: L2Table | None = None
        """updates of a LIVE book that came before the one that they follow"""
        self._early_since_s: float | None = None
        self._pending: L2Table | None = None
        """a pulled snapshot that no update has joined yet"""
        self._pending_since_s: float | None = None
        self._asked = False
        self._attempts = 0
        self._since_s: float | None = None
        self._lost: Lost | None = None
        self._unjoined = 0
        """updates that came since there is no book"""
        self._said_waiting = False
        self._interrupted = False
        self._number = 0
        """last number given here, where the venue gives none"""
        self._broken_us = 0
        self._breaks = 0
        """how often the book broke soon after it had broken before"""

    def resume(self, update_id: int, timestamp: int) -> None:
        """A predecessor stored updates up to this one."""
        self._lost = Lost(update_id, timestamp, stored=True)
        self._number = max(update_id, 0)

    @property
    def waiting_packets(self) -> int:
        """Updates that wait for a snapshot."""
        return self._waiting.packets

    @property
    def never_had_a_snapshot(self) -> bool:
        """Updates wait, and no book was published at all."""
        return self.log.last is None and bool(self._waiting)

    @property
    def held_since_us(self) -> int:
        """Venue time of the oldest update that waits; 0 when none does."""
        if self._early is not None:
            return int(self._early.timestamp[0])
        return int(self._waiting.first.timestamp[0]) if self._waiting else 0

    @property
    def is_early(self) -> bool:
        """Whether updates wait for the one that they follow."""
        return self._early is not None

    @property
    def waiting_frames(self) -> int:
        """Frames whose update waits."""
        early = 0 if self._early is None else int(np.count_nonzero(self._early.stands))
        return early + self._waiting.frames

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
            table, start, stop = self._led(table, start, stop, out)
            if not self._rules.has_numbers:
                self._number_all(table, start, stop)
        if self._early is not None and self.state is State.LIVE:
            self._in_order(joined_l2([self._early, table.cut(start, stop)]), out)
            return
        while start < stop and self.state is State.LIVE:
            end = self._linked(table, start, stop)
            if end > start:
                self._continuity.resume(int(table.update_id[end - 1]))
                self._publish(table, start, end, out)
                start = end
                continue
            verdict = self._verdict(table, start)
            if verdict is Verdict.GAP:
                if self._rules.wait_us and not self._interrupted:
                    self._in_order(table.cut(start, stop), out)
                    return
                self._open_gap(table, start, out)
                break
            if verdict is Verdict.STALE:
                if self._is_anew(table, start):
                    self._open_gap(table, start, out, ANEW)
                    break
                self._drop(table, start, start + 1, "stale", out)
            else:
                self._continuity.resume(int(table.update_id[start]))
                self._publish(table, start, start + 1, out)
            start += 1
        if start < stop:
            self._wait(table, start, stop, out)

    def _verdict(self, table: L2Table, row: int) -> Verdict:
        return self._continuity.verdict(int(table.prev_update_id[row]), int(table.update_id[row]))

    def _linked(self, table: L2Table, start: int, stop: int) -> int:
        """Where the run of updates ends that follow one another exactly."""
        if int(table.prev_update_id[start]) != self._continuity.update_id:
            return start
        if stop - start == 1:
            return stop
        same = table.prev_update_id[start + 1 : stop] == table.update_id[start : stop - 1]
        return stop if same.all() else start + 1 + int(same.argmin())

    def _led(self, table: L2Table, start: int, stop: int, out: Flush) -> tuple[L2Table, int, int]:
        """The updates of the connection that leads; those of others are dropped."""
        others = self._arbiter.others(self.ticker, table.line[start:stop])
        if others is None:
            return table, start, stop
        table = table.cut(start, stop)
        for n in np.flatnonzero(others).tolist():
            self._drop(table, n, n + 1, "duplicate", out)
        rows = np.flatnonzero(~others).tolist()
        if not rows:
            return table, 0, 0
        return joined_l2([table.cut(n, n + 1) for n in rows]), 0, len(rows)

    def _number_all(self, table: L2Table, start: int, stop: int) -> None:
        """Give the updates numbers of our own."""
        numbers = np.arange(self._number, self._number + stop - start + 1)
        table.prev_update_id[start:stop] = numbers[:-1]
        table.update_id[start:stop] = numbers[1:]
        self._number += stop - start

    def _is_anew(self, table: L2Table, row: int) -> bool:
        """Whether an update that seems to be contained in the book was sent after it.

        Another connection may bring older updates, but none of a later time: the venue numbers
        anew, uses a number again, or sent an absurd one. Right behind a snapshot the clocks of two
        of the venue's servers are compared, so more is allowed.
        """
        last = self.log.last
        assert last is not None
        allowed_us = self._rules.wait_us + (0 if self._continuity.is_joined else SETTLE_US)
        if int(table.timestamp[row]) - last.timestamp <= allowed_us:
            return False
        return int(table.update_id[row]) < last.update_id or not self.log.has_levels(table, row)

    # ---------------------------------------------- updates that came too early

    def _in_order(self, table: L2Table, out: Flush) -> None:
        """Publish what follows the book, row by row; keep what another line may still lead to."""
        self._early = None
        waiting: list[int] = []
        packet_id = 0
        for row in range(len(table)):
            packet_id = max(packet_id, int(table.packet_id[row]))
            verdict = self._verdict(table, row)
            if verdict is Verdict.STALE:
                if self._is_anew(table, row):
                    self._open_gap(table, row, out, ANEW)
                    self._wait_rows(table, [*waiting, *range(row, len(table))], out)
                    return
                self._drop(table, row, row + 1, "stale", out)
                continue
            if verdict is Verdict.GAP:
                waiting.append(row)
                waited_us = int(table.timestamp[row]) - int(table.timestamp[waiting[0]])
                if waited_us >= self._rules.wait_us:
                    self._give_up_order(table, [*waiting, *range(row + 1, len(table))], out)
                    return
                continue
            self._follow(table, row, packet_id, out)
            waiting = self._release(table, waiting, packet_id, out)
            if self.state is not State.LIVE:
                waiting += range(row + 1, len(table))
                self._wait_rows(table, waiting, out)
                return
        if waiting:
            self._early = joined_l2([table.cut(n, n + 1) for n in waiting])
        else:
            self._early_since_s = None

    def _follow(self, table: L2Table, row: int, packet_id: int, out: Flush) -> None:
        table.packet_id[row] = packet_id
        self._continuity.resume(int(table.update_id[row]))
        self._publish(table, row, row + 1, out)

    def _release(self, table: L2Table, waiting: list[int], packet_id: int, out: Flush) -> list[int]:
        """Publish those that now follow; what still waits."""
        released = True
        while released and self.state is State.LIVE:
            released = False
            for row in list(waiting):
                verdict = self._verdict(table, row)
                if verdict is Verdict.GAP:
                    continue
                waiting.remove(row)
                released = True
                if verdict is Verdict.STALE:
                    self._drop(table, row, row + 1, "stale", out)
                else:
                    self._follow(table, row, packet_id, out)
        return waiting

    def _give_up_order(self, table: L2Table, rows: list[int], out: Flush) -> None:
        """Nothing has filled the hole: it is a gap, and what waited waits for a snapshot."""
        self._open_gap(table, rows[0], out)
        self._wait_rows(table, rows, out)

    def _wait_rows(self, table: L2Table, rows: list[int], out: Flush) -> None:
        if rows:
            kept = joined_l2([table.cut(n, n + 1) for n in rows])
            np.maximum.accumulate(kept.packet_id, out=kept.packet_id)
            self._wait(kept, 0, len(kept), out)

    def _publish(self, table: L2Table, start: int, stop: int, out: Flush) -> None:
        self._interrupted = False
        if not self.log.one_by_one:
            self.log.publish(table, start, stop, out)
            return
        wrong = self.log.publish_checked(table, start, stop, out)
        if wrong < stop:
            self._open_gap(table, wrong, out, "the book's checksum is not the venue's")
            self._drop(table, wrong, wrong + 1, "gap", out)
            if wrong + 1 < stop:
                self._wait(table, wrong + 1, stop, out)

    def _drop(self, table: L2Table, start: int, stop: int, fate: str, out: Flush) -> None:
        """These updates leave no row: `fate` says why."""
        out.fates[fate, "l2"] += int(np.count_nonzero(table.stands[start:stop]))
        if fate == "stale":
            out.counts["stale_events", "l2"] += stop - start
        elif fate == "duplicate":
            out.counts["duplicates", "l2"] += stop - start

    # ------------------------------------------------------------------- gaps

    def _open_gap(self, table: L2Table, at: int, out: Flush, reason: str = "") -> None:
        """The update at `at` does not follow the last one published."""
        assert self.log.last is not None
        lost = Lost(
            self.log.last.update_id,
            self.log.last.timestamp,
            int(table.update_id[at]),
            int(table.timestamp[at]),
        )
        reason = reason or "an update does not follow the last one"
        self._early_since_s = None
        if not self._rules.has_numbers:
            self._number = lost.to_id  # what follows it has its numbers in vain
        moment = moment_of(table, at)
        self.log.announce_gap(lost, reason, moment, out)
        self._resync(lost, reason, moment, out)

    def lose(self, reason: str, rcv_timestamp: int, packet_id: int, out: Flush) -> None:
        """Published updates never reached the log, which says so itself: sync anew."""
        last = self.log.last
        if self.state is not State.LIVE or last is None:
            return
        lost = Lost(last.update_id, last.timestamp, last.update_id, last.timestamp)
        moment = Moment(last.timestamp, 0, rcv_timestamp, packet_id, last.update_id)
        self._resync(lost, reason, moment, out)

    def interrupt(self, out: Flush, *, resubscribed: bool) -> None:
        """The connection is gone and no other carries this ticker.

        Where numbers tell what was lost, the next update says so. Else the book is worth nothing
        until a new one comes. `resubscribed`: the new connection will ask for it by itself.
        """
        self._interrupted = True
        if self._rules.snapshots is Snapshots.PULLED or self.state is not State.LIVE:
            return
        last = self.log.last
        assert last is not None
        self._lost = Lost(last.update_id, last.timestamp, stored=True)
        self.state = State.GAP
        self._continuity.reset()
        if self._early is not None:
            self._drop(self._early, 0, len(self._early), "gap", out)
            self._early = None
        self._ask_anew(first=True)
        self._asked = resubscribed

    def _resync(self, lost: Lost, reason: str, moment: Moment, out: Flush) -> None:
        self.state = State.GAP
        self._continuity.reset()
        self._lost = lost
        self._ask_for_another(reason, moment, out)

    def _ask_for_another(self, reason: str, moment: Moment, out: Flush) -> None:
        """Ask for a pushed book at once, or later each time where the last one broke just now."""
        self._ask_anew(first=True)
        self.log.announce_resync(reason, moment, out)
        if self._rules.snapshots is Snapshots.PUSHED:
            soon = moment.timestamp - self._broken_us < SOON_US
            self._breaks = self._breaks + 1 if soon else 0
            self._broken_us = moment.timestamp
            self._attempts = self._breaks
            if not self._breaks:
                self._ask(out)  # else `tick` does

    # -------------------------------------------------------- pushed snapshots

    def push(self, table: L2Table, at: int, out: Flush) -> None:
        """Take a whole book that came over a connection."""
        line = int(table.line[at])
        every = self._rules.snapshots is Snapshots.EVERY_FRAME
        live = self.state is State.LIVE
        if live and not every and not self._arbiter.takes(self.ticker, line):
            self._drop(table, at, at + 1, "duplicate", out)
            return
        packet = table.cut(at, at + 1)
        if every and live and (fate := self._fate_of_whole(packet, line)):
            self._drop(packet, 0, 1, fate, out)
            return
        if not self._rules.has_numbers:
            self._number += 1
            packet.update_id[0] = self._number
        if self._replace(packet, line, out):
            if not (every and live):
                moment = moment_of(packet, 0)
                self.log.announce_snapshot("pushed", moment, out)
            out.fates["published", ""] += int(np.count_nonzero(packet.stands))

    def _fate_of_whole(self, packet: L2Table, line: int) -> str:
        """Why a whole book is not published: another line is behind, or it is the same again."""
        last, time_us = self.log.last, int(packet.timestamp[0])
        assert last is not None
        lags = 0 < last.timestamp - time_us < LAG_MAX_US
        if lags and not self._arbiter.leads(self.ticker, line):
            return "stale"
        return "duplicate" if time_us == last.timestamp and self.log.holds(packet) else ""

    def _replace(self, packet: L2Table, line: int, out: Flush) -> bool:
        """The packet's levels are the book from now on; False when its checksum is wrong."""
        moment = moment_of(packet, 0)
        if not self.log.replace(packet, out):
            self._drop(packet, 0, 1, "gap", out)
            reason = "the checksum of a snapshot is wrong"
            if self.state is State.LIVE:
                self._open_gap(packet, 0, out, reason)
            else:
                self._ask_for_another(reason, moment, out)
            return False
        flags = L2Flag(int(packet.flags[0])) & L2Flag.TIME_INFERRED
        if self._close_gap(moment, ABSENT, out):
            flags |= L2Flag.GAP_BEFORE
        self._drop_waiting_all(out)
        self._live(moment, line)
        self.log.publish_book(moment, flags, out)
        return True

    def _live(self, moment: Moment, line: int) -> None:
        self.state = State.LIVE
        self._continuity.snapshot(moment.update_id)
        self._arbiter.lead(self.ticker, line)
        self._pending = self._early = None
        self._attempts, self._asked, self._since_s = 0, False, None
        self._unjoined = 0
        self._interrupted = self._said_waiting = False

    def _drop_waiting_all(self, out: Flush) -> None:
        """Updates that waited lie before this snapshot, or it would not have been pushed."""
        early = () if self._early is None else (self._early,)
        for table in (*early, *self._waiting.take_all()):
            self._drop(table, 0, len(table), "stale", out)

    # -------------------------------------------------------- pulled snapshots

    def _wait(self, table: L2Table, start: int, stop: int, out: Flush) -> None:
        self._unjoined += stop - start
        known = self._stored_already(table, start, stop)
        if known:
            self._drop(table, start, start + known, "stale", out)
            start += known
        if start < stop:
            for dropped in self._waiting.add(table.cut(start, stop)):
                self._drop(dropped, 0, len(dropped), "gap", out)
            if self._pending is not None:
                self._join(out)
                return
        if (
            self._rules.snapshots is Snapshots.PULLED
            and self._pending is None
            and not self._asked
            and not self._attempts
            and self._unjoined >= WAITING_UPDATES
        ):
            self._ask(out)

    def ask_last(self, out: Flush) -> None:
        """The input has ended: a book whose updates still wait is asked for once more."""
        if self._waiting and not self._asked and self._pending is None:
            self._ask(out)

    def _stored_already(self, table: L2Table, start: int, stop: int) -> int:
        """How many of the first updates a predecessor stored: by their numbers and their times."""
        lost = self._lost
        if lost is None or not lost.stored or not self._rules.has_numbers:
            return 0
        fresh = (table.update_id[start:stop] > lost.from_id) | (
            table.timestamp[start:stop] > lost.from_us
        )
        return int(fresh.argmax()) if fresh.any() else stop - start

    def tick(self, now_s: float, packet_id: int, out: Flush, *, settle: bool = False) -> None:
        """Time has passed: ask for a snapshot that is overdue, publish one that nothing joins."""
        if self.state is State.LIVE:
            if self._early is not None:
                self._tick_early(now_s, out, settle)
            if not settle or self.state is State.LIVE:
                return
        if self._pending is not None:
            if self._pending_since_s is None:
                self._pending_since_s = now_s
            if settle or now_s - self._pending_since_s >= SETTLE_S:
                self._go_live(packet_id, None, ABSENT, out)
                return
        elif not self._asked:
            if self._since_s is None:
                self._since_s = now_s
            if now_s - self._since_s >= self._patience_s():
                self._ask(out)
        elif self._rules.snapshots is Snapshots.PUSHED:
            if self._since_s is None:
                self._since_s = now_s
            if now_s - self._since_s >= SILENT_S * 2.0 ** min(self._attempts, 4):
                self._ask_anew()  # no snapshot came of it
        if settle:
            self._say_waiting("the input ended before a snapshot came", out)

    def _tick_early(self, now_s: float, out: Flush, settle: bool) -> None:
        early = self._early
        assert early is not None
        if self._early_since_s is None:
            self._early_since_s = now_s
        if settle or now_s - self._early_since_s >= 2 * self._rules.wait_us / 1e6:
            self._early = None
            self._give_up_order(early, list(range(len(early))), out)

    def _patience_s(self) -> float:
        if self._attempts:
            return min(FIRST_UPDATE_S * 2.0**self._attempts, RETRY_S_MAX)
        if self._rules.snapshots is not Snapshots.PULLED:
            return SILENT_S  # a subscription brings it by itself
        return FIRST_UPDATE_S if self._waiting.packets else SILENT_S

    def _ask(self, out: Flush) -> None:
        """Ask the venue for a book; the second time over REST where it has both ways."""
        rules = self._rules
        self._since_s = None
        if rules.snapshots in (Snapshots.EVERY_FRAME, Snapshots.NONE):
            return
        self._asked = True
        self.state = State.SYNCING
        if rules.snapshots is Snapshots.PULLED or (rules.pulls and self._attempts % 2):
            out.snapshots_wanted.append(self.ticker)
        else:
            out.subscriptions_wanted.append(self.ticker)

    def _ask_anew(self, *, first: bool = False) -> None:
        self._asked = False
        self._since_s = None
        self._pending = None
        self._attempts = 0 if first else self._attempts + 1

    def failed(self, reason: str, *, for_good: bool, out: Flush) -> None:
        """The snapshot could not be fetched: ask again, later each time."""
        if self.state is State.LIVE:
            return
        self._ask_anew()
        if for_good:
            self._say_waiting(reason, out)

    def _say_waiting(self, reason: str, out: Flush) -> None:
        """Say once that updates are not published, because there is no book for them."""
        if self._said_waiting or not self._waiting:
            return
        self._said_waiting = True
        first, last = self._waiting.first, self._waiting.last
        lost = Lost(
            int(first.prev_update_id[0]), int(first.timestamp[0]),
            int(last.update_id[-1]), int(last.timestamp[-1]),
        )  # fmt: skip
        text = f"{self._waiting.packets:,} updates of {self.name} have no snapshot: {reason}"
        self.log.announce_gap(lost, text, moment_of(last, len(last) - 1), out)
        out.errors.append(text)

    def pulled(self, table: L2Table, out: Flush) -> None:
        """Take a book from REST: one packet, its time inferred where its flags say so."""
        if self.state is State.LIVE:
            return  # one was asked for before and came after all
        lost = self._lost
        time_us, own = int(table.timestamp[0]), int(table.update_id[0])
        if lost and own < lost.from_id and time_us <= lost.from_us:
            self._ask_anew()  # older than what is stored: its updates would be stored twice
            return
        self._pending = table
        self._pending_since_s = None
        self._join(out)

    def _join(self, out: Flush) -> None:
        """Find the waiting update that follows the pending snapshot; go LIVE with it."""
        assert self._pending is not None
        trial = Continuity(drop_equal=self._rules.drops_equal)
        trial.snapshot(int(self._pending.update_id[0]))
        while self._waiting:
            table = self._waiting.first
            for n in range(len(table)):
                prev = int(table.prev_update_id[n])
                verdict = trial.judge(prev, int(table.update_id[n]))
                if verdict is Verdict.STALE:
                    continue
                self._drop_waiting(n, out)
                if verdict is Verdict.GAP:
                    self._ask_anew()  # the snapshot is older than the first update that waits
                else:
                    self._go_live(int(table.packet_id[n]), int(table.timestamp[n]), prev, out)
                return
            self._drop_waiting(len(table), out)

    def _drop_waiting(self, packets: int, out: Flush) -> None:
        """Forget the first packets of the first waiting table: the snapshot contains them."""
        table = self._waiting.forget(packets)
        if packets:
            self._drop(table, 0, packets, "stale", out)

    def _go_live(
        self, released_by: int, joined_us: int | None, joined_prev: int, out: Flush
    ) -> None:
        """Publish the pending snapshot and everything that waits behind it."""
        packet = self._pending
        assert packet is not None
        moment = moment_of(packet, 0)
        moment = replace(moment, packet_id=max(moment.packet_id, released_by))
        flags = L2Flag(int(packet.flags[0])) & L2Flag.TIME_INFERRED
        if joined_us is not None and joined_us < moment.timestamp:
            # The update's time must not be before its book's: grid points would be lost.
            moment, flags = replace(moment, timestamp=joined_us), L2Flag.TIME_INFERRED
        if self._close_gap(moment, joined_prev, out):
            flags |= L2Flag.GAP_BEFORE
        self.log.replace(packet, out)
        self._live(moment, NOBODY)
        self.log.publish_book(moment, flags, out)
        self.log.announce_snapshot("REST", moment, out)
        for table in self._waiting.take_all():
            np.maximum(table.packet_id, moment.packet_id, out=table.packet_id)
            self.update(table, 0, len(table), out)

    def _close_gap(self, moment: Moment, joined_prev: int, out: Flush) -> bool:
        """Say what lies between the last update published and this snapshot; whether any does."""
        lost, self._lost = self._lost, None
        if lost is None:
            return False
        if lost.stored:
            known = self._rules.has_numbers and lost.from_id != ABSENT
            if known and lost.from_id in (moment.update_id, joined_prev):
                return False
            lost.to_id, lost.to_us = moment.update_id, moment.timestamp
            self.log.announce_gap(lost, "not received between two connections or runs", moment, out)
        elif moment.update_id > lost.to_id:
            rest = Lost(lost.to_id, lost.to_us, moment.update_id, moment.timestamp)
            self.log.announce_gap(rest, "not published until the new snapshot", moment, out)
        return True
