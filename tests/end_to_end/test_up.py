"""`tickbus up` and `demo` as processes: they drain, come back, leave nobody behind, and trace."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tickbus.lake.dataset import scan
from tickbus_runtime.local.nats_server import EmbeddedServer

from tests.end_to_end.running import TICKBUS

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

SMALL = "binance_usdm/cryptofeed_20210722"
LONG = "binance_spot/btcusdt_20240808"
STEPS = {"receive", "parse", "publish", "bus", "book.process", "feature.process", "write"}


def path(captures: Path, name: str) -> str:
    return str(captures / "frames" / f"{name}.jsonl.gz")


def assert_whole(data: Path) -> None:
    done = subprocess.run([TICKBUS, "verify", data], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ctrl_c_stores_and_writes_what_was_received(up: Any, captures: Path) -> None:
    run = up("--capture", path(captures, LONG), "--speed", "20")
    run.wait_for_frames()
    run.process.send_signal(signal.SIGINT)
    result = run.finish()
    assert 0 < result["frames"] < 41_249
    assert result["rows"]["trade"] == result["events"]["trade"]
    assert_whole(run.data)


def test_a_duration_ends_a_run_as_ctrl_c_does(up: Any, captures: Path) -> None:
    run = up("--capture", path(captures, LONG), "--speed", "20", "--duration", "1")
    result = run.finish()
    assert 0 < result["frames"] < 41_249
    assert_whole(run.data)


def test_the_same_folder_goes_on_where_it_was(up: Any, captures: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = up("--capture", path(captures, SMALL), "--speed", "max", data=data).finish()
    second = up("--capture", path(captures, SMALL), "--speed", "max", data=data).finish()
    assert first["rows"]["trade"] == 91
    assert second["messages"]["MD_BINANCE_USDM"] > 0
    assert_whole(data)


def test_another_server_may_be_used(up: Any, captures: Path, nats_server: EmbeddedServer) -> None:
    address = nats_server.url.removeprefix("nats://")
    url = f"nats://{nats_server.user}:{nats_server.password}@{address}"
    run = up("--capture", path(captures, SMALL), "--speed", "max", "--nats", url)
    assert run.finish()["rows"]["trade"] == 91
    assert not (run.data / "_nats").exists()
    assert nats_server.password not in "".join(
        log.read_text() for log in (run.data / "_log").iterdir()
    )


def test_nothing_outlives_a_killed_run_and_the_next_one_takes_over(
    up: Any, captures: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    run = up("--capture", path(captures, LONG), "--speed", "20", data=data)
    run.wait_for_frames()
    files = [data / "_run" / f"{name}.json" for name in ("nats", "ingest", "book", "writer")]
    pids = [json.loads(file.read_text())["pid"] for file in files]
    run.process.kill()
    run.process.communicate()
    deadline = time.monotonic() + 20
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.05)
    again = up("--capture", path(captures, LONG), "--speed", "max", data=data).finish()
    assert again["rows"]["l2"] > 0
    assert_whole(data)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_venue_that_cannot_be_reached_is_said_and_waited_for(up: Any) -> None:
    nowhere = [
        "--set",
        "ingest.rest_url=http://127.0.0.1:9",
        "--set",
        "ingest.ws_url=ws://127.0.0.1:9",
    ]
    run = up("--tickers", "BTCUSDT", "--duration", "1", *nowhere)
    out, err = run.process.communicate(timeout=180)
    assert run.process.returncode == 3, err
    assert "waiting for the venue's list of instruments" in err
    assert json.loads(out)["frames"] == 0
    last = err.splitlines()[-1]
    assert last.startswith("nothing was received: waiting for the venue's list of instruments why=")
    assert last.endswith(f"; see {run.data}/_log/ingest.jsonl")


def test_a_folder_in_use_is_refused(up: Any, captures: Path) -> None:
    run = up("--capture", path(captures, LONG), "--speed", "20")
    run.wait_for_frames()
    told = [str(TICKBUS), "up", "--capture", path(captures, SMALL), "--data", str(run.data)]
    second = subprocess.run(told, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert f"in use by another tickbus (pid {run.process.pid})" in second.stderr


def test_one_packet_is_traced_through_every_process(
    up: Any, captures: Path, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [TICKBUS, "trace", "--port", "0", "--json", "--duration", "200", "--count", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as trace:
        assert trace.stderr is not None
        name, _, url = trace.stderr.readline().removeprefix("listening: ").strip().partition("=")
        environment = {name: url, "TICKBUS_TELEMETRY__TRACE_EVERY": "10000"}
        up("--capture", path(captures, LONG), "--speed", "max", environment=environment).finish()
        traces = [json.loads(line) for line in trace.communicate(timeout=60)[0].splitlines()]
    assert len(traces) == 3
    best = max(traces, key=lambda trace: len(trace["spans"]))
    assert {span["name"] for span in best["spans"]} >= STEPS
    assert {span["service"] for span in best["spans"]} == {
        f"tickbus-{service}" for service in ("ingest", "book", "features", "writer")
    }
    assert best["covered"] >= 0.9
    assert all(span["duration_us"] >= 0 for span in best["spans"])
    written = [span for span in best["spans"] if span["name"] == "write"]
    assert all(span["links"] for span in written)


def test_a_recording_of_ours_gives_its_instruments_again(up: Any, tmp_path: Path) -> None:
    """The recorder keeps the venue's list: what it says is published from the recording too."""
    first = tmp_path / "first"
    command = [str(TICKBUS), "demo", "--exchange", "kraken", "--duration", "3", "--json"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TICKBUS_")}
    done = subprocess.run(
        [*command, "--data", str(first)], capture_output=True, text=True, timeout=200,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["rows"]["instrument"] == 3
    run = up("--capture", str(first / "_raw" / "kraken"), "--speed", "max")
    assert run.finish()["rows"]["instrument"] == 3
    columns = ["ticker", "base", "quote", "tick_size", "lot_size", "status"]
    ours, again = (
        scan("instrument", root=root).select(columns).sort("ticker").collect()
        for root in (first, run.data)
    )
    assert ours.equals(again)


def test_the_demo_ends_with_data_a_trace_and_a_query_that_works(tmp_path: Path) -> None:
    command = [str(TICKBUS), "demo", "--duration", "4", "--seed", "7", "--json"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TICKBUS_")}
    done = subprocess.run(
        [*command, "--data", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        timeout=200,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "BTCDEMO" in done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    for feed in ("trade", "l2", "bbo", "book", "bar", "feature"):
        assert result["rows"][feed] > 0, feed
    assert (result["gaps"], result["rejects"]) == (0, 0)
    assert {span["name"] for span in result["trace"]["spans"]} >= STEPS
    assert result["trace"]["covered"] >= 0.9
    asked = subprocess.run(shlex.split(result["query"]), capture_output=True, text=True, timeout=60)
    assert asked.returncode == 0, asked.stderr
    assert "BTCDEMO" in asked.stdout
    assert_whole(tmp_path / "demo")
