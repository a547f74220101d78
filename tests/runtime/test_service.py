"""A service process: it waits for the bus, tells how it is, drains when told, says why it left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tickbus_runtime.local.nats_server import EmbeddedServer

pytestmark = pytest.mark.connected

DRAINS = """
async def serve(ctx):
    ctx.set_ready()
    ctx.telemetry.count("checkpoints", 2)
    ctx.position("MD_X", 7)
    await ctx.stopping.wait()
    await asyncio.sleep({drain_s})
    ctx.position("MD_X", 9)
"""


class Process:
    """A service of a few lines, run as a service is."""

    def __init__(self, folder: Path, code: str, environment: dict[str, str]) -> None:
        program = "\n".join(
            [
                "import asyncio",
                "from tickbus_runtime.service.process import run",
                code,
                "run('toy', serve)",
            ]
        )
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TICKBUS_DATA_DIR": str(folder), **environment},
        )

    def run_file(self) -> dict[str, Any]:
        path = self.folder / "_run" / "toy.json"
        deadline = time.monotonic() + 20
        while not path.exists():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(
            self.run_file()["health_url"] + "/status", timeout=10
        ) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found

    def until_started(self) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while not (status := self.status())["checks"]["started"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return status

    def left(self) -> tuple[int, list[dict[str, Any]]]:
        """Exit code and log."""
        _, log = self.process.communicate(timeout=20)
        return self.process.returncode, [json.loads(line) for line in log.splitlines()]


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    processes: list[Process] = []

    def begin(code: str, **environment: str) -> Process:
        processes.append(Process(tmp_path / "data", code, environment))
        return processes[-1]

    yield begin
    for one in processes:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


@pytest.fixture
def bus_settings(nats_server: EmbeddedServer, tmp_path: Path) -> dict[str, str]:
    password = tmp_path / "password"
    password.write_text(nats_server.password + "\n")
    return {
        "TICKBUS_NATS__URL": nats_server.url,
        "TICKBUS_NATS__USER": nats_server.user,
        "TICKBUS_NATS__PASSWORD_FILE": str(password),
    }


def test_it_drains_at_the_first_signal_and_leaves_its_tally(
    start: Start, bus_settings: dict[str, str]
) -> None:
    toy = start(DRAINS.format(drain_s=0.2), **bus_settings)
    status = toy.until_started()
    assert status["pid"] == toy.process.pid
    assert status["positions"] == {"MD_X": 7}
    toy.process.send_signal(signal.SIGTERM)
    code, log = toy.left()
    assert code == 0
    assert [line["event"] for line in log] == ["stopping"]
    last = json.loads((toy.folder / "_run" / "toy.last.json").read_text())
    assert last["positions"] == {"MD_X": 9}
    assert last["counters"] == {"checkpoints": 2}
    assert not (toy.folder / "_run" / "toy.json").exists()


def test_a_second_signal_ends_it_at_once(start: Start, bus_settings: dict[str, str]) -> None:
    toy = start(DRAINS.format(drain_s=60), **bus_settings)
    toy.until_started()
    toy.process.send_signal(signal.SIGTERM)
    while toy.status()["checks"]["not_stopping"] is not False:
        time.sleep(0.01)
    toy.process.send_signal(signal.SIGTERM)
    assert toy.left()[0] == 128 + signal.SIGTERM


def test_it_waits_for_a_bus_that_is_not_there_and_can_be_stopped_meanwhile(start: Start) -> None:
    toy = start(DRAINS, TICKBUS_NATS__URL="nats://127.0.0.1:9")
    assert toy.process.stderr is not None
    said = json.loads(toy.process.stderr.readline())
    assert said["event"] == "waiting for NATS"
    assert "nats://127.0.0.1:9" in said["reason"]
    assert toy.status()["ready"] is False
    toy.process.send_signal(signal.SIGINT)
    code, log = toy.left()
    assert code == 0
    assert [line["event"] for line in log] == ["stopping"]


def test_wrong_credentials_are_fatal_and_are_not_shown(
    start: Start, bus_settings: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("wrong-secret")
    code, log = start(DRAINS, **bus_settings).left()
    assert code == 1
    assert log[-1]["fatal"] is True
    assert "refuses the login" in log[-1]["event"]
    assert "wrong-secret" not in str(log)


def test_a_fatal_error_is_one_line_and_code_1(start: Start, bus_settings: dict[str, str]) -> None:
    code = """
