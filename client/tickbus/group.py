"""Groups of stored messages as columns: what every fold, the writer and other readers work on.

A group is everything that arrived since the last look, up to a point where no ticker's flush is
open (`more` is 0), so that folds may combine feeds in `packet_id` order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
from tickbus_schemas.messages import Clock, Header, Status

from tickbus.homes import Homes
from tickbus.numbering import Break, Numbering
from tickbus.scanned import Int64s, Scanned
from tickbus.sorting import Sorting
from tickbus.stored import Missing, Rejected, Stored, Traced
from tickbus.table import Key, Table

Kind = TypeVar("Kind", bound=Header)


@dataclass(slots=True)
class Group:
    """A run of a stream's messages that may be folded."""

    seqs: Int64s
    """stream sequence of every message, the rejected ones included"""
    stored_ns: Int64s
    """when the server stored each"""
    bytes: int
    tables: dict[Key, Table] = field(default_factory=dict)
    singles: dict[type[Header], list[tuple[int, Any]]] = field(default_factory=dict)
    """the messages without columns, each with its stream sequence, in log order"""
    rejected: list[Rejected] = field(default_factory=list)
    traced: list[Traced] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    epoch: int = -1
    """of the last message with a number; with `message_no` what the next group must follow"""
    message_no: int = -1
    numbers: Int64s = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    """(messages, 2): epoch and message_no of each; -1 for an unreadable one"""

    def of(self, kind: type[Kind]) -> list[tuple[int, Kind]]:
        """The messages of a kind without columns, each with its stream sequence."""
        return self.singles.get(kind, [])

    @property
    def statuses(self) -> list[tuple[int, Status]]:
        """What happened to tickers' data."""
        return self.of(Status)

    @property
    def clocks(self) -> list[tuple[int, Clock]]:
        """The shard's venue time."""
        return self.of(Clock)

    @property
    def first_seq(self) -> int:
        """Stream sequence of the first message."""
        return int(self.seqs[0])

    @property
    def last_seq(self) -> int:
        """Stream sequence of the last message: a reader that did this group goes on behind it."""
        return int(self.seqs[-1])

    @property
    def first_stored_ns(self) -> int:
        """When the server stored the first message."""
        return int(self.stored_ns[0])

    @property
    def last_stored_ns(self) -> int:
        """When the server stored the last message."""
        return int(self.stored_ns[-1])

    @property
    def messages(self) -> int:
        """How many, the rejected ones included."""
        return len(self.seqs)


class Assembler:
    """Makes groups of what a Reader yields.

    `numbered`: the stream's messages follow each other by `message_no` (md and derived streams,
    read whole). `whole`: its sequences follow each other (False for a filtered reader).
    """

    def __init__(self, *, numbered: bool = True, whole: bool = True) -> None:
        self._numbering = Numbering() if numbered else None
        self._whole = whole
        self._next_seq = 0
        self._waiting: list[Stored] = []
        self._homes = Homes()

    def resume(self, seq: int, epoch: int = -1, message_no: int = -1) -> None:
        """Expect the message after `seq`, whose last number was (epoch, message_no)."""
        self._next_seq = seq + 1
        if self._numbering:
            self._numbering.resume(epoch, message_no)

    def add(self, arrived: Sequence[Stored]) -> Group | None:
        """The group that these messages complete; a tail whose flush is open waits for the next."""
        stored = [*self._waiting, *arrived]
        scanned = Scanned(stored)
        # The tail is read again with what comes next: it is a part of one ticker's flush.
        self._waiting = stored[scanned.closed :]
        if not scanned.closed:
            return None
        if self._waiting:
            scanned.cut(scanned.closed)
        return self._assemble(scanned)

    def _assemble(self, scanned: Scanned) -> Group:
        stored = scanned.stored
        group = Group(
            seqs=np.fromiter(map(_seq_of, stored), np.int64, len(stored)),
            stored_ns=np.fromiter(map(_stored_ns_of, stored), np.int64, len(stored)),
            bytes=int(scanned.sizes.sum()),
        )
        if self._whole:
            group.missing = self._missing(group.seqs)
        self._next_seq = group.last_seq + 1
        if self._numbering:
            group.numbers = scanned.numbers()
            group.breaks = self._numbering.judge(group.seqs, group.numbers)
            group.epoch, group.message_no = self._numbering.epoch, self._numbering.message_no
        self._homes.forget_too_many()
        Sorting(group, scanned, self._homes).run()
        return group

    def _missing(self, seqs: Int64s) -> list[Missing]:
        first = self._next_seq or int(seqs[0])
        if seqs[0] == first and seqs[-1] - first == len(seqs) - 1:
            return []
        holes = np.flatnonzero(np.diff(seqs, prepend=first - 1) != 1)
        ends = seqs[holes] - 1
        starts = [first, *(seqs + 1).tolist()]
        return [Missing(starts[at], int(end)) for at, end in zip(holes, ends, strict=True)]


_seq_of = attrgetter("seq")
_stored_ns_of = attrgetter("stored_ns")

__all__ = [
    "Assembler",
    "Break",
    "Group",
    "Key",
    "Missing",
    "Rejected",
    "Stored",
    "Table",
    "Traced",
]
