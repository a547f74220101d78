"""Updates that wait for a snapshot: bounded, in order of arrival."""

from __future__ import annotations

from collections import deque

import numpy as np
from tickbus_schemas.continuity import Continuity, Verdict

from tickbus_ingest.session.book_rules import BookRules
from tickbus_ingest.session.tables import L2Table

PACKETS_MAX = 20_000


class Waiting:
    """The updates of one ticker for which there is no book yet."""

    def __init__(self) -> None:
        self._tables: deque[L2Table] = deque()
        self.packets = 0

    def __bool__(self) -> bool:
        return bool(self._tables)

    @property
    def first(self) -> L2Table:
        """The oldest updates."""
        return self._tables[0]

    @property
    def last(self) -> L2Table:
        """The newest updates."""
        return self._tables[-1]

    @property
    def frames(self) -> int:
        """Frames that stand or fall with these updates."""
        return sum(int(np.count_nonzero(table.stands)) for table in self._tables)

    def add(self, table: L2Table) -> list[L2Table]:
        """Keep updates; the oldest that had to give way for them."""
        self._tables.append(table)
        self.packets += len(table)
        dropped = []
        while self.packets > PACKETS_MAX and len(self._tables) > 1:
            dropped.append(self._tables.popleft())
            self.packets -= len(dropped[-1])
        return dropped

    def join(self, snapshot_id: int, *, drop_equal: bool) -> tuple[list[L2Table], Verdict | None]:
        """Take out what a snapshot of this number contains; the verdict on the next update.

        None: no update is left.
        """
        trial = Continuity(drop_equal=drop_equal)
        trial.snapshot(snapshot_id)
        contained: list[L2Table] = []
        while self._tables:
            table = self.first
            for n in range(len(table)):
                verdict = trial.judge(int(table.prev_update_id[n]), int(table.update_id[n]))
                if verdict is not Verdict.STALE:
                    if n:
                        contained.append(self._forget(n))
                    return contained, verdict
            contained.append(self._forget(len(table)))
        return contained, None

    def leave_what_follows(self, book_id: int, line: int, rules: BookRules) -> list[L2Table]:
        """Take out all but the updates that follow the book of this number which `line` pushed.

        A venue that pushes a book on request may have sent newer updates before it.
        """
        if not rules.has_numbers:
            return self.take_all()
        dropped = [] if rules.is_global else self._forget_others(line)
        contained, verdict = self.join(book_id, drop_equal=True)
        dropped += contained
        return dropped if verdict is Verdict.APPLY else dropped + self.take_all()

    def take_all(self) -> list[L2Table]:
        """All of them; nothing waits any more."""
        tables = list(self._tables)
        self._tables.clear()
        self.packets = 0
        return tables

    def _forget_others(self, line: int) -> list[L2Table]:
        """Take out what came over other connections, which count for themselves."""
        dropped = []
        for table in self.take_all():
            own = table.line == line
            if own.any():
                self._tables.append(table.take(np.flatnonzero(own)))
                self.packets += len(self.last)
            if not own.all():
                dropped.append(table.take(np.flatnonzero(~own)))
        return dropped

    def _forget(self, packets: int) -> L2Table:
        """Take the first packets of the oldest updates out."""
        table = self._tables.popleft()
        if packets < len(table):
            self._tables.appendleft(table.cut(packets, len(table)))
            table = table.cut(0, packets)
        self.packets -= packets
        return table
