"""Connections against a real WebSocket server: both clients, both make and break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from tickbus_ingest.connection import END_OF_INPUT, connect
from tickbus_ingest.exchanges import load
from tickbus_ingest.lines import LineKeeper
from tickbus_ingest.reconnect import Budget
from tickbus_ingest.wire.buffer import Buffer, Connected, Disconnected
from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_schemas.errors import Retry
from websockets.asyncio.server import ServerConnection, serve

pytestmark = pytest.mark.connected
CLIENTS = pytest.mark.parametrize("client", ["picows", "websockets"])
Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def venue(handler: Handler) -> AsyncIterator[str]:
    """A server on a free port; its address."""
    async with serve(handler, "127.0.0.1", 0, max_size=None, ping_interval=0.1) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/public/stream"


def keeper(url: str, client: str, buffer: Buffer, **options: Any) -> LineKeeper:
    made = load("binance_usdm")(["BTCUSDT"], ["trade"])
    return LineKeeper(
        0,
        made.lines()[0],
        venue=made,
        url=url,
        client=client,
        buffer=buffer,
        budget=Budget(100),
        silence_s=options.pop("silence_s", 30.0),
        telemetry=options.pop("telemetry", Telemetry()),
        log=structlog.get_logger(),
        recorder=None,
        stop_at_end=True,
        uniform=lambda low, high: 0.01,
    )


def taken(buffer: Buffer) -> list[Any]:
    """Everything in the buffer: frames as bytes, notices by their type."""
    found: list[Any] = []
    while buffer:
        frames, notice = buffer.take(1000)
        found += frames.data
        if notice is not None:
            found.append(type(notice))
    return found


async def filled(buffer: Buffer, frames: int) -> None:
    """Wait until so many frames are there."""
    while len(buffer) < frames:
        buffer.arrived.clear()
        await buffer.arrived.wait()


@CLIENTS
async def test_frames_of_every_kind_and_size_come_out_as_they_were_sent(client: str) -> None:
    large = b"x" * 20_000_000

    async def send(connection: ServerConnection) -> None:
        await connection.send('{"a":"\u00e9"}')
        await connection.send(b"\xff\x00binary")
        await connection.send(["part", "ed ", "frame"])
        await connection.send(large, text=True)
        await connection.wait_closed()

    buffer = Buffer(100, 2**30)
    async with venue(send) as url:
        socket = await connect(client, url, 0, buffer)
        await filled(buffer, 4)
        await socket.close()
    assert taken(buffer) == ['{"a":"\u00e9"}'.encode(), b"\xff\x00binary", b"parted frame", large]
    assert (await socket.closed).code in (1000, 1006)


@CLIENTS
async def test_a_venue_that_is_not_there_is_tried_again(client: str) -> None:
    with pytest.raises(Retry, match=r"ws://127.0.0.1:1/stream: "):
        await connect(client, "ws://127.0.0.1:1/stream?secret=1", 0, Buffer(1, 1))


@CLIENTS
async def test_the_close_code_tells_the_end_of_the_input(client: str) -> None:
    async def send(connection: ServerConnection) -> None:
        assert b"btcusdt@trade" in await connection.recv(decode=False)
        await connection.send('{"result":null,"id":1}')
        await connection.send("last")
        await connection.close(END_OF_INPUT, "end")

    buffer = Buffer(100, 10_000)
    async with venue(send) as url, asyncio.timeout(20):
        await keeper(url, client, buffer).run()
    assert taken(buffer) == [Connected, b'{"result":null,"id":1}', b"last"]


@CLIENTS
async def test_a_broken_line_is_said_and_opened_again(client: str) -> None:
    opened = 0

    async def send(connection: ServerConnection) -> None:
        nonlocal opened
        opened += 1
        await connection.recv()
        await connection.send(f"from {opened}")
        if opened < 3:
            connection.transport.abort()
        else:
            await connection.close(END_OF_INPUT)

    buffer, telemetry = Buffer(100, 10_000), Telemetry()
    async with venue(send) as url, asyncio.timeout(20):
        await keeper(url, client, buffer, telemetry=telemetry).run()
    once = [Connected, b"from 1", Disconnected]
    assert taken(buffer) == [*once, Connected, b"from 2", Disconnected, Connected, b"from 3"]
    assert telemetry.counters["connects", ()] == 3


@CLIENTS
async def test_a_line_is_replaced_only_by_one_that_delivers(client: str) -> None:
    opened = 0
    first_closed = asyncio.Event()

    async def send(connection: ServerConnection) -> None:
        nonlocal opened
        opened += 1
        number = opened
        await connection.recv()
        for n in range(2):
            await connection.send(f"{number}.{n}")
        if number == 1:
            await connection.wait_closed()
            first_closed.set()
        else:
            await first_closed.wait()  # the new line delivers before the old one is closed
            await connection.close(END_OF_INPUT)

    buffer = Buffer(100, 10_000)
    async with venue(send) as url, asyncio.timeout(20):
        one = keeper(url, client, buffer)
        running = asyncio.create_task(one.run())
        await filled(buffer, 2)
        one.replace()
        await running
    assert taken(buffer) == [Connected, b"1.0", b"1.1", Connected, b"2.0", b"2.1"]
    assert opened == 2


@CLIENTS
async def test_a_silent_line_is_given_up(client: str) -> None:
    opened = 0

    async def send(connection: ServerConnection) -> None:
        nonlocal opened
        opened += 1
        await connection.recv()
        if opened > 1:
            await connection.close(END_OF_INPUT)
        await connection.wait_closed()

    buffer = Buffer(100, 10_000)
    async with venue(send) as url, asyncio.timeout(20):
        await keeper(url, client, buffer, silence_s=0.5).run()
    assert taken(buffer) == [Connected, Disconnected, Connected]


@CLIENTS
async def test_a_held_line_reads_on_later_and_loses_nothing(client: str) -> None:
    async def send(connection: ServerConnection) -> None:
        await connection.recv()
        for n in range(400):
            await connection.send(f"{n} {'x' * 50_000}")
        await connection.close(END_OF_INPUT)

    lines: list[LineKeeper] = []
    held: list[bool] = []

    def hold_back(paused: bool) -> None:
        held.append(paused)
        lines[0].hold(paused)

    buffer = Buffer(100, 2**30, hold_back)
    got: list[bytes] = []
    async with venue(send) as url, asyncio.timeout(30):
        lines.append(keeper(url, client, buffer))
        running = asyncio.create_task(lines[0].run())
        while not running.done() or buffer:
            await asyncio.sleep(0.01)
            got += buffer.take(40)[0].data
    assert [int(frame.split()[0]) for frame in got] == list(range(400))
    assert held[:2] == [True, False]
