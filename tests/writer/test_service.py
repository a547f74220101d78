"""The service as a process on a real server: read, commit, drain; killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tickbus import manifest
from tickbus.connection import Connection
from tickbus.reader import Reader
from tickbus.stored import Stored
from tickbus.verify.check import verify
from tickbus_runtime.nats_server import EmbeddedServer
from tickbus_runtime.settings import Settings
from tickbus_runtime.streams import ensure
from tickbus_schemas import codec
from tickbus_schemas.messages import DeadLetter

from tests.writer.logs import SHARD, derived_log, market_log
from tests.writer.writing import STREAM, all_rows, data_files, written

pytestmark = pytest.mark.connected

MD = market_log(7, 8)
BOOK = derived_log("book")


class Writer:
    """A writer process over a folder."""

    def __init__(self, server: EmbeddedServer, root: Path, **environment: str) -> None:
        self.root = root
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tickbus_writer"],
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "TICKBUS_DATA_DIR": str(root),
                "TICKBUS_NATS__URL": server.url,
                "TICKBUS_NATS__USER": server.user,
                "TICKBUS_NATS__PASSWORD_FILE": str(password_file(server, root)),
                **environment,
            },
        )

    def status(self) -> dict[str, Any]:
        try:
            found = json.loads((self.root / "_run" / "writer.json").read_text())
            with urllib.request.urlopen(found["health_url"] + "/status", timeout=5) as answer:
                status: dict[str, Any] = json.loads(answer.read())
                return status
        except (OSError, ValueError, urllib.error.URLError):
            return {}  # not up yet

    async def read_up_to(self, wanted: dict[str, int]) -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while True:
            assert self.process.poll() is None, self.process.communicate()[1]
            status = await asyncio.to_thread(self.status)
            positions = status.get("positions", {})
            behind = [stream for stream in wanted if positions.get(stream, 0) < wanted[stream]]
            if status.get("ready") and not behind:
                return status
            assert time.monotonic() < deadline, f"only {status}"
            await asyncio.sleep(0.02)

    def drain(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        return self.process.returncode

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        if self.process.stderr is not None and not self.process.stderr.closed:
            self.process.communicate()


def password_file(server: EmbeddedServer, root: Path) -> Path:
    root.mkdir(exist_ok=True)
    path = root / "password"
    path.write_text(server.password)
    return path


@pytest.fixture
def writers() -> Iterator[list[Writer]]:
    started: list[Writer] = []
    yield started
    for one in started:
        one.kill()


async def publish(bus: Connection, log: Sequence[Stored]) -> None:
    js = bus.jetstream()
    for one in log:
        await js.publish(one.subject, one.data)


async def stored(bus: Connection, stream: str, messages: int) -> list[Stored]:
    found: list[Stored] = []
    async for arrived in Reader(bus, stream).groups():
        found += arrived
        if len(found) >= messages:
            break
    return found


async def test_what_is_in_the_streams_is_in_the_files_after_a_drain(
    nats_server: EmbeddedServer, bus: Connection, tmp_path: Path, writers: list[Writer]
) -> None:
    settings = Settings()
    await ensure(bus.jetstream(), settings, settings.of_shard)
    await publish(bus, [*MD, *BOOK])
    writers.append(Writer(nats_server, tmp_path / "data"))
    seqs = {STREAM: len(MD), f"BOOK_{SHARD.upper()}": len(BOOK)}
    await writers[0].read_up_to(seqs)
    assert writers[0].drain() == 0
    log = await stored(bus, STREAM, len(MD))
    written(tmp_path / "right", log)
    written(tmp_path / "right", BOOK, stream=f"BOOK_{SHARD.upper()}")
    for feed in ("trade", "l2", "bbo", "status", "book"):
        assert all_rows(tmp_path / "data", feed) == all_rows(tmp_path / "right", feed)
    (entry,) = manifest.entries(tmp_path / "data", STREAM)
    assert (entry.first_seq, entry.last_seq, entry.cut) == (1, len(MD), "drain")
    assert entry.first_stored_ns == log[0].stored_ns
    assert not list((tmp_path / "data" / "_tmp").iterdir())


async def test_a_message_that_cannot_be_read_is_kept_among_the_dead_letters(
    nats_server: EmbeddedServer, bus: Connection, tmp_path: Path, writers: list[Writer]
) -> None:
    settings = Settings()
    await ensure(bus.jetstream(), settings, settings.of_shard)
    await publish(bus, MD)
    writers.append(Writer(nats_server, tmp_path / "data"))
    await writers[0].read_up_to({STREAM: len(MD)})
    (letter,) = await stored(bus, "DLQ", 1)
    message = codec.decode(letter.data, letter.subject)
    assert isinstance(message, DeadLetter)
    assert letter.subject == "dlq.writer.binance_usdm"
    assert message.data == next(one.data for one in MD if one.data.startswith(b"\xc1"))
    assert writers[0].drain() == 0
    (entry,) = manifest.entries(tmp_path / "data", STREAM)
    assert entry.without_rows["reject"] == 1


async def test_killed_and_started_again_while_messages_arrive_nothing_is_lost_or_twice(
    nats_server: EmbeddedServer, bus: Connection, tmp_path: Path, writers: list[Writer]
) -> None:
    """Blocks of one second of the server's clock, so that kills fall between and into commits."""
    settings = Settings()
    await ensure(bus.jetstream(), settings, settings.of_shard)
    sent = 0
    for part in range(3):
        writers.append(Writer(nats_server, tmp_path / "data", TICKBUS_WRITER__BLOCK_S="1"))
        end = len(MD) * (part + 1) // 3
        await publish(bus, MD[sent:end])
        sent = end
        await writers[-1].read_up_to({STREAM: sent})
        await asyncio.sleep(0.4)
        if part < 2:
            writers[-1].kill()
    assert writers[-1].drain() == 0
    log = await stored(bus, STREAM, len(MD))
    written(tmp_path / "right", log)
    for feed in ("trade", "l2", "bbo", "status"):
        assert all_rows(tmp_path / "data", feed) == all_rows(tmp_path / "right", feed)
    entries = manifest.entries(tmp_path / "data", STREAM)
    assert sorted(f.path for e in entries for f in e.files) == sorted(data_files(tmp_path / "data"))


