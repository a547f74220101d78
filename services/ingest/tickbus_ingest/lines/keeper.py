"""Keeps one line of a route open: reconnects with growing pauses, replaces before it breaks."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tickbus.retry import backoff_s
from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_schemas.errors import Reject, Retry

from tickbus_ingest.lines.answers import Answers
from tickbus_ingest.lines.connection import Connection
from tickbus_ingest.lines.limits import Limits
from tickbus_ingest.lines.outbox import Outbox
from tickbus_ingest.lines.silence import Silence, Troubles
from tickbus_ingest.lines.turn import Turn
from tickbus_ingest.venue.contract import Get, Line, Route, Venue
from tickbus_ingest.wire import socket as sockets
from tickbus_ingest.wire.buffer import Buffer, Connected, Disconnected, Replaced
from tickbus_ingest.wire.intake import Intake
from tickbus_ingest.wire.raw_lines import one_line
from tickbus_ingest.wire.recorder import Recorder
from tickbus_ingest.wire.socket import BROKEN, END_OF_INPUT, Closed, HandshakeRefused, Socket
from tickbus_ingest.wire.unpacking import unpacker

CHECK_S = 1.0
DELIVERS_S = 30.0
"""A replacement that has not delivered after this time is given up."""
STEADY_S = 60.0
"""Whoever was connected for so long begins again with short pauses."""
AGAIN_FIRST_S, AGAIN_MAX_S = 0.5, 30.0
MAINTENANCE_FIRST_S, MAINTENANCE_MAX_S = 20.0, 300.0
"""Pauses while the venue is being maintained."""


@dataclass
class Common:
    """What all lines of a venue share."""

    venue: Venue
    urls: list[str]
    """by `Route.host`"""
    client: str
    buffer: Buffer
    limits: Limits
    silence_s: float
    max_frame_bytes: int
    telemetry: Telemetry
    log: Any
    recorder: Recorder | None = None
    fetch: Callable[[Get], Awaitable[bytes]] | None = None
    """the body of a REST answer; Retry when there is none"""
    query: str = ""
    """appended to each URL"""
    stop_at_end: bool = False
    uniform: Callable[[float, float], float] = random.uniform
    numbers: Iterator[int] = field(default_factory=count)
    connections: dict[int, Connection] = field(default_factory=dict)
    """open ones, by the number of their line"""
    troubles: Troubles = field(default_factory=Troubles)
    paused: bool = False

    def __post_init__(self) -> None:
        self.attempts = [Turn(bucket) for bucket in self.limits.attempts]
        self.open = Turn(self.limits.connections)

    def others_of(self, connection: Connection) -> list[Connection]:
        """Further open connections that carry the same route."""
        route = connection.line.route
        return [
            one
            for one in self.connections.values()
            if one.line.route is route and one is not connection and not one.socket.closed.done()
        ]


class Keeper:
    """One line of a route, kept open until it is stopped or the input has ended."""

    def __init__(self, route: Route, common: Common) -> None:
        self._route, self._common = route, common
        self._failures = 0
        """connections that failed, or were replaced soon, one after the other"""
        self._maintained = False
        self._ended = False

    async def run(self) -> None:
        """Keep the line open; returns when the venue says that its input has ended."""
        while not self._ended:
            await asyncio.sleep(self._pause_s())
            connection = await self._open()
            if connection is None:
                self._failures += 1
            while connection is not None:
                connection = await self._keep(connection)

    async def _keep(self, connection: Connection) -> Connection | None:
        """Watch over an open line; the one that takes its place, None when it is lost."""
        opened_s = time.monotonic()
        closed = await self._watch(connection)
        steady = time.monotonic() - opened_s >= STEADY_S
        if steady or (closed is not None and connection.delivers):
            self._failures = 0
        if closed is None:
            return await self._replaced(connection)
        self._lost(connection, closed)
        return None

    # -------------------------------------------------------------- opening

    def _pause_s(self) -> float:
        """How long to wait before the next connection."""
        if not self._failures:
            return 0.0
        first_s, max_s = AGAIN_FIRST_S, AGAIN_MAX_S
        if self._maintained:
            first_s, max_s = MAINTENANCE_FIRST_S, MAINTENANCE_MAX_S
        return backoff_s(self._failures, first_s, max_s, self._common.uniform)

    async def _open(self) -> Connection | None:
        """Connect and subscribe, when the limits allow it; None when that failed."""
        common = self._common
        await common.open.take()
        socket: Socket | None = None
        try:
            await common.attempts[self._route.host].take()
            line = Line(next(common.numbers), self._route)
            socket = await self._connect(line)
        except (Retry, Reject) as error:
            self._refused(error)
            return None
        finally:
            if socket is None:
                common.limits.connections.give_back()
        return self._opened(line, socket)

    async def _connect(self, line: Line) -> Socket:
        common = self._common
        unpack = unpacker(common.venue.compression, common.max_frame_bytes)
        intake = Intake(line.number, common.buffer, common.max_frame_bytes, unpack)
        return await sockets.connect(common.client, await self._url(), intake)

    async def _url(self) -> str:
        common, route = self._common, self._route
        if route.address is not None and common.fetch is not None:
            url = common.venue.address(await common.fetch(route.address))
        else:
            url = common.urls[route.host].rstrip("/") + route.path
        if not common.query:
            return url
        return f"{url}{'&' if '?' in url else '?'}{common.query}"

    def _refused(self, error: Exception) -> None:
        common = self._common
        if isinstance(error, HandshakeRefused):
            hold_s = common.venue.hold_s(error.status, error.headers)
            if hold_s is not None:
                common.limits.attempts[self._route.host].hold(time.monotonic() + hold_s)
        facts = common.troubles.again(f"connect {self._route.path}", time.monotonic())
        if facts is not None:
            common.log.warning("cannot connect to the venue", why=str(error), **facts)

    def _opened(self, line: Line, socket: Socket) -> Connection:
        """Announce the line, then let its frames in and subscribe."""
        common = self._common
        number, answers, venue = line.number, Answers(), common.venue
        outbox = Outbox(
            socket,
            answers,
            messages=common.limits.messages(),
            subscriptions=common.limits.subscriptions(),
            keepalive=venue.keepalive,
            sent=lambda frame, answers: self._sent(number, frame, answers),
        )
        connection = Connection(
            line, socket, outbox, answers,
            Silence(venue.silence_s or common.silence_s),
            time.monotonic() + venue.connection_life_s,
        )  # fmt: skip
        common.connections[number] = connection
        socket.closed.add_done_callback(lambda _: self._closed(number))
        common.telemetry.count("connects")
        self._record(number, "connect", b"")
        common.buffer.notice(Connected(line, time.time_ns()))
        socket.intake.begin()
        if common.paused:
            socket.pause()
        outbox.request(venue.subscribe(self._route.streams))
        connection.sending = asyncio.create_task(outbox.run())
        common.troubles.over(f"connect {self._route.path}")
        common.log.info("connected", line=number, streams=len(self._route.streams))
        return connection

    def _closed(self, number: int) -> None:
        self._common.connections.pop(number, None)
        self._common.limits.connections.give_back()

    # ------------------------------------------------------------- watching

    async def _watch(self, connection: Connection) -> Closed | None:
        """Why the socket ended; None when it is to be replaced."""
        socket = connection.socket
        told = asyncio.ensure_future(connection.told.wait())
        waiting: set[asyncio.Future[Any]] = {socket.closed, told}
        try:
            while not socket.closed.done():
                await asyncio.wait(waiting, timeout=CHECK_S, return_when=asyncio.FIRST_COMPLETED)
                now_s = time.monotonic()
                if socket.closed.done():
                    break
                if told.done() or now_s >= connection.until_s:
                    return None
                self._ask_again(connection, now_s)
                if self._is_silent(connection, now_s):
                    await connection.close()
                    return Closed(BROKEN, f"silent for {connection.silence.limit_s:.0f} s")
        finally:
            told.cancel()
        return socket.closed.result()

    def _is_silent(self, connection: Connection, now_s: float) -> bool:
        if self._common.paused:
            connection.silence.check(-1, now_s)  # we do not read: nothing can come
            return False
        return connection.silence.check(connection.socket.intake.received, now_s)

    def _ask_again(self, connection: Connection, now_s: float) -> None:
        late = connection.answers.late(now_s)
        if late:
            self._common.log.warning(
                "the venue does not answer; asked again",
                line=connection.line.number,
                requests=len(late),
            )
            connection.outbox.again(late)

    # ------------------------------------------------------------ replacing

    async def _replaced(self, old: Connection) -> Connection | None:
        """The connection to go on with: a new one once it delivers, else the old one."""
        pause_s, self._failures = self._pause_s(), self._failures + 1
        await asyncio.wait({old.socket.closed}, timeout=pause_s)
        if self._common.limits.connections.wait_s(time.monotonic()):
            await old.close()  # there is no room for two
            self._lost(old, Closed(BROKEN, "replaced"))
            return None
        opening = asyncio.ensure_future(self._open())
        either: set[asyncio.Future[Any]] = {opening, old.socket.closed}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if old.socket.closed.done():
                self._lost(old, old.socket.closed.result())
                return await opening if not self._ended else None
        finally:
            opening.cancel()  # no effect where it is done
        new = opening.result()
        if new is None:
            old.told.clear()
            old.until_s = max(old.until_s, time.monotonic() + AGAIN_MAX_S)
            return old
        return await self._one_of(old, new)

    async def _one_of(self, old: Connection, new: Connection) -> Connection | None:
        """Close the new connection or the old one, by whether the new one delivers."""
        common = self._common
        deadline_s = time.monotonic() + DELIVERS_S
        waiting = {old.socket.closed, new.socket.closed}
        while not new.delivers and time.monotonic() < deadline_s:
            await asyncio.wait(waiting, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
            if old.socket.closed.done() or new.socket.closed.done():
                break
        if old.socket.closed.done():
            # What it would have brought until the new one delivers is lost.
            self._lost(old, old.socket.closed.result(), taken_over=new.delivers)
            return new
        if new.delivers and not new.socket.closed.done():
            self._give_up(old, new, "replaced")
            await old.close()
            common.buffer.notice(Replaced(old.line.number, new.line.number))
            return new
        self._give_up(new, old, "useless")
        await new.close()
        common.buffer.notice(Replaced(new.line.number, old.line.number))
        old.told.clear()
        old.until_s = max(old.until_s, time.monotonic() + AGAIN_MAX_S)
        return old

    # ------------------------------------------------------------------ end

    def _lost(self, connection: Connection, closed: Closed, *, taken_over: bool = True) -> None:
        """The connection has ended by itself; the venue may say that its input has ended."""
        if closed.code == END_OF_INPUT and self._common.stop_at_end:
            self._ended = True
            return
        common = self._common
        self._failures += 1
        self._maintained = closed.code in common.venue.maintenance_codes
        why = f"{closed.code} {closed.reason}".strip()
        number = connection.line.number
        common.telemetry.count("disconnects", reason=str(closed.code))
        common.log.warning("disconnected", line=number, why=why)
        others = common.others_of(connection)
        if others and taken_over and common.venue.numbering_is_global:
            common.buffer.notice(Replaced(number, others[0].line.number))
        else:
            common.buffer.notice(Disconnected(number, why, time.time_ns()))

    def _give_up(self, one: Connection, other: Connection, why: str) -> None:
        numbers = {"line": one.line.number, "instead": other.line.number}
        self._common.telemetry.count("disconnects", reason=why)
        self._common.log.info("closes a connection", why=why, **numbers)

    # ---------------------------------------------------------------- notes

    def _sent(self, number: int, frame: bytes, answers: int) -> None:
        if answers:
            self._common.telemetry.count("requests", answers)
        self._record(number, "out", frame)

    def _record(self, number: int, direction: str, data: bytes) -> None:
        common = self._common
        if common.recorder is not None:
            url = None
            if direction == "connect":
                url = common.urls[self._route.host].rstrip("/") + self._route.path.partition("?")[0]
            common.recorder.line(one_line(time.time_ns(), number, direction, data, url))
