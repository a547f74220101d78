"""Services as processes on a real server: fed, watched, killed and ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tickbus.log.connection import Connection
from tickbus.log.reader import Reader
from tickbus.log.stored import Stored, header
from tickbus_runtime.bus.streams import ensure
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_runtime.service.fold import Output
from tickbus_runtime.settings.sections import Settings

WAIT_S = 60
END_S = 30


class ServiceProcess:
    """`python -m tickbus_<name>` over a folder; `environment` holds settings beside the usual."""

    def __init__(
        self, name: str, server: EmbeddedServer, folder: Path, environment: dict[str, str]
    ) -> None:
        folder.mkdir(exist_ok=True)
        password = folder / "password"
        password.write_text(server.password)
        self._run_file = folder / "_run" / f"{name}.json"
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tickbus_{name}"],
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "TICKBUS_DATA_DIR": str(folder),
                "TICKBUS_NATS__URL": server.url,
                "TICKBUS_NATS__USER": server.user,
                "TICKBUS_NATS__PASSWORD_FILE": str(password),
                **environment,
            },
        )

    def status(self) -> dict[str, Any]:
        """What it says of itself; nothing before it is up."""
        try:
            found = json.loads(self._run_file.read_text())
            if found["pid"] != self._process.pid:
                return {}  # of the process before
            with urllib.request.urlopen(found["health_url"] + "/status", timeout=5) as answer:
                status: dict[str, Any] = json.loads(answer.read())
                return status
        except (OSError, ValueError, urllib.error.URLError):
            return {}

    async def read_up_to(self, wanted: dict[str, int]) -> dict[str, Any]:
        """Wait until it is ready and has read each stream up to a sequence; its status then."""
        deadline = time.monotonic() + WAIT_S
        while True:
            assert self._process.poll() is None, self._process.communicate()[1]
            status = await asyncio.to_thread(self.status)
            positions = status.get("positions", {})
            behind = [stream for stream in wanted if positions.get(stream, 0) < wanted[stream]]
            if status.get("ready") and not behind:
                return status
            assert time.monotonic() < deadline, f"only {status}"
            await asyncio.sleep(0.02)

    def drain(self) -> int:
        """Tell it to stop; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=END_S)
        return self._process.returncode

    def kill(self) -> None:
        """End it at once; one that has ended stays so."""
        if self._process.poll() is None:
            self._process.kill()
        if self._process.stderr is not None and not self._process.stderr.closed:
            self._process.communicate()

    async def ended(self) -> tuple[int, str]:
        """Wait for it to end by itself; exit code and what it said."""
        _, said = await asyncio.to_thread(self._process.communicate)
        return self._process.returncode, said


Start = Callable[..., ServiceProcess]
"""`start(name, folder, SETTING="value", ...)`"""


async def make_streams(bus: Connection) -> None:
    """The streams of the usual shard."""
    settings = Settings()
    await ensure(bus.jetstream(), settings, settings.of_shard)


async def publish(bus: Connection, log: Sequence[Stored]) -> None:
    """Store messages, each on its subject."""
    js = bus.jetstream()
    for one in log:
        await js.publish(one.subject, one.data)


async def stored(bus: Connection, stream: str, messages: int) -> list[Stored]:
    """The first messages of a stream, as soon as there are so many."""
    found: list[Stored] = []
    async for arrived in Reader(bus, stream).groups():
        found += arrived
        if len(found) >= messages:
            break
    return found


async def killed_twice(
    start: Callable[[], ServiceProcess], bus: Connection, stream: str, log: Sequence[Stored]
) -> dict[str, Any]:
    """Feed a log in three parts to services that are killed shortly before the end of theirs.

    The last one reads all and is drained: its status before that.
    """
    thirds = [len(log) * part // 3 for part in range(4)]
    for first, end in pairwise(thirds):
        await publish(bus, log[first:end])
        service = start()
        await service.read_up_to({stream: end - 100})
        if end < len(log):
            service.kill()
    status = await service.read_up_to({stream: len(log)})
    assert service.drain() == 0
    return status


async def assert_published(bus: Connection, stream: str, outputs: Sequence[Output]) -> None:
    """Each output is in its stream, once and in order, and names the message that closed it."""
    found = await stored(bus, stream, len(outputs))
    assert [one.data for one in found] == [one.payload for one in outputs]
    assert [one.subject for one in found] == [one.subject for one in outputs]
    places = [header(one.headers, "In-Seq") for one in found]
    assert places == [f"{one.in_seq}.{one.k}" for one in outputs]
