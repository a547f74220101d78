"""Reads /status of the supervised services, and the important lines of their log files."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from tickbus_schemas.errors import Fatal

from tickbus_runtime.local.lives import Lives, Status
from tickbus_runtime.local.supervise import Supervisor
from tickbus_runtime.service import run_files

POLL_S = 0.5
HURRIED_POLL_S = 0.02
ANSWER_WITHIN_S = 2.0


class StatusPoller:
    """Keeps `lives` current; the work of a killed process after the last poll is unknown."""

    def __init__(self, data_dir: Path, supervisor: Supervisor, say: Callable[[str], None]) -> None:
        self.lives = Lives()
        self._data_dir = data_dir
        self._supervisor = supervisor
        self._say = say
        self._services: Sequence[str] = ()
        self._every_s = POLL_S
        self._task: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()

    def start(self, services: Sequence[str]) -> None:
        """Begin to poll these services."""
        self._services = services
        self._task = asyncio.create_task(self._run())

    def hurry(self) -> None:
        """Poll often, because the run is about to end."""
        self._every_s = HURRIED_POLL_S

    async def next_look(self) -> None:
        """Wait until every service was polled once more."""
        self._looked.clear()
        await self._looked.wait()

    async def all_started(self, names: Sequence[str], within_s: float) -> None:
        """Wait until each of these services is ready; Fatal when one is too late."""
        ends_s = time.monotonic() + within_s
        self._every_s = HURRIED_POLL_S * 2
        while late := [name for name in names if not self.has_started(name)]:
            if time.monotonic() > ends_s:
                why = self._supervisor.children[late[0]].tail.last_error()
                text = f"{', '.join(late)}: not ready after {within_s:.0f} s"
                raise Fatal(f"{text}: {why}" if why else text)
            await self.next_look()
        self._every_s = POLL_S

    def has_started(self, name: str) -> bool:
        """Whether a service is ready; of ingest: whether its venue has answered."""
        if self._supervisor.children[name].finished.is_set():
            return True  # a service with a short input may have finished before the first poll
        return bool(self.lives.latest(name).get("checks", {}).get("started"))

    async def close(self) -> None:
        """Poll everything a last time, then stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
            self._read_logs()
            for name in self._services:
                self._take_last(name)

    async def _run(self) -> None:
        while True:
            await asyncio.gather(*(self._look_at(name) for name in self._services))
            self._read_logs()
            self._looked.set()
            await asyncio.sleep(self._every_s)

    async def _look_at(self, name: str) -> None:
        child = self._supervisor.children.get(name)
        if child is not None and child.pid is None:
            self._take_last(name)
            return
        found = run_files.read(self._data_dir, name)
        if found is None:
            return
        with contextlib.suppress(OSError, TimeoutError, ValueError, msgspec.MsgspecError):
            body = await asyncio.wait_for(_get(found.health_url, "/status"), ANSWER_WITHIN_S)
            self.lives.update(msgspec.json.decode(body, type=Status))

    def _take_last(self, name: str) -> None:
        last = run_files.last(self._data_dir, name)
        if last is not None:
            self.lives.update(last)

    def _read_logs(self) -> None:
        for name, child in self._supervisor.children.items():
            for line in child.tail.new_lines():
                self._say(f"{name}: {line}")


async def _get(url: str, path: str) -> bytes:
    """The body of a GET to one of our health servers (importing an HTTP library takes 0.25 s)."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if b" 200 " not in head[:16]:
        raise ValueError(head[:60])
    return body
