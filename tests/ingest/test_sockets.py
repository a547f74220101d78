"""Sockets of both clients against a real server: whole frames, in order, bounded."""

from __future__ import annotations

import asyncio
import gzip
from http import HTTPStatus

import pytest
from tickbus_ingest.venue.contract import (
    Compression,
)
from tickbus_ingest.wire.buffer import Buffer
from tickbus_ingest.wire.intake import PARTS_MAX, Intake
from tickbus_ingest.wire.socket import HandshakeRefused, connect
from tickbus_ingest.wire.unpacking import unpacker
from tickbus_schemas.errors import Retry
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request as Asked
from websockets.http11 import Response

from tests.ingest.serving import (
    CLIENTS,
    FRAME_BYTES,
    filled,
    opened,
    server,
    taken,
    until,
)

pytestmark = pytest.mark.connected


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
    async with server(send) as url:
        socket = await opened(client, url, buffer)
        await filled(buffer, 4)
        await socket.close()
    assert taken(buffer) == ['{"a":"\u00e9"}'.encode(), b"\xff\x00binary", b"parted frame", large]
    assert (await socket.closed).code in (1000, 1006)


@CLIENTS
async def test_frames_that_come_before_the_line_is_announced_wait_for_it(client: str) -> None:
    async def send(connection: ServerConnection) -> None:
        await connection.send("first")
        await connection.send("second")
        await connection.wait_closed()

    buffer = Buffer(100, 2**20)
    async with server(send) as url:
        socket = await connect(client, url, Intake(0, buffer, FRAME_BYTES))
        await until(lambda: socket.intake.received == 2)
        assert len(buffer) == 0
        socket.intake.begin()
        await socket.close()
    assert taken(buffer) == [b"first", b"second"]


@CLIENTS
async def test_packed_frames_are_unpacked_and_a_bomb_is_cut_off(client: str) -> None:
    bomb = gzip.compress(b"0" * 50_000_000)

    async def send(connection: ServerConnection) -> None:
        await connection.send(gzip.compress(b'{"a":1}'))
        await connection.send("as text it is not packed")
        await connection.send(bomb)
        await connection.send(b"no gzip at all")
        await connection.wait_closed()

    buffer = Buffer(100, 2**20)
    async with server(send) as url:
        unpack = unpacker(Compression.GZIP, FRAME_BYTES)
        socket = await opened(client, url, buffer, unpack=unpack)
        await filled(buffer, 4)
        await socket.close()
    one, other, cut, odd = taken(buffer)
    assert (one, other, odd) == (b'{"a":1}', b"as text it is not packed", b"no gzip at all")
    assert cut == b"0" * (FRAME_BYTES + 1)


@CLIENTS
async def test_a_message_of_fragments_is_cut_off_behind_what_is_accepted(client: str) -> None:
    async def send(connection: ServerConnection) -> None:
        await connection.send(["x" * 5_000] * 100)
        await connection.send("next")
        await connection.wait_closed()

    buffer = Buffer(100, 2**20)
    async with server(send) as url:
        socket = await opened(client, url, buffer)
        await filled(buffer, 2)
        await socket.close()
    assert taken(buffer) == [b"x" * (FRAME_BYTES + 1), b"next"]


@CLIENTS
async def test_a_flood_of_fragments_ends_the_connection(client: str) -> None:
    async def send(connection: ServerConnection) -> None:
        await connection.send("good")
        await connection.send(["x"] * (PARTS_MAX + 1_000))
        await connection.wait_closed()

    buffer = Buffer(100, 2**20)
    async with server(send) as url, asyncio.timeout(20):
        socket = await opened(client, url, buffer)
        closed = await socket.closed
    assert closed.code == 1009
    assert "fragments" in closed.reason
    assert taken(buffer) == [b"good"]


@CLIENTS
async def test_a_venue_that_is_not_there_is_tried_again(client: str) -> None:
    with pytest.raises(Retry, match=r"ws://127.0.0.1:1/stream: "):
        await connect(client, "ws://127.0.0.1:1/stream?secret=1", Intake(0, Buffer(1, 1), 1))


@CLIENTS
async def test_a_redirect_is_not_followed(client: str) -> None:
    asked: list[str] = []

    def redirect(connection: ServerConnection, request: Asked) -> Response | None:
        asked.append(request.path)
        answer = connection.respond(HTTPStatus.FOUND, "")
        answer.headers["Location"] = "/elsewhere"
        return answer

    async def nothing(connection: ServerConnection) -> None:
        raise AssertionError("followed")

    async with server(nothing, process_request=redirect) as url:
        with pytest.raises(HandshakeRefused, match="HTTP 302"):
            await connect(client, f"{url}/here", Intake(0, Buffer(1, 1), 1))
    assert asked == ["/here"]
