"""The sockets: WebSocket frames into the buffer, REST requests out. Nothing here decides.

websockets: https://websockets.readthedocs.io, picows: https://picows.readthedocs.io
"""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import aiohttp
from tickbus_schemas.errors import Fatal, Retry

from tickbus_ingest.wire.buffer import Buffer
from tickbus_ingest.reconnect import Budget

if TYPE_CHECKING:
    from picows import WSFrame, WSTransport

FRAME_BYTES_MAX = 64 * 2**20
"""Far above what is accepted: an oversized frame becomes a dead letter, not a disconnect."""
OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
REST_TIMEOUT_S = 20.0
END_OF_INPUT = 4900
"""Close code of the simulated venue: there is nothing more to send."""


@dataclass(frozen=True)
class Closed:
    """Why a connection ended; code 1006 when it broke without a word."""

    code: int
    reason: str


class Socket(ABC):
    """One open WebSocket connection that puts its frames into the buffer."""

    received = 0
    """data frames so far"""

    def __init__(self) -> None:
        self.closed: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()

    @abstractmethod
    async def send(self, frame: bytes) -> None:
        """Send one text frame."""

    @abstractmethod
    async def close(self) -> None:
        """Say goodbye and hang up."""

    @abstractmethod
    def pause(self) -> None:
        """Stop reading: the sender is held by TCP."""

    @abstractmethod
    def resume(self) -> None:
        """Read on."""

    def _end(self, code: int, reason: str) -> None:
        if not self.closed.done():
            self.closed.set_result(Closed(code, reason))


async def connect(client: str, url: str, line: int, buffer: Buffer) -> Socket:
    """Open a connection with one of the two clients; Retry when the venue cannot be reached."""
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            if client == "picows":
                return await _PicowsSocket.open(url, line, buffer)
            return await _WebsocketsSocket.open(url, line, buffer)
    except (OSError, TimeoutError, ssl.SSLError) as error:
        raise Retry(f"{_without_query(url)}: {error or type(error).__name__}") from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("websockets", "picows"):
            raise Retry(f"{_without_query(url)}: {error}") from None
        raise


async def spend(budget: Budget, units: int = 1) -> None:
    """Wait until the budget allows it, and spend."""
    while True:
        wait_s = budget.wait_s(time.monotonic(), units)
        if not wait_s:
            break
        await asyncio.sleep(wait_s)
    budget.spend(time.monotonic(), units)


def choose_client(wanted: Literal["auto", "websockets", "picows"]) -> str:
    """The fastest client installed, or the one asked for; Fatal when that is missing."""
    installed = importlib.util.find_spec("picows") is not None
    if wanted == "picows" and not installed:
        raise Fatal("ingest.websocket_client: picows is not installed: pip install picows")
    return "picows" if wanted != "websockets" and installed else "websockets"


def _without_query(url: str) -> str:
    return url.partition("?")[0]


class _WebsocketsSocket(Socket):
    """The `websockets` library; frames are taken as they are parsed, without a queue and a task."""

    def __init__(self, connection: Any) -> None:
        super().__init__()
        self._connection = connection
        self._watching = asyncio.create_task(self._watch())

    @classmethod
    async def open(cls, url: str, line: int, buffer: Buffer) -> Socket:
        from websockets.asyncio.client import ClientConnection
        from websockets.asyncio.client import connect as open_websocket
        from websockets.frames import DATA_OPCODES, Frame

        add, wall_ns, monotonic_ns = buffer.add, time.time_ns, time.monotonic_ns

        class Pushing(ClientConnection):
            """Hands each message over at once; the library's own way is to queue it for `recv`."""

            received = 0
            parts: list[bytes] | None = None

            def process_event(self, event: Any) -> None:
                if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
                    super().process_event(event)
                elif event.fin and self.parts is None:
                    add(line, bytes(event.data), wall_ns(), monotonic_ns())
                    self.received += 1
                else:
                    self.parts = [*(self.parts or []), bytes(event.data)]
                    if event.fin:
                        add(line, b"".join(self.parts), wall_ns(), monotonic_ns())
                        self.received += 1
                        self.parts = None

        return cls(
            await open_websocket(
                url,
                create_connection=Pushing,
                max_size=FRAME_BYTES_MAX,
                compression=None,
                ping_interval=None,  # the venues ping us; the watchdog sees silence
                close_timeout=CLOSE_TIMEOUT_S,
            )
        )

    async def _watch(self) -> None:
        await self._connection.wait_closed()
        code = self._connection.close_code
        self._end(code if code else 1006, self._connection.close_reason or "broken")

    @property
    def received(self) -> int:  # type: ignore[override]  # counted where the frames come in
        return int(self._connection.received)

    async def send(self, frame: bytes) -> None:
        await self._connection.send(frame, text=True)

    async def close(self) -> None:
        self.resume()
        await self._connection.close()
        await self._watching

    def pause(self) -> None:
        if not self.closed.done():
            self._connection.transport.pause_reading()

    def resume(self) -> None:
        if not self.closed.done():
            self._connection.transport.resume_reading()


