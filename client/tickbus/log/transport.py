"""The socket to a NATS server, as nats-py's, but bytes are handed over at once and uncopied.

https://docs.python.org/3/library/asyncio-stream.html
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import ParseResult

from nats.aio.transport import TcpTransport

READ_BYTES = 256 * 1024
"""As many bytes as asyncio reads from a socket at a time; nats-py takes an eighth of that."""


class ChunkReader(asyncio.StreamReader):
    """Gives a waiting `read` the bytes of the socket without a copy.

    asyncio's own reader copies them into a buffer and out again (a sixth of a reader's time at
    1.5 KB a message). Only bytes that arrive while nobody waits go through the buffer.
    """

    def __init__(self) -> None:
        super().__init__(READ_BYTES)
        self._waiting: asyncio.Future[bytes] | None = None
        self._may_hold = False  # whether asyncio's buffer may hold bytes

    def feed_data(self, data: Any) -> None:
        """Called with the bytes of the socket."""
        if self._waiting is None or self._waiting.done():
            self._may_hold = True
            super().feed_data(data)
        else:
            self._waiting.set_result(data)

    def feed_eof(self) -> None:
        """Called when nothing more will come."""
        super().feed_eof()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(b"")

    def set_exception(self, exc: Exception) -> None:
        """Called when the connection broke."""
        super().set_exception(exc)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc)

    async def read(self, n: int = -1) -> bytes:
        """The bytes that arrived (from the buffer at most `n`); b"" at the end."""
        if self._may_hold or n < 0 or self.at_eof() or self.exception() is not None:
            data = await super().read(n)
            self._may_hold = len(data) == n
            return data
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            return await self._waiting
        finally:
            self._waiting = None


class BurstTransport(TcpTransport):
    """nats-py's transport, with the reader above."""

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """Open the socket. OSError or TimeoutError when nobody answers."""
        loop = asyncio.get_running_loop()
        host: Any = uri.hostname
        port: Any = uri.port  # nats-py has filled in missing parts of the URL
        reader = ChunkReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        async with asyncio.timeout(connect_timeout):
            transport, _ = await loop.create_connection(lambda: protocol, host, port)
        self._bare_io_reader = self._io_reader = reader
        self._bare_io_writer = self._io_writer = asyncio.StreamWriter(
            transport, protocol, reader, loop
        )

    async def read(self, buffer_size: int) -> bytes:
        """The bytes that arrived; waits until there are some."""
        data: bytes = await super().read(READ_BYTES)
        return data

    def __bool__(self) -> bool:
        # nats-py replaces a transport that is falsy with its own.
        return True
