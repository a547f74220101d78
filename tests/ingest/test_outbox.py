"""What lines send: keepalives, replies, requests within the limits and until they are answered."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest
from tickbus_ingest.venue.contract import (
    Keepalive,
    Limit,
    Request,
    What,
)
from tickbus_ingest.wire.buffer import Buffer
from tickbus_ingest.wire.socket import END_OF_INPUT
from tickbus_schemas.messages import StatusKind
from websockets.asyncio.server import ServerConnection

from tests.ingest.plain_venue import PlainVenue, plain
from tests.ingest.serving import (
    CLIENTS,
    Driven,
    dialer,
    lines_of,
    server,
    until,
)

pytestmark = pytest.mark.connected


class Kept(PlainVenue):
    keepalive = Keepalive(b"ping", 0.05)


class Pinged(PlainVenue):
    keepalive = Keepalive(b"", 0.05, as_ping=True)


@CLIENTS
async def test_the_keepalive_is_sent_again_and_again(client: str) -> None:
    async def send(connection: ServerConnection) -> None:
        got = [await connection.recv() for _ in range(4)]
        assert got == ['{"subscribe": "trade.A"}', "ping", "ping", "ping"]
        await connection.close(END_OF_INPUT)

    async with server(send) as url, asyncio.timeout(20):
        await lines_of(dialer(url, client, Buffer(9, 99), venue=plain(kind=Kept))).run()


@CLIENTS
async def test_the_keepalive_may_be_a_websocket_ping(client: str) -> None:
    pings = 0

    class Counting(ServerConnection):
        def process_event(self, event: Any) -> None:
            nonlocal pings
            pings += getattr(event, "opcode", None) == 9
            super().process_event(event)

    async def send(connection: ServerConnection) -> None:
        await until(lambda: pings >= 3)
        await connection.close(END_OF_INPUT)

    async with server(send, create_connection=Counting) as url, asyncio.timeout(20):
        await lines_of(dialer(url, client, Buffer(9, 99), venue=plain(kind=Pinged))).run()


@CLIENTS
async def test_a_reply_goes_back_over_the_line_that_asked(client: str) -> None:
    async def send(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send('{"ask":"here"}')
        assert await connection.recv() == "here"
        await connection.close(END_OF_INPUT)

    async with server(send) as url, asyncio.timeout(20):
        await Driven(url, client).run()


class Slow(PlainVenue):
    """Takes two messages each 0.3 s, one of which is left to pongs."""

    limits: ClassVar[tuple[Limit, ...]] = (Limit(What.MESSAGES, 2, 0.3),)


async def test_requests_keep_to_the_limit_and_replies_go_first() -> None:
    got: list[tuple[float, str]] = []

    async def send(connection: ServerConnection) -> None:
        async for frame in connection:
            got.append((asyncio.get_running_loop().time(), str(frame)))
            if len(got) == 1:
                await connection.send('{"ask":"reply"}')
            if len(got) == 5:
                break
        await connection.close(END_OF_INPUT)

    async with server(send) as url, asyncio.timeout(20):
        venue = plain("A", "B", "C", "D", kind=Slow)
        await Driven(url, "websockets", venue=venue).run()
    assert [text for _, text in got] == [
        '{"subscribe": "trade.A"}', "reply", '{"subscribe": "trade.B"}',
        '{"subscribe": "trade.C"}', '{"subscribe": "trade.D"}',
    ]  # fmt: skip
    assert got[-1][0] - got[0][0] > 4 * 0.3 - 0.1


async def test_a_request_without_its_answer_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickbus_ingest.lines.answers.ANSWER_S", 0.2)
    monkeypatch.setattr("tickbus_ingest.lines.keeper.CHECK_S", 0.05)
    got: list[str] = []

    async def send(connection: ServerConnection) -> None:
        async for frame in connection:
            got.append(str(frame))
            if len(got) != 2:  # the second is not answered
                await connection.send('{"ok":1}')
            if len(got) == 3:
                await asyncio.sleep(0.6)
                await connection.close(END_OF_INPUT)

    async with server(send) as url, asyncio.timeout(20):
        await Driven(url, "websockets", venue=plain("A", "B")).run()
    b = '{"subscribe": "trade.B"}'
    assert got == ['{"subscribe": "trade.A"}', b, b]


async def test_a_refused_subscription_is_an_answer_and_has_the_venues_words() -> None:
    got: list[str] = []

    async def send(connection: ServerConnection) -> None:
        got.append(str(await connection.recv()))
        await connection.send('{"refused":"no such market"}')
        await connection.close(END_OF_INPUT)
        got.extend([str(frame) async for frame in connection])

    async with server(send) as url, asyncio.timeout(20):
        driven = Driven(url, "websockets")
        await driven.run()
        driven.flush()
    assert got == ['{"subscribe": "trade.A"}']
    assert driven.errors == ["no such market"]


async def test_a_book_is_asked_for_anew_once_at_a_time_and_by_itself() -> None:
    got: list[str] = []
    answered = asyncio.Event()

    async def send(connection: ServerConnection) -> None:
        async for frame in connection:
            got.append(str(frame))
            if len(got) <= 4 or answered.is_set():
                await connection.send('{"ok":1}')
            if len(got) == 8:
                await connection.close(END_OF_INPUT)

    async with server(send) as url, asyncio.timeout(20):
        driven = Driven(url, "websockets", venue=plain("A", "B", feeds=("trade", "l2")))
        running = asyncio.create_task(driven.run())
        await until(lambda: len(got) == 4)
        (connection,) = driven.dialer.connections.values()
        await until(lambda: not connection.answers.waits_for(""))
        driven.lines.renew_books([1])
        driven.lines.renew_books([1])
        await until(lambda: len(got) == 6)
        driven.lines.renew_books([1])
        await asyncio.sleep(0.1)
        assert got[4:] == ['{"unsubscribe": "l2.B"}', '{"subscribe": "l2.B"}']
        answered.set()
        connection.answers.came()
        connection.answers.came()
        driven.lines.renew_books([1])
        await running
    assert got[6:] == ['{"unsubscribe": "l2.B"}', '{"subscribe": "l2.B"}']


async def test_a_silent_stream_is_ended_before_it_is_asked_for_again() -> None:
    got: list[str] = []

    async def send(connection: ServerConnection) -> None:
        async for frame in connection:
            got.append(str(frame))
            await connection.send('{"ok":1}')
            if len(got) == 3:
                await connection.close(END_OF_INPUT)

    async with server(send) as url, asyncio.timeout(20):
        driven = Driven(url, "websockets")
        running = asyncio.create_task(driven.run())
        await until(lambda: driven.dialer.connections)
        (connection,) = driven.dialer.connections.values()
        await until(lambda: got and connection.answers.are_all_there)
        for _ in range(5):  # it waits to be sent, or for its answer: asked for once
            driven.lines.subscribe_again(driven.lines.streams)
        await running
    assert got == [
        '{"subscribe": "trade.A"}', '{"unsubscribe": "trade.A"}', '{"subscribe": "trade.A"}',
    ]  # fmt: skip


async def test_a_connection_greets_before_it_subscribes_and_so_does_the_next_one() -> None:
    got: list[str] = []

    class Polite(PlainVenue):
        def greet(self) -> list[Request]:
            return [Request(b'{"hello": 1}')]

    async def send(connection: ServerConnection) -> None:
        for _ in range(2):
            got.append(str(await connection.recv()))
            await connection.send('{"ok":1}')
        await connection.close(END_OF_INPUT if len(got) > 2 else 1001)

    async with server(send) as url, asyncio.timeout(20):
        await Driven(url, "websockets", venue=plain(kind=Polite)).run()
    assert got == ['{"hello": 1}', '{"subscribe": "trade.A"}'] * 2


async def test_a_stream_that_the_venue_will_never_give_is_said_and_not_asked_for_again() -> None:
    got: list[str] = []

    async def send(connection: ServerConnection) -> None:
        async for frame in connection:
            got.append(str(frame))
            await connection.send('{"never":"l2.B"}' if "l2.B" in str(frame) else '{"ok":1}')
            if "l2.A" in str(frame) and len(got) > 4:
                await connection.close(END_OF_INPUT)

    async with server(send) as url, asyncio.timeout(20):
        driven = Driven(url, "websockets", venue=plain("A", "B", feeds=("trade", "l2")))
        running = asyncio.create_task(driven.run())
        await until(lambda: driven.statuses)
        (connection,) = driven.dialer.connections.values()
        await until(lambda: not connection.answers.waits_for(""))
        streams = {stream.name: stream for stream in driven.lines.streams}
        assert driven.lines.is_refused(streams["l2.B"])
        assert not driven.lines.is_refused(streams["l2.A"])
        driven.lines.renew_books([1, 0])
        await running
    assert got[4:] == ['{"unsubscribe": "l2.A"}', '{"subscribe": "l2.A"}']
    (said,) = [one for one in driven.statuses if one.kind is StatusKind.NOTICE]
    assert (said.ticker, said.reason) == (1, "the venue refuses l2.B: unknown")


async def test_a_new_connection_asks_for_what_the_last_one_was_refused() -> None:
    connections, got = 0, list[str]()

    async def send(connection: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        async for frame in connection:
            if connections == 1:
                await connection.send('{"never":"l2.A"}')
                await asyncio.sleep(0.1)
                await connection.close(1001)
                return
            got.append(str(frame))
            await connection.send('{"ok":1}')
            if len(got) == 3:
                await connection.close(END_OF_INPUT)

    async with server(send) as url, asyncio.timeout(20):
        driven = Driven(url, "websockets", venue=plain(feeds=("l2",)))
        running = asyncio.create_task(driven.run())
        (stream,) = driven.lines.streams
        await until(lambda: driven.lines.is_refused(stream))
        await until(lambda: len(got) == 1)
        assert not driven.lines.is_refused(stream)
        await until(
            lambda: not any(c.answers.waits_for("") for c in driven.dialer.connections.values())
        )
        driven.lines.renew_books([0])
        await running
    assert got == ['{"subscribe": "l2.A"}', '{"unsubscribe": "l2.A"}', '{"subscribe": "l2.A"}']


@CLIENTS
async def test_what_sends_ends_with_its_connection(client: str) -> None:
    async def send(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.close(1001)

    async with server(send) as url, asyncio.timeout(20):
        driven = Driven(url, client)
        running = asyncio.create_task(driven.run())
        await until(lambda: driven.dialer.connections)
        (connection,) = driven.dialer.connections.values()
        await until(lambda: connection.sending is not None and connection.sending.done())
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
