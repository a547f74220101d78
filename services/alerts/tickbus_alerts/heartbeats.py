"""Which services have fallen silent. A service that has died cannot tell it; its probes stop.

Every service has the server store a probe each few seconds (`tickbus_runtime.bus.connection`), and
one that is stopped in order says so in its last one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import NamedTuple

from tickbus.log.connection import Connection
from tickbus.log.reader import Reader
from tickbus_runtime.alerts.alarms import Holding, Place
from tickbus_runtime.bus.checkpoint import STREAM
from tickbus_runtime.bus.connection import FAREWELL, PROBE_SUBJECT

SILENT_S = 30.0
"""Six probes."""
FORGOTTEN_S = 86_400.0
"""A service that has not been there for a day is not expected any more."""


class Named(NamedTuple):
    """A service of a shard."""

    service: str
    shard: str


class Heartbeats:
    """Last signs of life. No I/O: times are monotonic seconds."""

    def __init__(self) -> None:
        self._heard_s: dict[Named, float] = {}

    def note(self, named: Named, payload: bytes, heard_s: float) -> None:
        """A probe of a service was stored at this time."""
        if payload == FAREWELL:
            self._heard_s.pop(named, None)
        else:
            self._heard_s[named] = heard_s

    def deaf(self, now_s: float) -> None:
        """We hear nobody ourselves: their silence tells nothing, and they have their time again."""
        for named, heard_s in self._heard_s.items():
            if now_s - heard_s < SILENT_S:
                self._heard_s[named] = now_s

    def look(self, now_s: float) -> Holding:
        """Services that are silent now."""
        holding = {}
        for (service, shard), heard_s in self._heard_s.items():
            silent_s = now_s - heard_s
            if SILENT_S <= silent_s < FORGOTTEN_S:
                told = f"{service} of {shard} gives no sign of life"
                holding[Place("service_silent", f"{service} {shard}")] = told
        return holding


async def listen(nc: Connection, heartbeats: Heartbeats, stopping: asyncio.Event) -> None:
    """Note every probe, until told to stop."""
    reader = Reader(nc, STREAM, subject_filter=f"{PROBE_SUBJECT}.>")

    async def end() -> None:
        await stopping.wait()
        reader.stop()

    ending = asyncio.create_task(end())
    try:
        await _note_all(reader, heartbeats)
    finally:
        ending.cancel()


async def _note_all(reader: Reader, heartbeats: Heartbeats) -> None:
    async with contextlib.aclosing(reader.groups()) as groups:
        async for group in groups:
            now_s, now_ns = time.monotonic(), time.time_ns()
            for one in group:
                named = named_in(one.subject)
                if named is not None:
                    # The first ones may be old; the server's clock may be ahead of ours.
                    ago_s = max(now_ns - one.stored_ns, 0) / 1e9
                    heartbeats.note(named, one.data, now_s - ago_s)


def named_in(subject: str) -> Named | None:
    """Whose probe it is; None for a subject of another form (of an older version)."""
    tokens = subject.removeprefix(f"{PROBE_SUBJECT}.").split(".")
    return Named(*tokens) if len(tokens) == 2 else None
