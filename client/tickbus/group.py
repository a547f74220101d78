"""Groups of stored messages as columns: what every fold, the writer and other readers work on.

A group is everything that arrived since the last look, up to a point where no ticker's flush is
open (`more` is 0), so that folds may combine feeds in `packet_id` order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import msgspec
import numpy as np
from tickbus_schemas import codec
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import Clock, DeadLetter, Fence, Message, Status

from tickbus.numbering import Break, Numbering
from tickbus.sorting import Sorting
from tickbus.stack import Int64s
from tickbus.stored import Missing, Rejected, Stored, Traced
from tickbus.table import Key, Table

_unpack = msgspec.msgpack.Decoder(Message).decode


@dataclass(slots=True)
class Group:
    """A run of a stream's messages that may be folded."""

    seqs: Int64s
    """stream sequence of every message, the rejected ones included"""
    stored_ns: Int64s
    """when the server stored each"""
    bytes: int
    tables: dict[Key, Table] = field(default_factory=dict)
    statuses: list[tuple[int, Status]] = field(default_factory=list)
    clocks: list[tuple[int, Clock]] = field(default_factory=list)
    fences: list[tuple[int, Fence]] = field(default_factory=list)
    dead_letters: list[tuple[int, DeadLetter]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    traced: list[Traced] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    epoch: int = -1
    """of the last message with a number; with `message_no` what the next group must follow"""
    message_no: int = -1
    numbers: Int64s = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    """(messages, 2): epoch and message_no of each; -1 for an unreadable one"""

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
        self._stored: list[Stored] = []
        self._messages: list[Message | None] = []
        self._reasons: dict[int, str] = {}

    def resume(self, seq: int, epoch: int = -1, message_no: int = -1) -> None:
        """Expect the message after `seq`, whose last number was (epoch, message_no)."""
        self._next_seq = seq + 1
        if self._numbering:
            self._numbering.resume(epoch, message_no)

    def add(self, arrived: Sequence[Stored]) -> Group | None:
        """The group that these messages complete; a tail whose flush is open waits for the next."""
        self._stored += arrived
        self._messages += self._decode(arrived)
        cut = _closed(self._messages)
        if not cut:
            return None
        stored, self._stored = self._stored[:cut], self._stored[cut:]
        messages, self._messages = self._messages[:cut], self._messages[cut:]
        return self._assemble(stored, messages)

    def _decode(self, arrived: Sequence[Stored]) -> list[Message | None]:
        try:
            return list(map(_unpack, map(_data_of, arrived)))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return [self._decode_alone(stored) for stored in arrived]

    def _decode_alone(self, stored: Stored) -> Message | None:
        try:
            return codec.decode(stored.data, stored.subject, values=False)
        except Reject as why:
            self._reasons[stored.seq] = str(why)
            return None

    def _assemble(self, stored: list[Stored], messages: list[Message | None]) -> Group:
        group = Group(
            seqs=np.fromiter(map(_seq_of, stored), np.int64, len(stored)),
            stored_ns=np.fromiter(map(_stored_ns_of, stored), np.int64, len(stored)),
            bytes=sum(map(len, map(_data_of, stored))),
        )
        if self._whole:
            group.missing = self._missing(group.seqs)
        self._next_seq = group.last_seq + 1
        if self._numbering:
            group.breaks = self._numbering.judge(group.seqs, messages)
            group.epoch, group.message_no = self._numbering.epoch, self._numbering.message_no
            group.numbers = self._numbering.numbers
        Sorting(group, stored, messages, self._reasons).run()
        for rejected in group.rejected:  # those of the messages that still wait are kept
            del self._reasons[rejected.seq]
        return group

    def _missing(self, seqs: Int64s) -> list[Missing]:
        before = np.concatenate(([self._next_seq - 1 if self._next_seq else seqs[0] - 1], seqs))
        holes = np.flatnonzero(np.diff(before) != 1)
        return [Missing(int(before[at]) + 1, int(before[at + 1]) - 1) for at in holes]


def _closed(messages: Sequence[Message | None]) -> int:
    """How many messages lie before the first flush of a ticker that is still open."""
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if message is not None and message.more == 0:
            # Unreadable ones behind a closed flush belong to nobody.
            behind = place + 1
            while behind < len(messages) and messages[behind] is None:
                behind += 1
            return behind
    return len(messages) if all(message is None for message in messages) else 0


_seq_of = attrgetter("seq")
_stored_ns_of = attrgetter("stored_ns")
_data_of = attrgetter("data")

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
