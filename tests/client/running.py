"""The command line as a process, beside a real server with a stream of golden messages."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from nats.js.api import RePublish, StreamConfig
from tickbus.log.connection import Connection
from tickbus_runtime.local.nats_server import EmbeddedServer

from tests.schemas.test_golden import CASES, bytes_of

TRADE = next(case for case in CASES if case["type"] == "TradeBatch")
L2 = next(case for case in CASES if case["type"] == "L2Batch")
TIMEOUT_S = 30


async def make_stream(bus: Connection, **settings: Any) -> None:
    """A stream as ours: everything of a shard, repeated on live. as soon as it is stored."""
    await bus.jetstream().add_stream(
        StreamConfig(
            name="MD_BINANCE_USDM",
            subjects=["md.binance_usdm.>", "clock.binance_usdm", "fence.binance_usdm"],
            republish=RePublish(src=">", dest="live.>"),
            allow_direct=True,
            **settings,
        )
    )


async def publish(bus: Connection, *cases: dict[str, Any]) -> None:
    """Store golden messages, each on its subject."""
    for case in cases:
        await bus.jetstream().publish(case["subject"], bytes_of(case))


@asynccontextmanager
async def tickbus(
    server: EmbeddedServer, *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`tickbus <arguments>` as a process; it finds the server through its data folder."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tickbus.cli",
        *arguments,
        "--data",
        str(server.run_file.parents[1]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def finished(server: EmbeddedServer, *arguments: str) -> tuple[int, list[str], str]:
    """Exit code, lines of output and what was said on stderr."""
    async with tickbus(server, *arguments) as process:
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        assert process.returncode is not None
        return process.returncode, out.decode().splitlines(), err.decode()
