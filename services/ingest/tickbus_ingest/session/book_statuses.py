"""What is said of one ticker's book besides its rows: gaps, resyncs, snapshots."""

from __future__ import annotations

from dataclasses import dataclass

from tickbus_schemas.messages import ABSENT, StatusKind

from tickbus_ingest.session.book_rules import BookRules
from tickbus_ingest.session.tables import Flush, L2Table, Moment, StatusRow, moment_of
from tickbus_ingest.session.waiting import Waiting


@dataclass(slots=True)
class Lost:
    """The last update published before a gap, and what the announced gap reaches to."""

    from_id: int
    from_us: int
    to_id: int = ABSENT
    to_us: int = ABSENT
    stored: bool = False
    """the gap is not announced yet: what follows will tell whether there is one"""
    reason: str = "not received between two connections or runs"
    """of a gap that is not announced yet"""

    def first_not_stored(self, table: L2Table, start: int, stop: int) -> int:
        """The first of these updates that no predecessor stored: by their numbers and times."""
        if not self.stored:
            return start
        fresh = (table.update_id[start:stop] > self.from_id) | (
            table.timestamp[start:stop] > self.from_us
        )
        return start + int(fresh.argmax()) if fresh.any() else stop

    def is_behind(self, snapshot: L2Table) -> bool:
        """Whether a snapshot is older than the last update published."""
        return int(snapshot.update_id[0]) < self.from_id and (
            int(snapshot.timestamp[0]) <= self.from_us
        )


class BookStatuses:
    """Status rows of one book, and their counts."""

    def __init__(self, ticker: int, name: str, rules: BookRules) -> None:
        self._ticker = ticker
        self._name = name
        self._rules = rules

    def gap(self, lost: Lost, reason: str, moment: Moment, out: Flush) -> None:
        """What lies between the two sides of `lost` is missing."""
        gap = self._status(StatusKind.GAP, moment, reason)
        gap.from_id, gap.from_timestamp = lost.from_id, lost.from_us
        gap.to_id, gap.to_timestamp = lost.to_id, lost.to_us
        out.statuses.append(gap)
        out.counts["gaps", "l2"] += 1

    def resync(self, reason: str, moment: Moment, out: Flush) -> None:
        """The book is thrown away, and a new one is asked for."""
        out.statuses.append(self._status(StatusKind.RESYNC, moment, reason))
        out.counts["resyncs", ""] += 1

    def snapshot(self, source: str, moment: Moment, out: Flush) -> None:
        """A book was joined to the stream."""
        out.statuses.append(self._status(StatusKind.SNAPSHOT, moment, source))
        out.counts["snapshots", source.lower()] += 1

    def rest_of_gap(self, lost: Lost, moment: Moment, joined_prev: int, out: Flush) -> bool:
        """Say what lies between `lost` and the snapshot at `moment`; whether a gap ends there.

        `joined_prev`: what the update that joined the snapshot follows; ABSENT where none did.
        """
        if lost.stored:
            known = self._rules.has_numbers and lost.from_id != ABSENT
            if known and lost.from_id in (moment.update_id, joined_prev):
                return False
            lost.to_id, lost.to_us = moment.update_id, moment.timestamp
            self.gap(lost, lost.reason, moment, out)
        elif moment.update_id > lost.to_id:
            rest = Lost(lost.to_id, lost.to_us, moment.update_id, moment.timestamp)
            self.gap(rest, "not published until the new snapshot", moment, out)
        return True

    def no_snapshot(self, waiting: Waiting, reason: str, out: Flush) -> None:
        """Updates are not published, because there is no book for them."""
        first, last = waiting.first, waiting.last
        lost = Lost(
            int(first.prev_update_id[0]), int(first.timestamp[0]),
            int(last.update_id[-1]), int(last.timestamp[-1]),
        )  # fmt: skip
        text = f"{waiting.packets:,} updates of {self._name} have no snapshot: {reason}"
        self.gap(lost, text, moment_of(last, len(last) - 1), out)
        out.errors.append(text)

    def _status(self, kind: StatusKind, moment: Moment, reason: str) -> StatusRow:
        return StatusRow(
            self._ticker,
            kind,
            moment.timestamp,
            moment.rcv_timestamp,
            moment.packet_id,
            "l2",
            reason,
        )
