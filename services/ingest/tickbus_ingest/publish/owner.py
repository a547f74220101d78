"""The one process that publishes a shard: its fence, its epoch, the numbers of its messages.

A standby would have lines, books and a buffer, and none of this.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import nats.errors
from tickbus.retry import Attempts, backoff_s, wait_or_stop
from tickbus_runtime.bus.epoch import announce_epoch
from tickbus_runtime.bus.fence_check import FenceCheck
from tickbus_runtime.bus.in_flight import Outgoing
from tickbus_runtime.bus.publisher import Publisher
from tickbus_runtime.service.process import Context
from tickbus_schemas import subjects
from tickbus_schemas.errors import Retry

from tickbus_ingest.publish.dead_letters import DeadLetters
from tickbus_ingest.publish.messages import Messages, Numbered
from tickbus_ingest.publish.resume import Resumed, resume
from tickbus_ingest.session.session import Session
from tickbus_ingest.session.tables import Refused
from tickbus_ingest.venue.contract import Venue

REFUSED_FIRST_S, REFUSED_MAX_S = 0.5, 10.0
HEADER_BYTES_MIN = len("NATS/1.0\r\nNats-Msg-Id: \r\n\r\n")
"""Of a message's header without its id; the server counts it."""
SHOWN_MAX = 5
CHECKS_FENCE = False
"""Whether the server compares fences at each message. One owner at a time needs no check."""


class Owner:
    """Publishes in the name of one epoch."""

    def __init__(
        self, ctx: Context, venue: Venue, epoch: int, fence_seq: int, largest: int = 0
    ) -> None:
        """`largest`: bytes that a message of the stream may have; 0: the server tells none."""
        self._ctx = ctx
        self._stream = ctx.shard.md
        self._largest = largest
        self.epoch = epoch
        self._last_seq = fence_seq
        self.fence = FenceCheck(subjects.fence(ctx.shard.name), fence_seq)
        self.messages = Messages(ctx.shard.exchange, ctx.shard.name, venue.tickers, epoch)
        self._publisher = Publisher(
            ctx.nc,
            stopping=ctx.stopping,
            telemetry=ctx.telemetry,
            fence=self.fence if CHECKS_FENCE else None,
        )
        self._dead_letters = DeadLetters(ctx, self.messages.dead_letter)

    @classmethod
    async def announced(cls, ctx: Context, venue: Venue) -> Owner:
        """Write our fence: it ends the epoch of every earlier publisher."""
        epoch, fence_seq = await announce_epoch(
            ctx.nc,
            ctx.shard.md,
            ctx.shard.name,
            ctx.shard.exchange,
            f"{platform.node()}:{os.getpid()}",
            version=own_version(),
            stopping=ctx.stopping,
        )
        return cls(ctx, venue, epoch, fence_seq, await _largest(ctx))

    async def resume(self, session: Session) -> int:
        """Tell the session what earlier publishers stored; how many subjects had something.

        Nothing may be published before.
        """
        resumed = await self._resumed(session) if self.epoch > 1 else Resumed()
        for subject, why in list(resumed.skipped.items())[:SHOWN_MAX]:
            self._ctx.log.error("the last stored message is skipped", subject=subject, why=why)
        if resumed.skipped:
            self._ctx.telemetry.count("resume_skipped", len(resumed.skipped))
        self._ctx.position(self._stream, self.fence.seq)
        return resumed.subjects

    async def _resumed(self, session: Session) -> Resumed:
        async for attempt in Attempts(self._ctx.stopping):
            try:
                return await resume(self._ctx.nc, self._stream, session)
            except Retry as error:
                if attempt == 1:
                    self._ctx.log.warning("waiting for what is stored already", why=str(error))
        raise Retry("told to stop while the bus did not answer")

    async def store(
        self, messages: list[Numbered], headers: Callable[[Numbered], dict[str, str] | None]
    ) -> dict[int, str]:
        """Store these; what is refused becomes a gap under the same number before all else.

        What is known to be too large is not sent: its gap stands in its place. Else the rest of
        the flush is stored when the refusal comes, and the gap behind it. Gives the tickers whose
        book updates were refused, and why. Retry when told to stop while the bus refuses.
        """
        refused_books: dict[int, str] = {}
        messages = [self._that_fits(one, refused_books) for one in messages]
        attempt = 0
        while messages:
            outcomes = await self._publisher.flush(
                [Outgoing(one.subject, one.payload, one.msg_id, headers(one)) for one in messages]
            )
            refused: list[Numbered] = []
            for one, outcome in zip(messages, outcomes, strict=True):
                if outcome.stored:
                    self._last_seq = max(self._last_seq, outcome.seq)
                    continue
                reason = f"{outcome.code} {outcome.text}".strip()
                refused.append(self._instead_of(one, reason, refused_books))
            self._ctx.position(self._stream, self._last_seq)
            messages, attempt = refused, attempt + 1
            if refused and attempt > 1:  # the gap, too: as it is, again
                wait_s = backoff_s(attempt, REFUSED_FIRST_S, REFUSED_MAX_S)
                if await wait_or_stop(self._ctx.stopping, wait_s):
                    raise Retry(f"{len(refused)} messages are refused: {reason}")
        return refused_books

    def _that_fits(self, one: Numbered, refused_books: dict[int, str]) -> Numbered:
        """The message, or what stands for one that the server will refuse."""
        size = len(one.payload) + HEADER_BYTES_MIN + len(one.msg_id)
        if not self._largest or size <= self._largest:
            return one
        return self._instead_of(one, f"{size} bytes, at most {self._largest}", refused_books)

    def _instead_of(self, one: Numbered, reason: str, refused_books: dict[int, str]) -> Numbered:
        self._ctx.log.error("refused by the bus", subject=one.subject, why=reason)
        if one.subject.endswith(".l2"):
            refused_books[one.ticker] = f"refused by the bus: {reason}"
        return self.messages.instead_of(one, reason)

    def bury(self, refused: list[Refused]) -> None:
        """Dead letters go on their own: they must not hold up data."""
        self._dead_letters.bury(refused)

    async def close(self) -> None:
        """Publish no more."""
        await self._dead_letters.close()
        await self._publisher.close()


async def _largest(ctx: Context) -> int:
    """Bytes that a message of our stream may have, 0 where the server does not say."""
    try:
        config = (await ctx.nc.jetstream().stream_info(ctx.shard.md)).config
    except (nats.errors.Error, TimeoutError, OSError):
        return 0  # the server refuses what is too large
    sizes = [size for size in (config.max_msg_size, ctx.nc.max_payload) if size and size > 0]
    return min(sizes, default=0)


def own_version() -> str:
    """Of this distribution."""
    try:
        return version("tickbus-ingest")
    except PackageNotFoundError:
        return "unknown"
