"""A WebSocket server of the test, and lines that connect to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from tickbus_ingest.lines.dialer import Dialer
from tickbus_ingest.lines.limits import Limits
from tickbus_ingest.lines.lines import Lines
from tickbus_ingest.session.session import Session
from tickbus_ingest.session.tables import Flush, StatusRow
from tickbus_ingest.venue.contract import (
    Venue,
)
from tickbus_ingest.wire.buffer import Buffer
from tickbus_ingest.wire.intake import Intake
from tickbus_ingest.wire.socket import Socket, connect
from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_schemas.messages import StatusKind
from websockets.asyncio.server import ServerConnection, serve

from tests.ingest.plain_venue import plain

CLIENTS = pytest.mark.parametrize("client", ["picows", "websockets"])
Handler = Callable[[ServerConnection], Awaitable[None]]
FRAME_BYTES = 2**16


@asynccontextmanager
async def server(handler: Handler, **options: Any) -> AsyncIterator[str]:
    """A server on a free port; its address."""
    options = {"max_size": None, "ping_interval": 0.1} | options
    async with serve(handler, "127.0.0.1", 0, **options) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}"


def dialer(url: str, client: str, buffer: Buffer, **options: Any) -> Dialer:
    venue: Venue = options.pop("venue", None) or plain()
    return Dialer(
        venue=venue,
        urls=[url] * len(venue.websocket_urls),
        client=client,
        buffer=buffer,
        limits=options.pop("limits", None) or Limits(type(venue)),
        silence_s=options.pop("silence_s", 30.0),
        max_frame_bytes=FRAME_BYTES,
        telemetry=options.pop("telemetry", None) or Telemetry(),
        log=structlog.get_logger(),
        **options,
    )


def lines_of(dialer: Dialer, per_route: int = 1, **options: Any) -> Lines:
    """Lines that end with their input and wait for next to nothing."""
    options = {"uniform": lambda low, high: 0.01} | options
    return Lines(dialer, per_route, stop_at_end=True, **options)


async def opened(client: str, url: str, buffer: Buffer, **options: Any) -> Socket:
    """A socket whose line has begun."""
    socket = await connect(client, url, Intake(0, buffer, FRAME_BYTES, **options))
    socket.intake.begin()
    return socket


def taken(buffer: Buffer) -> list[Any]:
    """Everything in the buffer: frames as bytes, notices by their type."""
    found: list[Any] = []
    while buffer:
        frames, notice = buffer.take(1000)
        found += frames.data
        if notice is not None:
            found.append(type(notice))
    return found


async def filled(buffer: Buffer, frames: int) -> None:
    """Wait until so many frames are there."""
    while len(buffer) < frames:
        buffer.arrived.clear()
        await buffer.arrived.wait()


class Driven:
    """A session that reads what the lines bring, and lines that do what it wishes."""

    def __init__(self, url: str, client: str, per_route: int = 1, **options: Any) -> None:
        self.buffer = Buffer(10_000, 2**24)
        self.dialer = dialer(url, client, self.buffer, **options)
        self.venue = self.dialer.venue
        self.lines = lines_of(self.dialer, per_route)
        self.session = Session(self.venue)
        self.notices: list[Any] = []
        self.errors: list[str] = []
        self.statuses: list[StatusRow] = []
        self.heard: set[int] = set()
        """lines that brought rows"""

    async def run(self) -> None:
        """Until the venue says that its input has ended."""
        running = asyncio.create_task(self.lines.run())
        running.add_done_callback(lambda _: self.buffer.arrived.set())
        try:
            while not running.done():
                await self.buffer.arrived.wait()
                self.buffer.arrived.clear()
                self.flush()
            running.result()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await self.lines.close()

    def flush(self) -> None:
        out = Flush()
        while self.buffer:
            frames, notice = self.buffer.take(100)
            self.session.receive(frames, out)
            if notice is not None:
                self.notices.append(notice)
                self.session.notice(notice, out)
        self.errors += out.errors
        self.statuses += [one for one in out.statuses if one.kind is not StatusKind.CONNECTED]
        self.lines.reply(out.replies)
        self.lines.answered(out.answers)
        self.lines.heard(out.heard_lines)
        self.heard |= out.heard_lines
        self.lines.give_up(out.refused_streams)
        self.lines.replace(out.closing_lines | out.broken_lines)

    def kinds(self) -> list[type]:
        return [type(notice) for notice in self.notices]


def trade(number: int) -> str:
    """A frame of the plain venue."""
    return f'{{"trade":{number}}}'


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    while True:
        if condition():
            return
        await asyncio.sleep(0.01)
