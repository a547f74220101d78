"""The one rule for trying again: waits double up to a limit, differ by chance, and end at a stop.

Chance keeps clients that lost the same server from coming back at the same moment. Half of each
wait is fixed, so that no wait is zero ("equal jitter"):
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

FIRST_S, MAX_S = 0.1, 1.0
"""For our own servers. A venue gets longer waits."""
_DOUBLINGS_MAX = 60  # beyond, 2.0 ** n would overflow some day


def longest_s(attempt: int, first_s: float = FIRST_S, max_s: float = MAX_S) -> float:
    """The longest wait after failed attempt 1, 2, ...: doubles up to `max_s`."""
    return min(first_s * 2.0 ** min(attempt - 1, _DOUBLINGS_MAX), max_s)


def backoff_s(
    attempt: int,
    first_s: float = FIRST_S,
    max_s: float = MAX_S,
    uniform: Callable[[float, float], float] = random.uniform,
) -> float:
    """How long to wait after failed attempt 1, 2, ...: half of `longest_s` up to all of it."""
    limit_s = longest_s(attempt, first_s, max_s)
    return uniform(limit_s / 2, limit_s)


async def wait_or_stop(stopping: asyncio.Event | None, seconds: float) -> bool:
    """Wait this long, or until `stopping` is set; whether it is set. None is never set."""
    if stopping is None:
        await asyncio.sleep(seconds)
        return False
    if not stopping.is_set():
        try:
            await asyncio.wait_for(stopping.wait(), seconds)
        except TimeoutError:
            return False
    return True


class Attempts:
    """Numbers of attempts, 1, 2, ..., with a wait before each but the first; ends at a stop.

    `async for attempt in Attempts(stopping):` is left with `break` or `return` by an attempt that
    succeeds. After the loop the process was told to stop, or `count` attempts have failed.
    """

    def __init__(
        self,
        stopping: asyncio.Event | None,
        first_s: float = FIRST_S,
        max_s: float = MAX_S,
        count: int | None = None,
    ) -> None:
        self._stopping = stopping
        self._first_s = first_s
        self._max_s = max_s
        self._count = count
        self.number = 0
        """of the present attempt"""

    def __aiter__(self) -> Attempts:
        return self

    async def __anext__(self) -> int:
        if self.number == self._count:
            raise StopAsyncIteration
        if self.number:
            wait_s = backoff_s(self.number, self._first_s, self._max_s)
            stopped = await wait_or_stop(self._stopping, wait_s)
        else:
            stopped = self._stopping is not None and self._stopping.is_set()
        if stopped:
            raise StopAsyncIteration
        self.number += 1
        return self.number
