"""`tickbus up` as a measured process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from tickbus_schemas.errors import Fatal

RUNS, RUNS_QUICK = 7, 3
TICKBUS = Path(sys.executable).with_name("tickbus")


def _environment(settings: dict[str, str]) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TICKBUS_")}
    return inherited | settings


def run_up(*arguments: str, settings: dict[str, str] | None = None) -> dict[str, Any]:
    """The JSON object of a run that ends by itself; its data is thrown away."""
    with tempfile.TemporaryDirectory(prefix="tickbus-bench-") as data:
        done = subprocess.run(
            [TICKBUS, "up", *arguments, "--data", data, "--json"],
            capture_output=True,
            text=True,
            env=_environment(settings or {}),
        )
    if done.returncode:
        raise Fatal(f"tickbus up failed while it was measured: {done.stderr.strip()[-500:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


@lru_cache
def whole_runs(capture: Path, quick: bool) -> tuple[dict[str, Any], ...]:
    """The same capture at full speed a few times, for whoever looks at whole runs."""
    runs = RUNS_QUICK if quick else RUNS
    return tuple(run_up("--capture", str(capture), "--speed", "max") for _ in range(runs))


@contextmanager
def running_up(*arguments: str, settings: dict[str, str] | None = None) -> Iterator[Path]:
    """The data folder of a run that goes on until the block ends."""
    with tempfile.TemporaryDirectory(prefix="tickbus-bench-") as data:
        process = subprocess.Popen(
            [TICKBUS, "up", *arguments, "--data", data, "--json"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_environment(settings or {}),
        )
        try:
            _wait_for(Path(data) / "_run" / "nats.json", process)
            yield Path(data)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(60)


def _wait_for(file: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while not file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Fatal("tickbus up did not start: try 'tickbus doctor'")
        time.sleep(0.05)