class _PicowsSocket(Socket):
    """The `picows` library; it calls back within the read of the socket."""

    def __init__(self, transport: WSTransport) -> None:
        super().__init__()
        self._transport = transport

    @classmethod
    async def open(cls, url: str, line: int, buffer: Buffer) -> Socket:
        from picows import WSListener, WSMsgType, ws_connect

        add, wall_ns, monotonic_ns = buffer.add, time.time_ns, time.monotonic_ns
        text, binary, continuation = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION
        close = WSMsgType.CLOSE

        def code_of(frame: WSFrame) -> int:
            code: Any = frame.get_close_code()  # an int for codes that picows has no name for
            return int(getattr(code, "value", code))

        class Listener(WSListener):
            socket: _PicowsSocket | None = None
            parts: list[bytes] | None = None
            said: Closed | None = None
            received = 0

            def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
                kind = frame.msg_type
                if (kind is text or kind is binary) and frame.fin:
                    add(line, frame.get_payload_as_bytes(), wall_ns(), monotonic_ns())
                    self.received += 1
                elif kind is text or kind is binary or kind is continuation:
                    self._add_part(frame)
                elif kind is close:
                    reason = (frame.get_close_message() or b"").decode(errors="replace")
                    self.said = Closed(code_of(frame), reason)
                    transport.send_close(frame.get_close_code())
                    transport.disconnect()

            def _add_part(self, frame: WSFrame) -> None:
                self.parts = [*(self.parts or []), frame.get_payload_as_bytes()]
                if frame.fin:
                    add(line, b"".join(self.parts), wall_ns(), monotonic_ns())
                    self.received += 1
                    self.parts = None

            def on_ws_disconnected(self, transport: WSTransport) -> None:
                if self.socket is not None:
                    said = self.said or Closed(1006, "broken")
                    self.socket._end(said.code, said.reason)

        listener = Listener()
        transport, _ = await ws_connect(
            lambda: listener,
            url,
            websocket_handshake_timeout=OPEN_TIMEOUT_S,
            enable_auto_pong=True,
            max_frame_size=FRAME_BYTES_MAX,
        )
        socket = cls(transport)
        socket._listener = listener
        listener.socket = socket
        if transport.is_disconnected:
            listener.on_ws_disconnected(transport)
        return socket

    _listener: Any

    @property
    def received(self) -> int:  # type: ignore[override]  # counted where the frames come in
        return int(self._listener.received)

    async def send(self, frame: bytes) -> None:
        from picows import WSMsgType

        self._transport.send(WSMsgType.TEXT, frame)

    async def close(self) -> None:
        from picows import WSCloseCode

        self._transport.send_close(WSCloseCode.OK)
        self._transport.disconnect()
        await asyncio.wait({self.closed}, timeout=CLOSE_TIMEOUT_S)

    def pause(self) -> None:
        if not self._transport.is_disconnected:
            self._transport.underlying_transport.pause_reading()

    def resume(self) -> None:
        if not self._transport.is_disconnected:
            self._transport.underlying_transport.resume_reading()


@dataclass(frozen=True)
class Answer:
    """What REST said."""

    status: int
    data: bytes
    retry_after: str | None
    used_weight: int
    received_ns: int
    monotonic_ns: int


class Rest:
    """HTTP GET, nothing else."""

    def __init__(self, url: str, *, capture_times: bool = False) -> None:
        self.url = url.rstrip("/")
        self._capture_times = capture_times
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str) -> Answer:
        """One request; Retry when there is no answer."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=REST_TIMEOUT_S)
            )
        try:
            async with self._session.get(self.url + path) as response:
                data = await response.read()
                now_ns = time.time_ns()
                if self._capture_times:
                    now_ns = int(response.headers.get("X-Tickbus-Received-Ns", now_ns))
                weight = response.headers.get("X-MBX-USED-WEIGHT-1M", "0")
                return Answer(
                    response.status,
                    data,
                    response.headers.get("Retry-After"),
                    int(weight) if weight.isdigit() else 0,
                    now_ns,
                    time.monotonic_ns(),
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            text = str(error) or type(error).__name__
            raise Retry(f"{self.url}{_without_query(path)}: {text}") from None

    async def close(self) -> None:
        """Give the connections back."""
        if self._session is not None:
            await self._session.close()
