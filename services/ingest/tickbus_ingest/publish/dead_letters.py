"""Dead letters: what nobody understands, kept for later eyes, in a task of their own.

They have a publisher of their own, so a stream that does not answer holds up no data. What waits is
bounded; beyond that letters are dropped, which is counted and said.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

from tickbus_runtime.bus.in_flight import Outgoing
from tickbus_runtime.bus.publisher import Publisher
from tickbus_runtime.service.process import Context
from tickbus_schemas.errors import Retry

from tickbus_ingest.lines.silence import Troubles
from tickbus_ingest.publish.messages import Numbered
from tickbus_ingest.session.tables import Refused

LETTERS_MAX = 1_000
BYTES_MAX = 16 * 2**20
"""What may wait."""
LATE_S = 10.0
"""After this time without an answer somebody is told that letters wait."""
DRAIN_S = 5.0
"""At the end letters are waited for so long."""


class DeadLetters:
    """Publishes what was refused, whenever the stream takes it."""

    def __init__(
        self,
        ctx: Context,
        letter: Callable[[Refused], Numbered],
        *,
        late_s: float = LATE_S,
        drain_s: float = DRAIN_S,
    ) -> None:
        """`letter` makes the message of a refusal."""
        self._ctx, self._letter = ctx, letter
        self._late_s, self._drain_s = late_s, drain_s
        self._publisher = Publisher(ctx.nc, stopping=ctx.stopping, telemetry=ctx.telemetry)
        self._waiting: deque[Numbered] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._closing = False
        self._troubles = Troubles()
        self._task: asyncio.Task[None] | None = None

    def bury(self, refused: Sequence[Refused]) -> None:
        """Have these published some time; returns at once."""
        dropped = 0
        for one in refused:
            letter = self._letter(one)
            if len(self._waiting) >= LETTERS_MAX or self._size + len(letter.payload) > BYTES_MAX:
                dropped += 1
                continue
            self._waiting.append(letter)
            self._size += len(letter.payload)
        if dropped:
            self._drop(dropped, "too many wait for the bus")
        if self._waiting:
            self._filled.set()
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Publish what waits, within a limit; what is left then is dropped."""
        self._closing = True
        if self._task is not None:
            self._filled.set()
            await asyncio.wait({self._task}, timeout=self._drain_s)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._waiting:
            self._drop(len(self._waiting), "the bus did not take them before the end")
            self._waiting.clear()
        await self._publisher.close()

    async def _run(self) -> None:
        """Until nothing waits and nothing more will come."""
        while self._waiting or not self._closing:
            self._filled.clear()
            if self._waiting:
                await self._publish(list(self._waiting))
            else:
                await self._filled.wait()

    async def _publish(self, letters: list[Numbered]) -> None:
        """Store these; they leave the queue when it is known what became of them."""
        storing = asyncio.ensure_future(
            self._publisher.flush(
                [Outgoing(one.subject, one.payload, one.msg_id) for one in letters]
            )
        )
        try:
            while not (await asyncio.wait({storing}, timeout=self._late_s))[0]:
                self._say("dead letters wait: their stream does not answer", len(self._waiting))
        finally:
            storing.cancel()  # no effect where it is done
        try:
            lost = [outcome.text for outcome in storing.result() if not outcome.stored]
        except Retry as error:  # the connection is closed for good
            lost = [str(error)] * len(letters)
        for one in letters:
            self._waiting.popleft()
            self._size -= len(one.payload)
        if lost:
            self._drop(len(lost), lost[0])

    def _drop(self, letters: int, why: str) -> None:
        self._ctx.telemetry.count("dead_letters_dropped", letters)
        self._say("dead letters are dropped", letters, why=why)

    def _say(self, what: str, letters: int, **more: str) -> None:
        """Not too often: what is refused comes in thousands."""
        facts = self._troubles.again(what, time.monotonic())
        if facts is not None:
            self._ctx.log.error(what, letters=letters, **more, **facts)
