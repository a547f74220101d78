"""A venue that does not want us: one clear line, no hammering, and all is well once it does."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from tickbus_ingest.lines.keeper import AGAIN_MAX_S
from tickbus_ingest.lines.listing import Listing
from tickbus_ingest.wire.buffer import Buffer, Connected
from tickbus_ingest.wire.rest import Rest
from tickbus_ingest.wire.socket import END_OF_INPUT
from tickbus_schemas.errors import Retry
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request as Asked
from websockets.http11 import Response

from tests.ingest.plain_venue import PlainVenue, plain
from tests.ingest.serving import CLIENTS, dialer, lines_of, server, taken, trade, until
from tests.ingest.test_rest import fetching

pytestmark = pytest.mark.connected

REFUSALS = 6
STATUSES = [418, 429, 403, 451, 500, 502, 503, 302]


class Asking(PlainVenue):
    """Reads Retry-After as most venues do."""


def certificate(folder: Path) -> ssl.SSLContext:
    """A server's TLS with a certificate that nobody has signed, and of another host."""
    key, made = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    subject = ["-subj", "/CN=elsewhere.example", "-keyout", str(key), "-out", str(made)]
    subprocess.run([*command, *subject], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return context


class Pauses:
    """Takes the place of chance: notes the longest of each pause, and waits for next to nothing."""

    def __init__(self) -> None:
        self.longest_s: list[float] = []

    def __call__(self, low: float, high: float) -> float:
        self.longest_s.append(high)
        return 0.005


async def delivered(connection: ServerConnection) -> None:
    await connection.recv()
    await connection.send(trade(1))
    await connection.close(END_OF_INPUT)


@CLIENTS
@pytest.mark.parametrize("status", STATUSES)
async def test_a_refused_connection_is_told_once_and_asked_for_with_growing_pauses(
    client: str, status: int
) -> None:
    asked = 0

    def refuse(connection: ServerConnection, request: Asked) -> Response | None:
        nonlocal asked
        asked += 1
        if asked > REFUSALS:
            return None
        answer = connection.respond(HTTPStatus(status), "a text\nof two lines")
        answer.headers["Location"] = "/elsewhere"
        answer.headers["Retry-After"] = "0"
        return answer

    pauses, buffer = Pauses(), Buffer(99, 9_999)
    with structlog.testing.capture_logs() as said:
        async with server(delivered, process_request=refuse) as url, asyncio.timeout(30):
            made = dialer(url, client, buffer, venue=plain(kind=Asking))
            await lines_of(made, uniform=pauses).run()
    assert asked == REFUSALS + 1
    assert pauses.longest_s == [0.5, 1, 2, 4, 8, 16]
    assert max(pauses.longest_s) <= AGAIN_MAX_S
    told = [one for one in said if one["log_level"] != "info"]
    assert [one["event"] for one in told] == ["cannot connect to the venue"]
    assert f"HTTP {status}" in told[0]["why"]
    assert "\n" not in told[0]["why"]
    assert taken(buffer) == [Connected, trade(1).encode()]


@CLIENTS
async def test_a_certificate_of_somebody_else_is_told_and_nothing_is_said_to_its_owner(
    client: str, tmp_path: Path
) -> None:
    async def nothing(connection: ServerConnection) -> None:
        raise AssertionError("it is not the venue")

    pauses = Pauses()
    with structlog.testing.capture_logs() as said:
        async with server(nothing, ssl=certificate(tmp_path)) as url, asyncio.timeout(30):
            made = dialer(url.replace("ws://", "wss://"), client, Buffer(9, 99))
            running = asyncio.create_task(lines_of(made, uniform=pauses).run())
            await until(lambda: len(pauses.longest_s) >= 3)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    told = [one for one in said if one["log_level"] == "warning"]
    assert len(told) == 1
    assert "certificate" in told[0]["why"].lower()
    assert "\n" not in told[0]["why"]


async def test_rest_behind_a_certificate_of_somebody_else_is_refused(tmp_path: Path) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response()

    runner = web.ServerRunner(web.Server(answer))  # type: ignore[arg-type]  # aiohttp's types want the low-level request
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certificate(tmp_path))
    await site.start()
    rest = Rest([f"https://127.0.0.1:{runner.addresses[0][1]}"])
    try:
        with pytest.raises(Retry, match=r"(?i)certificate") as caught:
            await rest.ask(PlainVenue.instruments_requests()[0])
    finally:
        await rest.close()
        await runner.cleanup()
    assert "\n" not in str(caught.value)
    assert asked == []


@pytest.mark.parametrize("status", STATUSES)
async def test_a_refused_list_of_instruments_is_told_once_and_taken_when_it_comes(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def backoff(attempt: int, first_s: float, max_s: float, *_: Any) -> float:
        pauses.append(min(first_s * 2.0 ** (attempt - 1), max_s))
        return 0.005

    monkeypatch.setattr("tickbus.retry.backoff_s", backoff)
    asked = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        if asked <= REFUSALS:
            headers = {"Retry-After": "0", "Location": "/elsewhere"}
            return web.Response(status=status, headers=headers, text="a text\nof two lines")
        return web.Response(body=b'["A"]')

    with structlog.testing.capture_logs() as said:
        async with fetching(answer) as fetcher:
            fetcher._weight.bucket._rules.clear()  # this test is about refusals alone
            listing = Listing(PlainVenue, fetcher, structlog.get_logger(), lambda _: None)
            async with asyncio.timeout(30):
                listed = await listing.first(asyncio.Event())
    assert listed is not None
    assert [one.ticker for one in listed.instruments] == ["A", "A"]
    assert asked == REFUSALS + 2
    assert pauses == [1, 2, 4, 8, 16, 32]
    told = [one for one in said if one["log_level"] == "warning"]
    assert len(told) == 1
    assert f"HTTP {status}" in told[0]["why"]
    assert "\n" not in told[0]["why"]
