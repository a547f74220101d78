"""Sockets by the library `websockets`: https://websockets.readthedocs.io

Frames are taken as they are parsed, without the library's queue and a task a connection.
"""

from __future__ import annotations

import asyncio
from time import monotonic_ns, time_ns
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import InvalidStatus
from websockets.frames import DATA_OPCODES, Frame, Opcode

from tickbus_ingest.wire.intake import PARTS_MAX, Intake
from tickbus_ingest.wire.socket import (
    BROKEN,
    CLOSE_TIMEOUT_S,
    FRAME_BYTES_MAX,
    TOO_BIG,
    Closed,
    HandshakeRefused,
    Socket,
    without_query,
)


class _Pushing(ClientConnection):
    """Hands each message over at once; the library's own way is to queue it for `recv`."""

    intake: Intake
    packed: bool | None = None
    """of the message whose fragments are coming; None between messages"""
    refuses: bool = False

    def process_event(self, event: Any) -> None:
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
        elif not event.fin or self.packed is not None:
            self._part(event)
        elif event.opcode is Opcode.TEXT:
            intake = self.intake
            intake.add(intake.line, bytes(event.data), time_ns(), monotonic_ns())
            intake.received += 1
        else:
            self.intake.binary(bytes(event.data))

    def _part(self, event: Frame) -> None:
        if self.refuses:
            return
        packed = event.opcode is Opcode.BINARY if self.packed is None else self.packed
        self.packed = None if event.fin else packed
        if not self.intake.part(bytes(event.data), last=event.fin, packed=packed):
            self.refuses = True
            self.transport.abort()


class _Connect(open_websocket):
    """Does not follow redirects: a venue that has moved is to be told by its file."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class WebsocketsSocket(Socket):
    """A connection of the library `websockets`."""

    def __init__(self, connection: _Pushing, intake: Intake) -> None:
        super().__init__(intake)
        self._connection = connection
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        await self._connection.wait_closed()
        if self._connection.refuses:
            self._why = Closed(TOO_BIG, f"a message of more than {PARTS_MAX} fragments")
        code = self._connection.close_code
        self._end(code if code else BROKEN, self._connection.close_reason or "broken")

    async def send(self, frame: bytes) -> None:
        await self._connection.send(frame, text=True)

    async def ping(self) -> None:
        await self._connection.ping()

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


async def open_socket(url: str, intake: Intake, local: str = "") -> Socket:
    """Connect; what goes wrong is the library's error, or HandshakeRefused."""

    def made(*arguments: Any, **options: Any) -> _Pushing:
        connection = _Pushing(*arguments, **options)
        connection.intake = intake
        return connection

    try:
        connection = await _Connect(
            url,
            create_connection=made,  # type: ignore[arg-type]  # a class is asked for, and called
            max_size=FRAME_BYTES_MAX,
            compression=None,
            ping_interval=None,  # the venues ping us; the keeper sees silence
            close_timeout=CLOSE_TIMEOUT_S,
            local_addr=(local, 0) if local else None,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        text = f"{without_query(url)}: HTTP {status}"
        raise HandshakeRefused(text, status, error.response.headers) from None
    assert isinstance(connection, _Pushing)
    return WebsocketsSocket(connection, intake)
