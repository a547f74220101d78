"""The book of one ticker and its explicit state: SYNCING -> LIVE -> GAP -> SYNCING.

Only a LIVE book publishes updates. Updates that arrive while there is no book wait, bounded, for a
snapshot from REST; they are published behind it, with the packet_id of the packet that released
them, so that packet_id never goes back in the log.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from tickbus.book.orderbook import OrderBook
from tickbus_schemas.continuity import Continuity, Verdict
from tickbus_schemas.messages import ABSENT, L2Flag, StatusKind

from tickbus_ingest.exchanges.contract import Snapshot
from tickbus_ingest.rows import Flush, L2Table, Moment, Notice, Piece, snapshot_table

WAITING_UPDATES = 2
"""Updates that must wait before a snapshot is asked for; asked too early it joins nothing
(github.com/bmoscon/cryptostore issue 57)."""
FIRST_UPDATE_S = 0.2
"""A ticker with a single update is asked for after this time all the same."""
SILENT_S = 3.0
"""A ticker without any update is asked for after this time."""
SETTLE_S = 1.0
"""A snapshot that no update joins is published after this time."""
WAITING_PACKETS_MAX = 20_000
RETRY_S_MAX = 10.0


class State(Enum):
    """Of a book; SYNCING has never been LIVE, GAP has lost an update since."""

    SYNCING = "syncing"
    LIVE = "live"
    GAP = "gap"


@dataclass(frozen=True)
class SnapshotRule:
    """A full book goes into the log after this time AND this many books' worth of levels."""

    interval_us: int = 300_000_000
    books: int = 4


@dataclass(slots=True)
class _Lost:
    """The last update published before a gap, and what the announced gap reaches to."""

    from_id: int
    from_us: int
    to_id: int = ABSENT
    to_us: int = ABSENT
    stored: bool = False
    """a predecessor stored it; the gap is not announced yet"""


