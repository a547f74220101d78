"""Decides what goes to one receiver, and when. No I/O: times are monotonic seconds.

Each alert is a letter of its own as long as the receiver takes so many a minute; then everything
that waits becomes one digest. What is not taken is sent again; nothing is left out.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from tickbus.retry import backoff_s
from tickbus_schemas.messages import Alert

from tickbus_alerts.receivers.receiver import Again, Plainer, Refused, Sent, Verdict

AGAIN_FIRST_S, AGAIN_MAX_S = 1.0, 60.0
WINDOW_S = 60.0


class Letter(NamedTuple):
    """What is sent now: one alert, or a digest."""

    alerts: list[Alert]
    last_seq: int
    """of the last of them in the stream; 0 for what is in no stream"""
    plain: bool
    """without markup"""


@dataclass(slots=True)
class _Waiting:
    seq: int
    alert: Alert


class Letters:
    """The letters to one receiver."""

    def __init__(
        self, per_minute: int, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._per_minute, self._uniform = per_minute, uniform
        self._waiting: deque[_Waiting] = deque()
        self._sent_s: deque[float] = deque()
        self._held_until_s = 0.0
        self._failures = 0
        self._plain = False

    @property
    def waiting(self) -> int:
        """Alerts that are not told yet."""
        return len(self._waiting)

    def add(self, seq: int, alert: Alert) -> None:
        """An alert to tell; `seq` is its place in the stream, 0 if it is in none."""
        self._waiting.append(_Waiting(seq, alert))

    def next(self, now_s: float) -> Letter | float:
        """The letter to send now, or how long to wait: inf when nothing waits."""
        if not self._waiting:
            return inf
        while self._sent_s and self._sent_s[0] <= now_s - WINDOW_S:
            self._sent_s.popleft()
        room = self._per_minute - len(self._sent_s)
        wait_s = self._held_until_s - now_s
        if room <= 0:
            wait_s = max(wait_s, self._sent_s[-self._per_minute] + WINDOW_S - now_s)
        if wait_s > 0:
            return wait_s
        one_by_one = room > 1 and not self._failures
        count = 1 if one_by_one else len(self._waiting)
        taken = [self._waiting[place] for place in range(count)]
        seqs = [one.seq for one in taken]
        return Letter([one.alert for one in taken], max(seqs), self._plain)

    def ended(self, letter: Letter, verdict: Verdict, now_s: float) -> bool:
        """What became of a letter that `next` gave; True if it is done with, taken or not."""
        self._sent_s.append(now_s)
        match verdict:
            case Sent() | Refused():
                for _ in letter.alerts:
                    self._waiting.popleft()
                self._failures, self._plain = 0, False
                return True
            case Plainer():
                self._plain = True
            case Again(_, after_s):
                self._failures += 1
                pause_s = backoff_s(self._failures, AGAIN_FIRST_S, AGAIN_MAX_S, self._uniform)
                self._held_until_s = now_s + (pause_s if after_s is None else after_s)
        return False
