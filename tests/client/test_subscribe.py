"""A subscription gives every stored message once and in order, wherever history becomes live."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from nats.js.api import RePublish, StreamConfig
from tickbus.log.batch import Batch
from tickbus.log.connection import Connection
from tickbus.log.live import LiveFeed
from tickbus.log.subscription import Subscription, subscribe
from tickbus_runtime.bus.in_flight import Outgoing
from tickbus_runtime.bus.publisher import Publisher
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_schemas import codec
from tickbus_schemas.errors import Fatal
from tickbus_schemas.messages import Message

from tests.client.logs import subject_of
from tests.runtime.folding import trades

pytestmark = pytest.mark.connected

ALL = "md.binance_usdm.>"


@pytest.fixture
async def stream(bus: Connection) -> str:
    await bus.jetstream().add_stream(
        StreamConfig(name="MD", subjects=["md.>"], republish=RePublish(src=">", dest="live.>"))
    )
    return "MD"


@pytest.fixture
async def quiet(bus: Connection) -> str:
    """A stream that sends nothing again."""
    await bus.jetstream().add_stream(StreamConfig(name="QUIET", subjects=["md.>"]))
    return "QUIET"


def message(n: int) -> Message:
    return trades(("BTCUSDT", "ETHUSDT", "XRPUSDT")[n % 3], n, [float(n)])


async def publish(nc: Connection, first: int, count: int, pause_s: float = 0.0) -> None:
    publisher = Publisher(nc, deadline_s=0.5)
    for n in range(first, first + count, 50):
        some = [message(one) for one in range(n, min(n + 50, first + count))]
        await publisher.flush(
            [Outgoing(subject_of(one), codec.encode(one), f"id{one.message_no}") for one in some]
        )
        await asyncio.sleep(pause_s)
    await publisher.close()


async def until_it_listens_publish(nc: Connection, count: int) -> None:
    while not nc._parser.sinks:  # noqa: ASYNC110  # it tells nobody
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)  # history has ended
    await publish(nc, 0, count)


async def collected(subscription: Subscription, count: int) -> list[Batch]:
    found: list[Batch] = []
    async with asyncio.timeout(60), subscription:
        async for batch in subscription:
            found.append(batch)
            if len(found) == count:
                break
    return found


def numbers(found: list[Batch]) -> list[int]:
    return [batch.message.message_no for batch in found]


async def test_history_and_live_join_without_hole_or_repeat_under_load(
    stream: str, bus: Connection, nats_server: EmbeddedServer
) -> None:
    await publish(bus, 0, 2_000)
    publishing = asyncio.create_task(publish(bus, 2_000, 4_000, pause_s=0.002))
    subscription = subscribe(ALL, 1, nc=bus)
    found = await collected(subscription, 6_000)
    await publishing
    assert numbers(found) == list(range(6_000))
    assert [batch.seq for batch in found] == list(range(1, 6_001))
    assert subscription.refills == 0
    assert found[-1].stored_ns > found[0].stored_ns > 0


async def test_live_begins_with_what_is_stored_from_now_on(stream: str, bus: Connection) -> None:
    await publish(bus, 90, 10)
    found = asyncio.create_task(collected(subscribe(f"live.{ALL}", nc=bus), 5))
    await until_it_listens_publish(bus, 5)
    assert [batch.seq for batch in await found] == [11, 12, 13, 14, 15]


async def test_from_a_time_until_a_time(stream: str, bus: Connection) -> None:
    moments = []
    for n in range(4):
        moments.append(datetime.now(UTC))
        await asyncio.sleep(0.002)
        await publish(bus, n, 1)
    subscription = subscribe(ALL, moments[1], until=moments[3], nc=bus)
    finishing = asyncio.create_task(collected(subscription, 99))
    await asyncio.sleep(0.1)
    await publish(bus, 4, 1)
    assert numbers(await finishing) == [1, 2]


async def test_one_ticker_of_many(stream: str, bus: Connection) -> None:
    await publish(bus, 0, 300)
    found = await collected(subscribe("md.*.ETHUSDT.trade", 1, nc=bus), 100)
    assert numbers(found) == list(range(1, 300, 3))
    assert {batch.ticker for batch in found} == {"ETHUSDT"}


async def test_a_lost_connection_is_filled_from_the_stream(
    stream: str, bus: Connection, nats_server: EmbeddedServer
) -> None:
    subscription = subscribe(ALL, 1, nc=bus)
    found: list[Batch] = []
    publishing = asyncio.create_task(publish(bus, 0, 3_000, pause_s=0.005))
    async with asyncio.timeout(60), subscription:
        async for batch in subscription:
            found.append(batch)
            if len(found) in (500, 1_500):
                await nats_server.kill()
                await nats_server.start()
            if len(found) == 3_000:
                break
    await publishing
    assert numbers(found) == list(range(3_000))
    assert subscription.refills >= 1


async def test_more_than_the_buffer_holds_is_filled_from_the_stream(
    stream: str, bus: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickbus.log.live.BUFFER_MESSAGES", 100)
    subscription = subscribe(ALL, 1, nc=bus)
    found: list[Batch] = []
    first = asyncio.create_task(until_it_listens_publish(bus, 1))
    async with asyncio.timeout(60), subscription:
        async for batch in subscription:
            await first
            found.append(batch)
            if len(found) == 1:
                await publish(bus, 1, 999)  # while the program does something else
            if len(found) == 1_000:
                break
    assert numbers(found) == list(range(1_000))
    assert subscription.refills >= 1


async def test_a_stream_that_sends_nothing_again_is_followed_all_the_same(
    quiet: str, bus: Connection
) -> None:
    await publish(bus, 0, 100)
    publishing = asyncio.create_task(publish(bus, 100, 400, pause_s=0.01))
    assert numbers(await collected(subscribe(ALL, 1, nc=bus), 500)) == list(range(500))
    await publishing


async def test_a_hole_in_the_live_messages_is_noticed_by_their_numbers(
    stream: str, bus: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the server ever leave one out: the next of that subject tells."""
    take = LiveFeed.take

    def lossy(feed: LiveFeed) -> list[object]:
        return [one for one in take(feed) if one.stored.seq != 7]

    monkeypatch.setattr(LiveFeed, "take", lossy)
    finding = asyncio.create_task(collected(subscribe(ALL, 1, nc=bus), 12))
    await until_it_listens_publish(bus, 1)
    for n in range(1, 12):
        await publish(bus, n, 1)
    found = await finding
    assert sorted(numbers(found)) == list(range(12))
    for ticker in ("BTCUSDT", "ETHUSDT", "XRPUSDT"):
        of_ticker = numbers([batch for batch in found if batch.ticker == ticker])
        assert of_ticker == sorted(of_ticker)


