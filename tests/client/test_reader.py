"""A reader misses nothing and repeats nothing, whatever happens to server, consumer and stream."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator

import pytest
from nats.js.api import StreamConfig
from nats.js.client import JetStreamContext
from tickbus.log.connection import Connection
from tickbus.log.reader import BATCH_BYTES, BUFFER_BYTES, REQUESTS_OPEN, Reader
from tickbus.log.stored import Stored
from tickbus_runtime.bus.in_flight import Outgoing
from tickbus_runtime.bus.publisher import Publisher
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_schemas.errors import Fatal

pytestmark = pytest.mark.connected


@pytest.fixture
async def js(bus: Connection) -> JetStreamContext:
    js = bus.jetstream()
    await js.add_stream(StreamConfig(name="S", subjects=["s.>"]))
    return js


@pytest.fixture
async def publisher(bus: Connection) -> AsyncIterator[Publisher]:
    publisher = Publisher(bus, deadline_s=0.5)
    yield publisher
    await publisher.close()


def _messages(first: int, count: int, size: int = 10) -> list[Outgoing]:
    numbers = range(first, first + count)
    return [Outgoing(f"s.{n % 3}", b"%d" % n + b" " * size, f"id{n}") for n in numbers]


async def read(reader: Reader, count: int) -> list[Stored]:
    """The next `count` messages at least."""
    found: list[Stored] = []
    async with asyncio.timeout(30), contextlib.aclosing(reader.groups()) as groups:
        async for batch in groups:
            found += batch
            if len(found) >= count:
                break
    return found


async def listening(reader: Reader) -> None:
    while not reader.consumers:  # noqa: ASYNC110  # it tells nobody
        await asyncio.sleep(0.005)


def numbers(found: list[Stored]) -> list[int]:
    return [int(one.data) for one in found]


async def test_everything_is_read_with_its_place_time_and_headers(
    js: JetStreamContext, bus: Connection, publisher: Publisher
) -> None:
    before_ns = time.time_ns()
    await publisher.flush(_messages(0, 5_000))
    reader = Reader(bus, "S")
    found = await read(reader, 5_000)
    assert numbers(found) == list(range(5_000))
    assert [one.seq for one in found] == list(range(1, 5_001))
    assert found[1].subject == "s.1"
    assert found[1].headers == b"NATS/1.0\r\nNats-Msg-Id: id1\r\n\r\n"
    times = [one.stored_ns for one in found]
    assert before_ns <= times[0] <= times[-1] <= time.time_ns()
    assert (reader.pending, reader.missing, reader.consumers) == (0, [], 1)


async def test_it_begins_where_it_is_told_to(
    js: JetStreamContext, bus: Connection, publisher: Publisher
) -> None:
    await publisher.flush(_messages(0, 10))
    await asyncio.sleep(0.002)
    middle_ns = time.time_ns()
    await publisher.flush(_messages(10, 10))
    assert numbers(await read(Reader(bus, "S", start_seq=8), 13)) == list(range(7, 20))
    assert numbers(await read(Reader(bus, "S", start_time_ns=middle_ns), 10)) == list(range(10, 20))
    one = await read(Reader(bus, "S", subject_filter="s.1"), 7)
    assert numbers(one) == list(range(1, 20, 3))


async def test_what_comes_later_is_read_as_it_comes(
    js: JetStreamContext, bus: Connection, publisher: Publisher
) -> None:
    reading = asyncio.create_task(read(Reader(bus, "S"), 3))
    for n in range(3):
        await publisher.flush(_messages(n, 1))
    assert numbers(await reading) == [0, 1, 2]


async def test_history_ends_where_the_stream_ends(
    js: JetStreamContext, bus: Connection, publisher: Publisher
) -> None:
    async def history() -> list[int]:
        reader = Reader(bus, "S", only_history=True)
        async with asyncio.timeout(10):
            return [int(one.data) async for batch in reader.groups() for one in batch]

    assert await history() == []
    await publisher.flush(_messages(0, 3))
    assert await history() == [0, 1, 2]


async def test_stop_ends_it_while_it_waits(js: JetStreamContext, bus: Connection) -> None:
    reader = Reader(bus, "S")
    reading = asyncio.create_task(read(reader, 1))
    await listening(reader)
    reader.stop()
    assert await reading == []


async def test_a_server_killed_and_started_again_leaves_no_hole_and_no_repeat(
    js: JetStreamContext, bus: Connection, publisher: Publisher, nats_server: EmbeddedServer
) -> None:
    reader = Reader(bus, "S")
    reading = asyncio.create_task(read(reader, 12_000))
    await listening(reader)
    for first in range(0, 12_000, 3_000):
        flush = asyncio.create_task(publisher.flush(_messages(first, 3_000)))
        await asyncio.sleep(0.03)
        await nats_server.kill()
        await nats_server.start()
        await flush
    found = await reading
    assert numbers(found) == list(range(12_000))
    assert [one.seq for one in found] == list(range(1, 12_001))
    assert reader.consumers > 1
    assert reader.missing == []


async def test_a_deleted_consumer_is_replaced_behind_the_last_message(
    js: JetStreamContext, bus: Connection, publisher: Publisher
) -> None:
    reader = Reader(bus, "S")
    found: list[Stored] = []
    async with asyncio.timeout(20), contextlib.aclosing(reader.groups()) as groups:
        await publisher.flush(_messages(0, 100))
        async for batch in groups:
            found += batch
            if len(found) in (100, 200):
                await js.delete_consumer("S", reader._consumer)
                await publisher.flush(_messages(len(found), 100))
            if len(found) == 300:
                break
    assert numbers(found) == list(range(300))
    assert reader.consumers == 3


async def test_a_server_that_falls_silent_is_left_and_found_again(
    js: JetStreamContext,
    bus: Connection,
    publisher: Publisher,
    nats_server: EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tickbus.log.reader.HEARTBEAT_S", 0.1)
    assert nats_server.process is not None
    reader = Reader(bus, "S")
    await publisher.flush(_messages(0, 10))
    reading = asyncio.create_task(read(reader, 20))
    await listening(reader)
    nats_server.process.send_signal(signal.SIGSTOP)
    while not reader._broken:  # noqa: ASYNC110  # it tells nobody
        await asyncio.sleep(0.01)
    nats_server.process.send_signal(signal.SIGCONT)
    await publisher.flush(_messages(10, 10))
    assert numbers(await reading) == list(range(20))
    assert reader.consumers == 2


async def test_messages_that_expired_before_they_were_read_are_named(
    bus: Connection, publisher: Publisher
) -> None:
    js = bus.jetstream()
    await js.add_stream(StreamConfig(name="S", subjects=["s.>"], max_msgs=30))
    await publisher.flush(_messages(0, 100))
    await js.delete_msg("S", 90)
    reader = Reader(bus, "S", start_seq=11)
    found = await read(reader, 29)
    assert found[0].seq == 71
    assert reader.missing == [(11, 70), (90, 90)]


async def test_a_stream_that_is_not_there_is_an_error_with_the_remedy(bus: Connection) -> None:
    with pytest.raises(Fatal, match=r"no stream NONE.*tickbus init"):
        await read(Reader(bus, "NONE"), 1)


async def test_a_stream_made_again_is_not_taken_for_the_old_one(
    js: JetStreamContext, bus: Connection, publisher: Publisher
) -> None:
    await publisher.flush(_messages(0, 1))
    async with contextlib.aclosing(Reader(bus, "S").groups()) as groups:
        await anext(groups)
        await js.delete_stream("S")
        await js.add_stream(StreamConfig(name="S", subjects=["s.>"]))
        with pytest.raises(Fatal, match="made again"):
            await anext(groups)


async def test_a_slow_program_holds_the_server_back_instead_of_filling_memory(
    js: JetStreamContext, bus: Connection, publisher: Publisher
) -> None:
    await publisher.flush(_messages(0, 500, size=250_000))  # 125 MB
    reader, found, most = Reader(bus, "S"), 0, 0
    async with asyncio.timeout(60), contextlib.aclosing(reader.groups()) as groups:
        async for batch in groups:
            found += len(batch)
            if found == 500:
                break
            await asyncio.sleep(0.05)
            most = max(most, reader._arrived_bytes)
    assert 0 < most <= BUFFER_BYTES + REQUESTS_OPEN * BATCH_BYTES
