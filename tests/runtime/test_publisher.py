"""The publisher against a real server that is full, slow, gone and killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from nats.js.api import DiscardPolicy, StreamConfig
from nats.js.client import JetStreamContext
from tickbus.log.connection import Connection
from tickbus.log.reader import Reader
from tickbus_runtime.bus.fence_check import FenceCheck, Fenced
from tickbus_runtime.bus.in_flight import Outgoing
from tickbus_runtime.bus.publisher import Publisher
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_schemas.errors import Reject, Retry

WINDOW_S = 0.2

pytestmark = pytest.mark.connected


def _messages(count: int, *, size: int = 200, name: str = "m") -> list[Outgoing]:
    return [Outgoing(f"s.{n % 3}", b"%d" % n + b" " * size, f"{name}{n}") for n in range(count)]


@pytest_asyncio.fixture
async def js(bus: Connection) -> JetStreamContext:
    js = bus.jetstream()
    await js.add_stream(StreamConfig(name="S", subjects=["s.>"]))
    return js


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry("test")


@pytest_asyncio.fixture
async def publisher(bus: Connection, telemetry: Telemetry) -> AsyncIterator[Publisher]:
    publisher = Publisher(bus, deadline_s=0.5, telemetry=telemetry)
    yield publisher
    await publisher.close()


async def log_of(bus: Connection) -> list[int]:
    """The numbers in the stream's messages, in stored order."""
    reader = Reader(bus, "S", only_history=True)
    return [int(one.data) async for batch in reader.groups() for one in batch]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # it tells nobody when it changes
            await asyncio.sleep(0.005)


async def test_a_flush_is_stored_in_order_and_the_same_again_is_known(
    js: JetStreamContext, bus: Connection, publisher: Publisher, telemetry: Telemetry
) -> None:
    first = await publisher.flush(_messages(500))
    assert [one.seq for one in first] == list(range(1, 501))
    again = await publisher.flush(_messages(501))
    assert [one.seq for one in again] == list(range(1, 502))
    assert [one.duplicate for one in again] == [True] * 500 + [False]
    assert await log_of(bus) == list(range(501))
    assert telemetry.status()["counters"]["publish_duplicates"] == 500


async def test_a_flush_larger_than_what_may_be_in_flight_keeps_its_order(
    js: JetStreamContext, bus: Connection, publisher: Publisher
) -> None:
    assert all(one.stored for one in await publisher.flush(_messages(9_000, size=0)))
    assert await log_of(bus) == list(range(9_000))


async def test_headers_travel_with_the_message(js: JetStreamContext, publisher: Publisher) -> None:
    await publisher.flush([Outgoing("s.a", b"", "id", {"In-Seq": "7.0"})])
    stored = await js.get_msg("S", 1)
    assert stored.headers == {"Nats-Msg-Id": "id", "In-Seq": "7.0"}


async def test_once_another_fence_is_written_nothing_more_is_stored(
    bus: Connection, js: JetStreamContext
) -> None:
    first = await js.publish("s.fence", b"first")
    publisher = Publisher(bus, fence=FenceCheck("s.fence", first.seq))
    await publisher.flush([Outgoing("s.1", b"1", "one"), Outgoing("s.2", b"2", "two")])
    await js.publish("s.fence", b"second")
    with pytest.raises(Fenced, match="another publisher has taken this shard over"):
        await publisher.flush([Outgoing("s.1", b"3", "three"), Outgoing("s.2", b"4", "four")])
    await publisher.close()
    state = (await js.stream_info("S")).state
    assert state.messages == 4
    assert (await js.get_msg("S", state.last_seq)).data == b"second"


async def test_without_a_check_messages_have_no_header_of_it(
    js: JetStreamContext, publisher: Publisher
) -> None:
    await publisher.flush([Outgoing("s.1", b"1", "one")])
    assert (await js.get_msg("S", 1)).headers == {"Nats-Msg-Id": "one"}


@pytest.mark.parametrize("subject", ["s.*", "s.>", "s.a b", "s..a", "", "s.\r\nPING"])
async def test_a_subject_that_is_none_never_reaches_the_server(
    publisher: Publisher, subject: str
) -> None:
    with pytest.raises(Reject):
        await publisher.flush([Outgoing(subject, b"", "id")])


async def test_a_header_cannot_smuggle_another(publisher: Publisher) -> None:
    with pytest.raises(Reject):
        await publisher.flush([Outgoing("s.a", b"", "id\r\nNats-Rollup: all")])


async def test_what_the_server_will_never_take_is_refused_and_the_rest_stored(
    bus: Connection, publisher: Publisher, telemetry: Telemetry
) -> None:
    await bus.jetstream().add_stream(StreamConfig(name="S", subjects=["s.>"], max_msg_size=300))
    messages = [*_messages(2), Outgoing("s.0", b"2" + b" " * 1_000, "big"), *_messages(5)[3:]]
    outcomes = await publisher.flush(messages)
    assert [one.stored for one in outcomes] == [True, True, False, True, True]
    assert outcomes[2].code == 10054
    assert await log_of(bus) == [0, 1, 3, 4]
    assert telemetry.status()["counters"]["publish_refused{code=10054}"] == 1