async def test_what_cannot_be_read_is_counted_and_left_out(stream: str, bus: Connection) -> None:
    await publish(bus, 0, 1)
    await bus.jetstream().publish("md.binance_usdm.BTCUSDT.trade", b"poison")
    await publish(bus, 1, 1)
    subscription = subscribe(ALL, 1, nc=bus)
    assert numbers(await collected(subscription, 2)) == [0, 1]
    assert subscription.rejected == 1


async def test_a_start_that_has_expired_is_said(bus: Connection) -> None:
    await bus.jetstream().add_stream(
        StreamConfig(
            name="MD",
            subjects=["md.>"],
            max_msgs=10,
            republish=RePublish(src=">", dest="live.>"),
        )
    )
    await publish(bus, 0, 30)
    subscription = subscribe(ALL, 5, nc=bus)
    assert numbers(await collected(subscription, 10)) == list(range(20, 30))
    assert subscription.expired == []  # told at the end of history, which the break left out
    again = subscribe(ALL, 5, until=datetime.now(UTC) + timedelta(seconds=-1), nc=bus)
    assert await collected(again, 1) == []


async def test_a_subject_that_nobody_stores_is_an_error(bus: Connection) -> None:
    with pytest.raises(Fatal, match=r"no stream stores md\.binance_usdm"):
        await collected(subscribe(ALL, nc=bus), 1)


async def test_leaving_the_loop_leaves_nothing_behind(stream: str, bus: Connection) -> None:
    await publish(bus, 0, 10)
    await collected(subscribe(ALL, 1, nc=bus), 3)
    assert not bus._parser.sinks
    info = await bus.jetstream().stream_info(stream)
    assert info.state.consumer_count == 0


async def test_a_connection_of_its_own_is_closed_with_it(
    stream: str, bus: Connection, nats_server: EmbeddedServer
) -> None:
    await publish(bus, 0, 3)
    url = nats_server.url.replace("//", f"//{nats_server.user}:{nats_server.password}@")
    found: list[Batch] = []
    async with contextlib.aclosing(subscribe(ALL, 1, url=url)) as subscription:
        async for batch in subscription:
            found.append(batch)
            if len(found) == 3:
                break
    assert numbers(found) == [0, 1, 2]
