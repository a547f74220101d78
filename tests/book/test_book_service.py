"""The service as a process on a real server: killed and started again, each message once."""

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tickbus.connection import Connection
from tickbus.reader import Reader
from tickbus.stored import Stored, header
from tickbus_book.fold import BookFold
from tickbus_runtime.nats_server import EmbeddedServer
from tickbus_runtime.settings import Settings
from tickbus_runtime.streams import ensure
from tickbus_schemas.exchanges import Exchange

from tests.features import recorded

pytestmark = pytest.mark.connected

MD, BOOK = "MD_BINANCE_USDM", "BOOK_BINANCE_USDM"


class Service:
    """A book process with a grid of 100 ms and a row a change."""

    def __init__(self, server: EmbeddedServer, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        password = folder / "password"
        password.write_text(server.password)
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tickbus_book"],
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "TICKBUS_DATA_DIR": str(folder),
                "TICKBUS_NATS__URL": server.url,
                "TICKBUS_NATS__USER": server.user,
                "TICKBUS_NATS__PASSWORD_FILE": str(password),
                "TICKBUS_BOOK__CHECKPOINT_S": "0.2",
                "TICKBUS_BOOK__ON_CHANGE": "true",
            },
        )

    def status(self) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / "_run" / "book.json").read_text())
            if found["pid"] != self.process.pid:
                return {}  # of the process before
            with urllib.request.urlopen(found["health_url"] + "/status", timeout=5) as answer:
                status: dict[str, Any] = json.loads(answer.read())
                return status
        except (OSError, ValueError, urllib.error.URLError):
            return {}  # not up yet

    async def read_up_to(self, seq: int) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, self.process.communicate()[1]
            status = await asyncio.to_thread(self.status)
            if status.get("positions", {}).get(MD, 0) >= seq:
                return status
            assert time.monotonic() < deadline, f"only {status.get('positions')}"
            await asyncio.sleep(0.02)

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.fixture
def services() -> Iterator[list[Service]]:
    started: list[Service] = []
    yield started
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


async def stored(bus: Connection, messages: int) -> list[Stored]:
    found: list[Stored] = []
    async for arrived in Reader(bus, BOOK).groups():
        found += arrived
        if len(found) >= messages:
            break
    return found


async def test_killed_and_started_again_it_publishes_each_message_once(
    captures: Path,
    nats_server: EmbeddedServer,
    bus: Connection,
    tmp_path: Path,
    services: list[Service],
) -> None:
    settings = Settings()
    js = bus.jetstream()
    await ensure(js, settings, settings.of_shard)
    events = recorded.events(captures, "binance_usdm/cryptofeed_20210722")
    log = recorded.log(events, Exchange.BINANCE_USDM, 32)
    fold = BookFold([0, 100], 10, stream=BOOK)
    expected = [one for group in recorded.groups(log) for one in fold.apply(group)]

    for part in (1, 2, 3):
        for one in log[len(log) * (part - 1) // 3 : len(log) * part // 3]:
            await js.publish(one.subject, one.data)
        services.append(Service(nats_server, tmp_path / "data"))
        await services[-1].read_up_to(len(log) * part // 3 - 100)
        if part < 3:
            services[-1].end(signal.SIGKILL)
    status = await services[-1].read_up_to(len(log))
    assert status["ready"]
    assert services[-1].end(signal.SIGTERM) == 0

    found = await stored(bus, len(expected))
    assert [one.data for one in found] == [one.payload for one in expected]
    assert [one.subject for one in found] == [one.subject for one in expected]
    places = [header(one.headers, "In-Seq") for one in found]
    assert places == [f"{one.in_seq}.{one.k}" for one in expected]
