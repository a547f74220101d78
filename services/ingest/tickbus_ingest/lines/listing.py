"""The venue's list of instruments: asked for at the start, and again from time to time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tickbus.retry import Attempts
from tickbus_schemas.errors import Reject, Retry

from tickbus_ingest.lines.fetcher import Fetcher
from tickbus_ingest.lines.silence import Troubles
from tickbus_ingest.lines.tickers import carried
from tickbus_ingest.venue.contract import Get, Venue
from tickbus_ingest.venue.guard import failure
from tickbus_ingest.venue.instruments import Instrument, Unread
from tickbus_ingest.wire.rest import Answer

AGAIN_FIRST_S, AGAIN_MAX_S = 1.0, 60.0
BODIES_MAX = 100
"""A list in more bodies has a cursor that leads nowhere."""


@dataclass(frozen=True)
class Listed:
    """What the venue lists, and when it said so."""

    instruments: list[Instrument]
    received_ns: int


class Listing:
    """Asks for the list; it may come in several bodies."""

    def __init__(
        self, venue: type[Venue], fetcher: Fetcher, log: Any, taken: Callable[[Answer], None]
    ) -> None:
        """`taken` is called with each body."""
        self._venue, self._fetcher, self._log, self._taken = venue, fetcher, log, taken
        self._said = ""
        self._troubles = Troubles()

    async def first(self, stopping: asyncio.Event) -> Listed | None:
        """The list, however long it takes; None when told to stop before it came."""
        what = "waiting for the venue's list of instruments"
        async for _ in Attempts(stopping, AGAIN_FIRST_S, AGAIN_MAX_S):
            asking = asyncio.ensure_future(self.ask())
            told = asyncio.ensure_future(stopping.wait())
            await asyncio.wait({asking, told}, return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
            if not asking.done():
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                break
            try:
                return asking.result()
            except (Retry, Reject) as error:
                facts = self._troubles.again(what, time.monotonic())
                if facts is not None:
                    self._log.warning(what, why=str(error), **facts)
        return None

    async def keep(self, every_s: float, changed: Callable[[Listed], None]) -> None:
        """Ask again and again, until cancelled."""
        what = "the list of instruments is not renewed"
        while True:
            await asyncio.sleep(every_s)
            try:
                changed(await self.ask())
            except (Retry, Reject) as error:
                facts = self._troubles.again(what, time.monotonic())
                if facts is not None:
                    self._log.warning(what, why=str(error), **facts)
            else:
                self._troubles.over(what)

    async def ask(self) -> Listed:
        """The list; Retry when a part of it does not come, Reject when it cannot be read."""
        received_ns = 0

        async def fetch(get: Get) -> bytes:
            nonlocal received_ns
            answer = await self._fetcher.get(get, "instruments")
            self._taken(answer)
            received_ns = answer.received_ns
            return answer.data

        instruments, odd = carried(await read_list(self._venue, fetch))
        if odd and not instruments:
            raise Reject(odd)
        if odd and odd != self._said:
            self._said = odd
            self._log.warning(odd)
        return Listed(instruments, received_ns)


async def read_list(
    venue: type[Venue], fetch: Callable[[Get], Awaitable[bytes]]
) -> list[Instrument | Unread]:
    """What the venue lists; `fetch` gives the body of each request, one after the other.

    Reject when it cannot be read, does not end, or a function of the venue's file fails.
    """
    bodies: list[bytes] = []
    waiting = deque(_sound(venue, "instruments_requests"))
    while waiting:
        if len(bodies) == BODIES_MAX:
            raise Reject(f"the list of instruments does not end within {BODIES_MAX} bodies")
        get = waiting.popleft()
        bodies.append(await fetch(get))
        waiting += _sound(venue, "more_instruments_requests", get, bodies[-1])
    return _sound(venue, "parse_instruments", bodies)


def _sound(venue: type[Venue], function: str, *values: Any) -> list[Any]:
    """What a function of the venue's file says; Reject when it fails."""
    try:
        return list(getattr(venue, function)(*values))
    except Reject:
        raise
    except Exception as error:  # a venue's file must not end the service
        raise Reject(failure(venue, function, error)) from None
