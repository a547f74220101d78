"""The venue as a process, seen by a real WebSocket client and over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import urllib.error
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tickbus_sim.capture import read_capture
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.sim.conftest import RunningVenue
from tests.sim.recordings import Recording, body, depth, trade

pytestmark = pytest.mark.connected
StartVenue = Callable[..., RunningVenue]
DEPTH = "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"


@asynccontextmanager
async def _subscribed(url: str, *streams: str) -> AsyncIterator[ClientConnection]:
    async with connect(url, max_size=None, max_queue=None) as socket:
        request = {"method": "SUBSCRIBE", "params": list(streams), "id": 1}
        await socket.send(json.dumps(request))
        assert json.loads(await socket.recv()) == {"result": None, "id": 1}
        yield socket


async def _rest(socket: ClientConnection) -> tuple[list[str], int, str]:
    """Everything up to the close: frames, close code (1006 where there was none) and reason."""
    frames: list[str] = []
    while True:
        try:
            frames.append(str(await socket.recv()))
        except ConnectionClosed as closed:
            if closed.rcvd is None:
                return frames, 1006, ""
            return frames, closed.rcvd.code, closed.rcvd.reason


async def _get(venue: RunningVenue, path: str = DEPTH) -> bytes:
    return await asyncio.to_thread(venue.get, path)


def _streams(venue: RunningVenue) -> list[str]:
    facts = venue.facts
    return [f"{t.lower()}@{c}" for t in facts["tickers"] for c in facts["channels"]]


def _recording(trades: int = 50) -> Recording:
    recording = Recording().frames(depth("btcusdt", 4, 5), depth("btcusdt", 5, 6, [["9", "1"]]))
    recording.body("BTCUSDT", body(5, [["8", "1"]]))
    return recording.frames(*(trade("btcusdt", number) for number in range(trades)))


@pytest.mark.parametrize("speed", ["max", "400"])
async def test_a_real_capture_arrives_whole_and_byte_for_byte(
    start_venue: StartVenue, captures: Path, speed: str
) -> None:
    path = captures / "frames" / "binance_usdm" / "btcusdt_20240808.jsonl.gz"
    capture = read_capture([path])
    venue = start_venue("--capture", path, "--speed", speed)
    assert (venue.facts["frames"], venue.facts["rest_bodies"]) == (93_953, 1)

    async with _subscribed(f"{venue.ws}/public/stream", *_streams(venue)) as socket:
        snapshot = asyncio.create_task(_get(venue))
        frames, code, reason = await _rest(socket)

    assert await snapshot == capture.bodies[0].text
    assert frames == [text.decode() for text in capture.texts]
    assert (code, reason) == (4900, "end of input")
    end = venue.finish()
    assert (end["sent"], end["rest_bodies"], end["unsubscribed"]) == (93_953, 1, 0)


async def test_every_route_gets_what_it_owns(start_venue: StartVenue, captures: Path) -> None:
    path = captures / "frames" / "binance_usdm" / "cryptofeed_20210722.jsonl.gz"
    venue = start_venue("--capture", path, "--speed", "max")
    streams = [name for name in _streams(venue) if "kline" not in name]

    async with (
        _subscribed(f"{venue.ws}/public/stream", *streams) as public,
        _subscribed(f"{venue.ws}/market/stream", *streams) as market,
    ):
        bodies = [
            asyncio.create_task(_get(venue, f"/fapi/v1/depth?symbol={ticker}&limit=1000"))
            for ticker in venue.facts["tickers"]
        ]
        (public_frames, *_), (market_frames, *_) = await asyncio.gather(
            _rest(public), _rest(market)
        )
        fetched = await asyncio.gather(*bodies)

    capture = read_capture([path])
    assert fetched == [recorded.text for recorded in capture.bodies]
    sent = [text.decode() for text in capture.texts]
    assert market_frames == [text for text in sent if "@aggTrade" in text[:40]]
    assert public_frames == [t for t in sent if "@depth" in t[:40] or "@bookTicker" in t[:40]]
    assert venue.finish()["unsubscribed"] == sum("@kline" in text[:40] for text in sent)


async def test_frames_on_two_connections_are_read_in_the_order_of_the_capture(
    start_venue: StartVenue, captures: Path
) -> None:
    path = captures / "frames" / "binance_usdm" / "cryptofeed_20210722.jsonl.gz"
    venue = start_venue("--capture", path, "--speed", "max")
    streams = _streams(venue)
    market = [one for one in streams if "@aggTrade" in one or "@kline" in one]
    public = [one for one in streams if one not in market]
    read: list[str] = []

    async def follow(socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for frame in socket:
                read.append(str(frame))  # noqa: PERF401 - as each comes: two readers, one order

    async with (
        _subscribed(f"{venue.ws}/public/stream", *public) as one,
        _subscribed(f"{venue.ws}/market/stream", *market) as other,
    ):
        bodies = [
            asyncio.create_task(_get(venue, f"/fapi/v1/depth?symbol={ticker}&limit=1000"))
            for ticker in venue.facts["tickers"]
        ]
        await asyncio.gather(follow(one), follow(other), *bodies)

    assert any("@aggTrade" in frame for frame in read)
    recorded = [text.decode() for text in read_capture([path]).texts]
    wanted = set(read)
    assert read == [text for text in recorded if text in wanted]


async def test_no_frame_after_the_body_comes_before_it_was_fetched(
    start_venue: StartVenue, tmp_path: Path
) -> None:
    path = _recording().write(tmp_path / "capture.jsonl")
    venue = start_venue("--capture", path, "--speed", "max")

    async with _subscribed(f"{venue.ws}/public/stream", *_streams(venue)) as socket:
        assert [json.loads(await socket.recv())["data"]["u"] for _ in range(2)] == [5, 6]
        status = json.loads(venue.get("/tickbus/status"))
        assert (status["sent"], status["done"], status["connections"]) == (2, False, 1)
        assert "BTCUSDT" in status["waiting_for"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await socket.recv()
        assert await _get(venue) == body(5, [["8", "1"]]).encode()
        frames, code, _ = await _rest(socket)

    assert len(frames) == 50
    assert code == 4900


async def test_raw_mode_sends_the_payload_without_envelope(
    start_venue: StartVenue, tmp_path: Path
) -> None:
    recording = Recording().frames(trade("btcusdt", 1), "no envelope")
    recording.raw('{"ts":1700000001000000000,"conn":0,"dir":"in","data_hex":"00ff"}')
    path = recording.write(tmp_path / "binance_usdm" / "c.jsonl")
    venue = start_venue("--capture", path, "--speed", "max")

    async with connect(f"{venue.ws}/public/ws/btcusdt@trade") as socket:
        frames = [await socket.recv() for _ in range(3)]
    payload = trade("btcusdt", 1).removeprefix('{"stream":"btcusdt@trade","data":')
    assert frames == [payload.removesuffix("}"), "no envelope", b"\x00\xff"]


async def test_spot_has_one_route_and_streams_may_stand_in_the_url(
    start_venue: StartVenue, tmp_path: Path
) -> None:
    path = Recording().frames(trade("btcusdt", 1)).write(tmp_path / "binance_spot" / "c.jsonl.zst")
    venue = start_venue("--capture", path, "--speed", "max")

    async with connect(f"{venue.ws}/stream?streams=btcusdt@trade") as socket:
        frames, code, _ = await _rest(socket)
    assert (frames, code) == ([trade("btcusdt", 1)], 4900)
    assert venue.facts["exchange"] == "binance_spot"


async def test_retired_urls_are_closed_with_the_reason(
    start_venue: StartVenue, tmp_path: Path
) -> None:
    venue = start_venue("--capture", _recording().write(tmp_path / "capture.jsonl"))

    async with connect(f"{venue.ws}/stream?streams=btcusdt@trade") as socket:
        frames, code, reason = await _rest(socket)
    assert (frames, code) == ([], 1008)
    assert "/public/stream" in reason


async def test_a_subscription_on_the_wrong_route_stays_silent(
    start_venue: StartVenue, tmp_path: Path
) -> None:
    path = Recording().frames(trade("btcusdt", 1)).write(tmp_path / "binance_usdm" / "c.jsonl")
    venue = start_venue("--capture", path, "--speed", "max")

    async with _subscribed(f"{venue.ws}/market/stream", "btcusdt@trade") as socket:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await socket.recv()
    assert venue.stop()["sent"] == 0


async def test_play_out_goes_on_where_it_was_when_a_killed_client_comes_back(
    start_venue: StartVenue, tmp_path: Path
) -> None:
    recording = _recording(trades=40)
    for number in range(40):
        recording.pause(0.01).frames(depth("btcusdt", 6 + number, 7 + number))
    venue = start_venue("--capture", recording.write(tmp_path / "capture.jsonl"), "--speed", "2")
    url = f"{venue.ws}/public/stream"

    async with _subscribed(url, *_streams(venue)) as socket:
        snapshot = asyncio.create_task(_get(venue))
        seen = [str(await socket.recv()) for _ in range(20)]
        await snapshot
        socket.transport.abort()
    await asyncio.sleep(0.3)
    paused = json.loads(venue.get("/tickbus/status"))
    assert paused["waiting_for"] == "a subscriber"
    assert paused["position"] < 82

    async with _subscribed(url, *_streams(venue)) as socket:
        again = json.loads(await _get(venue))
        frames, code, _ = await _rest(socket)
    assert code == 4900
    assert again["lastUpdateId"] >= 5
    assert again["bids"][0] == ["9", "1"]
    # Nothing is sent twice; what was on its way to the dead client is lost.
    assert frames[-40:][-1] == depth("btcusdt", 45, 46)
    assert not set(frames) & set(seen)
    assert venue.finish()["rest_own_books"] == 1


async def test_capture_times_stand_before_frames_and_in_a_header(
    start_venue: StartVenue, tmp_path: Path
) -> None:
    path = _recording(trades=3).write(tmp_path / "capture.jsonl")
    capture = read_capture([path])
    venue = start_venue("--capture", path, "--speed", "max", "--capture-times")
    url = f"{venue.ws}/public/stream?tickbus_times=1"

    async with connect(url) as socket:
        await socket.send(json.dumps({"method": "SUBSCRIBE", "params": _streams(venue), "id": 1}))
        assert json.loads(await socket.recv())["id"] == 1
        header = asyncio.create_task(asyncio.to_thread(_received_ns, venue))
        frames, *_ = await _rest(socket)

    pairs = zip(capture.received_ns, capture.texts, strict=True)
    assert frames == [f"{time_ns} {text.decode()}" for time_ns, text in pairs]
    assert await header == capture.bodies[0].received_ns


def _received_ns(venue: RunningVenue) -> int:
    import urllib.request

    with urllib.request.urlopen(venue.facts["rest"] + DEPTH, timeout=30) as answer:
        return int(answer.headers["X-Tickbus-Received-Ns"])


async def test_the_venue_pings_in_real_time(
    start_venue: StartVenue,
) -> None:
    venue = start_venue("--synthetic", "--rate", 50, "--ping-s", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(venue.ws.rpartition(":")[2]))
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    upgrade = f"Host: venue\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}"
    writer.write(f"GET /public/ws HTTP/1.1\r\n{upgrade}\r\n".encode())

    assert b"101" in await reader.readline()
    await reader.readuntil(b"\r\n\r\n")
    opcode, size = await reader.readexactly(2)
    assert opcode == 0x89
    assert (await reader.readexactly(size)).isdigit()
    writer.close()
    await writer.wait_closed()


async def test_a_connection_fault_breaks_all_and_nothing_after_it_is_lost(
    start_venue: StartVenue, tmp_path: Path
) -> None:
    recording = Recording().frames(*(trade("btcusdt", number) for number in range(1_000)))
    path = recording.write(tmp_path / "binance_usdm" / "c.jsonl")
    faults = '[{"kind":"disconnect","at":400,"length_s":0.2},{"kind":"drop","at":600,"count":2}]'
    venue = start_venue("--capture", path, "--speed", "max", "--faults", faults)
    url = f"{venue.ws}/public/stream?streams=btcusdt@trade"

    async with connect(url) as socket:
        first, code, _ = await _rest(socket)
    assert (first, code) == ([trade("btcusdt", number) for number in range(400)], 1006)
    while True:
        try:
            async with connect(url) as socket:
                second, code, _ = await _rest(socket)
                break
        except InvalidStatus:
            await asyncio.sleep(0.05)
    kept = [number for number in range(400, 1_000) if number not in (600, 601)]
    assert second == [trade("btcusdt", number) for number in kept]
    assert code == 4900
    report = venue.finish()["faults"]
    assert report[0]["frames"] == [{"frame": 400}]
    assert [frame["t"] for frame in report[1]["frames"]] == [600, 601]


async def test_rest_speaks_as_the_venue_does(start_venue: StartVenue, tmp_path: Path) -> None:
    recording = _recording().frames(trade("ethusdt", 1))
    venue = start_venue("--capture", recording.write(tmp_path / "capture.jsonl"))

    assert venue.get("/fapi/v1/ping") == b"{}"
    assert json.loads(venue.get("/fapi/v1/time"))["serverTime"] > 1_700_000_000_000
    listed = json.loads(venue.get("/fapi/v1/exchangeInfo"))["symbols"]
    assert [(one["symbol"], one["status"]) for one in listed] == [
        ("BTCUSDT", "TRADING"),
        ("ETHUSDT", "TRADING"),
    ]
    filters = {one["filterType"]: one for one in listed[0]["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.1"
    assert filters["LOT_SIZE"]["stepSize"] == "1"
    for path, code in [
        ("/fapi/v1/depth", -1102),
        ("/fapi/v1/depth?symbol=NOSUCH", -1121),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=7", -4021),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=ten", -1100),
    ]:
        with pytest.raises(urllib.error.HTTPError) as refused:
            venue.get(path)
        with refused.value as answer:
            assert answer.code == 400
            assert json.loads(answer.read())["code"] == code
            assert int(answer.headers["X-MBX-USED-WEIGHT-1M"]) > 0


async def test_a_synthetic_market_is_served_with_snapshots_that_join_its_events(
    start_venue: StartVenue,
) -> None:
    arguments = ("--synthetic", "--seed", 5, "--rate", 2_000, "--duration", 3, "--speed", "max")
    venue = start_venue(*arguments, "--tickers", "BTCDEMO,ETHDEMO")
    assert venue.facts["tickers"] == ["BTCDEMO", "ETHDEMO"]

    async with _subscribed(f"{venue.ws}/public/stream", *_streams(venue)) as socket:
        first = json.loads(await socket.recv())
        snapshot = json.loads(await _get(venue, "/fapi/v1/depth?symbol=BTCDEMO&limit=1000"))
        frames, code, _ = await _rest(socket)

    events = [first, *map(json.loads, frames)]
    depths: list[dict[str, Any]] = [
        event["data"] for event in events if event["stream"] == "btcdemo@depth@100ms"
    ]
    assert code == 4900
    assert len(snapshot["bids"]) == len(snapshot["asks"]) == 1000
    last_id = snapshot["lastUpdateId"]
    assert any(d["pu"] <= last_id <= d["u"] for d in depths)
    assert all(d["pu"] == before["u"] for before, d in pairwise(depths))
    end = venue.finish()
    assert end["sent"] == len(events)
    assert end["rest_bodies"] == 1


def test_the_same_seed_is_described_the_same_and_a_capture_is_described_without_serving(
    tmp_path: Path,
) -> None:
    path = _recording().raw("no json").write(tmp_path / "capture.jsonl")

    run = _run("--capture", path, "--describe")
    facts = json.loads(run.stdout)
    assert (run.returncode, facts["exchange"], facts["tickers"]) == (0, "binance_usdm", ["BTCUSDT"])
    assert (facts["frames"], facts["rest_bodies"], facts["bad_lines"]) == (52, 1, 1)
    assert facts["channels"] == ["depth@100ms", "trade"]
    assert f"{path}:54: " in run.stderr
    assert facts["first_bad_line"] in run.stderr.splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--capture", "nowhere.jsonl"),
        ("--synthetic", "--exchange", "nasdaq"),
        ("--synthetic", "--tickers", "BTC USDT;ETHUSDT"),
        ("--synthetic", "--faults", "[{}]"),
        ("--synthetic", "--journal", "/no/such/folder/journal.jsonl"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: tuple[str, ...]) -> None:
    run = _run(*arguments)

    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.startswith("tickbus-sim: ")
    assert run.stderr.count("\n") == 1


def test_a_busy_port_is_said_in_one_line(start_venue: StartVenue) -> None:
    port = start_venue("--synthetic").facts["ws"].rpartition(":")[2]

    for option in ("--port", "--rest-port"):
        run = _run("--synthetic", option, port)
        assert run.returncode == 2
        assert run.stdout == ""
        assert f"port {port}" in run.stderr
        assert run.stderr.count("\n") == 1


def test_sigterm_ends_the_venue_with_its_end_line(start_venue: StartVenue) -> None:
    end = start_venue("--synthetic", "--seed", 1).stop()

    assert end == {
        "event": "end",
        "sent": 0,
        "unsubscribed": 0,
        "faults": [],
        "frames": 0,
        "rest_bodies": 0,
        "bad_lines": 0,
    }


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tickbus_sim", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
