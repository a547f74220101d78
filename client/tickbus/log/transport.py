"""The socket to a NATS server: nats-py's, but what has arrived is handed over at once and uncopied.

https://docs.python.org/3/library/asyncio-stream.html
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import ParseResult

from nats.aio.transport import TcpTransport

READ_BYTES = 256 * 1024
"""As much as asyncio takes from a socket at a time; nats-py reads an eighth of it."""


class ChunkReader(asyncio.StreamReader):
    """Gives whoever waits in `read` the very bytes that the socket gave.

    asyncio's own copies them into a buffer and out again (a sixth of a reader's time at 1.5 KB a
    message). That is left for what comes while nobody waits.
    """

    def __init__(self) -> None:
        super().__init__(READ_BYTES)
        self._waiting: asyncio.Future[bytes] | None = None
        self._may_hold = False  # whether there may be something in asyncio's buffer

    def feed_data(self, data: Any) -> None:
        """Called with the bytes that the socket gave."""
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
        """What has arrived, up to `n` bytes where it waited in the buffer; b"" at the end."""
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
    """nats-py's, reading all that is there."""

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """Open the socket. OSError or TimeoutError when nobody answers."""
        loop = asyncio.get_running_loop()
        host: Any = uri.hostname
        port: Any = uri.port  # nats-py fills in what a URL leaves out
        reader = ChunkReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        async with asyncio.timeout(connect_timeout):
            transport, _ = await loop.create_connection(lambda: protocol, host, port)
        self._bare_io_reader = self._io_reader = reader
        self._bare_io_writer = self._io_writer = asyncio.StreamWriter(
            transport, protocol, reader, loop
        )

    async def read(self, buffer_size: int) -> bytes:
        """What has arrived; waits while there is nothing."""
        data: bytes = await super().read(READ_BYTES)
        return data

    def __bool__(self) -> bool:
        # nats-py makes a transport of its own in the place of one that is false.
        return True
