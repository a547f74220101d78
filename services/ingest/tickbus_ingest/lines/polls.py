"""REST bodies that are asked for again and again, because no channel carries them."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
from collections.abc import Sequence

from tickbus_ingest.lines.fetcher import Fetcher
from tickbus_ingest.venue.contract import Get, Poll
from tickbus_ingest.wire.buffer import Buffer

DOUBLINGS_MAX = 6


class Schedule:
    """When which body is due: spread over the period, later each time where it fails. No I/O."""

    def __init__(self, polls: Sequence[Poll], now_s: float) -> None:
        """Times are monotonic seconds."""
        self._polls = list(polls)
        self._failures = [0] * len(polls)
        self._due = [
            (now_s + poll.every_s * place / len(polls), place) for place, poll in enumerate(polls)
        ]
        heapq.heapify(self._due)

    @property
    def next_s(self) -> float:
        """When the next one is due."""
        return self._due[0][0] if self._due else float("inf")

    def due(self, now_s: float) -> list[int]:
        """Places of the polls that are due; each comes again after its period."""
        found = []
        while self._due and self._due[0][0] <= now_s:
            at_s, place = heapq.heappop(self._due)
            pause_s = self._polls[place].every_s * 2.0 ** self._failures[place]
            # From its own time on, so that the polls stay spread; not if that has gone by, too.
            next_s = at_s + pause_s if at_s + pause_s > now_s else now_s + pause_s
            heapq.heappush(self._due, (next_s, place))
            found.append(place)
        return found

    def ended(self, place: int, *, good: bool) -> None:
        """How the last request of a poll ended."""
        self._failures[place] = 0 if good else min(self._failures[place] + 1, DOUBLINGS_MAX)


class Polls:
    """Asks for every body each `every_s`; one that is not answered yet is not asked for again."""

    def __init__(self, polls: Sequence[Poll], fetcher: Fetcher, buffer: Buffer) -> None:
        self._gets: list[Get] = [poll.get for poll in polls]
        self._schedule = Schedule(polls, time.monotonic())
        self._fetcher, self._buffer = fetcher, buffer
        self._running: dict[int, asyncio.Task[bool]] = {}
        self._changed = asyncio.Event()

    def change(self, polls: Sequence[Poll]) -> None:
        """Ask for these from now on; what runs is answered and counts no more."""
        self._gets = [poll.get for poll in polls]
        self._schedule = Schedule(polls, time.monotonic())
        self._running = {}
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            wait_s = max(self._schedule.next_s - time.monotonic(), 0.0)
            with contextlib.suppress(TimeoutError):
                timeout = None if wait_s == float("inf") else wait_s
                await asyncio.wait_for(self._changed.wait(), timeout)
            for place in self._schedule.due(time.monotonic()):
                if place not in self._running:
                    self._begin(place)

    def _begin(self, place: int) -> None:
        task = self._running[place] = self._fetcher.begin(self._gets[place], self._buffer)
        task.add_done_callback(lambda done: self._ended(place, done))

    def _ended(self, place: int, task: asyncio.Task[bool]) -> None:
        if self._running.get(place) is not task:
            return  # of polls that were changed meanwhile
        del self._running[place]
        if not task.cancelled():
            self._schedule.ended(place, good=task.exception() is None and task.result())
