"""Fetches the snapshots that books ask for, within the venue's request budget."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_schemas.errors import Retry

from tickbus_ingest.connection import Answer, Rest, spend
from tickbus_ingest.wire.buffer import Body, Buffer, Failed
from tickbus_ingest.reconnect import Budget, refusal_hold_s
from tickbus_ingest.venue.contract import Get, Venue


class Fetcher:
    """REST requests, each waiting for its weight; answers go into the buffer as packets."""

    def __init__(
        self,
        venue: type[Venue],
        rest: Rest,
        *,
        telemetry: Telemetry,
        log: Any,
    ) -> None:
        self._rest, self._telemetry, self._log = rest, telemetry, log
        self._weights = Budget(venue.limits.request_weight_per_min, window_s=60.0)
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def settle(self, timeout_s: float) -> None:
        """Wait for the answers that are still to come."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    def fetch_snapshot(self, request: Get, buffer: Buffer) -> None:
        """Begin to fetch; the body or the failure will be in the buffer."""
        task = asyncio.create_task(self._snapshot(request, buffer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def get(self, request: Get) -> Answer:
        """One answer with status 200; Retry with the reason for any other."""
        await self._wait_for(request.weight)
        answer = await self._rest.get(request.path)
        now_s = time.monotonic()
        self._weights.correct(now_s, answer.used_weight)
        hold_s = refusal_hold_s(answer.status, answer.retry_after)
        if hold_s is not None:
            self._weights.hold(now_s + hold_s)
        if answer.status != 200:
            text = answer.data[:200].decode(errors="replace")
            raise Retry(f"{self._rest.url}{request.path}: HTTP {answer.status} {text}")
        source = "rest" if request.ticker else "instruments"
        self._telemetry.count("frames", source=source)
        self._telemetry.count("frame_bytes", len(answer.data), source=source)
        return answer

    async def close(self) -> None:
        """Give up what is still under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._rest.close()

    async def _wait_for(self, weight: int) -> None:
        async with self._turn:  # first come, first served
            await spend(self._weights, weight)

    async def _snapshot(self, request: Get, buffer: Buffer) -> None:
        try:
            answer = await self.get(request)
        except Retry as error:
            self._log.warning("no snapshot", ticker=request.ticker, why=str(error))
            buffer.notice(Failed(request.ticker, str(error)))
            return
        url = self._rest.url + request.path
        buffer.notice(
            Body(request.ticker, answer.data, answer.received_ns, answer.monotonic_ns, url)
        )
