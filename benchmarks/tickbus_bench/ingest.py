"""WebSocket to JetStream-acked: frames/s of one ingest process on one core.

A real capture over a real loopback socket into a real nats-server: parsed, book kept, NEW told
from UPDATE, encoded, stored, acked. Each run is a process of its own, pinned to one core where
there are several; venue and server have the others, and streams are made anew. Timed by the
process itself, from the first frame taken to the last answer; without the recorder of raw frames,
and with it (`_raw`), which compresses on the same core.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from tickbus.log.connection import connect
from tickbus_runtime.bus import streams
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_runtime.settings.sections import IngestSettings, Settings
from tickbus_schemas.errors import Fatal

from tickbus_bench.peers import figure
from tickbus_bench.target import Target, of_runs

PEER = "cryptofeed"
TARGETS = {"picows": 200_000, "websockets": 110_000}


FEEDS = "trade,l2,bbo"


def measure(path: Path, quick: bool) -> list[Target]:
    """The fastest client and the default one, each without the recorder; in full with it, too."""
    peer = figure(path, quick, PEER)  # first: it has the machine to itself, and so have we
    return asyncio.run(_measure(path, quick, peer))


async def _measure(path: Path, quick: bool, peer: str) -> list[Target]:
    found = []
    for raw in (False,) if quick else (False, True):
        for client, bound in TARGETS.items():
            results = await runs(path, client, 3 if quick else 7, {"INGEST__RAW": str(raw).lower()})
            found.append(target(f"ingest.{client}{'_raw' if raw else ''}", bound, results, peer))
    return found


async def runs(
    path: Path, client: str, count: int, settings: dict[str, str]
) -> list[dict[str, Any]]:
    """frames, seconds and cpu_s of so many runs over one capture."""
    with tempfile.TemporaryDirectory(prefix="tickbus-bench-") as folder, _venue(path) as facts:
        async with _server(Path(folder)) as server:
            return [await _run(server, path, facts, client, settings) for _ in range(count)]


def target(
    name: str,
    bound: int,
    results: list[dict[str, Any]],
    peer: str,
    notes: dict[str, Any] | None = None,
) -> Target:
    """Frames a second of some runs."""
    per_core = median(one["frames"] / one["cpu_s"] for one in results)
    rates = [one["frames"] / one["seconds"] for one in results]
    return Target(
        name=name,
        unit="frames/s",
        target=bound,
        at_least=True,
        limit=f"{per_core:,.0f} frames a CPU second",
        peer=peer,
        notes={"frames": results[0]["frames"], "cpu_us_a_frame": 1e6 / per_core, **(notes or {})},
        **(of_runs(rates) if len(rates) > 1 else {"value": rates[0]}),
    )


@contextmanager
def _venue(path: Path) -> Iterator[dict[str, Any]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tickbus_bench.blunt_venue", str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate()


@asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(folder)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


async def _run(
    server: EmbeddedServer,
    path: Path,
    facts: dict[str, Any],
    client: str,
    settings: dict[str, str],
) -> dict[str, Any]:
    """frames, seconds and cpu_s of one run."""
    exchange = path.parent.name
    await _new_streams(server, Settings(ingest=IngestSettings(exchange=exchange)))
    with tempfile.TemporaryDirectory(prefix="tickbus-bench-") as folder:
        password = Path(folder) / "password"
        password.write_text(server.password)
        values = {
            "DATA_DIR": folder,
            "NATS__URL": server.url,
            "NATS__USER": server.user,
            "NATS__PASSWORD_FILE": str(password),
            "INGEST__EXCHANGE": exchange,
            "INGEST__TICKERS": ",".join(facts["tickers"]),
            "INGEST__FEEDS": FEEDS,
            "INGEST__WS_URL": f"ws://127.0.0.1:{facts['ws']}",
            "INGEST__REST_URL": f"http://127.0.0.1:{facts['rest']}",
            "INGEST__STOP_AT_END": "true",
            "INGEST__WEBSOCKET_CLIENT": client,
            "INGEST__RAW": "false",
            "INGEST__LIMITS": "false",
            "TELEMETRY__LOG_FORMAT": "json",
            **settings,
        }
        environment = os.environ | {f"TICKBUS_{name}": value for name, value in values.items()}
        return await asyncio.to_thread(_timed, environment, facts["frames"])


async def _new_streams(server: EmbeddedServer, settings: Settings) -> None:
    """Empty streams: what an earlier run stored would be known, and not published again."""
    bus = await connect(server.url, name="bench", user=server.user, password=server.password)
    js = bus.jetstream()
    for stream in await js.streams_info():
        await js.delete_stream(str(stream.config.name))
    await streams.ensure(js, settings, settings.of_shard)
    await bus.close()


def _timed(environment: dict[str, str], frames: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _PINNED], env=environment, capture_output=True, text=True, timeout=60
    )
    ends = [json.loads(line) for line in done.stderr.splitlines() if '"event":"ends"' in line]
    if done.returncode or not ends:
        raise Fatal(f"ingest failed while it was measured: {done.stderr.strip()[-500:]}")
    return {"frames": frames, "seconds": ends[0]["seconds"], "cpu_s": ends[0]["cpu_s"]}


_PINNED = """
import os
cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
if len(cores) > 1:
    os.sched_setaffinity(0, cores[-1:])
from tickbus_ingest.__main__ import main
main()
"""
