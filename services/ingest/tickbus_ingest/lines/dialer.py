"""Opens connections of a venue, within its limits: address, socket, announcement, requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import urlsplit, urlunsplit

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
from tickbus_ingest.wire.buffer import Buffer, Connected
from tickbus_ingest.wire.intake import Intake
from tickbus_ingest.wire.raw_lines import one_line
from tickbus_ingest.wire.recorder import Recorder
from tickbus_ingest.wire.socket import HandshakeRefused, Socket
from tickbus_ingest.wire.unpacking import unpacker


@dataclass
class Dialer:
    """Opens the connections of one venue and knows which are open."""

    venue: Venue
    urls: list[str]
    """by `Route.host`"""
    client: str
    """the WebSocket library"""
    buffer: Buffer
    limits: Limits
    silence_s: float
    """a connection may be silent for so long, unless the venue says otherwise"""
    max_frame_bytes: int
    telemetry: Telemetry
    log: Any
    recorder: Recorder | None = None
    fetch: Callable[[Get], Awaitable[bytes]] | None = None
    """gives the body of a REST answer; Retry when there is none"""
    bind: Sequence[str] = ()
    """local addresses of the connections of a route, in turn"""
    hosts: Sequence[str] = ()
    """where they go, in turn, instead of the host of the URL; `venue`: there"""
    query: str = ""
    """appended to each URL"""
    numbers: Iterator[int] = field(default_factory=count)
    connections: dict[int, Connection] = field(default_factory=dict)
    """open ones, by the number of their line"""
    paused: bool = False
    """new connections are not read either"""

    def __post_init__(self) -> None:
        self._attempts = [Turn(bucket) for bucket in self.limits.attempts]
        self._at_once = Turn(self.limits.connections)
        self._troubles = Troubles()

    def others_of(self, connection: Connection) -> list[Connection]:
        """Further open connections that carry the same route."""
        route = connection.line.route
        return [
            one
            for one in self.connections.values()
            if one.line.route is route and one is not connection and not one.socket.closed.done()
        ]

    async def open(self, route: Route, place: int = 0, name: str = "") -> Connection | None:
        """Connect and subscribe, when the limits allow it; None when that failed.

        place: of the connection among those that carry the route; name: see `Line`.
        """
        await self._at_once.take()
        socket: Socket | None = None
        try:
            await self._attempts[route.host].take()
            line = Line(next(self.numbers), route, name=name)
            socket = await self._connect(line, place)
        except (Retry, Reject) as error:
            self._failed(route, error)
            return None
        finally:
            if socket is None:
                self.limits.connections.give_back()
        return self._opened(line, socket, place)

    async def _connect(self, line: Line, place: int) -> Socket:
        unpack = unpacker(self.venue.compression, self.max_frame_bytes)
        intake = Intake(line.number, self.buffer, self.max_frame_bytes, unpack)
        url = at_host(await self._url(line.route), in_turn(self.hosts, place))
        return await sockets.connect(self.client, url, intake, in_turn(self.bind, place))

    async def _url(self, route: Route) -> str:
        url = self.urls[route.host].rstrip("/") + route.path
        if route.address is not None and self.fetch is not None:
            body = await self.fetch(route.address)
            try:
                url = self.venue.address(body)
            except Reject:
                raise
            except Exception as error:  # a venue's file must not end the service
                raise Reject(f"the venue's file failed: {type(error).__name__}: {error}") from None
        if not self.query:
            return url
        return f"{url}{'&' if '?' in url else '?'}{self.query}"

    def _failed(self, route: Route, error: Exception) -> None:
        """Say it, not too often, and hold all attempts where the venue wants that."""
        why = str(error)
        if isinstance(error, HandshakeRefused):
            hold_s = self.venue.hold_s(error.status, error.headers)
            if hold_s is not None:
                self.limits.attempts[route.host].hold(time.monotonic() + hold_s)
                why += f"; no attempt for {hold_s:g} s"
        facts = self._troubles.again(route.path, time.monotonic())
        if facts is not None:
            self.log.warning("cannot connect to the venue", why=why, **facts)

    def _opened(self, line: Line, socket: Socket, place: int) -> Connection:
        """Announce the line, then let its frames in, greet and subscribe."""
        number, answers, venue = line.number, Answers(), self.venue
        outbox = Outbox(
            socket,
            answers,
            messages=self.limits.messages(),
            subscriptions=self.limits.subscriptions(),
            keepalive=venue.keepalive,
            sent=lambda frame, answers: self._sent(number, frame, answers),
        )
        connection = Connection(
            line, socket, outbox, answers,
            Silence(venue.silence_s or self.silence_s),
            # Connections that were opened together are not all replaced together.
            time.monotonic() + venue.connection_life_s * (1 - place / 16),
        )  # fmt: skip
        self.connections[number] = connection
        socket.closed.add_done_callback(lambda _: self._closed(connection))
        self.telemetry.count("connects")
        url = self.urls[line.route.host].rstrip("/") + line.route.path.partition("?")[0]
        url = at_host(url, in_turn(self.hosts, place))
        self._record(number, "connect", b"", url)
        self.buffer.notice(Connected(line, time.time_ns()))
        socket.intake.begin()
        if self.paused:
            socket.pause()
        outbox.request([*venue.greet(), *venue.subscribe(line.route.streams)])
        connection.sending = asyncio.create_task(outbox.run())
        self._troubles.over(line.route.path)
        self.log.info("connected", line=number, name=line.name, streams=len(line.route.streams))
        return connection

    def _closed(self, connection: Connection) -> None:
        self.connections.pop(connection.line.number, None)
        self.limits.connections.give_back()
        if connection.sending is not None:
            connection.sending.cancel()

    def _sent(self, number: int, frame: bytes, answers: int) -> None:
        if answers:
            self.telemetry.count("requests", answers)
        self._record(number, "out", frame)

    def _record(self, number: int, direction: str, data: bytes, url: str | None = None) -> None:
        if self.recorder is not None:
            self.recorder.line(one_line(time.time_ns(), number, direction, data, url))


def in_turn(values: Sequence[str], place: int) -> str:
    """What the settings have for a connection; "" where they have nothing."""
    return values[place % len(values)] if values else ""


def at_host(url: str, host: str) -> str:
    """The URL at another host: `wss://host`, `host:port`, `host`; "" or `venue` leave it."""
    if host in ("", "venue"):
        return url
    parts = urlsplit(url)
    scheme, found, place = host.partition("://")
    if not found:
        scheme, place = parts.scheme, host
    return urlunsplit(parts._replace(scheme=scheme, netloc=place.rstrip("/")))
