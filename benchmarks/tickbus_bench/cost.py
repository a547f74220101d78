"""What a row costs as load grows, what a ticker costs, memory, and how long a start takes.

Whole processes, as `tickbus up` starts them. CPU and memory come from the operating system, rows
from the services' own counters; the first seconds after the start are left out. Load: the capture
at 1, 10 and 100 times its pace; tickers: seeded markets of up to 500 over the same services, with
books of some 100 and 1,000 levels a side. Start-up: from the command to every service ready, of the
whole runs that `path` measures too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from tickbus_runtime.settings import services
from tickbus_schemas.errors import Fatal

from tickbus_bench import capture
from tickbus_bench.processes import running_up, whole_runs
from tickbus_bench.target import Target, of_runs

PACES = (1, 10, 100)
MARKETS = ((1, 1_000), (100, 1_000), (100, 100), (500, 100))
"""(tickers, levels a side that are asked for); the first one stands for rest."""
SECONDS = 6.0
RATE = 5_000
STARTUP_S = 3.0
TICKER_MIB = 2.0
REST_MIB = 256.0
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
        states = [_status(data, service) for service in services.NAMES]
        if all(state.get("ready") for state in states) and _rows(states[0]):
            return
        time.sleep(0.1)


class _Sample:
    """CPU seconds and memory of every service, and rows so far."""

    def __init__(self, data: Path) -> None:
        states = {service: _status(data, service) for service in services.NAMES}
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
    if rows <= 0 or len(after.cpu_s) < len(services.NAMES):
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


@dataclass(frozen=True)
class _Market:
    """A seeded market, and what the services needed for it."""

    tickers: int
    levels: int
    """a side, as asked for at the start"""
    books: int
    """that were live: a venue's request budget lets only so many begin in a minute"""
    cpu_us_a_row: float
    memory_mib: dict[str, float]


def _of_market(tickers: int, levels: int) -> _Market:
    with _market(tickers, RATE) as ready:
        arguments = ["--exchange", ready["exchange"], "--tickers", "*"]
        arguments += ["--set", f"ingest.snapshot_limit={levels}"]
        for key in ("ws", "rest"):
            arguments += ["--set", f"ingest.{key}_url={ready[key]}"]
        with running_up(*arguments, settings=QUIET) as data:
            _wait_ready(data)
            books = _wait_live(data)
            cost, _, memory_mib, _ = _cost(data, SECONDS)
    return _Market(tickers, levels, books, cost, memory_mib)


def _wait_live(data: Path, still_s: float = 3.0) -> int:
    """How many books are live, once no more of them begin."""
    books, since_s = -1, time.monotonic()
    while time.monotonic() - since_s < still_s:
        time.sleep(0.2)
        now = int(_status(data, "ingest").get("gauges", {}).get("books_live", 0))
        if now != books:
            books, since_s = now, time.monotonic()
    return books


def _memory() -> list[Target]:
    """At rest and a ticker, each service alone."""
    one, *others = (_of_market(*market) for market in MARKETS)
    rest = one.memory_mib
    notes: dict[str, Any] = {"MiB at rest": _rounded(rest, 0)}
    growths = []
    for market in others:
        each = (market.books - one.books) or 1
        growth = {name: (mib - rest[name]) / each for name, mib in market.memory_mib.items()}
        growths.append(max(growth.values()))
        where = f"{market.tickers} tickers, {market.books} books of {market.levels} levels a side"
        notes[f"MiB at {where}"] = _rounded(market.memory_mib, 0)
        notes[f"MiB a book at {where}"] = _rounded(growth, 3)
    notes["CPU us a row by tickers and levels"] = {
        f"{market.tickers}/{market.levels}": round(market.cpu_us_a_row, 1)
        for market in (one, *others)
    }
    return [
        Target(
            "cost.memory_at_rest",
            value=max(rest.values()),
            unit="MiB in the service that needs most, 1 ticker",
            target=REST_MIB,
            at_least=False,
        ),
        Target(
            "cost.memory_a_ticker",
            value=max(growths),
            unit="MiB a ticker in the service that needs most",
            target=TICKER_MIB,
            at_least=False,
            limit="the writer's part is rows of open blocks: writer.memory_bytes_max at most",
            notes=notes,
        ),
    ]


def _rounded(mib: dict[str, float], digits: int) -> dict[str, float]:
    return {name: round(one, digits) if digits else round(one) for name, one in mib.items()}


def _startup(path: Path, quick: bool) -> Target:
    seconds = [run["startup_seconds"] for run in whole_runs(path, quick)]
    return Target(
        "cost.startup",
        unit="s to ready, kernels cached",
        target=STARTUP_S,
        at_least=False,
        notes={"seconds": seconds},
        **of_runs(seconds),
    )


def measure(path: Path, quick: bool) -> list[Target]:
    """Start-up; CPU a row at three paces; memory at rest and a ticker."""
    targets = [_startup(path, quick)]
    if not quick:
        targets += [_load_curve(path, SECONDS), *_memory()]
    return targets
