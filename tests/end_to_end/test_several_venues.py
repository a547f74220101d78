"""Several venues at once: an ingest and a stream each, one set of the other services for all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tickbus.lake.dataset import scan
from tickbus_schemas.exchanges import Exchange

from tests.end_to_end.running import TICKBUS

pytestmark = [pytest.mark.connected, pytest.mark.timeout(300)]

VENUES = ("okx", "kraken", "hyperliquid")


class Demo:
    """A run of `tickbus demo` with several venues."""

    def __init__(self, data: Path, duration_s: int) -> None:
        self.data = data
        exchanges = [word for name in VENUES for word in ("--exchange", name)]
        self.process = subprocess.Popen(
            [TICKBUS, "demo", *exchanges, "--duration", str(duration_s), "--seed", "5",
             "--data", data, "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("TICKBUS_")},
        )  # fmt: skip

    def pid(self, name: str) -> int:
        return int(json.loads((self.data / "_run" / f"{name}.json").read_text())["pid"])

    def wait_until(self, said: str) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if said in line:
                return
        raise AssertionError(f"the run ended without {said!r}")

    def finish(self) -> dict[str, Any]:
        out, err = self.process.communicate(timeout=200)
        assert self.process.returncode == 0, err[-4_000:]
        result: dict[str, Any] = json.loads(out.splitlines()[-1])
        return result


def asked(*arguments: str | Path) -> str:
    done = subprocess.run([TICKBUS, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_venue_has_its_rows_its_streams_and_its_part_of_the_report(tmp_path: Path) -> None:
    run = Demo(tmp_path / "data", 8)
    try:
        run.wait_until("ready after")
        measured = json.loads(
            asked("top", "--once", "--interval", "2", "--json", "--data", run.data)
        )
        assert [one["exchange"] for one in measured["exchanges"]] == sorted(VENUES)
        assert all(one["rows_per_s"] > 0 for one in measured["exchanges"])
        assert {f"MD_{name.upper()}" for name in VENUES} <= {
            one["stream"] for one in measured["streams"]
        }
        result = run.finish()
    finally:
        run.process.kill()
    parts = result["venues"]
    assert sorted(parts) == sorted(VENUES)
    for name, part in parts.items():
        assert part["frames"] > 0
        assert (part["gaps"], part["rejects"]) == (0, 0)
        assert part["accounted"]
        for feed in ("trade", "l2", "bbo"):
            rows = scan(feed, root=run.data).filter(
                pl.col("exchange") == int(Exchange.from_token(name))
            )
            assert rows.select(pl.len()).collect().item() == part["rows"][feed] > 0
        assert part["rows"]["trade"] == part["events"]["trade"]
        for feed in ("book", "bar", "feature"):
            assert part["rows"][feed] > 0, (name, feed)
    assert result["frames"] == sum(part["frames"] for part in parts.values())
    asked("verify", run.data)


def test_a_venue_whose_ingest_dies_goes_on_and_leaves_the_others_alone(tmp_path: Path) -> None:
    run = Demo(tmp_path / "data", 12)
    try:
        run.wait_until("ready after")
        time.sleep(2)
        others = {name: run.pid(f"ingest-{name}") for name in VENUES[1:]}
        first = run.pid(f"ingest-{VENUES[0]}")
        os.kill(first, signal.SIGKILL)
        run.wait_until(f"ingest-{VENUES[0]} was killed by SIGKILL: restarted")
        result = run.finish()
    finally:
        run.process.kill()
    assert result["restarts"] == 1
    assert result["venues"][VENUES[0]]["accounted"] is None
    for name in others:
        assert result["venues"][name]["accounted"]
        assert result["venues"][name]["gaps"] == 0
    asked("verify", run.data)
