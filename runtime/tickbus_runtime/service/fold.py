"""Turns a stream into derived streams: a pure fold over the log, and the loop around it.

A fold's outputs are a pure function of the log: how groups were cut, and restarts, do not matter.
Each output names the input message that closed its rows, so an output that was stored before a
restart is recognised and skipped. A checkpoint is taken only when every output up to it is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

import msgspec
from nats.js.errors import NotFoundError
from tickbus.columns.assembler import Assembler
from tickbus.columns.group import Group
from tickbus.log.reader import Reader
from tickbus.log.stored import Rejected
from tickbus.warm import warm_groups
from tickbus_schemas import codec, subjects
from tickbus_schemas.errors import Fatal, Retry
from tickbus_schemas.messages import ABSENT, MAX_TEXT, DeadLetter

from tickbus_runtime.bus import checkpoint
from tickbus_runtime.bus.connection import Answer, until_answered
from tickbus_runtime.bus.in_flight import Outgoing
from tickbus_runtime.bus.publisher import Publisher
from tickbus_runtime.bus.streams import DLQ, incarnation
from tickbus_runtime.service.measure import Measure
from tickbus_runtime.service.process import Context

GIVE_UP_S = 10.0
"""How long a service that was told to stop waits for a bus that is away."""
NO_STREAM = 10059
_NOTHING = (-1, -1)
DEAD_LETTER_BYTES = 64 * 1024


class Output(msgspec.Struct, frozen=True, gc=False):
    """One derived message; at most one for each (stream, in_seq, k)."""

    stream: str
    subject: str
    payload: bytes
    in_seq: int
    """stream sequence of the input message that closed its rows"""
    k: int
    """number of the output among those of that input message in that stream, from 0"""
    traceparent: str | None = None


class Fold(Protocol):
    """State that stream messages are folded into."""

    schema: int
    """version of the state; a state of another version is not restored"""

    def apply(self, group: Group) -> list[Output]:
        """Fold a group; returns the outputs, for each stream in order of (in_seq, k)."""

    def dump(self) -> bytes:
        """The whole state."""

    def restore(self, state: bytes) -> None:
        """Restore a state of `dump`; ValueError when the bytes are not one."""


async def serve_fold(
    ctx: Context,
    fold: Fold,
    *,
    out_streams: Sequence[str],
    stage: str,
    checkpoint_s: float,
) -> None:
    """Fold the shard's log until `ctx.stopping`; the outputs are stored exactly once, in order.

    `stage`: name of the latency histogram; its span is `<stage>.process`.
    """
    service = FoldService(ctx, fold, out_streams, stage, checkpoint_s)
    ctx.watched.streams = True
    try:
        await service.run()
    except Retry as error:
        if not ctx.stopping.is_set():
            raise
        ctx.log.warning(
            "stopped while the bus is away; the next start resumes here", reason=str(error)
        )
    finally:
        await service.close()


class FoldService:
    """One fold between its input stream, its output streams and its checkpoints."""

    def __init__(
        self, ctx: Context, fold: Fold, out_streams: Sequence[str], stage: str, checkpoint_s: float
    ) -> None:
        self._ctx = ctx
        self._fold = fold
        self._out_streams = out_streams
        self._checkpoint_s = checkpoint_s
        self._input = ctx.shard.md
        self._measure = Measure(ctx, self._input, stage)
        self._dead_letters = subjects.dead_letter(ctx.name, ctx.shard.exchange)
        self._incarnation = ""
        self._publisher = Publisher(
            ctx.nc, stopping=ctx.stopping, give_up_s=GIVE_UP_S, telemetry=ctx.telemetry
        )
        self._assembler = Assembler()
        self._stored_up_to: dict[str, tuple[int, int]] = {}
        self._checkpoints = 0
        self._last: Group | None = None  # folded since the last checkpoint

    async def run(self) -> None:
        """Resume, then serve group by group until told to stop."""
        ctx = self._ctx
        reader = Reader(ctx.nc, self._input, start_seq=await self._resume())
        stop = asyncio.create_task(_stop(reader, ctx.stopping))
        saved_s = time.monotonic()
        ctx.set_ready()
        try:
            async with contextlib.aclosing(reader.groups()) as groups:
                async for batch in groups:
                    received_ns = time.time_ns()
                    ctx.data_arrived()
                    group = self._assembler.add(batch)
                    if group is None:
                        continue
                    await self._serve(group, received_ns)
                    ctx.telemetry.gauge("pending", reader.pending, stream=self._input)
                    if time.monotonic() - saved_s >= self._checkpoint_s:
                        await self._save()
                        saved_s = time.monotonic()
            await self._save()
        finally:
            stop.cancel()

    async def close(self) -> None:
        """End the subscription of the publisher."""
        await self._publisher.close()

    async def _resume(self) -> int | None:
        """Restore the state; the sequence to read next (None: the stream's first)."""
        ctx, fold = self._ctx, self._fold
        warm_groups()
        self._incarnation = await self._answer(self._input, self._present_life)
        for stream in self._out_streams:
            self._stored_up_to[stream] = await self._answer(
                stream, partial(self._last_output, stream)
            )
        self._stored_up_to[DLQ] = await self._answer(
            DLQ, partial(self._last_output, DLQ, self._dead_letters)
        )
        found = await self._answer(
            checkpoint.STREAM, partial(checkpoint.load, ctx.nc, ctx.name, ctx.shard.name)
        )
        if found is None:
            return None
        self._checkpoints = found.number
        if (found.incarnation, found.schema) != (self._incarnation, fold.schema):
            ctx.log.warning(
                "checkpoint of another stream or schema: starting from the beginning", seq=found.seq
            )
            return None
        try:
            fold.restore(found.state)
        except ValueError as error:
            ctx.log.warning(
                "checkpoint is not readable: starting from the beginning", reason=str(error)
            )
            return None
        self._assembler.resume(found.seq, found.epoch, found.message_no)
        ctx.position(self._input, found.seq)
        ctx.log.info("resumed from checkpoint", seq=found.seq, number=found.number)
        return found.seq + 1

    async def _answer(self, stream: str, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Read something from a stream, however long the bus is away; Retry at a stop."""
        return await until_answered(self._ctx.stopping, stream, ask)

    async def _present_life(self) -> str:
        """The incarnation of the input stream; Fatal where there is no such stream."""
        try:
            return incarnation(await self._ctx.nc.jsm().stream_info(self._input))
        except NotFoundError:
            raise Fatal(f"there is no stream {self._input}: 'tickbus init' creates it") from None

    async def _last_output(self, stream: str, subject: str = "") -> tuple[int, int]:
        """(in_seq, k) of the last output stored in a stream (on a subject); they are in order."""
        manager = self._ctx.nc.jsm()
        try:
            last_seq = (await manager.stream_info(stream)).state.last_seq
            if not last_seq:  # the server calls it a bad request
                return _NOTHING
            last = await (
                manager.get_last_msg(stream, subject)
                if subject
                else manager.get_msg(stream, last_seq)
            )
        except NotFoundError as error:
            if error.err_code != NO_STREAM:
                return _NOTHING  # empty, or all of it has expired
            raise Fatal(f"there is no stream {stream}: 'tickbus init' creates it") from None
        headers = last.headers or {}
        in_seq, _, k = headers.get("In-Seq", "").partition(".")
        of_this_log = f"|{self._incarnation}|" in headers.get("Nats-Msg-Id", "")
        return (int(in_seq), int(k)) if of_this_log and in_seq and k else _NOTHING

    async def _serve(self, group: Group, received_ns: int) -> None:
        """Fold a group and store its outputs."""
        outputs = self._fold.apply(group)
        outputs += [self._dead_letter(rejected) for rejected in group.rejected]
        fresh = [one for one in outputs if (one.in_seq, one.k) > self._stored_up_to[one.stream]]
        messages = [self._outgoing(output) for output in fresh]
        for message, outcome in zip(messages, await self._publisher.flush(messages), strict=True):
            if not outcome.stored:
                raise Fatal(
                    f"{message.subject} is refused by the server ({outcome.code} {outcome.text}); "
                    "'tickbus init' creates or repairs the streams"
                )
        self._last = group
        self._ctx.position(self._input, group.last_seq)
        if len(outputs) > len(fresh):
            self._ctx.telemetry.count("outputs_suppressed", len(outputs) - len(fresh))
        self._measure.note(group, received_ns)

    def _outgoing(self, output: Output) -> Outgoing:
        place = f"{output.in_seq}|{output.k}"
        headers = {"In-Seq": f"{output.in_seq}.{output.k}"}
        if output.traceparent is not None:
            headers["traceparent"] = output.traceparent
        return Outgoing(
            output.subject,
            output.payload,
            f"{self._ctx.name}|{self._incarnation}|{place}|{output.stream}",
            headers,
        )

    def _dead_letter(self, rejected: Rejected) -> Output:
        """A dead letter: an unreadable message with the reason."""
        ctx = self._ctx
        ctx.telemetry.count("rejects", reason="message")
        ctx.log.warning("message refused", seq=rejected.seq, reason=rejected.reason)
        letter = DeadLetter(
            exchange=int(ctx.shard.exchange),
            ticker="",
            epoch=0,
            message_no=0,
            timestamp=rejected.stored_ns // 1_000,
            packet_id=ABSENT,
            service=ctx.name,
            reason=rejected.reason[:MAX_TEXT],
            data=rejected.data[:DEAD_LETTER_BYTES],
            size=len(rejected.data),
            source=f"{self._input}:{rejected.seq}",
        )
        return Output(DLQ, self._dead_letters, codec.encode(letter), rejected.seq, 0)

    async def _save(self) -> None:
        """Store a checkpoint after the last group; its outputs are stored."""
        group, self._last = self._last, None
        if group is None:
            return
        ctx = self._ctx
        self._checkpoints += 1
        state = checkpoint.Checkpoint(
            number=self._checkpoints,
            incarnation=self._incarnation,
            seq=group.last_seq,
            epoch=group.epoch,
            message_no=group.message_no,
            schema=self._fold.schema,
            state=self._fold.dump(),
        )
        await checkpoint.save(self._publisher, ctx.name, ctx.shard.name, state)
        ctx.telemetry.count("checkpoints")


async def _stop(reader: Reader, stopping: asyncio.Event) -> None:
    await stopping.wait()
    reader.stop()
