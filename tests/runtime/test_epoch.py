"""Every start of a publisher has an epoch of its own, above all before it."""

from __future__ import annotations

import asyncio

import pytest
from tickbus.log.connection import Connection, connect
from tickbus_runtime.bus.epoch import announce_epoch
from tickbus_runtime.bus.streams import ensure
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_runtime.settings.sections import NatsSettings, Settings
from tickbus_schemas import codec
from tickbus_schemas.errors import Fatal, Retry
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import Fence

pytestmark = pytest.mark.connected

SHARD, STREAM, SUBJECT = "binance_usdm", "MD_BINANCE_USDM", "fence.binance_usdm"


@pytest.fixture
async def made(bus: Connection) -> None:
    settings = Settings(nats=NatsSettings(max_bytes=64 * 1024**2))
    await ensure(bus.jetstream(), settings, settings.of_shard)


async def announce(
    nc: Connection, owner: str = "me", stopping: asyncio.Event | None = None
) -> tuple[int, int]:
    return await announce_epoch(
        nc, STREAM, SHARD, Exchange.BINANCE_USDM, owner, version="1.2", stopping=stopping
    )


@pytest.mark.usefixtures("made")
async def test_epochs_count_and_their_fence_is_the_first_message(bus: Connection) -> None:
    assert await announce(bus) == (1, 1)
    await bus.jetstream().publish("md.binance_usdm.X.trade", b"")
    assert await announce(bus) == (2, 3)
    stored = await bus.jetstream().get_msg(STREAM, 3)
    fence = codec.decode(stored.data or b"", SUBJECT)
    assert isinstance(fence, Fence)
    assert (fence.epoch, fence.message_no, fence.owner, fence.version) == (2, 0, "me", "1.2")


@pytest.mark.usefixtures("made")
async def test_starts_at_the_same_time_get_different_epochs(
    bus: Connection, nats_server: EmbeddedServer
) -> None:
    clients = [await connect(data_dir=nats_server.folder.parent) for _ in range(4)]
    announced = await asyncio.gather(*(announce(nc, f"p{n}") for n, nc in enumerate(clients)))
    assert sorted(announced) == [(1, 1), (2, 2), (3, 3), (4, 4)]
    for nc in clients:
        await nc.close()


@pytest.mark.usefixtures("made")
async def test_expired_fences_are_remembered(bus: Connection) -> None:
    for _ in range(3):
        await announce(bus)
    await bus.jetstream().purge_stream(STREAM)
    assert await announce(bus) == (4, 4)


@pytest.mark.usefixtures("made")
async def test_a_server_that_is_away_is_waited_for(
    bus: Connection, nats_server: EmbeddedServer
) -> None:
    await announce(bus)
    await nats_server.kill()
    announcing = asyncio.create_task(announce(bus))
    await asyncio.sleep(0.1)
    await nats_server.start()
    assert await asyncio.wait_for(announcing, 30) == (2, 2)


@pytest.mark.usefixtures("made")
async def test_told_to_stop_it_stops_waiting(bus: Connection, nats_server: EmbeddedServer) -> None:
    await nats_server.kill()
    stopping = asyncio.Event()
    stopping.set()
    with pytest.raises(Retry, match="stopped before MD_BINANCE_USDM could be reached"):
        await asyncio.wait_for(announce(bus, stopping=stopping), 30)


async def test_without_a_stream_it_says_what_makes_it(bus: Connection) -> None:
    with pytest.raises(Fatal, match=r"no stream MD_BINANCE_USDM.*tickbus init"):
        await announce(bus)
