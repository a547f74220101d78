"""The service as a process on a real server: read, commit, drain; killed and started again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tickbus.lake import manifest
from tickbus.lake.dataset import scan
from tickbus.lake.verify.check import verify
from tickbus.log.connection import Connection
from tickbus_schemas import codec
from tickbus_schemas.feeds import RAW
from tickbus_schemas.messages import DeadLetter

from tests.processes import Start, make_streams, publish, stored
from tests.writer.logs import SHARD, derived_log, market_log
from tests.writer.writing import STREAM, all_rows, data_files, written

pytestmark = pytest.mark.connected

MD = market_log(7, 8)
BOOK = derived_log("book")


async def test_what_is_in_the_streams_is_in_the_files_after_a_drain(
    bus: Connection, tmp_path: Path, start: Start
) -> None:
    await make_streams(bus)
    await publish(bus, [*MD, *BOOK])
    writer = start("writer", tmp_path / "data")
    seqs = {STREAM: len(MD), f"BOOK_{SHARD.upper()}": len(BOOK)}
    await writer.read_up_to(seqs)
    assert writer.drain() == 0
    log = await stored(bus, STREAM, len(MD))
    written(tmp_path / "right", log)
    written(tmp_path / "right", BOOK, stream=f"BOOK_{SHARD.upper()}")
    for feed in (*RAW, "book"):
        assert all_rows(tmp_path / "data", feed) == all_rows(tmp_path / "right", feed)
        rows = scan(feed, root=tmp_path / "data").collect()
        assert rows.sort("seq_id").to_dicts() == all_rows(tmp_path / "data", feed)
    findings = verify(tmp_path / "data")
    assert {problem.kind for problem in findings.problems} <= {"book"}  # they are made up
    (entry,) = manifest.entries(tmp_path / "data", STREAM)
    assert (entry.first_seq, entry.last_seq, entry.cut) == (1, len(MD), "drain")
    assert entry.first_stored_ns == log[0].stored_ns
    assert not list((tmp_path / "data" / "_tmp").iterdir())


async def test_a_message_that_cannot_be_read_is_kept_among_the_dead_letters(
    bus: Connection, tmp_path: Path, start: Start
) -> None:
    await make_streams(bus)
    await publish(bus, MD)
    writer = start("writer", tmp_path / "data")
    await writer.read_up_to({STREAM: len(MD)})
    (letter,) = await stored(bus, "DLQ", 1)
    message = codec.decode(letter.data, letter.subject)
    assert isinstance(message, DeadLetter)
    assert letter.subject == "dlq.writer.binance_usdm"
    assert message.data == next(one.data for one in MD if one.data.startswith(b"\xc1"))
    assert writer.drain() == 0
    (entry,) = manifest.entries(tmp_path / "data", STREAM)
    assert entry.without_rows["reject"] == 1


async def test_killed_and_started_again_while_messages_arrive_nothing_is_lost_or_twice(
    bus: Connection, tmp_path: Path, start: Start
) -> None:
    """Blocks of one second of the server's clock, so that kills fall between and into commits."""
    await make_streams(bus)
    sent = 0
    for part in range(3):
        writer = start("writer", tmp_path / "data", TICKBUS_WRITER__BLOCK_S="1")
        end = len(MD) * (part + 1) // 3
        await publish(bus, MD[sent:end])
        sent = end
        await writer.read_up_to({STREAM: sent})
        await asyncio.sleep(0.4)
        if part < 2:
            writer.kill()
    assert writer.drain() == 0
    log = await stored(bus, STREAM, len(MD))
    written(tmp_path / "right", log)
    for feed in RAW:
        assert all_rows(tmp_path / "data", feed) == all_rows(tmp_path / "right", feed)
    entries = manifest.entries(tmp_path / "data", STREAM)
    assert sorted(f.path for e in entries for f in e.files) == sorted(data_files(tmp_path / "data"))


async def test_two_writers_at_once_write_every_row_once(
    bus: Connection, tmp_path: Path, start: Start
) -> None:
    """As while one is replaced by the next: both read all, for each block one of them wins."""
    await make_streams(bus)
    root = tmp_path / "set"
    shared = {"TICKBUS_WRITER__BLOCK_S": "1", "TICKBUS_WRITER__ROOT": str(root)}
    writers = [start("writer", tmp_path / name, **shared) for name in ("one", "other")]
    for first in range(0, len(MD), 10):
        await publish(bus, MD[first : first + 10])
        await asyncio.sleep(0.25)
    await writers[0].read_up_to({STREAM: len(MD)})
    await writers[1].read_up_to({STREAM: len(MD)})
    codes = await asyncio.gather(*(asyncio.to_thread(writer.drain) for writer in writers))
    assert codes == [0, 0]
    written(tmp_path / "right", await stored(bus, STREAM, len(MD)))
    for feed in RAW:
        assert all_rows(root, feed) == all_rows(tmp_path / "right", feed)
    assert verify(root).problems == []
    assert len(manifest.entries(root, STREAM)) > 1


async def test_a_folder_that_cannot_be_written_is_said_in_one_line(
    bus: Connection, tmp_path: Path, start: Start
) -> None:
    await make_streams(bus)
    in_the_way = tmp_path / "file"
    in_the_way.write_text("no folder")
    writer = start("writer", tmp_path / "data", TICKBUS_WRITER__ROOT=str(in_the_way / "set"))
    code, said = await writer.ended()
    assert code == 1, said
    assert "cannot write to" in said
    assert "Traceback" not in said
