"""The connection: found, never given up, and poured from."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from tickbus.log.burst import BurstParser
from tickbus.log.connection import Connection, connect, redacted
from tickbus.log.transport import BurstTransport
from tickbus.log.wire import Messages
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_schemas.errors import Retry


@pytest.mark.connected
async def test_nats_py_sends_every_byte_through_our_transport_and_parser(
    bus: Connection, nats_server: EmbeddedServer
) -> None:
    back = asyncio.Event()
    bus.on_change(lambda: back.set() if bus.is_connected else None)
    await nats_server.kill()
    await nats_server.start()
    async with asyncio.timeout(20):
        await back.wait()
    await bus.flush()
    assert isinstance(bus._transport, BurstTransport)
    assert isinstance(bus._ps, BurstParser)


def test_urls_are_shown_without_credentials() -> None:
    assert redacted("nats://me:secret@host:4222,tls://other:1") == "nats://host:4222,tls://other:1"
    assert redacted("host:4222") == "host:4222"


async def test_without_a_server_there_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(Retry, match=r"no NATS server at nats://127.0.0.1:1 .*tickbus up"):
        await connect("nats://me:secret@127.0.0.1:1", data_dir=tmp_path)


@pytest.mark.connected
async def test_messages_that_are_poured_arrive_whole_and_in_order(bus: Connection) -> None:
    arrived: list[tuple[bytes, bytes, bytes | None]] = []
    done = asyncio.Event()

    def sink(messages: Messages) -> None:
        assert messages.deliveries is None
        arrived.extend(messages.each())
        if len(arrived) == 1_001:
            done.set()

    subscription = await bus.pour("a.>", sink)
    await bus.publish("a.b", b"first", reply="inbox", headers={"X": "1"})
    for n in range(1_000):
        await bus.publish("a.c", b"%d" % n * 100)
    async with asyncio.timeout(10):
        await done.wait()
    assert arrived[0] == (b"a.b", b"first", b"NATS/1.0\r\nX: 1\r\n\r\n")
    assert [data for _, data, _ in arrived[1:]] == [b"%d" % n * 100 for n in range(1_000)]
    await bus.stop(subscription)
    await bus.publish("a.b", b"later")
    await bus.flush()
    assert len(arrived) == 1_001


@pytest.mark.connected
async def test_a_sink_that_fails_is_reported_and_what_follows_is_read(
    nats_server: EmbeddedServer,
) -> None:
    errors: asyncio.Queue[str] = asyncio.Queue()
    nc = await connect(data_dir=nats_server.folder.parent, count=errors.put_nowait)

    def sink(messages: Messages) -> None:
        raise LookupError(messages)

    await nc.pour("a", sink)
    for data in (b"1", b"2"):
        await nc.publish("a", data)
        async with asyncio.timeout(10):
            assert await errors.get() == "LookupError"
    await nc.close()


def test_subscribing_needs_neither_numpy_nor_polars() -> None:
    code = (
        "import sys\n"
        "for name in ('numpy', 'numba', 'polars', 'pyarrow'): sys.modules[name] = None\n"
        "import tickbus, tickbus.log.subscription, tickbus.log.batch\n"
        "tickbus.connect, tickbus.subscribe, tickbus.Batch\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
