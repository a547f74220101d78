"""Requests over real sockets to a server that misbehaves; no word of the address comes out."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest
from aiohttp import web
from tickbus_alerts.post import Poster
from tickbus_alerts.receivers.receiver import Answer, Post

from tests.alerts.receiving import TOKEN, receiver

pytestmark = pytest.mark.connected


async def asked(url: str, poster: Poster | None = None) -> Answer:
    poster = poster or Poster()
    try:
        return await poster.send(Post(f"{url}/bot{TOKEN}/sendMessage", {"text": "x"}))
    finally:
        await poster.close()


async def test_an_answer_comes_with_status_words_and_retry_after() -> None:
    async with receiver(web.Response(status=429, text="no", headers={"Retry-After": "3"})) as one:
        assert await asked(one.url) == Answer(429, "no", "3")
        assert one.got == [(f"/bot{TOKEN}/sendMessage", {"text": "x"})]


async def test_a_redirect_is_not_followed() -> None:
    async with receiver() as other:
        moved = web.Response(status=302, headers={"Location": other.url})
        async with receiver(moved) as one:
            assert (await asked(one.url)).status == 302
        assert other.got == []


async def test_a_server_that_hangs_up_or_is_not_there_is_told_without_its_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        gone = await asked(f"http://127.0.0.1:{taken.getsockname()[1]}")
    async with receiver("reset") as one:
        reset = await asked(one.url)
    nowhere = await asked("http://no.such.host.invalid")
    no_url = await asked("http://[")
    for answer in (gone, reset, nowhere, no_url):
        assert answer.status == 0
        assert answer.text
        assert TOKEN not in answer.text
        assert "http" not in answer.text


async def test_a_server_that_is_slow_is_given_up() -> None:
    poster = Poster()
    poster._session._timeout = aiohttp.ClientTimeout(total=0.3)
    async with receiver("slow") as one, asyncio.timeout(20):
        assert await asked(one.url, poster) == Answer(0, "no answer within 20 s")


async def test_a_flood_of_an_answer_is_cut_off() -> None:
    async with receiver(web.Response(text="x" * 10_000_000)) as one:
        assert len((await asked(one.url)).text) <= 64 * 1024
