"""A venue that costs next to nothing: a capture's frames as ready WebSocket bytes.

Frames up to the snapshots, then the snapshots over REST and the first update of each book, then
the rest as fast as it is taken, then close code 4900. Each connection gets what it subscribed to.
Before the rest all is quiet; a line of JSON says when it begins, in wall-clock ns.
https://www.rfc-editor.org/rfc/rfc6455#section-5.2
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import struct
import sys
import time
from pathlib import Path

from tickbus_bench import capture

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
END_OF_INPUT = 4900
PIECE_BYTES = 1 << 18
SUBSCRIBED_WAIT_S = 0.5
"""A client that has subscribed to nothing more for so long has subscribed to all it wants."""
QUIET_S = 0.3
"""From the last snapshot sent until the line is written: all books are taken in by then."""
NOTICE_S = 0.05
"""From the line to the frames: whoever measures looks at ingest's CPU time meanwhile."""
_SYMBOL = re.compile(r"symbol=(\w+)")
_STREAM = re.compile(rb'"stream":"([^"]+)"')


def encoded(frame: bytes, opcode: int = 1) -> bytes:
    """One unmasked frame, as servers send it."""
    size = len(frame)
    if size < 126:
        return struct.pack("!BB", 0x80 | opcode, size) + frame
    if size < 65_536:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + frame
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + frame


async def decoded(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Opcode and content of one masked frame, as clients send it."""
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", await reader.readexactly(8))
    mask = await reader.readexactly(4)
    masked = await reader.readexactly(size)
    return first & 15, bytes(byte ^ mask[n % 4] for n, byte in enumerate(masked))


def family(stream: str) -> str:
    """A stream's name without the speed of its updates."""
    return "@".join(stream.split("@")[:2])


class BluntVenue:
    """Serves the same to one client after another."""

    def __init__(self, path: Path) -> None:
        self.bodies: dict[str, bytes] = {}
        self.before: list[tuple[str, bytes]] = []
        self.joining: list[tuple[str, bytes]] = []
        self.after: list[tuple[str, bytes]] = []
        lines = capture.lines(path)
        last = max(n for n, line in enumerate(lines) if capture.is_book(line))
        for line in filter(capture.is_book, lines):
            symbol = _SYMBOL.search(line.url)
            assert symbol
            self.bodies[symbol[1]] = line.data.encode()
        waiting = {f"{symbol.lower()}@depth" for symbol in self.bodies}
        for n, line in enumerate(lines):
            if line.dir == "in":
                frame = line.data.encode()
                stream = _STREAM.search(frame)
                name = family(stream[1].decode()) if stream else ""
                part = self.before if n <= last else self.joining if waiting else self.after
                part.append((name, encoded(frame)))
                if n > last:
                    waiting.discard(name)
        self.frames = len(self.after)
        self.tickers = sorted(self.bodies)
        self.begin()

    def begin(self) -> None:
        """A new client: nobody is subscribed, nothing is fetched."""
        self.subscribed: dict[asyncio.StreamWriter, set[str]] = {}
        self.changed_s = 0.0
        self.missing = set(self.bodies)
        self.fetched, self.plays = asyncio.Event(), asyncio.Event()

    async def websocket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handshake, wait for the subscriptions of all connections, send."""
        request = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
        assert found
        accept = base64.b64encode(hashlib.sha1(found[1] + GUID).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        if not any(self.subscribed.values()):
            self.begin()
        own = self.subscribed[writer] = set()
        listening = asyncio.create_task(self._listen(reader, writer, own))
        await self._all_subscribed(own)
        for part in (self.before, self.joining, self.after):
            if part is self.joining:
                await self.fetched.wait()
            data = b"".join(frame for stream, frame in part if not stream or stream in own)
            if part is self.after:
                await self.plays.wait()
                data += encoded(struct.pack("!H", END_OF_INPUT), opcode=8)
            for start in range(0, len(data), PIECE_BYTES):
                writer.write(data[start : start + PIECE_BYTES])
                await writer.drain()
        await listening
        writer.close()

    async def _all_subscribed(self, own: set[str]) -> None:
        """Returns when this connection has subscribed, and none has for a while."""
        loop = asyncio.get_running_loop()
        wait_s = SUBSCRIBED_WAIT_S
        while not own or wait_s > 0:
            await asyncio.sleep(min(max(wait_s, 0.02), SUBSCRIBED_WAIT_S))
            wait_s = self.changed_s + SUBSCRIBED_WAIT_S - loop.time()

    async def _listen(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, own: set[str]
    ) -> None:
        """Answer subscriptions until the client hangs up."""
        try:
            while True:
                opcode, content = await decoded(reader)
                if opcode == 8:
                    return
                if opcode == 1:
                    asked = json.loads(content)
                    own.update(map(family, asked["params"]))
                    self.changed_s = asyncio.get_running_loop().time()
                    answer = {"result": None, "id": asked["id"]}
                    writer.write(encoded(json.dumps(answer).encode()))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.subscribed.pop(writer, None)

    async def rest(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The instrument list, or a snapshot."""
        while request := await reader.readline():
            while await reader.readline() not in (b"\r\n", b""):
                pass
            symbol = re.search(rb"symbol=(\w+)", request)
            body = self.bodies[symbol[1].decode()] if symbol else self._instruments()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            if symbol:
                self.missing.discard(symbol[1].decode())
                if not self.missing:
                    self.fetched.set()
                    self.playing = asyncio.create_task(self._play())
        writer.close()

    async def _play(self) -> None:
        await asyncio.sleep(QUIET_S)
        print(json.dumps({"begins_ns": time.time_ns() + int(NOTICE_S * 1e9)}), flush=True)
        await asyncio.sleep(NOTICE_S)
        self.plays.set()

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