async def test_two_writers_at_once_write_every_row_once(
    nats_server: EmbeddedServer, bus: Connection, tmp_path: Path, writers: list[Writer]
) -> None:
    """As while one is replaced by the next: both read all, for each block one of them wins."""
    settings = Settings()
    await ensure(bus.jetstream(), settings, settings.of_shard)
    root = tmp_path / "set"
    shared = {"TICKBUS_WRITER__BLOCK_S": "1", "TICKBUS_WRITER__ROOT": str(root)}
    writers += [Writer(nats_server, tmp_path / name, **shared) for name in ("one", "other")]
    for start in range(0, len(MD), 10):
        await publish(bus, MD[start : start + 10])
        await asyncio.sleep(0.25)
    await writers[0].read_up_to({STREAM: len(MD)})
    await writers[1].read_up_to({STREAM: len(MD)})
    codes = await asyncio.gather(*(asyncio.to_thread(writer.drain) for writer in writers))
    assert codes == [0, 0]
    written(tmp_path / "right", await stored(bus, STREAM, len(MD)))
    for feed in ("trade", "l2", "bbo", "status"):
        assert all_rows(root, feed) == all_rows(tmp_path / "right", feed)
    assert verify(root).problems == []
    assert len(manifest.entries(root, STREAM)) > 1


async def test_a_folder_that_cannot_be_written_is_said_in_one_line(
    nats_server: EmbeddedServer, bus: Connection, tmp_path: Path, writers: list[Writer]
) -> None:
    settings = Settings()
    await ensure(bus.jetstream(), settings, settings.of_shard)
    in_the_way = tmp_path / "file"
    in_the_way.write_text("no folder")
    writers.append(
        Writer(nats_server, tmp_path / "data", TICKBUS_WRITER__ROOT=str(in_the_way / "set"))
    )
    _, said = await asyncio.to_thread(writers[0].process.communicate)
    assert writers[0].process.returncode == 1
    assert "cannot write to" in said
    assert "Traceback" not in said
