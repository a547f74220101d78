"""What tests of every package use: the captures, a real NATS server, a client of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from tickbus.log.connection import Connection, connect
from tickbus_runtime.local.nats_server import EmbeddedServer

from tests.processes import ServiceProcess, Start

# Modest, and the same on a busy machine: no test depends on the time it takes.
settings.register_profile(
    "tickbus", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tickbus")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def captures() -> Path:
    """The folder of real captures; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("TICKBUS_CAPTURES", ROOT.parent / "shared" / "captures"))
    if not (folder / "frames").is_dir():
        pytest.skip(f"no captures at {folder}: set TICKBUS_CAPTURES to their folder")
    return folder


@pytest_asyncio.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    """A real server on a free port with a store of its own."""
    server = EmbeddedServer(tmp_path / "bus")
    await server.start()
    yield server
    await server.kill()


@pytest_asyncio.fixture
async def bus(nats_server: EmbeddedServer) -> AsyncIterator[Connection]:
    """A client of the test's own server."""
    client = await connect(
        nats_server.url, name="test", user=nats_server.user, password=nats_server.password
    )
    yield client
    await client.close()


@pytest.fixture
def start(nats_server: EmbeddedServer) -> Iterator[Start]:
    """Starts services as processes on the test's own server; none of them outlives the test."""
    started: list[ServiceProcess] = []

    def start(name: str, folder: Path, **environment: str) -> ServiceProcess:
        started.append(ServiceProcess(name, nats_server, folder, environment))
        return started[-1]

    yield start
    for one in started:
        one.kill()