from tickbus_schemas.errors import Fatal
async def serve(ctx):
    raise Fatal("no ticker BTCUSD: did you mean BTCUSDT?")
"""
    exit_code, log = start(code, **bus_settings).left()
    assert exit_code == 1
    (line,) = log
    assert line["event"] == "no ticker BTCUSD: did you mean BTCUSDT?"
    assert "exception" not in line


def test_a_fatal_error_on_a_console_is_one_plain_line(
    start: Start, bus_settings: dict[str, str]
) -> None:
    code = """
from tickbus_schemas.errors import Fatal
async def serve(ctx):
    raise Fatal("no ticker")
"""
    toy = start(code, TICKBUS_TELEMETRY__LOG_FORMAT="console", **bus_settings)
    assert toy.process.communicate(timeout=20)[1] == "tickbus-toy: no ticker\n"
    assert toy.process.returncode == 1


def test_a_bug_is_logged_with_its_traceback_and_worth_another_start(
    start: Start, bus_settings: dict[str, str]
) -> None:
    code, log = start("async def serve(ctx): return 1 / 0", **bus_settings).left()
    assert code == 70
    assert "ZeroDivisionError" in log[-1]["exception"]


def test_wrong_settings_are_named_and_nothing_is_started(start: Start) -> None:
    toy = start(DRAINS, TICKBUS_BOOK__DEPTH="0", TICKBUS_BOOK__DEPHT="3")
    text = toy.process.communicate(timeout=20)[1]
    assert toy.process.returncode == 1
    assert "book.depth = '0' (TICKBUS_BOOK__DEPTH): a whole number, at least 1" in text
    assert "did you mean book.depth?" in text
    assert "Traceback" not in text


def test_a_folder_that_cannot_be_made_is_one_line(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, log = start(DRAINS, TICKBUS_DATA_DIR=str(tmp_path / "file" / "below")).left()
    assert code == 1
    assert "set data_dir to a folder of yours" in log[-1]["event"]


SHARDS = """
from tickbus_runtime.service.process import each_shard
async def one(ctx):
    if ctx.shard.name == "okx":
        await asyncio.sleep({late_s})
    {act}
    ctx.position(ctx.shard.md, 3)
    ctx.set_ready()
    await ctx.stopping.wait()
    ctx.position(ctx.shard.md, 5)
serve = each_shard(one)
"""


def test_a_process_of_several_shards_is_ready_once_all_are_and_drains_each(
    start: Start, bus_settings: dict[str, str]
) -> None:
    code = SHARDS.format(late_s=1.0, act="pass")
    toy = start(code, TICKBUS_SHARDS="kraken,okx", TICKBUS_INSTANCE="toy", **bus_settings)
    while "MD_KRAKEN" not in (status := toy.status())["positions"]:
        time.sleep(0.01)
    if "MD_OKX" not in status["positions"]:
        assert not status["checks"]["started"]
    status = toy.until_started()
    assert status["positions"] == {"MD_KRAKEN": 3, "MD_OKX": 3}
    toy.process.send_signal(signal.SIGTERM)
    code_of_exit, _ = toy.left()
    assert code_of_exit == 0
    last = json.loads((toy.folder / "_run" / "toy.last.json").read_text())
    assert last["positions"] == {"MD_KRAKEN": 5, "MD_OKX": 5}


def test_what_ends_one_shard_for_good_ends_the_process_with_its_line(
    start: Start, bus_settings: dict[str, str]
) -> None:
    act = "if ctx.shard.name == 'okx': raise Fatal('no stream MD_OKX')"
    code = "from tickbus_schemas.errors import Fatal\n" + SHARDS.format(late_s=0.1, act=act)
    exit_code, log = start(code, TICKBUS_SHARDS="kraken,okx", **bus_settings).left()
    assert exit_code == 1
    assert log[-1]["event"] == "no stream MD_OKX"
    assert log[-1]["fatal"] is True
