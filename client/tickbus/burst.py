"""Takes what the server sends in bursts, and chosen messages out of them without detours.

Every other operation goes to nats-py's own parser. For a message that we take,
nats-py's way (two regular expressions, a coroutine, a Msg with parsed headers, a queue and a task)
costs several times as much as all that we do with it afterwards.
https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import ParseResult

from nats.aio.transport import TcpTransport
from nats.errors import ProtocolError
from nats.protocol.parser import MAX_CONTROL_LINE_SIZE, Parser

Sink: TypeAlias = Callable[[bytes, bytes, bytes, bytes | None], None]
"""Takes subject, reply (b"" if none), payload and header block (None if none) of one message."""

READ_BYTES = 256 * 1024
"""As much as asyncio takes from a socket at a time; nats-py reads an eighth of it."""


class BurstTransport(TcpTransport):
    """nats-py's, reading all that is there at once (15 % of a reader's time)."""

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """Open the socket."""
        await super().connect(uri, READ_BYTES, connect_timeout)

    async def read(self, buffer_size: int) -> bytes:
        """What has arrived; waits while there is nothing."""
        data: bytes = await super().read(READ_BYTES)
        return data

    def __bool__(self) -> bool:
        # nats-py makes a transport of its own in the place of one that is false.
        return True


class BurstParser(Parser):
    """nats-py's parser, with sinks by subscription id."""

    def __init__(self, nc: Any) -> None:
        self.sinks: dict[bytes, Sink] = {}
        super().__init__(nc)

    def reset(self) -> None:
        """Forget what came from a connection that is lost."""
        super().reset()
        self._tail = b""

    async def parse(self, data: bytes = b"") -> None:
        """Handle every complete operation; keep the rest for the next bytes."""
        data = self._tail + data
        sinks = self.sinks
        place = 0
        while (line_end := data.find(b"\r\n", place)) >= 0:
            # MSG <subject> <sid> [reply] <bytes>, HMSG <subject> <sid> [reply] <header> <bytes>
            words = data[place:line_end].split()
            start = line_end + 2
            if words and words[0] in (b"HMSG", b"MSG"):
                try:
                    end = start + int(words[-1])
                    sink = sinks.get(words[2])
                except (ValueError, IndexError):
                    raise ProtocolError("nats: malformed MSG") from None
                if end + 2 > len(data):
                    break
                if sink is None:
                    await super().parse(data[place : end + 2])
                else:
                    body = start + int(words[-2]) if words[0] == b"HMSG" else start
                    reply = words[3] if len(words) == (6 if words[0] == b"HMSG" else 5) else b""
                    try:
                        sink(words[1], reply, data[body:end], data[start:body] or None)
                    except Exception as error:
                        # nats-py would stop reading for good, and tell nobody.
                        await self.nc._error_cb(error)
                place = end + 2
            else:
                await super().parse(data[place:start])
                place = start
        self._tail = data[place:]
        if line_end < 0 and len(self._tail) > MAX_CONTROL_LINE_SIZE:
            raise ProtocolError("nats: a control line without end")
