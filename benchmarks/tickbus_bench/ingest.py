"""WebSocket to JetStream-acked: frames/s of one ingest process on one core.

A real capture over a real loopback socket into a real nats-server: parsed, book kept, NEW told
from UPDATE, encoded, stored, acked. Each run is a process of its own, pinned to one core where
there are several; venue and server have the others, and streams are made anew. Timed from when
every book has its snapshot and the venue sends on, to the last answer of JetStream; without the
recorder of raw frames, and with it (`_raw`), which compresses on the same core.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from tickbus.log.connection import connect
from tickbus_runtime.bus import streams
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_runtime.settings.sections import IngestSettings, Settings
from tickbus_schemas.errors import Fatal

from tickbus_bench.peers import figure
from tickbus_bench.target import Target, of_runs

PEER = "cryptofeed"
TARGETS = {"picows": 200_000, "websockets": 110_000}
RUN_MAX_S = 60.0
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
    with tempfile.TemporaryDirectory(prefix="tickbus-bench-") as folder, _venue(path) as venue:
        async with _server(Path(folder)) as server:
            return [await _run(server, path, venue, client, settings) for _ in range(count)]


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


class _Venue:
    """The venue's process, and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.facts = self.said()

    def said(self) -> dict[str, Any]:
        """Its next line; nothing when it has ended."""
        assert self._process.stdout is not None
        line: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        return line

    def end(self) -> None:
        """Stop serving."""
        self._process.terminate()


@contextmanager
def _venue(path: Path) -> Iterator[_Venue]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tickbus_bench.blunt_venue", str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield _Venue(process)
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
    venue: _Venue,
    client: str,
    settings: dict[str, str],
) -> dict[str, Any]:
    """frames, seconds and cpu_s of one run."""
    exchange, facts = path.parent.name, venue.facts
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
        return await asyncio.to_thread(_timed, environment, venue)


async def _new_streams(server: EmbeddedServer, settings: Settings) -> None:
    """Empty streams: what an earlier run stored would be known, and not published again."""
    bus = await connect(server.url, name="bench", user=server.user, password=server.password)
    js = bus.jetstream()
    for stream in await js.streams_info():
        await js.delete_stream(str(stream.config.name))
    await streams.ensure(js, settings, settings.of_shard)
    await bus.close()


def _timed(environment: dict[str, str], venue: _Venue) -> dict[str, Any]:
    process = subprocess.Popen(
        [sys.executable, "-c", _PINNED], env=environment, stderr=subprocess.PIPE, text=True
    )
    log: list[str] = []
    begun = threading.Event()

    def take() -> None:
        assert process.stderr is not None
        log.extend(process.stderr)
        if not begun.is_set():
            venue.end()  # ingest has failed: nobody waits for the venue's line

    reading, timer = threading.Thread(target=take), threading.Timer(RUN_MAX_S, process.kill)
    reading.start()
    timer.start()
    try:
        begins_ns = venue.said().get("begins_ns", 0)
        begun.set()
        times = psutil.Process(process.pid).cpu_times()
        process.wait()
    finally:
        timer.cancel()
        process.kill()
        reading.join()
    ends = [json.loads(line) for line in log if '"event":"ends"' in line]
    if process.returncode or not ends:
        raise Fatal(f"ingest failed while it was measured: {''.join(log).strip()[-500:]}")
    return {
        "frames": venue.facts["frames"],
        "seconds": (ends[0]["stored_ns"] - begins_ns) / 1e9,
        "cpu_s": ends[0]["cpu_s"] - times.user - times.system,
    }


_PINNED = """
import os
cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
if len(cores) > 1:
    os.sched_setaffinity(0, cores[-1:])
from tickbus_ingest.__main__ import main
main()
"""