async def test_a_full_stream_is_waited_for(
    bus: Connection, publisher: Publisher, telemetry: Telemetry
) -> None:
    js = bus.jetstream()
    full = StreamConfig(name="S", subjects=["s.>"], max_msgs=5, discard=DiscardPolicy.NEW)
    await js.add_stream(full)
    flush = asyncio.create_task(publisher.flush(_messages(8)))
    await until(lambda: bool(telemetry.counters.get(("publish_retries", ()))))
    assert not flush.done()
    assert await log_of(bus) == [0, 1, 2, 3, 4]
    await js.purge_stream("S")
    assert all(one.stored for one in await flush)
    assert await log_of(bus) == [5, 6, 7]


async def test_a_stream_that_is_not_there_yet_is_waited_for(
    bus: Connection, publisher: Publisher, telemetry: Telemetry
) -> None:
    flush = asyncio.create_task(publisher.flush(_messages(5)))
    await until(lambda: bool(telemetry.counters.get(("publish_retries", ()))))
    await bus.jetstream().add_stream(StreamConfig(name="S", subjects=["s.>"]))
    assert all(one.stored for one in await flush)
    assert await log_of(bus) == [0, 1, 2, 3, 4]


async def test_a_server_killed_between_flushes_is_waited_for(
    js: JetStreamContext, bus: Connection, publisher: Publisher, nats_server: EmbeddedServer
) -> None:
    await publisher.flush(_messages(3))
    await nats_server.kill()
    flush = asyncio.create_task(publisher.flush(_messages(6)))
    await until(lambda: not bus.is_connected)
    await nats_server.start()
    outcomes = await flush
    assert [one.duplicate for one in outcomes] == [True, True, True, False, False, False]
    assert await log_of(bus) == list(range(6))


class KillsAtAnswer(Publisher):
    """Kills the server the moment that it has given so many answers."""

    def __init__(self, nc: Connection, server: EmbeddedServer, answers: int) -> None:
        super().__init__(nc, deadline_s=0.5)
        self.server = server
        self.answers_left = answers

    def _on_answer(self, subject: bytes, payload: bytes, headers: bytes | None) -> None:
        super()._on_answer(subject, payload, headers)
        self.answers_left -= 1
        if self.answers_left == 0 and self.server.process is not None:
            self.server.process.kill()


@pytest.mark.parametrize("answers", [1, 2_500, 4_001])
@pytest.mark.parametrize("outage_s", [0.0, 3 * WINDOW_S])
async def test_a_server_killed_in_mid_flush_loses_and_doubles_nothing(
    bus: Connection, nats_server: EmbeddedServer, answers: int, outage_s: float
) -> None:
    """Also when it was away for so long that it does not know the ids any more."""
    stream = StreamConfig(name="S", subjects=["s.>"], duplicate_window=WINDOW_S)
    await bus.jetstream().add_stream(stream)
    publisher = KillsAtAnswer(bus, nats_server, answers)
    flush = asyncio.create_task(publisher.flush(_messages(4_500, size=2_000)))
    assert await nats_server.exited() == -9
    await asyncio.sleep(outage_s)
    await nats_server.start()
    assert all(one.stored for one in await flush)
    assert await log_of(bus) == list(range(4_500))
    await publisher.close()


async def test_told_to_stop_it_gives_up_on_a_server_that_is_gone(
    js: JetStreamContext, bus: Connection, nats_server: EmbeddedServer
) -> None:
    stopping = asyncio.Event()
    publisher = Publisher(bus, deadline_s=0.2, stopping=stopping, give_up_s=0.1)
    await publisher.flush(_messages(1))
    await nats_server.kill()
    flush = asyncio.create_task(publisher.flush(_messages(4)[1:]))
    await until(lambda: not bus.is_connected)
    stopping.set()
    with pytest.raises(Retry, match="3 messages are not stored"):
        await flush
    await publisher.close()


async def test_a_server_that_hangs_is_asked_again_and_stores_nothing_twice(
    js: JetStreamContext, bus: Connection, publisher: Publisher, nats_server: EmbeddedServer
) -> None:
    assert nats_server.process is not None
    await publisher.flush(_messages(1))
    nats_server.process.send_signal(signal.SIGSTOP)
    flush: Awaitable[object] = asyncio.create_task(publisher.flush(_messages(50)))
    await asyncio.sleep(1.2)  # two deadlines
    nats_server.process.send_signal(signal.SIGCONT)
    await flush
    assert await log_of(bus) == list(range(50))
