"""Proves from `message_no` that nothing between publisher and reader is missing or twice."""

from __future__ import annotations

from typing import Literal, NamedTuple

from tickbus.columns.kernels.message import follow
from tickbus.columns.scanned import Int64s


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

    def resume(self, epoch: int, message_no: int) -> None:
        """Go on after this message (from a checkpoint)."""
        self.epoch, self.message_no = epoch, message_no

    def judge(self, seqs: Int64s, numbers: Int64s) -> list[Break]:
        """Breaks among the next messages in order.

        numbers: (messages, 2), epoch and message_no of each; -1 for one that is unreadable.
        """
        if follow(numbers, self.epoch, self.message_no):
            self.epoch, self.message_no = numbers[-1].tolist()
            return []
        # An unreadable message may have used a number or not: both are accepted.
        breaks: list[Break] = []
        last, unreadable = (self.epoch, self.message_no), 0
        for seq, (epoch, message_no) in zip(seqs.tolist(), numbers.tolist(), strict=True):
            if epoch < 0:
                unreadable += 1
                continue
            this = (epoch, message_no)
            step = this[1] - last[1]
            follows = (
                last[0] < 0
                or (this[0] == last[0] and 1 <= step <= 1 + unreadable)
                or (this[0] > last[0] and this[1] <= unreadable)
            )
            if not follows:
                breaks.append(_break(seq, last, this))
            last, unreadable = this, 0
        self.epoch, self.message_no = last
        return breaks


def _break(seq: int, last: tuple[int, int], found: tuple[int, int]) -> Break:
    if found[0] < last[0]:
        return Break(seq, "epoch", (last[0], last[1] + 1), found)
    if found[0] > last[0]:
        return Break(seq, "hole", (found[0], 0), found)
    kind: Literal["hole", "repeat"] = "hole" if found[1] > last[1] else "repeat"
    return Break(seq, kind, (last[0], last[1] + 1), found)
