"""The socket's bytes: all of them, in order, whether somebody waits for them or not."""

from __future__ import annotations

import asyncio
from urllib.parse import urlparse

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus.log.transport import READ_BYTES, BurstTransport, ChunkReader


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.booleans()), max_size=20))
def test_bytes_arrive_once_and_in_order_whoever_comes_first(
    steps: list[tuple[bytes, bool]],
) -> None:
    async def run() -> bytes:
        reader, found = ChunkReader(), b""
        for data, waits in steps:
            if not waits:
                reader.feed_data(data)
                continue
            reading = asyncio.ensure_future(reader.read(READ_BYTES))
            await asyncio.sleep(0)
            reader.feed_data(data)
            reader.feed_data(b"!")  # before the one that waited has run again
            found += await reading
        reader.feed_eof()
        while not reader.at_eof():
            found += await reader.read(7)
        return found

    assert asyncio.run(run()) == b"".join(data + b"!" * waits for data, waits in steps)


async def test_the_end_and_a_loss_wake_whoever_waits() -> None:
    ended, broken = ChunkReader(), ChunkReader()
    first = asyncio.ensure_future(ended.read(READ_BYTES))
    second = asyncio.ensure_future(broken.read(READ_BYTES))
    await asyncio.sleep(0)
    ended.feed_eof()
    broken.set_exception(ConnectionResetError())
    assert await first == b""
    assert ended.at_eof()
    with pytest.raises(ConnectionResetError):
        await second
    with pytest.raises(ConnectionResetError):
        await broken.read(READ_BYTES)


async def test_a_line_is_read_and_then_everything_behind_it() -> None:
    blob = bytes(range(256)) * 20_000  # more than is kept before the server is held back

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO {}\r\nPING\r\n" + blob)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    transport = BurstTransport()  # type: ignore[no-untyped-call]  # so in nats-py
    await transport.connect(urlparse(f"nats://{host}:{port}"), 1, 5)
    assert await transport.readline() == b"INFO {}\r\n"  # type: ignore[no-untyped-call]  # so in nats-py
    await asyncio.sleep(0.05)  # it comes while nobody waits
    found = b""
    while not transport.at_eof():  # type: ignore[no-untyped-call]  # so in nats-py
        found += await transport.read(1)
    assert found == b"PING\r\n" + blob
    transport.close()  # type: ignore[no-untyped-call]  # so in nats-py
    await transport.wait_closed()  # type: ignore[no-untyped-call]  # so in nats-py
    server.close()
    await server.wait_closed()


async def test_nobody_there_is_an_error_at_once() -> None:
    with pytest.raises(OSError):  # noqa: PT011  # the system's own text
        await BurstTransport().connect(urlparse("nats://127.0.0.1:1"), 1, 5)  # type: ignore[no-untyped-call]  # so in nats-py
