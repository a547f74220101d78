"""REST against a real HTTP server: bounded, within the budget, into the buffer."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
import structlog
from aiohttp import web
from tickbus_ingest.lines.fetcher import Denied, Fetcher, fetcher_of
from tickbus_ingest.lines.limits import Bucket, Limits
from tickbus_ingest.lines.listing import Listed, Listing
from tickbus_ingest.lines.polls import Polls, Schedule
from tickbus_ingest.venue.contract import Get, Limit, Poll, What
from tickbus_ingest.wire.buffer import Body, Buffer, Failed
from tickbus_ingest.wire.rest import BODY_BYTES_MAX, Answer, Rest
from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_schemas.errors import Reject, Retry

from tests.ingest.plain_venue import PlainVenue, plain
from tests.ingest.serving import until

pytestmark = pytest.mark.connected
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Venue(PlainVenue):
    limits: ClassVar[tuple[Limit, ...]] = (Limit(What.WEIGHT, 10, 60),)
    weight_header = "X-Used"


@asynccontextmanager
async def fetching(
    handler: Handler, *, kind: type[Venue] = Venue, **options: Any
) -> AsyncIterator[Fetcher]:
    """A fetcher of a server on a free port."""
    server = web.Application()
    server.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    rest = Rest([url, f"{url}/second"], **options)
    fetcher = fetcher_of(
        plain(kind=kind), rest, Limits(kind), Telemetry("ingest"), structlog.get_logger()
    )
    try:
        yield fetcher
    finally:
        await fetcher.close()
        await runner.cleanup()


def taken(buffer: Buffer) -> list[Any]:
    found = []
    while buffer:
        _, notice = buffer.take(9)
        found.append(notice)
    return found


async def test_a_get_goes_to_its_host_and_a_body_makes_it_a_post() -> None:
    seen: list[tuple[str, str, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, await request.read()))
        return web.Response(body=b"x", headers={"X-Tickbus-Received-Ns": "7"})

    async with fetching(answer, capture_times=True) as fetcher:
        first = await fetcher.get(Get("/depth?a=1"), "rest")
        await fetcher.get(Get("/info", host=1, body=b'{"type":"meta"}'), "rest")
    assert (first.data, first.received_ns) == (b"x", 7)
    assert seen == [
        ("GET", "/depth?a=1", b""),
        ("POST", "/second/info", b'{"type":"meta"}'),
    ]


@pytest.mark.parametrize("packed", [False, True])
async def test_a_body_without_end_is_not_read_to_its_end(packed: bool) -> None:
    piece = b"0" * 2**20
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        if packed:
            bomb = gzip.compress(piece * (BODY_BYTES_MAX // len(piece) + 1))
            return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(10 * BODY_BYTES_MAX // len(piece)):
            await response.write(piece)
            sent += len(piece)
        return response

    async with fetching(answer) as fetcher:
        with pytest.raises(Retry, match=f"more than {BODY_BYTES_MAX} bytes"):
            await fetcher.get(Get("/depth"), "rest")
    assert sent < 2 * BODY_BYTES_MAX


async def test_a_redirect_is_no_answer() -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async with fetching(answer) as fetcher:
        with pytest.raises(Retry, match="HTTP 302"):
            await fetcher.get(Get("/depth"), "rest")
    assert seen == ["/depth"]


@pytest.mark.parametrize(
    ("status", "for_good"),
    [(403, True), (404, True), (451, True), (400, True), (429, False), (418, False), (408, False),
     (500, False), (503, False)],
)  # fmt: skip
async def test_a_refusal_that_will_not_change_is_told_from_one_that_may(
    status: int, for_good: bool
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text="no", headers={"Retry-After": "0"})

    buffer = Buffer(9, 99)
    async with fetching(answer) as fetcher:
        assert not await fetcher.begin(Get("/depth", book_of="A"), buffer)
    (failed,) = taken(buffer)
    assert isinstance(failed, Failed)
    assert (failed.get.book_of, failed.for_good) == ("A", for_good)
    assert f"HTTP {status} no" in failed.reason


async def test_a_body_is_a_packet_with_its_request() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"book")

    buffer, get = Buffer(9, 99), Get("/depth", book_of="A")
    async with fetching(answer) as fetcher:
        assert await fetcher.begin(get, buffer)
    (body,) = taken(buffer)
    assert isinstance(body, Body)
    assert (body.get, body.data) == (get, b"book")
    assert body.url.startswith("http://127.0.0.1:")
    assert body.url.endswith("/depth")


async def test_a_refused_request_holds_all_of_them_as_long_as_the_venue_says() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "33"})

    async with fetching(answer) as fetcher:
        with pytest.raises(Retry, match=r"HTTP 429 .*; no request for 33 s") as caught:
            await fetcher.get(Get("/depth"), "rest")
        assert not isinstance(caught.value, Denied)
        assert 30 < fetcher._weight.bucket.wait_s(time.monotonic()) <= 33


async def test_the_weight_that_the_venue_has_left_is_believed() -> None:
    class Left(Venue):
        weight_header = ""
        weight_left_header = "X-Left"

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"x", headers={"X-Left": request.path.strip("/")})

    async with fetching(answer, kind=Left) as fetcher:
        bucket = fetcher._weight.bucket
        for told, used in (("8", 2), ("3", 7), ("9", 8), ("many", 9)):
            await fetcher.get(Get(f"/{told}", weight=1), "rest")
            assert 10 - _free(bucket) == used, told


def _free(bucket: Bucket) -> int:
    """How much may be asked for at once."""
    now_s = time.monotonic()
    return max(n for n in range(11) if not n or bucket.wait_s(now_s, n) == 0)


async def test_the_weight_that_the_venue_counts_is_believed() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(headers={"x-used": "9"})

    async with fetching(answer) as fetcher:
        await fetcher.get(Get("/depth", weight=1), "rest")
        bucket, now_s = fetcher._weight.bucket, time.monotonic()
        assert bucket.wait_s(now_s, 1) == 0
        assert bucket.wait_s(now_s, 2) > 50


# --------------------------------------------------------------------- polls


def test_polls_are_spread_over_their_period() -> None:
    schedule = Schedule([Poll(Get(str(n)), 30.0) for n in range(3)], now_s=100)
    due = [(s, schedule.due(s)) for s in range(100, 165, 5)]
    assert [(s, places) for s, places in due if places] == [
        (100, [0]), (110, [1]), (120, [2]), (130, [0]), (140, [1]), (150, [2]), (160, [0]),
    ]  # fmt: skip


def test_a_poll_that_fails_is_asked_for_at_growing_distances() -> None:
    schedule = Schedule([Poll(Get("a"), 10.0)], now_s=0)
    asked = []
    for second in range(200):
        if schedule.due(second):
            asked.append(second)
            schedule.ended(0, good=second >= 70)
    assert asked[:8] == [0, 10, 30, 70, 150, 160, 170, 180]


def test_what_was_missed_is_not_made_up_for() -> None:
    schedule = Schedule([Poll(Get("a"), 10.0)], now_s=0)
    assert schedule.due(100) == [0]
    assert schedule.due(109) == []
    assert schedule.due(110) == [0]


async def test_polled_bodies_come_again_and_again_but_one_at_a_time() -> None:
    asked: list[str] = []
    held = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path.endswith("B"):
            await held.wait()
        return web.Response(body=b"5")

    buffer = Buffer(99, 999)
    polls = plain("A", "B", feeds=("derivative",)).polls()
    async with fetching(answer) as fetcher:
        fetcher._weight.bucket._rules.clear()  # this test is about the period alone
        running = asyncio.create_task(Polls(polls, fetcher, buffer).run())
        await until(lambda: asked.count("/interest/A") > 5)
        held.set()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert asked.count("/interest/B") == 1
    paths = [one.get.path for one in taken(buffer) if isinstance(one, Body)]
    # The ones before it were out of date before anybody took them; B's answer may have come.
    assert paths.count("/interest/A") == 1


async def test_a_poll_that_fails_in_any_way_is_counted_and_asked_for_again() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"{}")

    buffer, found = Buffer(100, 10_000), list[Any]()
    async with fetching(answer) as fetcher, asyncio.timeout(20):
        nowhere = [Poll(Get("/interest", host=7), 0.01)]
        running = asyncio.create_task(Polls(nowhere, fetcher, buffer).run())
        while len(found) < 3:
            await until(lambda: bool(buffer))
            found += taken(buffer)
        assert not running.done()
        running.cancel()
        counted = fetcher._telemetry.status()["counters"]["rest_failures"]
    assert all(isinstance(one, Failed) and "IndexError" in one.reason for one in found)
    assert counted >= 3


# ------------------------------------------------------------------- listing


def listing(fetcher: Fetcher, bodies: list[Answer]) -> Listing:
    return Listing(PlainVenue, fetcher, structlog.get_logger(), bodies.append)


async def test_the_list_may_come_in_several_bodies_and_is_waited_for() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if len(asked) == 1:
            return web.Response(status=500)
        if len(asked) == 3:
            return web.Response(body=b"<html>")
        return web.Response(body=b'["A",""]' if request.path == "/one" else b'["B"]')

    bodies: list[Answer] = []
    async with fetching(answer) as fetcher:
        found = await listing(fetcher, bodies).first(asyncio.Event())
    assert asked == ["/one", "/one", "/two", "/one", "/two"]
    assert found is not None
    assert [one.ticker for one in found.instruments] == ["A", "B"]
    assert [body.data for body in bodies[-2:]] == [b'["A",""]', b'["B"]']


class Paged(PlainVenue):
    """Names the next page in the first entry of a body."""

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get("/spot"), Get("/swap")]

    @classmethod
    def more_instruments_requests(cls, get: Get, body: bytes) -> list[Get]:
        first = json.loads(body)[0]
        return [Get(first)] if first.startswith("/") else []


async def test_what_a_body_names_is_asked_for_behind_what_was_known_from_the_start() -> None:
    pages = {
        "/spot": b'["/spot2","A"]', "/swap": b'["B"]', "/spot2": b'["/spot3","C"]',
        "/spot3": b'["D"]',
    }  # fmt: skip

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=pages[request.path])

    bodies: list[Answer] = []
    async with fetching(answer) as fetcher:
        paged = Listing(Paged, fetcher, structlog.get_logger(), bodies.append)
        found = await paged.ask()
    assert [body.data for body in bodies] == [
        pages[path] for path in ("/spot", "/swap", "/spot2", "/spot3")
    ]
    assert {"A", "B", "C", "D"} <= {one.ticker for one in found.instruments}


async def test_a_list_whose_next_page_never_ends_is_given_up() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b'["/again"]')

    async with fetching(answer) as fetcher:
        fetcher._weight.bucket._rules.clear()  # as above
        endless = Listing(Paged, fetcher, structlog.get_logger(), lambda _: None)
        with pytest.raises(Reject, match="does not end within 100 bodies"):
            await endless.ask()


async def test_a_stop_ends_the_wait_for_the_list_at_once() -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    stopping = asyncio.Event()
    async with fetching(answer) as fetcher, asyncio.timeout(5):
        waiting = asyncio.create_task(listing(fetcher, []).first(stopping))
        await asyncio.sleep(0.2)
        stopping.set()
        assert await waiting is None


async def test_the_list_is_renewed_and_a_failure_changes_nothing() -> None:
    count = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        if 3 <= count <= 5:
            return web.Response(status=503)
        return web.Response(body=b'["A%d"]' % count)

    found: list[Listed] = []
    async with fetching(answer) as fetcher:
        fetcher._weight.bucket._rules.clear()  # as above
        keeping = asyncio.create_task(listing(fetcher, []).keep(0.01, found.append))
        await until(lambda: len(found) >= 2)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert [[one.ticker for one in each.instruments] for each in found[:2]] == [
        ["A1", "A2"],
        ["A6", "A7"],
    ]


class Broken(PlainVenue):
    @classmethod
    def parse_instruments(cls, bodies: Any) -> list[Any]:
        raise KeyError("x")


async def test_a_venues_file_that_fails_on_the_list_is_waited_for_like_a_bad_list() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"[]")

    async with fetching(answer) as fetcher:
        broken = Listing(Broken, fetcher, structlog.get_logger(), lambda _: None)
        with pytest.raises(Reject, match=r"failed: binance_usdm\.parse_instruments: KeyError"):
            await broken.ask()
