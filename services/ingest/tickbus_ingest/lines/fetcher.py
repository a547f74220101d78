"""REST requests within the venue's budget; bodies go into the buffer as packets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_schemas.errors import Retry

from tickbus_ingest.lines.limits import Limits
from tickbus_ingest.lines.silence import Troubles
from tickbus_ingest.lines.turn import Turn
from tickbus_ingest.venue.contract import Get, Venue
from tickbus_ingest.wire.buffer import Body, Buffer, Failed
from tickbus_ingest.wire.rest import Answer, Rest

AT_ONCE = 16
"""Requests that wait for their answers."""
_PASSING = frozenset({408, 425})
"""Statuses of class 4xx that say nothing of the request:
https://www.rfc-editor.org/rfc/rfc9110#name-client-error-4xx"""


class Denied(Retry):
    """The venue will answer this request the same again."""


class Fetcher:
    """REST requests, each waiting for its weight, first come, first served."""

    def __init__(
        self,
        rest: Rest,
        limits: Limits,
        *,
        weight_used: Callable[[Mapping[str, str]], int | None],
        hold_s: Callable[[int, Mapping[str, str]], float | None],
        telemetry: Telemetry,
        log: Any,
    ) -> None:
        """`weight_used`, `hold_s`: of the venue."""
        self._rest, self._weight = rest, Turn(limits.weight)
        self._weight_used, self._hold_s = weight_used, hold_s
        self._telemetry, self._log = telemetry, log
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._troubles = Troubles()
        self._tasks: set[asyncio.Task[bool]] = set()

    async def get(self, request: Get, source: str) -> Answer:
        """One answer with status 200; Retry with the reason for any other, Denied if for good.

        source: label of the telemetry.
        """
        async with self._at_once:
            await self._weight.take(request.weight)
            answer = await self._rest.ask(request)
        hold_s = self._note_limits(answer)
        if answer.status != 200:
            text = " ".join(answer.data[:200].decode(errors="replace").split())
            kind = Denied if self._is_for_good(answer) else Retry
            held = "" if hold_s is None else f"; no request for {hold_s:g} s"
            raise kind(f"{answer.url}: HTTP {answer.status} {text}{held}")
        self._telemetry.count("frames", source=source)
        self._telemetry.count("frame_bytes", len(answer.data), source=source)
        return answer

    def _note_limits(self, answer: Answer) -> float | None:
        """What an answer says of the budget; how long it forbids all requests, if it does."""
        now_s, bucket = time.monotonic(), self._weight.bucket
        used = self._weight_used(answer.headers)
        if used is not None:
            bucket.correct(now_s, used)
        hold_s = self._hold_s(answer.status, answer.headers)
        if hold_s is not None:
            bucket.hold(now_s + hold_s)
        return hold_s

    def _is_for_good(self, answer: Answer) -> bool:
        held = self._hold_s(answer.status, answer.headers) is not None
        return 400 <= answer.status < 500 and not held and answer.status not in _PASSING

    def begin(self, request: Get, buffer: Buffer) -> asyncio.Task[bool]:
        """Begin to fetch; the body or the failure will be in the buffer, and tells the result."""
        task = asyncio.create_task(self._into(request, buffer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _into(self, request: Get, buffer: Buffer) -> bool:
        what = "no " + request.path.partition("?")[0]
        try:
            answer = await self.get(request, "rest")
        except Exception as error:  # whatever it is, the request is tried again
            if not isinstance(error, Retry):
                error = Retry(f"{request.path}: {type(error).__name__}: {error}"[:200])
            self._telemetry.count("rest_failures")
            facts = self._troubles.again(what, time.monotonic())
            if facts is not None:
                self._log.warning(
                    "a REST request fails", path=request.path, why=str(error), **facts
                )
            buffer.notice(Failed(request, str(error), isinstance(error, Denied)))
            return False
        self._troubles.over(what)
        buffer.notice(
            Body(request, answer.data, answer.received_ns, answer.monotonic_ns, answer.url)
        )
        return True

    async def settle(self, timeout_s: float) -> None:
        """Wait for the answers that are still to come."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    async def close(self) -> None:
        """Give up what is still under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._rest.close()


def fetcher_of(venue: Venue, rest: Rest, limits: Limits, telemetry: Telemetry, log: Any) -> Fetcher:
    """A fetcher that knows the venue's words for its limits."""
    return Fetcher(
        rest,
        limits,
        weight_used=venue.weight_used,
        hold_s=venue.hold_s,
        telemetry=telemetry,
        log=log,
    )
