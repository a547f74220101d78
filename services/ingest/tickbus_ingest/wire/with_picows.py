"""Sockets by the library `picows`: https://picows.readthedocs.io

It calls back within the read of the socket, without a queue or a task.
"""

from __future__ import annotations

import asyncio
from time import monotonic_ns, time_ns
from typing import Any

from picows import (
    WSCloseCode,
    WSFrame,
    WSInvalidStatusError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from tickbus_ingest.wire.intake import PARTS_MAX, Intake
from tickbus_ingest.wire.socket import (
    BROKEN,
    CLOSE_TIMEOUT_S,
    FRAME_BYTES_MAX,
    OPEN_TIMEOUT_S,
    TOO_BIG,
    Closed,
    HandshakeRefused,
    Socket,
    without_query,
)

_TEXT, _BINARY, _CONTINUATION = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION
_CLOSE = WSMsgType.CLOSE


class _Listener(WSListener):
    """Takes the frames of one connection."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._packed = False
        self.socket: PicowsSocket | None = None
        self.said: Closed | None = None

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind, intake = frame.msg_type, self._intake
        if kind is _TEXT and frame.fin:
            data = frame.get_payload_as_bytes()
            intake.add(intake.line, data, time_ns(), monotonic_ns())
            intake.received += 1
        elif kind is _BINARY and frame.fin:
            intake.binary(frame.get_payload_as_bytes())
        elif kind is _TEXT or kind is _BINARY or kind is _CONTINUATION:
            self._part(transport, frame)
        elif kind is _CLOSE:
            reason = (frame.get_close_message() or b"").decode(errors="replace")
            self.said = self.said or Closed(_code_of(frame), reason)
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def _part(self, transport: WSTransport, frame: WSFrame) -> None:
        if self.said is not None:
            return
        if frame.msg_type is not _CONTINUATION:
            self._packed = frame.msg_type is _BINARY
        data = frame.get_payload_as_bytes()
        if not self._intake.part(data, last=frame.fin, packed=self._packed):
            self.said = Closed(TOO_BIG, f"a message of more than {PARTS_MAX} fragments")
            transport.disconnect(graceful=False)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self.socket is not None:
            said = self.said or Closed(BROKEN, "broken")
            self.socket._end(said.code, said.reason)


def _code_of(frame: WSFrame) -> int:
    code: Any = frame.get_close_code()  # an int for codes that picows has no name for
    return int(getattr(code, "value", code))


class PicowsSocket(Socket):
    """A connection of the library `picows`."""

    def __init__(self, transport: WSTransport, intake: Intake) -> None:
        super().__init__(intake)
        self._transport = transport

    async def send(self, frame: bytes) -> None:
        self._transport.send(WSMsgType.TEXT, frame)

    async def ping(self) -> None:
        self._transport.send_ping()

    async def close(self) -> None:
        self._transport.send_close(WSCloseCode.OK)
        self._transport.disconnect()
        await asyncio.wait({self.closed}, timeout=CLOSE_TIMEOUT_S)
        if not self.closed.done():
            self._transport.disconnect(graceful=False)
            self._end(BROKEN, "did not close")

    def pause(self) -> None:
        if not self._transport.is_disconnected:
            self._transport.underlying_transport.pause_reading()

    def resume(self) -> None:
        if not self._transport.is_disconnected:
            self._transport.underlying_transport.resume_reading()


async def open_socket(url: str, intake: Intake, local: str = "") -> Socket:
    """Connect; what goes wrong is the library's error, or HandshakeRefused."""
    listener = _Listener(intake)
    try:
        transport, _ = await ws_connect(
            lambda: listener,
            url,
            websocket_handshake_timeout=OPEN_TIMEOUT_S,
            enable_auto_pong=True,
            max_frame_size=FRAME_BYTES_MAX,
            max_redirects=0,
            local_addr=(local, 0) if local else None,
        )
    except WSInvalidStatusError as error:
        if error.response is None:
            raise
        status = int(error.response.status)
        text = f"{without_query(url)}: HTTP {status}"
        raise HandshakeRefused(text, status, error.response.headers) from None
    socket = PicowsSocket(transport, intake)
    listener.socket = socket
    if transport.is_disconnected:
        listener.on_ws_disconnected(transport)
    return socket
