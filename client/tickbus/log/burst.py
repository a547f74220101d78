"""Parses the server's bytes in bursts, and hands wanted messages straight to their sinks.

nats-py's own parser handles every other operation. For a message, nats-py needs two regular
expressions, a coroutine, a Msg with parsed headers, a queue and a task. That costs several times
as much as all that we do with the message afterwards.
https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from nats.errors import ProtocolError
from nats.protocol.parser import MAX_CONTROL_LINE_SIZE, Parser

from tickbus.log.wire import Messages, RunReader, head, read_plainly

Sink: TypeAlias = Callable[[Messages], None]
"""Takes messages of its subscription, in their order."""


def run_reader() -> RunReader:
    """The kernel if this process has loaded Numba anyway, else plain Python: Numba loads slowly."""
    if "tickbus.compiled" not in sys.modules:
        return read_plainly
    from tickbus.log.kernels.wire import KernelReader

    return KernelReader()


class BurstParser(Parser):
    """nats-py's parser, with sinks by subscription id."""

    def __init__(self, nc: Any, read_many: RunReader = read_plainly) -> None:
        self.sinks: dict[int, Sink] = {}
        self._read_many = read_many
        super().__init__(nc)

    def reset(self) -> None:
        """Forget what came from a connection that is lost."""
        super().reset()
        self._held: list[bytes] = []  # the beginning of an operation
        self._lacks = 0  # bytes that it still needs; 0: its first line is incomplete

    async def parse(self, data: bytes = b"") -> None:
        """Handle every complete operation; keep the rest for the next bytes."""
        place = 0
        while self._held and place < len(data):
            place = await self._complete(data, place)
        await self._read(data, place)

    async def _complete(self, data: bytes, place: int) -> int:
        """Add the bytes that the held operation needs; where the rest of `data` begins."""
        end = place + self._lacks if self._lacks else data.find(b"\n", place) + 1
        end = min(end or len(data), len(data))
        self._held.append(data[place:end])
        self._lacks = max(self._lacks - (end - place), 0)
        if not self._lacks:
            held, self._held = b"".join(self._held), []
            await self._read(held, 0)
        return end

    async def _read(self, data: bytes, place: int) -> None:
        """Handle operations from `place` on, and hold the last one if it is incomplete."""
        while place < len(data):
            run = self._read_many(data, place, self.sinks) or read_plainly(data, place, self.sinks)
            if run is None:
                end = await self._other(data, place)
                if end == place:
                    return
                place = end
                continue
            if run.messages is None:
                await super().parse(data[place : run.end])
            else:
                try:
                    self.sinks[run.sid](run.messages)
                except Exception as error:
                    # nats-py would stop reading for good, and tell nobody.
                    await self.nc._error_cb(error)
            place = run.end

    async def _other(self, data: bytes, place: int) -> int:
        """Leave the operation at `place` to nats-py, or hold it when it is incomplete."""
        line_end = data.find(b"\r\n", place)
        line = None if line_end < 0 else head(data, place)
        if line_end >= 0 and line is None:
            await super().parse(data[place : line_end + 2])
            return line_end + 2
        if line is None and len(data) - place > MAX_CONTROL_LINE_SIZE:
            raise ProtocolError("nats: a control line without end")
        self._held = [data[place:]]
        self._lacks = 0 if line is None else line.end + 2 - len(data)
        return place
