"""Eight venues with 200 tickers on this machine, a burst of ten times the load: `make nightly`.

    LOAD_MINUTES=2 python -m pytest -s tests/end_to_end/nightly_load.py

Ten minutes unless LOAD_MINUTES says otherwise. The figures are printed, and kept as JSON where
LOAD_REPORT names a file: memory of each process, lag before, during and after the burst.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from tickbus.cli.dispatch import main
from tickbus_runtime.local.local_run import local_run
from tickbus_runtime.local.stack import Plan, Stack
from tickbus_runtime.local.venue_run import VenuePlan
from tickbus_runtime.settings.sources import load
from tickbus_schemas.exchanges import Exchange
from tickbus_sim import dialects

pytestmark = [pytest.mark.connected, pytest.mark.timeout(3_600)]

VENUES = (
    "binance_usdm", "binance_spot", "okx", "bybit_linear", "deribit", "coinbase", "kraken",
    "kucoin",
)  # fmt: skip
TICKERS = 25
RATE = float(os.environ.get("LOAD_RATE", 300))
"""Frames a second of each venue while it is calm."""
TIMES = 10
MINUTES = float(os.environ.get("LOAD_MINUTES", 10))
BURST_S = min(10.0, 5 * MINUTES)
OPENED_S = 5.0
"""A market is open for less than this when the run is ready."""
MEMORY_MIB = {"ingest": 400, "book": 600, "features": 600, "writer": 1_200, "nats": 2_048}
"""What a process may take: of the writer 256 are rows that wait, the server's are its caches."""
SETTLED_S = 30.0
"""Processes have their lasting size after this time."""


def tickers(exchange: str) -> list[str]:
    """So many names of the exchange's form, made after its first one."""
    (first, *_) = dialects.load(Exchange.from_token(exchange)).demo
    base = next(one for one in ("BTC", "XBT", "btc") if one in first)
    letter = "c" if base.islower() else "C"
    return [first.replace(base, f"{letter}{n:02d}") for n in range(TICKERS)]


def plan(data: Path, duration_s: float) -> Plan:
    burst = f"{duration_s / 2},{BURST_S},{TIMES}"
    venues = [
        VenuePlan(
            {"ingest.exchange": name},
            ["--synthetic", "--exchange", name, "--tickers", ",".join(tickers(name)), "--seed",
             str(n), "--rate", str(RATE), "--burst", burst],
        )
        for n, name in enumerate(VENUES)
    ]  # fmt: skip
    return Plan(
        settings=lambda values, offers: load(environ={}, overrides=values, offers=offers),
        config=None,
        embedded=True,
        nats_port=0,
        venues=venues,
        venue_ends=False,
        overrides={"data_dir": str(data), "writer.block_s": 300},
    )


class Samples:
    """Looks at the run once a second."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    async def watch(self, stack: Stack) -> None:
        began_s = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            lives = stack.poller.lives
            pids = {name: one.pid for name, one in stack.supervisor.children.items()}
            frames = lives.by_label("frames", "source", "ingest")
            self.rows.append(
                {
                    "t_s": time.monotonic() - began_s,
                    "frames": sum(frames.values()),
                    "waiting": {name: _waiting(lives.latest(name)) for name in stack.processes},
                    "cpu_s": {
                        name: round(status["process"]["cpu_s"], 1)
                        for name in stack.processes
                        if (status := lives.latest(name))
                    },
                    "rss": {name: _rss(pid) for name, pid in pids.items() if pid is not None},
                }
            )


def _waiting(status: dict[str, Any]) -> int:
    """Messages that a reader has not read, or frames that ingest has not read."""
    gauges = status.get("gauges", {})
    wanted = ("pending", "buffer_frames")
    return int(sum(value for key, value in gauges.items() if key.startswith(wanted)))


def _rss(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def figures(rows: list[dict[str, Any]], result: dict[str, Any], burst_s: float) -> dict[str, Any]:
    """What a person wants to know of the run."""
    cpu_s: dict[str, float] = {}
    for row in rows:
        cpu_s |= row["cpu_s"]
    rss: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for row in rows:
        for name, size in row["rss"].items():
            rss[name].append((row["t_s"], size))
    calm = [row for row in rows if 10 < row["t_s"] < burst_s]
    # The market opens when it is subscribed to, a little before we look.
    during = [row for row in rows if burst_s <= row["t_s"] < burst_s + BURST_S - OPENED_S]
    behind = [row for row in rows if row["t_s"] >= burst_s + BURST_S]
    lag = {id(row): sum(row["waiting"].values()) for row in rows}
    back = next((row["t_s"] - burst_s - BURST_S for row in behind if not lag[id(row)]), None)
    return {
        "venues": len(VENUES),
        "tickers": TICKERS * len(VENUES),
        "minutes": MINUTES,
        "frames": result["frames"],
        "frames_per_s_calm": _rate(calm),
        "frames_per_s_burst": _rate(during),
        "gaps": result["gaps"],
        "rejects": result["rejects"],
        "restarts": result["restarts"],
        "rows": result["rows"],
        "most_waiting": {
            name: max(row["waiting"].get(name, 0) for row in rows) for name in rows[-1]["waiting"]
        },
        "most_waiting_calm": max((lag[id(row)] for row in calm), default=0),
        "most_waiting_since_burst": max((lag[id(row)] for row in during + behind), default=0),
        "lag_back_to_zero_s_after_burst": back,
        "input_ends_s_after_burst": 30 * MINUTES - BURST_S,
        "memory_MiB": {
            name: {
                "settled": round(max((s for t, s in of if t <= SETTLED_S), default=0) / 2**20),
                "most": round(max(size for _, size in of) / 2**20),
                "end": round(of[-1][1] / 2**20),
            }
            for name, of in sorted(rss.items())
        },
        "cpu_s": cpu_s,
        "latency_us": result["latency_us"],
        "machine": result["machine"],
    }


def _rate(rows: list[dict[str, Any]]) -> float:
    if len(rows) < 2:
        return 0.0
    frames = int(rows[-1]["frames"]) - int(rows[0]["frames"])
    return round(frames / float(rows[-1]["t_s"] - rows[0]["t_s"]), 1)


def test_eight_venues_lose_nothing_stay_small_and_come_back_from_a_burst(tmp_path: Path) -> None:
    duration_s = 60 * MINUTES
    samples, said = Samples(), list[str]()
    made = plan(tmp_path / "data", duration_s)
    run = local_run(made, duration_s=duration_s, say=said.append, beside=samples.watch)
    result, _ = asyncio.run(run)
    assert result is not None
    found = figures(samples.rows, result, duration_s / 2)
    print("\n" + json.dumps(found, indent=1))
    if os.environ.get("LOAD_REPORT"):
        Path(os.environ["LOAD_REPORT"]).write_text(json.dumps(found, indent=1))
    assert result["restarts"] == 0, said
    for name, part in result["venues"].items():
        assert (part["gaps"], part["rejects"]) == (0, 0), name
        assert part["accounted"], name
        assert part["frames"] > 0, name
    assert found["lag_back_to_zero_s_after_burst"] is not None
    for name, memory in found["memory_MiB"].items():
        of = name.partition("-")[0]
        assert memory["most"] < MEMORY_MIB.get(of, memory["most"] + 1), (name, memory)
    assert main(["verify", str(tmp_path / "data")]) == 0
