"""The updates of a LIVE book in sequence: what follows it is published, what is early waits.

Several connections may overtake one another, so an update that leaves a hole waits, bounded, for
the ones before it. If they do not come, the book is broken: the caller resyncs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tickbus_schemas.continuity import Continuity, Verdict

from tickbus_ingest.session.arbiter import Arbiter
from tickbus_ingest.session.book_log import BookLog
from tickbus_ingest.session.book_rules import SETTLE_US, BookRules
from tickbus_ingest.session.tables import Flush, L2Table, Moment, joined_l2

Bool = npt.NDArray[np.bool_]

UNLINKED = "an update does not follow the last one"
ANEW = "the venue numbers its updates anew: what lies between is not known"
WRONG = "the book's checksum is not the venue's"


@dataclass(slots=True)
class Broken:
    """The update `at` does not follow the book; those of `left` [start, stop) wait for another."""

    table: L2Table
    at: int
    reason: str
    left: L2Table
    start: int
    stop: int


class Sequencer:
    """Judges the links of one ticker's updates, in order of arrival."""

    def __init__(self, ticker: int, log: BookLog, rules: BookRules, arbiter: Arbiter) -> None:
        self.early: L2Table | None = None
        """updates that came before the one that they follow"""
        self.number = 0
        """last number given here, where the venue gives none"""
        self.is_interrupted = False
        """a hole is certain: nobody could fill it"""
        self._ticker = ticker
        self._log = log
        self._rules = rules
        self._arbiter = arbiter
        self._continuity = Continuity(drop_equal=rules.drops_equal)
        self._early_since_s: float | None = None
        self._taken: tuple[int, int, bytes] | None = None
        """the last update of this book, where the venue gives no numbers"""

    def begin(self, moment: Moment, line: int) -> None:
        """The book begins anew with what `line` brought."""
        self._continuity.snapshot(moment.update_id)
        self._arbiter.lead(self._ticker, line)
        self.early = None
        self._taken = None
        self.is_interrupted = False

    def stop(self) -> None:
        """There is no book that an update could follow."""
        self._continuity.reset()
        self._early_since_s = None

    def take_early(self) -> L2Table | None:
        """The early updates, which wait here no longer."""
        early, self.early = self.early, None
        return early

    def forget(self, fate: str, out: Flush) -> None:
        """Early updates leave no row: `fate` says why."""
        early = self.take_early()
        if early is not None:
            self._log.drop(early, 0, len(early), fate, out)

    def take(self, table: L2Table, start: int, stop: int, out: Flush) -> Broken | None:
        """Publish those of the updates [start, stop) that follow; where the book breaks."""
        table, start, stop = self._led(table, start, stop, out)
        if not self._rules.has_numbers:
            table, start, stop = self._once(table, start, stop, out)
            self._number_all(table, start, stop)
        if self.early is not None:
            return self._in_order(joined_l2([self.early, table.cut(start, stop)]), out)
        while start < stop:
            end = self._linked(table, start, stop)
            if end > start:
                broken = self._publish(table, start, end, out)
                if broken is not None:
                    broken.stop = stop
                    return broken
                start = end
                continue
            verdict = self._verdict(table, start)
            if verdict is Verdict.GAP:
                if self._rules.wait_us and not self.is_interrupted:
                    return self._in_order(table.cut(start, stop), out)
                return self._break(table, start, UNLINKED, table, start, stop)
            if verdict is Verdict.STALE:
                if self._is_anew(table, start):
                    return self._break(table, start, ANEW, table, start, stop)
                self._log.drop(table, start, start + 1, "stale", out)
            else:
                broken = self._publish(table, start, start + 1, out)
                if broken is not None:
                    broken.stop = stop
                    return broken
            start += 1
        return None

    def tick(self, now_s: float, out: Flush, *, settle: bool) -> Broken | None:
        """Time has passed: early updates that nothing leads to break the book."""
        if self.early is None:
            return None
        if self._early_since_s is None:
            self._early_since_s = now_s
        if not settle and now_s - self._early_since_s < 2 * self._rules.wait_us / 1e6:
            return None
        early, self.early = self.early, None
        return self._break_rows(early, 0, UNLINKED, list(range(len(early))))

    # ----------------------------------------------------------------- links

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
        others = self._arbiter.others(self._ticker, table.line[start:stop])
        if others is None:
            return table, start, stop
        return self._without(others, table, start, stop, out)

    def _once(self, table: L2Table, start: int, stop: int, out: Flush) -> tuple[L2Table, int, int]:
        """The updates without those that say the one before them again.

        No number tells that a venue sent an update twice; its time, checksum and levels do.
        """
        before, again = self._taken, np.zeros(stop - start, np.bool_)
        if start < stop:
            self._taken = table.content(stop - 1)
            times = table.timestamp[start:stop]
            again[0] = before is not None and table.content(start) == before
            for n in (1 + np.flatnonzero(times[1:] == times[:-1])).tolist():
                again[n] = table.content(start + n) == table.content(start + n - 1)
        if not again.any():
            return table, start, stop
        return self._without(again, table, start, stop, out)

    def _without(
        self, known: Bool, table: L2Table, start: int, stop: int, out: Flush
    ) -> tuple[L2Table, int, int]:
        """The updates but for those known already [stop - start], which are dropped."""
        dropped = table.take(start + np.flatnonzero(known))
        self._log.drop(dropped, 0, len(dropped), "duplicate", out)
        kept = table.take(start + np.flatnonzero(~known))
        return kept, 0, len(kept)

    def _number_all(self, table: L2Table, start: int, stop: int) -> None:
        """Give the updates numbers of our own."""
        numbers = np.arange(self.number, self.number + stop - start + 1)
        table.prev_update_id[start:stop] = numbers[:-1]
        table.update_id[start:stop] = numbers[1:]
        self.number += stop - start

    def _is_anew(self, table: L2Table, row: int) -> bool:
        """Whether an update that seems to be contained in the book was sent after it.

        Another connection may bring older updates, but none of a later time: the venue numbers
        anew, uses a number again, or sent an absurd one. Right behind a snapshot the clocks of two
        of the venue's servers are compared, so more is allowed.
        """
        last = self._log.last
        assert last is not None
        allowed_us = self._rules.wait_us + (0 if self._continuity.is_joined else SETTLE_US)
        if int(table.timestamp[row]) - last.timestamp <= allowed_us:
            return False
        return int(table.update_id[row]) < last.update_id or not self._log.has_levels(table, row)

    # ---------------------------------------------- updates that came too early

    def _in_order(self, table: L2Table, out: Flush) -> Broken | None:
        """Publish what follows the book, row by row; keep what another line may still lead to."""
        self.early = None
        waiting: list[int] = []
        packet_id = 0
        for row in range(len(table)):
            packet_id = max(packet_id, int(table.packet_id[row]))
            behind = range(row + 1, len(table))
            verdict = self._verdict(table, row)
            if verdict is Verdict.STALE:
                if self._is_anew(table, row):
                    return self._break_rows(table, row, ANEW, [*waiting, row, *behind])
                self._log.drop(table, row, row + 1, "stale", out)
                continue
            if verdict is Verdict.GAP:
                waiting.append(row)
                waited_us = int(table.timestamp[row]) - int(table.timestamp[waiting[0]])
                if waited_us >= self._rules.wait_us:
                    return self._break_rows(table, waiting[0], UNLINKED, [*waiting, *behind])
                continue
            wrong = self._follow(table, row, packet_id, out)
            if wrong is None:
                wrong = self._release(table, waiting, packet_id, out)
            if wrong is not None:
                return self._break_rows(table, wrong, WRONG, [*waiting, *behind])
        if waiting:
            self.early = table.take(waiting)
        else:
            self._early_since_s = None
        return None

    def _follow(self, table: L2Table, row: int, packet_id: int, out: Flush) -> int | None:
        """Publish an update; its row if its checksum is wrong."""
        table.packet_id[row] = packet_id
        return None if self._publish(table, row, row + 1, out) is None else row

    def _release(
        self, table: L2Table, waiting: list[int], packet_id: int, out: Flush
    ) -> int | None:
        """Publish those of the waiting rows that now follow; one whose checksum is wrong."""
        released = True
        while released:
            released = False
            for row in list(waiting):
                verdict = self._verdict(table, row)
                if verdict is Verdict.GAP:
                    continue
                waiting.remove(row)
                released = True
                if verdict is Verdict.STALE:
                    self._log.drop(table, row, row + 1, "stale", out)
                elif self._follow(table, row, packet_id, out) is not None:
                    return row
        return None

    # --------------------------------------------------------------- outcome

    def _publish(self, table: L2Table, start: int, stop: int, out: Flush) -> Broken | None:
        """Publish updates that follow; where one's checksum is wrong, which leaves no row."""
        self._continuity.resume(int(table.update_id[stop - 1]))
        self.is_interrupted = False
        if not self._log.one_by_one:
            self._log.publish(table, start, stop, out)
            return None
        wrong = self._log.publish_checked(table, start, stop, out)
        if wrong == stop:
            return None
        self._log.drop(table, wrong, wrong + 1, "gap", out)
        return self._break(table, wrong, WRONG, table, wrong + 1, stop)

    def _break(
        self, table: L2Table, at: int, reason: str, left: L2Table, start: int, stop: int
    ) -> Broken:
        if not self._rules.has_numbers:
            self.number = int(table.update_id[at])  # what follows it has its numbers in vain
        return Broken(table, at, reason, left, start, stop)

    def _break_rows(self, table: L2Table, at: int, reason: str, rows: list[int]) -> Broken:
        """The same where these rows are left."""
        if not rows:
            return self._break(table, at, reason, table, 0, 0)
        left = table.take(rows)
        np.maximum.accumulate(left.packet_id, out=left.packet_id)
        return self._break(table, at, reason, left, 0, len(left))
