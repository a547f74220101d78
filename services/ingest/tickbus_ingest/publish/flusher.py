"""The flusher: sockets -> buffer -> session -> messages -> JetStream, in natural batches.

While one flush waits for its answers arrivals gather; the next flush takes all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tickbus_runtime.bus.epoch import announce_epoch
from tickbus_runtime.bus.in_flight import Outgoing
from tickbus_runtime.bus.publisher import Publisher
from tickbus_runtime.service.process import Context
from tickbus_schemas.errors import Retry

from tickbus_ingest.accounts import Accounts
from tickbus_ingest.batches import Batches, Numbered
from tickbus_ingest.books import SnapshotRule
from tickbus_ingest.wire.capture_times import strip_times
from tickbus_ingest.connection import choose_client
from tickbus_ingest.wire.buffer import Body, Buffer
from tickbus_ingest.lines import LineKeeper
from tickbus_ingest.packet_traces import PacketTraces
from tickbus_ingest.wire.raw_lines import one_line
from tickbus_ingest.reconnect import Budget, backoff_s
from tickbus_ingest.wire.recorder import Recorder
from tickbus_ingest.resume import resume
from tickbus_ingest.rows import Flush
from tickbus_ingest.session import Session
from tickbus_ingest.snapshots import Fetcher
from tickbus_ingest.venue.contract import Venue
from tickbus_ingest.warm import warm
from tickbus_ingest.watch import DataWatch

TICK_S = 0.1
SWITCH_S = 0.0005
"""The recorder's thread gives the interpreter back after this time; 5 ms is Python's own."""
CLOCK_S = 1.0
REFUSED_AGAIN_S = 0.5
LAST_BODIES_S = 5.0
"""At the end of the input, answers that are still to come are waited for so long."""


class Ingest:
    """The flusher and everything that feeds it."""

    def __init__(
        self, ctx: Context, venue: Venue, fetcher: Fetcher, recorder: Recorder | None
    ) -> None:
        settings = ctx.settings.ingest
        self._ctx, self._venue, self._fetcher, self._recorder = ctx, venue, fetcher, recorder
        self._settings = settings
        self._stream = ctx.shard.stream("md")
        self._publisher = Publisher(ctx.nc, stopping=ctx.stopping, telemetry=ctx.telemetry)
        self._buffer = Buffer(
            settings.buffer_frames,
            settings.buffer_bytes,
            # A capture is served by a venue that waits for us; a live one would cut us off.
            self._hold_back if settings.stop_at_end else None,
        )
        self._accounts = Accounts(ctx.telemetry, ctx.status)
        self._traces = PacketTraces(ctx.tracing)
        self._watch = DataWatch(venue.streams, venue, settings.ticker_silence_s)
        self._keepers: list[LineKeeper] = []
        self._next_tick_s = self._next_clock_s = 0.0
        self._refused_books: dict[int, str] = {}
        self._timer: asyncio.TimerHandle
        self._session: Session
        self._batches: Batches

    async def run(self) -> None:
        """Announce ourselves, open the lines, flush until the end."""
        await self._begin()
        await self._ctx.released()
        lines = asyncio.gather(*(keeper.run() for keeper in self._keepers))
        ended = asyncio.create_task(self._until_ended(lines))
        self._wake_regularly()
        self._ctx.readiness.fresh_within_s = self._settings.silence_s
        self._ctx.set_ready()
        try:
            while not ended.done():
                await self._buffer.arrived.wait()
                if self._settings.linger_ms:
                    await asyncio.sleep(self._settings.linger_ms / 1000)
                await self._flush()
            if lines.done():
                lines.result()  # a bug in a line is not an end of the input
            await self._hang_up(lines)
            await self._finish()
        finally:
            ended.cancel()
            await self._hang_up(lines)
            await asyncio.gather(ended, return_exceptions=True)
            self._timer.cancel()
            await self._publisher.close()

    async def _hang_up(self, lines: asyncio.Future[list[None]]) -> None:
        lines.cancel()
        await asyncio.gather(lines, return_exceptions=True)
        for keeper in self._keepers:
            await keeper.close()

    async def _begin(self) -> None:
        ctx, settings = self._ctx, self._settings
        owner = f"{platform.node()}:{os.getpid()}"
        epoch, fence_seq = await announce_epoch(
            ctx.nc,
            self._stream,
            ctx.shard.name,
            ctx.shard.exchange,
            owner,
            version=_version(),
            stopping=ctx.stopping,
        )
        rule = SnapshotRule(interval_us=int(settings.snapshot_interval_s * 1e6))
        self._session = Session(
            self._venue, epoch, max_frame_bytes=settings.max_frame_bytes, rule=rule
        )
        self._batches = Batches(ctx.shard.exchange, ctx.shard.name, self._venue.tickers, epoch)
        known = await self._resumed() if epoch > 1 else 0
        ctx.position(self._stream, fence_seq)
        await asyncio.to_thread(warm, self._venue)
        sys.setswitchinterval(SWITCH_S)
        gc.freeze()  # what is loaded by now stays; the collector need not look at it again
        client = choose_client(settings.websocket_client)
        ctx.log.info("begins", epoch=epoch, known_subjects=known, client=client, version=_version())
        self._open_lines(client)

    async def _resumed(self) -> int:
        """Learn what predecessors stored; nothing may be published before that is known."""
        attempt = 0
        while True:
            try:
                return await resume(self._ctx.nc, self._stream, self._session)
            except Retry as error:
                self._ctx.log.warning("waiting for what is stored already", why=str(error))
            attempt += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ctx.stopping.wait(), backoff_s(attempt, jitter))
            if self._ctx.stopping.is_set():
                raise Retry("told to stop while the bus did not answer")

    def _open_lines(self, client: str) -> None:
        settings = self._settings
        base = (settings.ws_url or self._venue.ws_url).rstrip("/")
        attempts = min(
            settings.connection_attempts_per_5min,
            self._venue.limits.connection_attempts_per_5min,
        )
        budget = Budget(attempts)
        query = "?tickbus_times=1" if settings.capture_times else ""
        lines = self._venue.lines()
        self._keepers = [
            LineKeeper(
                number,
                line,
                venue=self._venue,
                url=f"{base}{line.path}{query}",
                client=client,
                buffer=self._buffer,
                budget=budget,
                silence_s=settings.silence_s,
                telemetry=self._ctx.telemetry,
                log=self._ctx.log,
                recorder=self._recorder,
                stop_at_end=settings.stop_at_end,
            )
            for number, line in enumerate(lines)
        ]
        self._session.set_lines(
            {
                number: sorted({self._venue.index[stream.ticker] for stream in line.streams})
                for number, line in enumerate(lines)
            }
        )

    def _hold_back(self, paused: bool) -> None:
        for keeper in self._keepers:
            keeper.hold(paused)

    async def _until_ended(self, lines: asyncio.Future[list[None]]) -> None:
        """Ends when all lines have, or when told to stop; wakes the flusher to see it."""
        told = asyncio.ensure_future(self._ctx.stopping.wait())
        either: list[asyncio.Future[Any]] = [lines, told]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        self._buffer.arrived.set()

    def _wake_regularly(self) -> None:
        """Time passes for the session even when nothing arrives."""
        self._buffer.arrived.set()
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._wake_regularly)

    # ---------------------------------------------------------------- flush

    async def _flush(self, *, final: bool = False) -> None:
        """Everything that has arrived, up to a limit: parse, book, encode, publish, account."""
        flush = Flush()
        for ticker, reason in self._refused_books.items():
            self._session.books[ticker].lose(
                reason, time.time_ns() // 1000, self._session.packet_id, flush
            )
        self._refused_books.clear()
        taken_ns, offset_ns = time.monotonic_ns(), time.time_ns() - time.monotonic_ns()
        arrived_ns = self._gather(flush, offset_ns)
        self._pass_time(flush, final)
        messages = self._batches.messages(flush)
        self._add_clock(messages, final)
        if not messages and not arrived_ns:
            self._carry_out(flush)  # time has passed, and that was all
            return
        parsed_ns = time.monotonic_ns()
        await self._publish(messages, flush)
        stored_ns = time.monotonic_ns()
        self._traces.end(taken_ns + offset_ns, parsed_ns + offset_ns, stored_ns + offset_ns)
        self._accounts.flushed(flush, arrived_ns, parsed_ns, stored_ns)
        self._carry_out(flush)

    def _gather(self, flush: Flush, offset_ns: int) -> list[int]:
        """Hand frames and notices to the session in their order; monotonic times of the packets."""
        arrived_ns: list[int] = []
        room = self._settings.flush_frames_max
        while room > 0 and self._buffer:
            frames, notice = self._buffer.take(room)
            if frames.data:
                if self._settings.capture_times:
                    strip_times(frames)
                self._traces.begin(self._session.packet_id + 1, frames.monotonic_ns, offset_ns)
                self._session.receive(frames, flush)
                self._accounts.received(frames)
                self._ctx.data_arrived()
                arrived_ns += frames.monotonic_ns
                if self._recorder is not None:
                    self._recorder.frames(frames)
            if notice is not None:
                self._session.notice(notice, flush)
                if isinstance(notice, Body):
                    self._record_body(notice)
                    arrived_ns.append(notice.monotonic_ns)
            room -= len(frames.data) + 1
        if not self._buffer:
            self._buffer.arrived.clear()
        return arrived_ns

    def _record_body(self, body: Body) -> None:
        """A body is recorded where it stands among the frames."""
        if self._recorder is not None:
            self._recorder.line(one_line(body.received_ns, 0, "http", body.data, body.url))

    def _pass_time(self, flush: Flush, final: bool) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_tick_s or final:
            self._next_tick_s = now_s + TICK_S
            self._session.tick(now_s, flush, settle=final)

    def _add_clock(self, messages: list[Numbered], final: bool) -> None:
        now_s = time.monotonic()
        if now_s < self._next_clock_s and not final:
            return
        self._next_clock_s = now_s + CLOCK_S
        self._look_around(now_s)
        time_us = self._session.clock_us()
        if time_us:
            now_us = time.time_ns() // 1000
            packet_id = self._session.packet_id
            messages.append(self._batches.clock(time_us, now_us, packet_id, final=final))

    async def _publish(self, messages: list[Numbered], flush: Flush) -> None:
        """Store these; what is refused becomes a gap under the same number before all else."""
        while messages:
            outcomes = await self._publisher.flush(
                [
                    Outgoing(one.subject, one.payload, one.msg_id, self._traces.headers(one))
                    for one in messages
                ]
            )
            refused: list[Numbered] = []
            for one, outcome in zip(messages, outcomes, strict=True):
                if outcome.stored:
                    self._ctx.position(self._stream, outcome.seq)
                    continue
                reason = f"{outcome.code} {outcome.text}".strip()
                self._ctx.log.error("refused by the bus", subject=one.subject, why=reason)
                if one.subject.endswith(".l2"):
                    self._refused_books[one.ticker] = f"refused by the bus: {reason}"
                refused.append(self._batches.instead_of(one, reason))
            messages = refused
            if refused:
                await asyncio.sleep(REFUSED_AGAIN_S)
        await self._bury(flush)

    async def _bury(self, flush: Flush) -> None:
        """Dead letters go last and on their own: they must not hold up data."""
        if not flush.refused:
            return
        letters = [self._batches.dead_letter(one) for one in flush.refused]
        outcomes = await self._publisher.flush(
            [Outgoing(one.subject, one.payload, one.msg_id) for one in letters]
        )
        for one, outcome in zip(flush.refused, outcomes, strict=True):
            if not outcome.stored:
                self._ctx.log.error("dead letter lost", why=outcome.text, reason=one.reason)

    def _carry_out(self, flush: Flush) -> None:
        """What the session wishes."""
        for ticker in flush.snapshots_wanted:
            request = self._venue.snapshot_request(ticker, self._settings.snapshot_limit)
            self._fetcher.fetch_snapshot(request, self._buffer)
        for number in flush.closing_lines:
            self._keepers[number].replace()
        for text in flush.errors:
            self._ctx.log.error("the venue refused a request", answer=text)

    def _look_around(self, now_s: float) -> None:
        """Once a second: silent streams, gauges."""
        for stream in self._watch.silent(self._session.heard, now_s):
            self._ctx.log.warning("silent; subscribed again", stream=stream.name)
            for keeper in self._keepers:
                if stream in keeper.line.streams:
                    keeper.subscribe_again([stream])
        self._accounts.show(self._session, self._buffer, self._recorder)

    async def _finish(self) -> None:
        """The input has ended: take the last bodies, say the final time, have all of it stored."""
        await self._fetcher.settle(LAST_BODIES_S)
        while self._buffer:
            await self._flush()
        await self._flush(final=True)
        self._accounts.show(self._session, self._buffer, self._recorder)
        self._ctx.log.info("ends", packets=self._session.packets, **self._accounts.work())


def jitter(low: float, high: float) -> float:
    """A number between the two, for backoff."""
    return low + (high - low) * int.from_bytes(os.urandom(4), "big") / 2**32


def _version() -> str:
    try:
        return version("tickbus-ingest")
    except PackageNotFoundError:
        return "unknown"
