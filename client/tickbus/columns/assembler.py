"""Makes groups of the messages that a reader yields: the way into columns.

A tail whose flush is still open waits for the next look.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import numpy as np

from tickbus.columns.group import Group
from tickbus.columns.homes import Homes
from tickbus.columns.numbering import Numbering
from tickbus.columns.scanned import Int64s, Scanned
from tickbus.columns.sorting import Sorting
from tickbus.log.stored import Missing, Stored

_seq_of = attrgetter("seq")
_stored_ns_of = attrgetter("stored_ns")


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
        # The tail, a part of one ticker's flush, is read again with the next messages.
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
