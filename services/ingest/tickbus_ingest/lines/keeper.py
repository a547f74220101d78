"""Keeps the venue's connections open: reconnects with backoff, replaces make-before-break."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_schemas.errors import Retry

from tickbus_ingest import connection
from tickbus_ingest.connection import END_OF_INPUT, Closed, Socket
from tickbus_ingest.wire.buffer import Buffer, Connected, Disconnected
from tickbus_ingest.wire.raw_lines import one_line
from tickbus_ingest.reconnect import Budget, Silence, backoff_s
from tickbus_ingest.wire.recorder import Recorder
from tickbus_ingest.venue.contract import Line, Stream, Venue

CHECK_S = 1.0
DELIVERS_S = 30.0
"""A replacement that has not delivered after this time is given up."""


class LineKeeper:
    """One line of the venue, kept open until it is stopped or the input has ended."""

    def __init__(
        self,
        number: int,
        line: Line,
        *,
        venue: Venue,
        url: str,
        client: str,
        buffer: Buffer,
        budget: Budget,
        silence_s: float,
        telemetry: Telemetry,
        log: Any,
        recorder: Recorder | None,
        stop_at_end: bool = False,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.number = number
        self.line = line
        self._venue, self._url, self._client = venue, url, client
        self._buffer, self._budget, self._silence_s = buffer, budget, silence_s
        self._telemetry, self._log, self._recorder = telemetry, log, recorder
        self._stop_at_end = stop_at_end
        self._uniform = uniform
        self._sockets: set[Socket] = set()
        self._paused = False
        self._replace = asyncio.Event()
        self._again: list[Stream] = []

    def replace(self) -> None:
        """The venue will close this line soon: open another first."""
        self._replace.set()

    def subscribe_again(self, streams: Sequence[Stream]) -> None:
        """These streams are silent: ask for them once more."""
        self._again.extend(streams)

    def hold(self, paused: bool) -> None:
        """Stop reading, or read on."""
        self._paused = paused
        for socket in self._sockets:
            (socket.pause if paused else socket.resume)()

    async def run(self) -> None:
        """Keep the line open; returns when the venue says that its input has ended."""
        attempt = 0
        while True:
            attempt += 1
            socket = await self._open(attempt)
            if socket is None:
                continue
            closed = await self._keep(socket)
            if closed.code == END_OF_INPUT and self._stop_at_end:
                return
            if self._delivers(socket):
                attempt = 0
            self._lost(closed)

    async def close(self) -> None:
        """Hang up."""
        sockets, self._sockets = self._sockets, set()
        for socket in sockets:
            await socket.close()

    async def _open(self, attempt: int) -> Socket | None:
        """Connect and subscribe, when backoff and budget allow; None when that failed."""
        if attempt > 1:
            await asyncio.sleep(backoff_s(attempt - 1, self._uniform))
        await connection.spend(self._budget)
        try:
            socket = await connection.connect(self._client, self._url, self.number, self._buffer)
        except Retry as error:
            self._log.warning("cannot connect to the venue", line=self.number, why=str(error))
            return None
        self._sockets.add(socket)
        socket.closed.add_done_callback(lambda _: self._sockets.discard(socket))
        self._telemetry.count("connects")
        self._record("connect", b"")
        self._buffer.notice(Connected(self.number, time.time_ns()))
        await self._subscribe(socket, self.line.streams)
        if self._paused:
            socket.pause()
        self._log.info("connected", line=self.number, streams=len(self.line.streams))
        return socket

    async def _subscribe(self, socket: Socket, streams: Sequence[Stream]) -> None:
        pause_s = 0.0
        for frame in self._venue.subscribe(streams):
            await asyncio.sleep(pause_s)
            pause_s = 1 / self._venue.limits.control_messages_per_s
            try:
                await socket.send(frame)
            except Exception as error:  # closed meanwhile: `closed` says so to the keeper
                self._log.info("could not subscribe", line=self.number, why=str(error))
                return
            self._telemetry.count("requests")
            self._record("out", frame)

    async def _keep(self, socket: Socket) -> Closed:
        """Watch over an open line, replacing its socket in time; why it ended."""
        while True:
            silence = Silence(self._silence_s)
            until_s = time.monotonic() + self._venue.limits.connection_life_s
            while not socket.closed.done():
                await asyncio.wait({socket.closed}, timeout=CHECK_S)
                now_s = time.monotonic()
                if self._again and not socket.closed.done():
                    again, self._again = self._again, []
                    await self._subscribe(socket, again)
                if not self._paused and silence.check(socket.received, now_s):
                    await socket.close()
                    return Closed(1006, f"silent for {self._silence_s:.0f} s")
                if now_s >= until_s or self._replace.is_set():
                    break
            if socket.closed.done():
                return socket.closed.result()
            self._replace.clear()
            socket = await self._replaced(socket)

    async def _replaced(self, old: Socket) -> Socket:
        """Another socket that delivers, after which the old one is closed; else the old one."""
        new = await self._open(1)
        if new is None:
            return old
        deadline_s = time.monotonic() + DELIVERS_S
        while not self._delivers(new) and not new.closed.done():
            if time.monotonic() > deadline_s:
                break
            await asyncio.wait({new.closed}, timeout=0.05)
        if not self._delivers(new) or new.closed.done():
            await new.close()
            return old
        self._telemetry.count("disconnects", reason="replaced")
        await old.close()
        return new

    def _delivers(self, socket: Socket) -> bool:
        """More came than the answers to our requests."""
        requests = sum(1 for _ in self._venue.subscribe(self.line.streams))
        return socket.received > requests

    def _lost(self, closed: Closed) -> None:
        why = f"{closed.code} {closed.reason}".strip()
        self._telemetry.count("disconnects", reason=str(closed.code))
        self._log.warning("disconnected", line=self.number, why=why)
        self._buffer.notice(Disconnected(self.number, why, time.time_ns()))

    def _record(self, direction: str, data: bytes) -> None:
        if self._recorder is not None:
            url = self._url.partition("?")[0] if direction == "connect" else None
            self._recorder.line(one_line(time.time_ns(), self.number, direction, data, url))
