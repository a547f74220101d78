"""A venue that costs next to nothing: a capture's frames as ready WebSocket bytes, one stream.

Frames up to the snapshot, then the snapshot over REST, then the rest as fast as it is taken, then
close code 4900. https://www.rfc-editor.org/rfc/rfc6455#section-5.2
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import struct
import sys
from pathlib import Path

from tickbus_bench import capture

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
END_OF_INPUT = 4900
PIECE_BYTES = 1 << 18


def encoded(frame: bytes, opcode: int = 1) -> bytes:
    """One unmasked frame, as servers send it."""
    size = len(frame)
    if size < 126:
        return struct.pack("!BB", 0x80 | opcode, size) + frame
    if size < 65_536:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + frame
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + frame


class BluntVenue:
    """Serves the same to one client after another."""

    def __init__(self, path: Path) -> None:
        before: list[bytes] = []
        after: list[bytes] = []
        self.body = b""
        for line in capture.lines(path):
            if line.dir == "http" and "lastUpdateId" in line.data[:40]:
                self.body = line.data.encode()
            elif line.dir == "in":
                (after if self.body else before).append(encoded(line.data.encode()))
        self.frames = len(before) + len(after)
        self.before, self.after = b"".join(before), b"".join(after)
        end = struct.pack("!H", END_OF_INPUT)
        self.after += encoded(end, opcode=8)
        self.fetched = asyncio.Event()
        tickers = {re.search(r'"s":"(\w+)"', line.data) for line in capture.lines(path)[:200]}
        self.tickers = sorted({found[1] for found in tickers if found})

    async def websocket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handshake, wait for the subscription, send."""
        request = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
        assert found
        accept = base64.b64encode(hashlib.sha1(found[1] + GUID).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        await reader.read(4096)
        self.fetched.clear()
        writer.write(encoded(b'{"result":null,"id":1}') + self.before)
        await self.fetched.wait()
        for start in range(0, len(self.after), PIECE_BYTES):
            writer.write(self.after[start : start + PIECE_BYTES])
            await writer.drain()
        await reader.read(4096)  # its close frame
        writer.close()

    async def rest(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The instrument list, or the snapshot."""
        while request := await reader.readline():
            while await reader.readline() not in (b"\r\n", b""):
                pass
            body = self.body if b"/depth" in request else self._instruments()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            if b"/depth" in request:
                self.fetched.set()
        writer.close()

    def _instruments(self) -> bytes:
        return json.dumps(
            {"symbols": [{"symbol": ticker, "status": "TRADING"} for ticker in self.tickers]}
        ).encode()


async def main() -> None:
    """Listen on free ports, say which, serve until stopped."""
    venue = BluntVenue(Path(sys.argv[1]))
    ports = []
    for serve in (venue.websocket, venue.rest):
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
    facts = {"ws": ports[0], "rest": ports[1], "frames": venue.frames, "tickers": venue.tickers}
    print(json.dumps(facts), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
