"""Lines against a real server, with both clients: opened, kept, replaced, opened again."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any, ClassVar

import pytest
import structlog
from tickbus_ingest.venue.contract import (
    Get,
    Limit,
    Request,
    Route,
    What,
)
from tickbus_ingest.wire.buffer import Buffer, Connected, Disconnected, Replaced
from tickbus_ingest.wire.socket import END_OF_INPUT
from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_schemas.errors import Fatal, Retry
from tickbus_schemas.messages import StatusKind
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request as Asked
from websockets.http11 import Response

from tests.ingest.plain_venue import PlainVenue, plain
from tests.ingest.serving import (
    CLIENTS,
    Driven,
    dialer,
    lines_of,
    server,
    taken,
    trade,
    until,
)

pytestmark = pytest.mark.connected


@CLIENTS
async def test_the_close_code_tells_the_end_of_the_input(client: str) -> None:
    async def send(connection: ServerConnection) -> None:
        assert await connection.recv() == '{"subscribe": "trade.A"}'
        await connection.send('{"ok":1}')
        await connection.send("last")
        await connection.close(END_OF_INPUT, "end")

    buffer = Buffer(100, 10_000)
    async with server(send) as url, asyncio.timeout(20):
        await lines_of(dialer(url, client, buffer)).run()
    assert taken(buffer) == [Connected, b'{"ok":1}', b"last"]


@CLIENTS
async def test_a_broken_line_is_said_and_opened_again_with_a_number_of_its_own(
    client: str,
) -> None:
    count = 0

    async def send(connection: ServerConnection) -> None:
        nonlocal count
        count += 1
        await connection.recv()
        await connection.send(trade(count))
        if count < 3:
            connection.transport.abort()
        else:
            await connection.close(END_OF_INPUT)

    telemetry = Telemetry()
    async with server(send) as url, asyncio.timeout(20):
        driven = Driven(url, client, telemetry=telemetry)
        await driven.run()
        driven.flush()
    assert driven.kinds() == [Connected, Disconnected, Connected, Disconnected, Connected]
    opened_lines = [one.line.number for one in driven.notices if isinstance(one, Connected)]
    lost_lines = [one.line for one in driven.notices if isinstance(one, Disconnected)]
    assert lost_lines == opened_lines[:2]
    assert len(set(opened_lines)) == 3
    assert driven.session.packets == 3
    assert telemetry.counters["connects", ()] == 3


@CLIENTS
async def test_a_line_is_replaced_only_by_one_that_delivers(client: str) -> None:
    count = 0
    first_closed = asyncio.Event()

    async def send(connection: ServerConnection) -> None:
        nonlocal count
        count += 1
        number = count
        await connection.recv()
        await connection.send('{"ok":1}')
        await connection.send(trade(number))
        if number == 1:
            await connection.send('{"closing":1}')
            await connection.wait_closed()
            first_closed.set()
        else:
            await first_closed.wait()  # the new line delivers before the old one is closed
            await connection.close(END_OF_INPUT)

    async with server(send) as url, asyncio.timeout(20):
        driven = Driven(url, client)
        await driven.run()
        driven.flush()
    assert driven.kinds() == [Connected, Connected, Replaced]
    first, second, replaced = driven.notices
    assert (replaced.line, replaced.by) == (first.line.number, second.line.number)
    assert count == 2


@CLIENTS
async def test_a_line_goes_on_when_its_replacement_does_not_deliver(
    client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickbus_ingest.lines.keeper.DELIVERS_S", 0.2)
    count = 0
    useless_closed = asyncio.Event()

    async def send(connection: ServerConnection) -> None:
        nonlocal count
        count += 1
        if count == 1:
            await connection.recv()
            await connection.send('{"ok":1}')
            await connection.send('{"closing":1}')
            await useless_closed.wait()
            await connection.send('{"trade":1}')
            await connection.close(END_OF_INPUT)
        else:
            await connection.wait_closed()
            useless_closed.set()

    async with server(send) as url, asyncio.timeout(20):
        driven = Driven(url, client)
        await driven.run()
        driven.flush()
    assert driven.kinds() == [Connected, Connected, Replaced]
    first, second, replaced = driven.notices
    assert (replaced.line, replaced.by) == (second.line.number, first.line.number)
    assert driven.session.feeds.trades["trade"].last_number[0] == 1


@CLIENTS
async def test_a_line_that_lost_messages_is_opened_anew(client: str) -> None:
    count = 0

    async def send(connection: ServerConnection) -> None:
        nonlocal count
        count += 1
        await connection.recv()
        await connection.send('{"ok":1}')
        await connection.send(trade(count))
        if count == 1:
            await connection.send('{"hole":1}')
            await connection.wait_closed()
        else:
            await asyncio.sleep(0.3)
            await connection.close(END_OF_INPUT)

    async with server(send) as url, asyncio.timeout(20):
        driven = Driven(url, client)
        await driven.run()
        driven.flush()
    assert driven.kinds() == [Connected, Connected, Replaced]


@CLIENTS
async def test_a_silent_line_is_given_up(client: str) -> None:
    count = 0

    async def send(connection: ServerConnection) -> None:
        nonlocal count
        count += 1
        await connection.recv()
        if count > 1:
            await connection.close(END_OF_INPUT)
        await connection.wait_closed()

    buffer = Buffer(100, 10_000)
    async with server(send) as url, asyncio.timeout(20):
        await lines_of(dialer(url, client, buffer, silence_s=0.5)).run()
    assert taken(buffer) == [Connected, Disconnected, Connected]


@CLIENTS
async def test_a_held_line_reads_on_later_and_loses_nothing(client: str) -> None:
    async def send(connection: ServerConnection) -> None:
        await connection.recv()
        for n in range(400):
            await connection.send(f"{n} {'x' * 50_000}")
        await connection.close(END_OF_INPUT)

    held: list[bool] = []

    def hold_back(paused: bool) -> None:
        held.append(paused)
        lines.hold(paused)

    buffer = Buffer(100, 2**30, hold_back)
    got: list[bytes] = []
    async with server(send) as url, asyncio.timeout(30):
        lines = lines_of(dialer(url, client, buffer))
        running = asyncio.create_task(lines.run())
        while not running.done() or buffer:
            await asyncio.sleep(0.01)
            got += buffer.take(40)[0].data
    assert [int(frame.split()[0]) for frame in got] == list(range(400))
    assert held[:2] == [True, False]


class Address(PlainVenue):
    """Tells its URL over REST."""

    def routes(self) -> list[Route]:
        (route,) = super().routes()
        return [Route(route.path, route.streams, address=Get("/token"))]

    def address(self, body: bytes) -> str:
        return str(json.loads(body)["url"])


async def test_an_address_is_asked_for_before_each_connection() -> None:
    paths: list[str] = []

    async def send(connection: ServerConnection) -> None:
        assert connection.request is not None
        paths.append(connection.request.path)
        if len(paths) == 2:
            await connection.close(END_OF_INPUT)

    async with server(send) as url, asyncio.timeout(20):
        asked: list[Get] = []

        async def fetch(get: Get) -> bytes:
            asked.append(get)
            if len(asked) == 1:
                raise Retry("not now")
            return json.dumps({"url": f"{url}/secret?token={len(asked)}"}).encode()

        made = dialer("", "websockets", Buffer(9, 99), venue=plain(kind=Address), fetch=fetch)
        await lines_of(made).run()
    assert paths == ["/secret?token=2", "/secret?token=3"]
    assert {get.path for get in asked} == {"/token"}


class Maintained(PlainVenue):
    maintenance_codes = frozenset({4000})


async def test_maintenance_is_waited_for_with_longer_pauses() -> None:
    asked: list[float] = []

    def uniform(low: float, high: float) -> float:
        asked.append(high)
        return 0.01

    codes = [4000, 4000, 1001, END_OF_INPUT]

    async def send(connection: ServerConnection) -> None:
        await connection.close(codes.pop(0))

    async with server(send) as url, asyncio.timeout(20):
        made = dialer(url, "websockets", Buffer(99, 999), venue=plain(kind=Maintained))
        await lines_of(made, uniform=uniform).run()
    assert asked == [20.0, 40.0, 2.0]


async def test_a_refused_handshake_is_tried_again_when_the_venue_says() -> None:
    refused = 0

    def refuse(connection: ServerConnection, request: Asked) -> Response | None:
        nonlocal refused
        refused += 1
        if refused > 1:
            return None
        answer = connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "")
        answer.headers["Retry-After"] = "77"
        return answer

    async def end(connection: ServerConnection) -> None:
        await connection.close(END_OF_INPUT)

    async with server(end, process_request=refuse) as url:
        with structlog.testing.capture_logs() as said:
            made = dialer(url, "picows", Buffer(9, 99))
            running = asyncio.create_task(lines_of(made).run())
            await until(lambda: said)
        assert said[0]["why"].endswith("; no attempt for 77 s")
        bucket = made.limits.attempts[0]
        await until(lambda: refused and bucket.wait_s(asyncio.get_running_loop().time()) > 60)
        assert 70 < bucket.wait_s(asyncio.get_running_loop().time()) <= 77
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert refused == 1


class Few(PlainVenue):
    limits: ClassVar[tuple[Limit, ...]] = (Limit(What.CONNECTIONS, 1),)

    def subscribe(self, streams: Any) -> list[Request]:
        return []


async def test_without_room_for_two_connections_the_old_one_is_closed_first() -> None:
    count = at_once = most = 0

    async def send(connection: ServerConnection) -> None:
        nonlocal count, at_once, most
        count, at_once = count + 1, at_once + 1
        most = max(most, at_once)
        await connection.send(trade(count))
        if count == 1:
            await connection.send('{"closing":1}')
        else:
            await connection.close(END_OF_INPUT)
        await connection.wait_closed()
        at_once -= 1

    async with server(send) as url, asyncio.timeout(20):
        driven = Driven(url, "websockets", venue=plain(kind=Few))
        await driven.run()
        driven.flush()
    assert driven.kinds() == [Connected, Disconnected, Connected]
    assert most == 1


def test_more_connections_than_the_venue_allows_are_a_mistake() -> None:
    made = dialer("ws://a", "websockets", Buffer(1, 1), venue=plain(kind=Few))
    with pytest.raises(Fatal, match="2 connections are needed, and the venue allows 1"):
        lines_of(made, per_route=2)


async def test_two_lines_may_carry_one_route_and_one_of_them_may_break() -> None:
    count = 0

    async def send(connection: ServerConnection) -> None:
        nonlocal count
        count += 1
        number = count
        await connection.recv()
        await connection.send('{"ok":1}')
        await connection.send(trade(number))
        if number == 1:
            await until(lambda: len(driven.heard) == 2)
            await connection.send('{"ok":1}')  # it lives until the other one delivers
            await (await connection.ping())
            connection.transport.abort()
            return
        await until(lambda: count >= 3)
        await connection.close(END_OF_INPUT)

    async with server(send) as url, asyncio.timeout(20):
        driven = Driven(url, "websockets", per_route=2)
        await driven.run()
        driven.flush()
    assert driven.kinds().count(Connected) == 3
    assert driven.kinds().count(Replaced) == 1
    assert Disconnected not in driven.kinds()
    (said,) = driven.statuses
    assert said.kind is StatusKind.DISCONNECTED
    assert said.reason.endswith("; connection 1 goes on")


@CLIENTS
async def test_a_replacement_counts_once_all_is_subscribed_and_rows_come(client: str) -> None:
    count = 0
    closed = asyncio.Event()
    closed_early: list[str] = []

    async def stays(after: str) -> None:
        await asyncio.sleep(0.3)
        if closed.is_set():
            closed_early.append(after)

    async def send(connection: ServerConnection) -> None:
        nonlocal count
        count += 1
        if count == 1:
            for n in range(2):
                await connection.recv()
                await connection.send('{"ok":1}')
                await connection.send(trade(n))
            await connection.send('{"closing":1}')
            await connection.wait_closed()
            closed.set()
            return
        await connection.recv()
        await connection.send('{"ok":1}')
        await connection.send(trade(3))
        await stays("half of the streams")
        await connection.recv()
        await connection.send('{"ok":1}')
        await closed.wait()
        await connection.close(END_OF_INPUT)

    async with server(send) as url, asyncio.timeout(20):
        driven = Driven(url, client, venue=plain("A", "B"))
        await driven.run()
        driven.flush()
    assert closed_early == []
    assert driven.kinds() == [Connected, Connected, Replaced]


@CLIENTS
async def test_words_of_the_venue_are_no_rows(client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickbus_ingest.lines.keeper.DELIVERS_S", 0.5)
    monkeypatch.setattr("tickbus_ingest.lines.connection.QUIET_S", 0.1)
    count = 0
    useless_closed = asyncio.Event()

    async def send(connection: ServerConnection) -> None:
        nonlocal count
        count += 1
        await connection.recv()
        await connection.send('{"ok":1}')
        if count == 1:
            await connection.send('{"closing":1}')
            for n in range(10_000):
                if useless_closed.is_set():
                    break
                await connection.send(trade(n))
                await asyncio.sleep(0.01)
            await connection.close(END_OF_INPUT)
        else:
            for _ in range(10):
                await connection.send('{"ask":"heartbeat"}')
            await connection.wait_closed()
            useless_closed.set()

    async with server(send) as url, asyncio.timeout(20):
        driven = Driven(url, client)
        await driven.run()
        driven.flush()
    first, second, replaced = driven.notices
    assert (replaced.line, replaced.by) == (second.line.number, first.line.number)


@CLIENTS
async def test_in_a_quiet_market_a_replacement_without_rows_will_do(
    client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickbus_ingest.lines.connection.QUIET_S", 0.1)
    count = 0
    first_closed = asyncio.Event()

    async def send(connection: ServerConnection) -> None:
        nonlocal count
        count += 1
        await connection.recv()
        await connection.send('{"ok":1}')
        if count == 1:
            await connection.send(trade(1))
            await connection.send('{"closing":1}')
            await connection.wait_closed()
            first_closed.set()
        else:
            await first_closed.wait()
            await connection.close(END_OF_INPUT)

    async with server(send) as url, asyncio.timeout(20):
        driven = Driven(url, client)
        await driven.run()
        driven.flush()
    assert driven.kinds() == [Connected, Connected, Replaced]


async def test_a_line_that_breaks_before_another_one_delivers_is_gone() -> None:
    count = 0

    async def send(connection: ServerConnection) -> None:
        nonlocal count
        count += 1
        await connection.recv()
        if count == 1:
            await connection.send('{"ok":1}')
            await connection.send(trade(1))
            await connection.send('{"closing":1}')
            await until(lambda: count == 2)
            await asyncio.sleep(0.1)
            connection.transport.abort()
        else:
            await until(lambda: Disconnected in driven.kinds())
            await connection.send('{"ok":1}')
            await connection.close(END_OF_INPUT)

    async with server(send) as url, asyncio.timeout(20):
        driven = Driven(url, "websockets")
        await driven.run()
        driven.flush()
    assert driven.kinds() == [Connected, Connected, Disconnected]
