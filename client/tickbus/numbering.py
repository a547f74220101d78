"""Proves from `message_no` that nothing between publisher and reader is missing or twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from tickbus_schemas.messages import Header

from tickbus.stack import Int64s


class Break(NamedTuple):
    """A message whose number does not follow the one before it."""

    seq: int
    kind: Literal["hole", "repeat", "epoch"]
    """numbers are missing before it, it came before, or its epoch is older than the last"""
    expected: tuple[int, int]
    """epoch and message_no that would have followed"""
    found: tuple[int, int]


class Numbering:
    """Follows the numbers of one stream: +1 within an epoch, 0 at the start of a later one."""

    def __init__(self) -> None:
        self.epoch = -1
        """of the last message; -1 before the first, which may have any number"""
        self.message_no = -1
        self.numbers: Int64s = np.zeros((0, 2), np.int64)
        """epoch and message_no of each message last judged; -1 for an unreadable one"""

    def resume(self, epoch: int, message_no: int) -> None:
        """Go on after this message (from a checkpoint)."""
        self.epoch, self.message_no = epoch, message_no

    def judge(self, seqs: Int64s, messages: Sequence[Header | None]) -> list[Break]:
        """Breaks among the next messages in order; None stands for one that is unreadable."""
        numbered = [(message.epoch, message.message_no) for message in messages if message]
        self.numbers = np.full((len(messages), 2), -1, np.int64)
        if not numbered:
            return []
        breaks: list[Break] = []
        if len(numbered) < len(messages):
            self.numbers[[message is not None for message in messages]] = numbered
            breaks = self._judge_with_unreadable(seqs, messages)
        else:
            before = (self.epoch, self.message_no) if self.epoch >= 0 else None
            found = np.array([before, *numbered] if before else numbered, np.int64)
            self.numbers = found[1:] if before else found
            steps = np.diff(found, axis=0)
            follows = (steps[:, 0] == 0) & (steps[:, 1] == 1)
            follows |= (steps[:, 0] > 0) & (found[1:, 1] == 0)
            for at in np.flatnonzero(~follows).tolist():
                last, this = found[at].tolist(), found[at + 1].tolist()
                seq = int(seqs[at if before else at + 1])
                breaks.append(_break(seq, (last[0], last[1]), (this[0], this[1])))
        self.epoch, self.message_no = numbered[-1]
        return breaks

    def _judge_with_unreadable(
        self, seqs: Int64s, messages: Sequence[Header | None]
    ) -> list[Break]:
        """An unreadable message may or may not have used up a number: both are accepted."""
        breaks: list[Break] = []
        last, unreadable = (self.epoch, self.message_no), 0
        for seq, message in zip(seqs.tolist(), messages, strict=True):
            if message is None:
                unreadable += 1
                continue
            this = (message.epoch, message.message_no)
            step = this[1] - last[1]
            follows = (
                last[0] < 0
                or (this[0] == last[0] and 1 <= step <= 1 + unreadable)
                or (this[0] > last[0] and this[1] <= unreadable)
            )
            if not follows:
                breaks.append(_break(seq, last, this))
            last, unreadable = this, 0
        return breaks


def _break(seq: int, last: tuple[int, int], found: tuple[int, int]) -> Break:
    if found[0] < last[0]:
        return Break(seq, "epoch", (last[0], last[1] + 1), found)
    if found[0] > last[0]:
        return Break(seq, "hole", (found[0], 0), found)
    kind: Literal["hole", "repeat"] = "hole" if found[1] > last[1] else "repeat"
    return Break(seq, kind, (last[0], last[1] + 1), found)
