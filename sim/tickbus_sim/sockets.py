"""The venue's WebSocket side: accepts connections, sends frames to those that subscribed.

Back-pressure is the transport's own.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)
from tickbus_schemas.errors import Fatal

from tickbus_sim.dialect import POLICY_VIOLATION, Binary, Dialect, Line, Refusal, Topic, split_url
from tickbus_sim.faults import Fate, Faults, Frame
from tickbus_sim.wire_frames import Astray, columns_of, encode_frames, packed, queued_frames

END_OF_INPUT = 4900
_BUFFER_HIGH = 1 << 20  # bytes waiting in a transport before the play-out pauses
_CLOSE_WAIT_S = 5.0
_FRAME_MAX = 1 << 20  # of what clients send
_TURN = b"turn"
"""Payload of the ping that ends a connection's turn; the venue's own pings carry a time."""


class Connection(WSListener):
    """One client's socket and what waits to be sent to it."""

    def __init__(self, lobby: Lobby, line: Line | Refusal) -> None:
        self.line = line
        self.client = ""  # its address
        self.texts: list[bytes] = []
        self.received_ns: list[int] = []
        self.heard_s = time.monotonic()  # when the client last said something
        self._said_s: deque[float] = deque()  # when it said what it has said in the last second
        self.is_paused = False
        self.is_mute = False  # nothing more is sent over it, as over a dead one
        self.closed_well = False
        self.transport: WSTransport | None = None
        self._held: defaultdict[int, list[bytes]] = defaultdict(list)
        """by frame, texts that come later"""
        self._lobby = lobby
        self._ping = b""
        self._ping_s: float | None = None  # since when a ping is unanswered
        self._turn: asyncio.Future[None] | None = None  # done when all that was sent is read

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        if isinstance(self.line, Refusal):
            self.close(POLICY_VIOLATION, self.line.reason)
            return
        self.client = str(transport.underlying_transport.get_extra_info("peername")[0])
        if self.client in self._lobby.refused_clients:
            self.cut()
            return
        transport.underlying_transport.set_write_buffer_limits(high=_BUFFER_HIGH)
        self._lobby.entered(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            self.closed_well = True
            self._end_turn()
            self._lobby.left(self)
            if not transport.is_close_frame_sent:
                transport.send_close(frame.get_close_code(), b"")
            transport.disconnect()
        elif frame.msg_type == WSMsgType.PONG:
            if frame.get_payload_as_bytes() == self._ping:
                self._ping_s = None
            elif frame.get_payload_as_bytes() == _TURN:
                self._end_turn()
        elif self._says_too_much():
            self.close(POLICY_VIOLATION, "Too many requests")
        elif frame.msg_type == WSMsgType.TEXT and isinstance(self.line, Line):
            self._carry_out(transport, self.line, frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())

    def _says_too_much(self) -> bool:
        """Whether this message is beyond what the venue takes in a second."""
        self.heard_s = time.monotonic()
        self._said_s.append(self.heard_s)
        while self._said_s[0] <= self.heard_s - 1.0:
            self._said_s.popleft()
        return len(self._said_s) > self._lobby.messages_per_s

    def _carry_out(self, transport: WSTransport, line: Line, request: bytes) -> None:
        """Answer a request; an answer never overtakes a frame."""
        dialect = self._lobby.dialect
        before = dialect.topics(line)
        self.flush()
        reply = dialect.request(line, request)
        for text in reply.frames:
            self._transmit(text)
        if reply.close is not None:
            self.close(*reply.close)
            return
        self._lobby.changed(dialect.topics(line) - before, self)
        if reply.books:
            self._lobby.ask(reply.books, self)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.transport = None
        self._end_turn()
        self._lobby.left(self)

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self._lobby.drained.set()

    def astray(self, frame: Frame, topic: Topic) -> bytes | None:
        """What is sent now of a frame that does not arrive in its turn.

        One that comes later is written in its turn: it has the numbers that it would have had.
        """
        assert isinstance(self.line, Line)
        held = self._held.get(frame.number)
        if frame.fate is Fate.LATE and held:
            return held.pop(0)
        text = self._lobby.dialect.on_wire(self.line, frame.text, topic)
        if frame.fate is Fate.HELD:
            self._held[frame.number].append(text)
        return text if frame.fate.is_sent else None

    def take(
        self,
        texts: Sequence[bytes],
        topic_ids: Sequence[int],
        received_ns: Sequence[int],
        topics: Sequence[Topic],
    ) -> None:
        """Queues frames in the form that this connection gets."""
        assert isinstance(self.line, Line)
        line, on_wire = self.line, self._lobby.dialect.on_wire
        for text, topic_id, time_ns in zip(texts, topic_ids, received_ns, strict=True):
            wire_text: bytes | None
            if type(text) is Astray:
                wire_text = self.astray(text.frame, topics[topic_id])
            else:
                wire_text = on_wire(line, text, topics[topic_id])
            if wire_text is not None:
                self.texts.append(wire_text)
                self.received_ns.append(time_ns)

    def flush(self) -> None:
        """Writes what `Lobby.deliver` has queued."""
        texts, self.texts = self.texts, []
        times, self.received_ns = self.received_ns, []
        if not texts or self.is_mute or self.transport is None or not isinstance(self.line, Line):
            return
        if self.line.with_times:
            texts = [
                type(text)(b"%d %b" % (time_ns, text))
                for time_ns, text in zip(times, texts, strict=True)
            ]
        if self._lobby.dialect.is_gzip:
            texts = list(map(packed, texts))
        self.transport.underlying_transport.write(encode_frames(texts))

    def say(self, text: bytes, received_ns: int) -> None:
        """One frame to this client alone, behind everything queued."""
        self.flush()
        self._transmit(self._timed(text, received_ns))

    def _transmit(self, text: bytes) -> None:
        """One frame at once."""
        if self.transport is None or self.is_mute:
            return
        if self._lobby.dialect.is_gzip:
            self.transport.send(WSMsgType.BINARY, packed(text))
        else:
            kind = WSMsgType.BINARY if isinstance(text, Binary) else WSMsgType.TEXT
            self.transport.send(kind, text)

    def _timed(self, text: bytes, received_ns: int) -> bytes:
        if isinstance(self.line, Line) and self.line.with_times:
            return type(text)(b"%d %b" % (received_ns, text))
        return text

    def unsent_bytes(self) -> int:
        """Bytes that the transport has not given to the kernel."""
        if self.transport is None:
            return 0
        return int(self.transport.underlying_transport.get_write_buffer_size())

    def close(self, code: int, reason: str) -> None:
        """Says goodbye after everything queued; the client's answer ends the connection."""
        self.flush()
        if self.transport is not None:
            # Its type lists the codes of the RFC only; any number is sent.
            self.transport.send_close(code, reason[:120].encode())  # type: ignore[arg-type]

    def ping(self, now_s: float, deadline_s: float) -> None:
        """Pings; closes the connection when the last pong is overdue."""
        if self.transport is None:
            return
        if self._ping_s is None:
            self._ping, self._ping_s = str(time.time_ns() // 1_000_000).encode(), now_s
        elif now_s - self._ping_s > deadline_s:
            self.close(POLICY_VIOLATION, "Pong timeout")
            self.transport.disconnect()
            return
        self.transport.send_ping(self._ping)

    async def read(self) -> None:
        """Returns when the client has read everything: it answers a ping after what lies before."""
        self.flush()
        if self.transport is None or self.closed_well:
            return
        self._turn = asyncio.get_running_loop().create_future()
        self.transport.send_ping(_TURN)
        await self._turn

    def _end_turn(self) -> None:
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def cut(self) -> None:
        """Ends the connection as a broken network does."""
        if self.transport is not None:
            self.transport.disconnect(graceful=False)


class Lobby:
    """All connections, and who gets which topic."""

    def __init__(
        self,
        dialect: Dialect,
        topics: Sequence[Topic],
        on_change: Callable[[frozenset[Topic], frozenset[Topic], Connection | None], None],
        *,
        ask: Callable[[Sequence[str], Connection], None],
        has_times: bool = False,
    ) -> None:
        """`topics[0]` stands for frames without a topic: they go to the first route.

        `on_change` is told all topics with a subscriber, those just subscribed, and by whom; `ask`
        the symbols whose books a client asks for.
        """
        self.connections: set[Connection] = set()
        self.drained = asyncio.Event()
        self.sent = 0
        self.unsubscribed = 0
        self.refuses = False  # while a fault keeps the venue away
        self.refused_clients: set[str] = set()  # while it does so from these
        self.faults: Mapping[str, Faults] = {}  # of single clients
        self.has_vanished = False  # the last client to leave did so without closing
        self.depths: Mapping[str, int] = {}
        self.messages_per_s = dialect.messages_per_s
        self.dialect = dialect
        self._topics = topics
        self._targets: list[tuple[Connection, ...]] = [()] * len(topics)
        self._speaking: tuple[Connection, ...] = ()
        self._on_change = on_change
        self.ask = ask
        self._has_times = has_times
        self._server: asyncio.Server | None = None

    async def listen(self, port: int) -> int:
        """Starts to accept; returns the port. Fatal when the port is taken."""
        try:
            self._server = await ws_create_server(
                self._accept, "127.0.0.1", port, max_frame_size=_FRAME_MAX
            )
        except OSError as error:
            raise Fatal(f"port {port}: {error.strerror}; choose another --port") from None
        return int(self._server.sockets[0].getsockname()[1])

    def entered(self, connection: Connection) -> None:
        """A client is connected."""
        self.connections.add(connection)
        assert isinstance(connection.line, Line)
        for text in self.dialect.welcome(connection.line):
            connection.say(text, time.time_ns())
        self.changed(self.dialect.topics(connection.line), connection)

    def left(self, connection: Connection) -> None:
        """A client is gone."""
        if connection in self.connections:
            self.connections.remove(connection)
            self.has_vanished = not connection.closed_well
            self.changed(frozenset(), None)
        self.drained.set()

    def changed(self, joined: frozenset[Topic], by: Connection | None) -> None:
        """Works out anew who gets what."""
        lines = {c: c.line for c in self.connections if isinstance(c.line, Line)}
        heard = {connection: self.dialect.topics(line) for connection, line in lines.items()}
        whole = {
            connection: {topic.family for topic in topics if not topic.symbol}
            for connection, topics in heard.items()
        }
        first = self.dialect.routes[0]
        self._targets = [
            tuple(c for c, line in lines.items() if line.route == first),
            *(
                tuple(c for c in lines if topic in heard[c] or topic.family in whole[c])
                for topic in self._topics[1:]
            ),
        ]
        self._on_change(frozenset().union(*heard.values()), joined, by)

    def has_listener(self, topic_id: int) -> bool:
        """Whether somebody gets the frames of a topic now."""
        return any(not connection.is_mute for connection in self._targets[topic_id])

    def deliver(
        self,
        texts: Sequence[bytes],
        topic_ids: Sequence[int],
        received_ns: Sequence[int],
        numbers: Sequence[int] = (),
    ) -> None:
        """Writes frames, all to the same connections: those that subscribed to their topics.

        numbers: of the frames in the source, where there are faults.
        """
        listeners = self._targets[topic_ids[0]]
        everyones = texts, topic_ids, received_ns
        own = {
            client: columns_of(faults.pass_on(queued_frames(*everyones, numbers)))
            for client, faults in self.faults.items()
            if any(connection.client == client for connection in listeners)
        }
        for connection in listeners:
            connection.take(*own.get(connection.client, everyones), self._topics)
            connection.flush()
        arriving = sum(type(text) is not Astray or text.frame.fate.is_sent for text in texts)
        if self.has_listener(topic_ids[0]):
            self.sent += arriving
        else:
            self.unsubscribed += arriving

    def release(self, now_ns: int) -> None:
        """Writes what single clients get later than others, and now."""
        for client, faults in self.faults.items():
            for frame in faults.release(now_ns):
                for connection in self._targets[frame.topic_id]:
                    if connection.client == client:
                        connection.take(*columns_of([frame]), self._topics)
                        connection.flush()

    async def deliver_in_order(
        self,
        texts: Sequence[bytes],
        topic_ids: Sequence[int],
        received_ns: Sequence[int],
        numbers: Sequence[int] = (),
    ) -> None:
        """`deliver`, one connection's frames at a time: they are read in the order given.

        Between two connections only their clients' reading decides what comes first, and at full
        speed one would run seconds of market time ahead of the other.
        """
        start = 0
        while start < len(texts):
            listeners, stop = self._targets[topic_ids[start]], start + 1
            while stop < len(texts) and self._targets[topic_ids[stop]] == listeners:
                stop += 1
            if listeners and listeners != self._speaking:
                for connection in self._speaking:
                    await connection.read()
                self._speaking = listeners
            part = slice(start, stop)
            self.deliver(texts[part], topic_ids[part], received_ns[part], numbers[part])
            start = stop

    async def room(self) -> None:
        """Returns when every connection takes more; a slow reader holds up the venue."""
        while any(connection.is_paused for connection in self.connections):
            self.drained.clear()
            await self.drained.wait()

    async def read(self) -> None:
        """Returns when every client has read everything."""
        for connection in list(self.connections):
            await connection.read()

    async def flushed(self) -> None:
        """Returns when the kernel has every byte."""
        # A transport tells when it is below a mark, not when it is empty.
        while any(connection.unsent_bytes() for connection in self.connections):  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    def close_all(self, code: int, reason: str) -> None:
        """Closes every connection properly."""
        for connection in list(self.connections):
            connection.close(code, reason)

    def of_client(self, client: str) -> list[Connection]:
        """The connections from an address; all of them for ""."""
        return [one for one in self.connections if client in ("", one.client)]

    def mute(self, client: str = "") -> None:
        """Sends nothing more over the connections that are open now, of a client or of all."""
        for connection in self.of_client(client):
            connection.flush()
            connection.is_mute = True

    async def cut(self, client: str = "") -> None:
        """Breaks the connections of a client or of all; returns when they are gone."""
        while self.of_client(client):
            for connection in self.of_client(client):
                connection.cut()
            self.drained.clear()
            await self.drained.wait()

    async def ping_all(self, interval_s: float | None) -> None:
        """Pings every connection again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(interval_s or self.dialect.ping_interval_s)
            for connection in list(self.connections):
                connection.ping(asyncio.get_running_loop().time(), self.dialect.pong_deadline_s)

    async def watch_all(self, idle_s: float | None) -> None:
        """Heartbeats out, and an end for clients that say nothing; until it is cancelled."""
        limit_s = idle_s or self.dialect.idle_s
        every_s = self.dialect.heartbeat_s
        next_beat_s = time.monotonic() + every_s
        while True:
            await asyncio.sleep(min(limit_s / 4, every_s or 1.0, 1.0))
            now_s = time.monotonic()
            for connection in list(self.connections):
                if now_s - connection.heard_s > limit_s:
                    connection.close(POLICY_VIOLATION, "idle")
                elif every_s and now_s >= next_beat_s and isinstance(connection.line, Line):
                    connection.say(self.dialect.heartbeat(connection.line), time.time_ns())
            if now_s >= next_beat_s:
                next_beat_s = now_s + every_s

    async def stop(self) -> None:
        """Stops accepting and waits for the connections to end, not for ever."""
        if self._server is not None:
            self._server.close()
        for _ in range(int(_CLOSE_WAIT_S / 0.01)):
            if not self.connections:
                return
            await asyncio.sleep(0.01)
        await self.cut()

    def _accept(self, request: WSUpgradeRequest) -> Connection | WSUpgradeResponseWithListener:
        if self.refuses:
            return WSUpgradeResponseWithListener(WSUpgradeResponse.create_error_response(503), None)
        target = request.path.decode("latin-1")
        line = open_line(self.dialect, target, has_times=self._has_times, depths=self.depths)
        return Connection(self, line)


def open_line(
    dialect: Dialect,
    target: str,
    *,
    has_times: bool,
    depths: Mapping[str, int] = MappingProxyType({}),
) -> Line | Refusal:
    """The connection that a request target opens.

    `has_times`: the venue has receive times; `depths`: levels a side of recorded books by symbol.
    """
    try:
        _, path, query = split_url(target)
    except ValueError:
        return Refusal("no such path")
    with_times = query.get("tickbus_times") == ["1"]
    if with_times and not has_times:
        return Refusal("no receive times here: start the venue with --capture-times")
    line = dialect.open(path, query)
    if isinstance(line, Line):
        line.with_times, line.depths = with_times, depths
    return line