class TickerBook:
    """Feed it every update and snapshot of one ticker, in order of arrival."""

    def __init__(
        self, ticker: int, name: str, *, drop_equal: bool, rule: SnapshotRule | None = None
    ) -> None:
        self.ticker = ticker
        self.name = name
        self.state = State.SYNCING
        self.book = OrderBook()
        self._continuity = Continuity(drop_equal=drop_equal)
        self._drop_equal = drop_equal
        self._rule = rule or SnapshotRule()
        self._waiting: deque[L2Table] = deque()
        self.waiting_packets = 0
        self._pending: tuple[Snapshot, Moment] | None = None
        self._pending_since_s: float | None = None
        self._asked = False
        self._attempts = 0
        self._since_s: float | None = None
        self._lost: _Lost | None = None
        self._last: Moment | None = None
        self._snapshot_us = 0
        self._snapshot_levels = 0
        self._levels_since = 0

    def resume(self, update_id: int, timestamp: int) -> None:
        """A predecessor stored updates up to this one."""
        self._lost = _Lost(update_id, timestamp, stored=True)

    @property
    def held_since_us(self) -> int:
        """Venue time of the oldest update that waits; 0 when none does."""
        return int(self._waiting[0].timestamp[0]) if self._waiting else 0

    # ---------------------------------------------------------------- updates

    def update(self, table: L2Table, start: int, stop: int, out: Flush) -> None:
        """Take the updates [start, stop), which are this ticker's."""
        while start < stop and self.state is State.LIVE:
            end = self._linked(table, start, stop)
            if end > start:
                self._continuity.resume(int(table.update_id[end - 1]))
                self._publish(table, start, end, out)
                start = end
                continue
            verdict = self._continuity.judge(
                int(table.prev_update_id[start]), int(table.update_id[start])
            )
            if verdict is Verdict.GAP:
                self._open_gap(table, start, out)
                break
            if verdict is Verdict.STALE:
                out.counts["stale_events", "l2"] += 1
            else:
                self._publish(table, start, start + 1, out)
            start += 1
        if start < stop:
            self._wait(table, start, stop, out)

    def _linked(self, table: L2Table, start: int, stop: int) -> int:
        """Where the run of updates ends that follow one another exactly."""
        if int(table.prev_update_id[start]) != self._continuity.update_id:
            return start
        if stop - start == 1:
            return stop
        same = table.prev_update_id[start + 1 : stop] == table.update_id[start : stop - 1]
        return stop if same.all() else start + 1 + int(same.argmin())

    def _publish(self, table: L2Table, start: int, stop: int, out: Flush) -> None:
        while start < stop:
            end = self._snapshot_due(table, start, stop)
            due = end > 0
            end = end or stop
            first, last = int(table.level_ends[start]), int(table.level_ends[end])
            table.action[first:last] = self.book.apply(
                table.side[first:last], table.price[first:last], table.qty[first:last]
            )
            self._levels_since += last - first
            self._last = _moment(table, end - 1)
            out.l2.append(Piece(self.ticker, table, start, end))
            out.counts["published_frames", ""] += end - start
            if due:
                self._publish_book(self._last, 0, out)
                out.counts["snapshots", "log"] += 1
            start = end

    def _snapshot_due(self, table: L2Table, start: int, stop: int) -> int:
        """The end of the first packet after which a full book is due; 0 when none is.

        Decided packet by packet, so that it does not depend on how packets were batched.
        """
        wanted = self._rule.books * self._snapshot_levels - self._levels_since
        first = int(table.level_ends[start])
        if int(table.level_ends[stop]) - first < wanted:
            return 0
        if int(table.timestamp[start:stop].max()) - self._snapshot_us < self._rule.interval_us:
            return 0
        times = table.timestamp[start:stop] - self._snapshot_us >= self._rule.interval_us
        due = times & (table.level_ends[start + 1 : stop + 1] - first >= wanted)
        return start + int(due.argmax()) + 1 if due.any() else 0

    def _publish_book(self, moment: Moment, flags: int, out: Flush) -> None:
        """Put the whole book into the log."""
        side, price, qty = self.book.levels()
        table = snapshot_table(moment, side, price, qty, flags)
        out.l2.append(Piece(self.ticker, table, 0, len(table)))
        self._snapshot_us = moment.timestamp
        self._snapshot_levels = len(side)
        self._levels_since = 0

    # ------------------------------------------------------------------- gaps

    def _open_gap(self, table: L2Table, at: int, out: Flush) -> None:
        """The update at `at` does not follow the last one published."""
        assert self._last is not None
        lost = _Lost(
            self._last.update_id,
            self._last.timestamp,
            int(table.update_id[at]),
            int(table.timestamp[at]),
        )
        reason, moment = "an update does not follow the last one", _moment(table, at)
        self._announce_gap(lost, reason, moment, out)
        self._resync(lost, reason, moment, out)

    def lose(self, reason: str, rcv_timestamp: int, packet_id: int, out: Flush) -> None:
        """Published updates never reached the log, which says so itself: sync anew."""
        last = self._last
        if self.state is not State.LIVE or last is None:
            return
        lost = _Lost(last.update_id, last.timestamp, last.update_id, last.timestamp)
        moment = Moment(last.timestamp, 0, rcv_timestamp, packet_id, last.update_id)
        self._resync(lost, reason, moment, out)

    def _resync(self, lost: _Lost, reason: str, moment: Moment, out: Flush) -> None:
        self.state = State.GAP
        self._continuity.reset()
        self._lost = lost
        self._ask_anew(first=True)
        out.statuses.append(self._notice(StatusKind.RESYNC, moment, reason))
        out.counts["resyncs", ""] += 1

    def _announce_gap(self, lost: _Lost, reason: str, moment: Moment, out: Flush) -> None:
        gap = self._notice(StatusKind.GAP, moment, reason)
        gap.from_id, gap.from_timestamp = lost.from_id, lost.from_us
        gap.to_id, gap.to_timestamp = lost.to_id, lost.to_us
        out.statuses.append(gap)
        out.counts["gaps", "l2"] += 1

    def _notice(self, kind: StatusKind, moment: Moment, reason: str) -> Notice:
        return Notice(
            self.ticker,
            kind,
            moment.timestamp,
            moment.rcv_timestamp,
            moment.packet_id,
            "l2",
            reason,
        )

    # -------------------------------------------------------------- snapshots

    def _wait(self, table: L2Table, start: int, stop: int, out: Flush) -> None:
        self._waiting.append(table.cut(start, stop))
        self.waiting_packets += stop - start
        while self.waiting_packets > WAITING_PACKETS_MAX and len(self._waiting) > 1:
            dropped = len(self._waiting.popleft())
            self.waiting_packets -= dropped
            out.counts["stale_events", "l2"] += dropped
        if self._pending is not None:
            self._join(out)
        elif not self._asked and not self._attempts and self.waiting_packets >= WAITING_UPDATES:
            self._ask(out)

    def tick(self, now_s: float, packet_id: int, out: Flush, *, settle: bool = False) -> None:
        """Time has passed: ask for a snapshot that is overdue, publish one that nothing joins."""
        if self.state is State.LIVE:
            return
        if self._pending is not None:
            if self._pending_since_s is None:
                self._pending_since_s = now_s
            if settle or now_s - self._pending_since_s >= SETTLE_S:
                self._go_live(packet_id, None, ABSENT, out)
        elif not self._asked:
            if self._since_s is None:
                self._since_s = now_s
            if now_s - self._since_s >= self._patience_s():
                self._ask(out)

    def _patience_s(self) -> float:
        if self._attempts:
            return min(FIRST_UPDATE_S * 2.0**self._attempts, RETRY_S_MAX)
        return FIRST_UPDATE_S if self.waiting_packets else SILENT_S

    def _ask(self, out: Flush) -> None:
        self._asked = True
        self.state = State.SYNCING
        out.snapshots_wanted.append(self.name)

    def _ask_anew(self, *, first: bool = False) -> None:
        self._asked = False
        self._since_s = None
        self._pending = None
        self._attempts = 0 if first else self._attempts + 1

    def failed(self) -> None:
        """The snapshot could not be fetched: ask again, later each time."""
        self._ask_anew()

    def snapshot(
        self, snapshot: Snapshot, inferred_us: int, received_us: int, packet_id: int, out: Flush
    ) -> None:
        """Take a book from REST. `inferred_us`: its time where the venue does not say it."""
        if self.state is State.LIVE:
            return  # one was asked for before and came after all
        time_us = inferred_us if snapshot.event_us == ABSENT else snapshot.event_us
        lost = self._lost
        if lost and snapshot.update_id < lost.from_id and time_us <= lost.from_us:
            self._ask_anew()  # older than what is stored: its updates would be stored twice
            return
        moment = Moment(time_us, snapshot.engine_us, received_us, packet_id, snapshot.update_id)
        self._pending = (snapshot, moment)
        self._pending_since_s = None
        self._join(out)

    def _join(self, out: Flush) -> None:
        """Find the waiting update that follows the pending snapshot; go LIVE with it."""
        assert self._pending is not None
        trial = Continuity(drop_equal=self._drop_equal)
        trial.snapshot(self._pending[0].update_id)
        while self._waiting:
            table = self._waiting[0]
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
        table = self._waiting.popleft()
        if packets < len(table):
            self._waiting.appendleft(table.cut(packets, len(table)))
        self.waiting_packets -= packets
        if packets:
            out.counts["stale_events", "l2"] += packets

    def _go_live(
        self, released_by: int, joined_us: int | None, joined_prev: int, out: Flush
    ) -> None:
        """Publish the pending snapshot and everything that waits behind it."""
        assert self._pending is not None
        snapshot, moment = self._pending
        moment = replace(moment, packet_id=max(moment.packet_id, released_by))
        flags = L2Flag.TIME_INFERRED if snapshot.event_us == ABSENT else L2Flag(0)
        if joined_us is not None and joined_us < moment.timestamp:
            # The update's time must not be before its book's: grid points would be lost.
            moment, flags = replace(moment, timestamp=joined_us), L2Flag.TIME_INFERRED
        self._pending = None
        self._attempts = 0
        if self._close_gap(moment, joined_prev, out):
            flags |= L2Flag.GAP_BEFORE
        self.state = State.LIVE
        self._continuity.snapshot(snapshot.update_id)
        self.book.clear()
        self.book.apply(snapshot.side, snapshot.price, snapshot.qty)
        self._last = moment
        self._publish_book(moment, flags, out)
        out.statuses.append(self._notice(StatusKind.SNAPSHOT, moment, "REST"))
        out.counts["snapshots", "rest"] += 1
        waiting, self._waiting, self.waiting_packets = self._waiting, deque(), 0
        for table in waiting:
            np.maximum(table.packet_id, moment.packet_id, out=table.packet_id)
            self.update(table, 0, len(table), out)

    def _close_gap(self, moment: Moment, joined_prev: int, out: Flush) -> bool:
        """Say what lies between the last update published and this snapshot; whether any does."""
        lost, self._lost = self._lost, None
        if lost is None:
            return False
        if lost.stored:
            if lost.from_id in (moment.update_id, joined_prev):
                return False
            lost.to_id, lost.to_us = moment.update_id, moment.timestamp
            self._announce_gap(lost, "not received between two runs", moment, out)
        elif moment.update_id > lost.to_id:
            rest = _Lost(lost.to_id, lost.to_us, moment.update_id, moment.timestamp)
            self._announce_gap(rest, "not published until the new snapshot", moment, out)
        return True


def _moment(table: L2Table, at: int) -> Moment:
    return Moment(
        int(table.timestamp[at]),
        int(table.engine_timestamp[at]),
        int(table.rcv_timestamp[at]),
        int(table.packet_id[at]),
        int(table.update_id[at]),
    )


__all__ = ["SnapshotRule", "State", "TickerBook"]
