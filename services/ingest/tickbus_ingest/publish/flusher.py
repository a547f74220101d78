"""The flusher: buffer -> session -> messages -> JetStream, in natural batches.

While one flush waits for its answers arrivals gather; the next flush takes all of them. When a full
flush has gathered already, it is read meanwhile, and sent when the answers are there.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from tickbus_runtime.service.process import Context

from tickbus_ingest.publish.accounts import Accounts
from tickbus_ingest.publish.messages import Numbered
from tickbus_ingest.publish.owner import Owner
from tickbus_ingest.publish.packet_traces import PacketTraces
from tickbus_ingest.session.session import Session
from tickbus_ingest.session.tables import Flush
from tickbus_ingest.venue.contract import Stream
from tickbus_ingest.venue.instruments import Instrument
from tickbus_ingest.wire.buffer import Body, Buffer
from tickbus_ingest.wire.capture_times import strip_times
from tickbus_ingest.wire.raw_lines import one_line
from tickbus_ingest.wire.recorder import Recorder

TICK_S = 0.1
CLOCK_S = 1.0
ERRORS_MAX = 1_000
"""Different answers of the venue that are known as said."""


@dataclass(slots=True)
class Reading:
    """What one flush took out of the buffer, read."""

    traces: PacketTraces
    flush: Flush = field(default_factory=Flush)
    arrived_ns: list[int] = field(default_factory=list)
    """monotonic times of its packets"""
    taken_ns: int = 0
    parsed_ns: int = 0
    offset_ns: int = 0
    """wall clock minus monotonic clock"""
    final: bool = False


class Flusher:
    """Reads what has arrived, and publishes it. One flush at a time is on its way to the bus."""

    def __init__(
        self,
        ctx: Context,
        session: Session,
        buffer: Buffer,
        owner: Owner,
        accounts: Accounts,
        recorder: Recorder | None,
    ) -> None:
        self._ctx, self._session, self._buffer = ctx, session, buffer
        self._owner, self._accounts, self._recorder = owner, accounts, recorder
        self._settings = ctx.settings.ingest
        self._listed: tuple[list[Instrument], int] | None = None
        self._silent: list[tuple[Stream, str]] = []
        self._left: list[tuple[list[str], str]] = []
        self._refused_books: dict[int, str] = {}
        self._said: set[str] = set()
        self._next_tick_s = self._next_clock_s = 0.0
        self._storing: asyncio.Task[None] | None = None

    def list_instruments(self, instruments: list[Instrument], received_ns: int) -> None:
        """The venue's list as it is now; the next flush tells what has changed."""
        self._listed = instruments, received_ns
        self._buffer.arrived.set()

    def grow(self, tickers: list[str]) -> None:
        """The tickers are these now, the new ones behind the others."""
        self._owner.messages.grow(tickers)

    def leave(self, tickers: list[str], reason: str) -> None:
        """These tickers are taken no more; the next flush tells it."""
        self._left.append((tickers, reason))
        self._buffer.arrived.set()

    def say_silent(self, stream: Stream, reason: str) -> None:
        """A stream says nothing; the next flush tells it."""
        self._silent.append((stream, reason))
        self._buffer.arrived.set()

    # ----------------------------------------------------------------- read

    def read(self, *, final: bool = False, last_call: bool = False) -> Reading:
        """Hand everything that has arrived, up to a limit, to the session.

        `last_call`: the input has ended, and books without a snapshot ask for it once more.
        `final`: nothing more will come.
        """
        traces = PacketTraces(self._ctx.tracing, self._owner.epoch)
        reading = Reading(traces, taken_ns=time.monotonic_ns(), final=final)
        reading.offset_ns = time.time_ns() - reading.taken_ns
        flush = reading.flush
        for ticker, reason in self._refused_books.items():
            self._session.books[ticker].lose(
                reason, time.time_ns() // 1000, self._session.packets, flush
            )
        self._refused_books.clear()
        if self._listed is not None:
            self._session.list_instruments(*self._listed, flush)
            self._listed = None
        for tickers, reason in self._left:
            self._session.leave(tickers, reason, time.time_ns() // 1000, flush)
        self._left.clear()
        for stream, reason in self._silent:
            self._session.say_silent(stream, reason, time.time_ns() // 1000, flush)
        self._silent.clear()
        self._gather(reading)
        now_s = time.monotonic()
        if now_s >= self._next_tick_s or final:
            self._next_tick_s = now_s + TICK_S
            self._session.tick(now_s, flush, settle=final)
        if last_call:
            self._session.ask_last(flush)
        for one in self._accounts.read(flush):
            self._ctx.log.warning("a frame is refused", why=one.reason)
        self._say_errors(flush)
        return reading

    def _gather(self, reading: Reading) -> None:
        """Frames and notices in their order."""
        flush = reading.flush
        room = self._settings.flush_frames_max
        while room > 0 and self._buffer:
            frames, notice = self._buffer.take(room)
            if frames.data:
                if self._settings.capture_times:
                    strip_times(frames)
                reading.traces.begin(
                    self._session.packets + 1, frames.monotonic_ns, reading.offset_ns
                )
                self._session.receive(frames, flush)
                self._accounts.received(frames)
                self._ctx.data_arrived()
                reading.arrived_ns += frames.monotonic_ns
                if self._recorder is not None:
                    self._recorder.frames(frames)
            if notice is not None:
                self._session.notice(notice, flush)
                if isinstance(notice, Body):
                    self._record_body(notice)
                    reading.arrived_ns.append(notice.monotonic_ns)
            room -= len(frames.data) + 1
        if not self._buffer:
            self._buffer.arrived.clear()

    def _record_body(self, body: Body) -> None:
        """A body is recorded where it stands among the frames."""
        if self._recorder is not None:
            self._recorder.line(one_line(body.received_ns, 0, "http", body.data, body.url))

    def _say_errors(self, flush: Flush) -> None:
        """What the venue or a book has to complain about is said once."""
        for text in flush.errors:
            if text not in self._said and len(self._said) < ERRORS_MAX:
                self._said.add(text)
                self._ctx.log.error(text)

    # -------------------------------------------------------------- publish

    async def publish(self, reading: Reading) -> None:
        """Send what was read; it is safe when this returns, or at the next call of `stored`.

        Returns early when a full flush waits to be read.
        """
        messages = self._owner.messages.of(reading.flush)
        self._add_clock(messages, reading.final)
        if not messages and not reading.flush.refused and not reading.arrived_ns:
            return  # time has passed, and that was all
        reading.parsed_ns = time.monotonic_ns()
        await self.stored()
        self._storing = asyncio.create_task(self._store(reading, messages))
        if self.is_full:
            await asyncio.sleep(0)  # it is sent now, and answered while we read
        else:
            await self.stored()

    @property
    def is_full(self) -> bool:
        """Whether the buffer holds as much as one flush takes."""
        return len(self._buffer) >= self._settings.flush_frames_max

    async def stored(self) -> None:
        """Wait until everything that was published is safe."""
        if self._storing is not None:
            storing, self._storing = self._storing, None
            await storing

    async def abandon(self) -> None:
        """Wait no longer for what is on its way: it is stored or not."""
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.gather(self._storing, return_exceptions=True)

    async def _store(self, reading: Reading, messages: list[Numbered]) -> None:
        flush, traces, sent_ns = reading.flush, reading.traces, time.monotonic_ns()
        self._refused_books |= await self._owner.store(messages, traces.headers)
        self._owner.bury(flush.refused)
        stored_ns, offset_ns = time.monotonic_ns(), reading.offset_ns
        traces.end(
            reading.taken_ns + offset_ns, reading.parsed_ns + offset_ns, stored_ns + offset_ns
        )
        self._accounts.stored(flush, reading.arrived_ns, reading.parsed_ns, sent_ns, stored_ns)

    def _add_clock(self, messages: list[Numbered], final: bool) -> None:
        now_s = time.monotonic()
        if now_s < self._next_clock_s and not final:
            return
        self._next_clock_s = now_s + CLOCK_S
        time_us = self._session.clock_us()
        if time_us:
            now_us = time.time_ns() // 1000
            packets = self._session.packets
            messages.append(self._owner.messages.clock(time_us, now_us, packets, final=final))
