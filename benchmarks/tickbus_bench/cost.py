"""What a row costs as load grows, what a ticker costs, memory, and how long a start takes.

Whole processes, as `tickbus up` starts them. CPU and memory come from the operating system, rows
from the services' own counters; the first seconds after the start are left out. Load: the capture
at 1, 10 and 100 times its pace; tickers: a seeded market of 500 over the same services.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from tickbus_schemas.errors import Fatal

from tickbus_bench import capture
from tickbus_bench.processes import running_up
from tickbus_bench.target import Target

SERVICES = ("ingest", "book", "features", "writer")
PACES = (1, 10, 100)
TICKERS = 500
RATE = 5_000
STARTUP_S = 3.0
TICKER_MIB = 2.0
QUIET = {"TICKBUS_TELEMETRY__LOG_LEVEL": "warning"}


def _status(data: Path, service: str) -> dict[str, Any]:
    """What a service says of itself; empty while it does not listen."""
    try:
        facts = json.loads((data / "_run" / f"{service}.json").read_text())
        with urllib.request.urlopen(facts["health_url"] + "/status", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer) | {"pid": facts["pid"]}
    except (OSError, ValueError, KeyError):
        return {}
    return found


def _rows(ingest: dict[str, Any]) -> float:
    counters = ingest.get("counters", {})
    return float(sum(n for name, n in counters.items() if name.startswith("events")))


def _wait_ready(data: Path, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        states = [_status(data, service) for service in SERVICES]
        if all(state.get("ready") for state in states) and _rows(states[0]):
            return
        time.sleep(0.1)


class _Sample:
    """CPU seconds and memory of every service, and rows so far."""

    def __init__(self, data: Path) -> None:
        states = {service: _status(data, service) for service in SERVICES}
        self.rows = _rows(states["ingest"])
        self.cpu_s: dict[str, float] = {}
        self.memory_mib: dict[str, float] = {}
        for service, state in states.items():
            if not state:
                continue
            process = psutil.Process(state["pid"])
            times = process.cpu_times()
            self.cpu_s[service] = times.user + times.system
            self.memory_mib[service] = process.memory_info().rss / 2**20


def _cost(data: Path, seconds: float) -> tuple[float, dict[str, float], dict[str, float], float]:
    """CPU us a row over all services and each alone, memory in MiB, rows/s."""
    _wait_ready(data)
    time.sleep(0.3)
    before, start = _Sample(data), time.monotonic()
    time.sleep(seconds)
    after, took_s = _Sample(data), time.monotonic() - start
    rows = after.rows - before.rows
    if rows <= 0 or len(after.cpu_s) < len(SERVICES):
        raise Fatal("the measured run ended too early: use a longer capture")
    each = {
        service: (after.cpu_s[service] - before.cpu_s[service]) / rows * 1e6
        for service in after.cpu_s
    }
    return sum(each.values()), each, after.memory_mib, rows / took_s


@contextmanager
def _market(tickers: int, rate: int) -> Iterator[dict[str, Any]]:
    """A seeded market as a process; its ready line."""
    names = ",".join(f"T{n:03}DEMO" for n in range(tickers))
    command = [sys.executable, "-m", "tickbus_sim", "--synthetic", "--tickers", names]
    process = subprocess.Popen(
        [*command, "--rate", str(rate), "--seed", "7"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def _load_curve(path: Path, seconds: float) -> Target:
    costs, notes = [], {}
    recorded = capture.lines(path)
    span_s = (recorded[-1].ts - recorded[0].ts) / 1e9
    for pace in PACES:
        # A fast pace is soon over: what is left of it after the start, and a second to spare.
        seconds = min(seconds, max(span_s / pace - 2.0, 0.5))
        with running_up("--capture", str(path), "--speed", str(pace), settings=QUIET) as data:
            cost, each, _, rows = _cost(data, seconds)
        costs.append(cost)
        notes[f"{pace}x"] = {
            "rows_per_s": round(rows),
            "cpu_us_a_row": round(cost, 1),
            **{service: round(one, 1) for service, one in each.items()},
        }
    return Target(
        "cost.row_at_100x",
        value=costs[-1] / costs[0],
        unit="of the CPU a row at 1x",
        target=0.5,
        at_least=False,
        notes=notes,
    )


def _many_tickers(seconds: float) -> list[Target]:
    memory: dict[int, dict[str, float]] = {}
    notes: dict[str, Any] = {}
    for count in (1, TICKERS):
        with _market(count, RATE) as ready:
            arguments = ["--exchange", ready["exchange"], "--tickers", "*"]
            for key in ("ws", "rest"):
                arguments += ["--set", f"ingest.{key}_url={ready[key]}"]
            with running_up(*arguments, settings=QUIET) as data:
                cost, _, memory[count], rows = _cost(data, seconds)
        notes[f"{count}_tickers"] = {
            "rows_per_s": round(rows),
            "cpu_us_a_row": round(cost, 1),
            "memory_mib": {service: round(mib) for service, mib in memory[count].items()},
        }
    growth = [(memory[TICKERS][one] - memory[1][one]) / (TICKERS - 1) for one in memory[TICKERS]]
    return [
        Target(
            "cost.memory_a_ticker",
            value=max(growth),
            unit="MiB a ticker in the service that needs most (books of 1,000 levels a side)",
            target=TICKER_MIB,
            at_least=False,
            notes=notes,
        )
    ]


def _startup(path: Path, runs: int) -> Target:
    from tickbus_bench.processes import run_up
    from tickbus_bench.target import of_runs

    small = ("--capture", str(path), "--speed", "max", "--duration", "1")
    seconds = [run_up(*small)["startup_seconds"] for _ in range(runs)]
    return Target(
        "cost.startup", unit="s to ready", target=STARTUP_S, at_least=False, **of_runs(seconds)
    )


def measure(path: Path, quick: bool) -> list[Target]:
    """Start-up; CPU a row at three paces; memory a ticker."""
    seconds = 2.0 if quick else 6.0
    targets = [_startup(path, 1 if quick else 3)]
    if not quick:
        targets += [_load_curve(path, seconds), *_many_tickers(seconds)]
    return targets
