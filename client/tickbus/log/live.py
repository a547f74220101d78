"""Live messages: the server republishes each message, once stored, on `live.<subject>`.

The headers that it adds give the stream sequence of each:
https://docs.nats.io/nats-concepts/jetstream/streams#republish
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import NamedTuple

from tickbus.log.connection import Connection
from tickbus.log.reader import Reader
from tickbus.log.stored import Stored, header
from tickbus.log.wire import Messages

BUFFER_MESSAGES = 50_000
BUFFER_BYTES = 128 * 1024**2


class Live(NamedTuple):
    """A republished message."""

    stream: str
    stored: Stored
    last_seq: int
    """sequence of the message before it on the same subject, 0 if none"""


class LiveFeed:
    """Buffers live messages until they are taken; when it is full, the streams must be read."""

    def __init__(self, nc: Connection, subject: str) -> None:
        self._nc = nc
        self._subject = f"live.{subject}"
        self._arrived: list[Live] = []
        self._bytes = 0
        self._wakeup = asyncio.Event()
        self._taken = asyncio.Event()
        self._following: list[asyncio.Task[None]] = []
        self.torn = False
        """messages may be missing since the last `take`: read the streams"""

    async def open(self) -> None:
        """Begin to listen."""
        self._subscription = await self._nc.pour(self._subject, self._on_messages)
        self._end_listening = self._nc.on_change(self.tear)

    def follow(self, reader: Reader) -> None:
        """Read a stream that does not republish with a reader instead."""
        task = asyncio.create_task(self._follow(reader))
        task.add_done_callback(lambda _: self._wakeup.set())
        self._following.append(task)

    async def _follow(self, reader: Reader) -> None:
        async with contextlib.aclosing(reader.groups()) as groups:
            async for batch in groups:
                if len(self._arrived) >= BUFFER_MESSAGES:
                    self._taken.clear()
                    await self._taken.wait()
                self._arrived += [Live(reader.stream, stored, 0) for stored in batch]
                self._wakeup.set()

    async def close(self) -> None:
        """End it."""
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
        self._end_listening()
        await self._nc.stop(self._subscription)

    async def wait(self) -> None:
        """Wait until a message has arrived or one may be missing."""
        while not self._arrived and not self.torn:
            self._wakeup.clear()
            await self._wakeup.wait()
            for task in self._following:
                if task.done():
                    task.result()  # raises if the stream is gone

    def take(self) -> list[Live]:
        """Everything that has arrived."""
        arrived, self._arrived, self._bytes = self._arrived, [], 0
        self._taken.set()
        return arrived

    def mend(self) -> None:
        """Keep messages again from now on; the caller reads the streams up to now or later."""
        self.torn = False
        self.take()

    def tear(self) -> None:
        """Note that messages may be missing."""
        self.torn = True
        self._wakeup.set()

    def _on_messages(self, messages: Messages) -> None:
        for subject, data, headers in messages.each():
            self._on_message(subject, data, headers)

    def _on_message(self, subject: bytes, data: bytes, headers: bytes | None) -> None:
        live = _live(subject, data, headers)
        if live is None or self.torn:
            return
        if len(self._arrived) >= BUFFER_MESSAGES or self._bytes >= BUFFER_BYTES:
            self.take()
            self.tear()
            return
        self._arrived.append(live)
        self._bytes += len(data)
        self._wakeup.set()


def _live(subject: bytes, data: bytes, headers: bytes | None) -> Live | None:
    """The message with its place in the stream; None if no stream republished it."""
    stream, seq = header(headers, "Nats-Stream"), header(headers, "Nats-Sequence")
    last, time = header(headers, "Nats-Last-Sequence"), header(headers, "Nats-Time-Stamp")
    if stream is None or seq is None or last is None:
        return None
    text = subject.decode("utf-8", "replace").removeprefix("live.")
    stored = Stored(int(seq), _time_ns(time) if time else 0, text, data, headers)
    return Live(stream, stored, int(last))


def _time_ns(text: str) -> int:
    """RFC 3339 with up to nine digits of a second."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0"))
