"""WebSocket to JetStream-acked: frames/s of one ingest process on one core.

A real capture over a real loopback socket into a real nats-server: parsed, book kept, NEW told
from UPDATE, encoded, stored, acked. The process is pinned to one core where there are several;
venue and server have the others. Timed by the process itself, from the first frame taken to the
last answer; the recorder of raw frames is off, and its price beside it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from tickbus.connection import connect
from tickbus_runtime import streams
from tickbus_runtime.nats_server import EmbeddedServer
from tickbus_runtime.settings import IngestSettings, Settings
from tickbus_schemas.errors import Fatal

from tickbus_bench.peers import figure
from tickbus_bench.target import Target, of_runs

TARGETS = {"picows": 200_000, "websockets": 110_000}
CHANNELS = {
    "binance_usdm": "trade,depth@0ms,bookTicker",
    "binance_spot": "trade,depth@100ms,bookTicker",
}


def measure(path: Path, quick: bool) -> list[Target]:
    """Two targets: the fastest client and the default one."""
    runs = 2 if quick else 7
    found = []
    for client, target in TARGETS.items():
        results = [_run(path, client, raw=False) for _ in range(runs)]
        recorded = [_run(path, client, raw=True) for _ in range(0 if quick else 3)]
        found.append(
            Target(
                name=f"ingest.{client}",
                unit="frames/s",
                target=target,
                at_least=True,
                limit=_limit(results),
                peer=figure(path, quick, "cryptofeed"),
                notes={
                    "cpu_us_a_frame": [one["cpu_s"] / one["frames"] * 1e6 for one in results],
                    "with_raw_recorder": [one["frames"] / one["seconds"] for one in recorded],
                    "with_raw_recorder_cpu_us_a_frame": [
                        one["cpu_s"] / one["frames"] * 1e6 for one in recorded
                    ],
                    "frames": results[0]["frames"],
                },
                **of_runs([one["frames"] / one["seconds"] for one in results]),
            )
        )
    return found


def _limit(results: list[dict[str, Any]]) -> str:
    per_core = median(one["frames"] / one["cpu_s"] for one in results)
    return f"{per_core:,.0f} frames a CPU second"


def _run(path: Path, client: str, *, raw: bool) -> dict[str, Any]:
    """frames, seconds and cpu_s of one run."""
    with tempfile.TemporaryDirectory(prefix="tickbus-bench-") as folder, _venue(path) as facts:
        return asyncio.run(_ingest(Path(folder), path, facts, client, raw))


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


async def _ingest(
    folder: Path, path: Path, facts: dict[str, Any], client: str, raw: bool
) -> dict[str, Any]:
    server = EmbeddedServer(folder)
    await server.start()
    try:
        bus = await connect(server.url, name="bench", user=server.user, password=server.password)
        exchange = path.parent.name
        settings = Settings(ingest=IngestSettings(exchange=exchange))
        await streams.ensure(bus.jetstream(), settings, settings.of_shard)
        await bus.close()
        password = folder / "password"
        password.write_text(server.password)
        values = {
            "DATA_DIR": str(folder),
            "NATS__URL": server.url,
            "NATS__USER": server.user,
            "NATS__PASSWORD_FILE": str(password),
            "INGEST__EXCHANGE": exchange,
            "INGEST__TICKERS": ",".join(facts["tickers"]),
            "INGEST__CHANNELS": CHANNELS[exchange],
            "INGEST__WS_URL": f"ws://127.0.0.1:{facts['ws']}",
            "INGEST__REST_URL": f"http://127.0.0.1:{facts['rest']}",
            "INGEST__STOP_AT_END": "true",
            "INGEST__WEBSOCKET_CLIENT": client,
            "INGEST__RAW": str(raw).lower(),
            "TELEMETRY__LOG_FORMAT": "json",
        }
        environment = os.environ | {f"TICKBUS_{name}": value for name, value in values.items()}
        return await asyncio.to_thread(_timed, environment, facts["frames"])
    finally:
        await server.kill()


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
