"""Captures that went wrong once, served: what a client gets of each of them."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tickbus_sim.capture import read_capture
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.sim.conftest import RunningVenue
from tests.sim.recordings import Recording, depth, trade

pytestmark = pytest.mark.connected
StartVenue = Callable[..., RunningVenue]
USDM_DEPTH = "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
SPOT_DEPTH = "/api/v3/depth?symbol=BTCUSDT&limit=1000"


def _get(venue: RunningVenue, path: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer, whatever the status."""
    try:
        with urllib.request.urlopen(venue.facts["rest"] + path, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as refused:
        with refused as answer:
            return answer.code, dict(answer.headers), answer.read()


async def _all(socket: ClientConnection) -> list[str | bytes]:
    frames: list[str | bytes] = []
    try:
        while True:
            frames.append(await socket.recv())
    except ConnectionClosed:
        return frames


async def _play(
    venue: RunningVenue, url: str, path: str
) -> tuple[list[str | bytes], tuple[int, dict[str, str], bytes]]:
    """All frames of a connection, and the answer to a request that was sent at its start."""
    async with connect(venue.ws + url) as socket:
        answer = asyncio.create_task(asyncio.to_thread(_get, venue, path))
        return await _all(socket), await answer


async def test_a_snapshot_recorded_in_small_letters_is_the_answer(
    start_venue: StartVenue, found: Path
) -> None:
    path = found / "lowercase_rest.jsonl.gz"
    venue = start_venue("--capture", path, "--speed", "max")
    url = "/public/stream?streams=btcusdt@depth/btcusdt@trade/btcusdt@bookTicker"
    frames, (status, headers, text) = await _play(venue, url, USDM_DEPTH)

    capture = read_capture([path])
    assert [str(frame).encode() for frame in frames] == capture.texts
    assert (status, text) == (200, capture.bodies[0].text)
    assert headers["X-Tickbus-Source"] == "recorded"
    assert venue.finish()["rest_own_books"] == 0


async def test_no_book_is_made_up_where_none_was_recorded(
    start_venue: StartVenue, found: Path
) -> None:
    venue = start_venue("--capture", found / "body_as_frame.jsonl.gz", "--speed", "max")
    url = "/public/stream?streams=btcusdt@depth"
    frames, (status, _, text) = await _play(venue, url, USDM_DEPTH)

    assert len(frames) == 4
    assert (status, "bids" in json.loads(text)) == (503, False)
    end = venue.finish()
    assert (end["rest_own_books"], end["rest_bodies"]) == (0, 0)


async def test_a_book_of_ours_says_so(start_venue: StartVenue, found: Path) -> None:
    venue = start_venue(
        "--capture", found / "lowercase_rest.jsonl.gz", "--speed", "max", "--capture-times"
    )
    async with connect(f"{venue.ws}/public/stream?streams=btcusdt@depth/btcusdt@trade") as socket:
        await asyncio.to_thread(_get, venue, USDM_DEPTH)
        await _all(socket)
        status, headers, text = await asyncio.to_thread(_get, venue, USDM_DEPTH)

    assert (status, headers["X-Tickbus-Source"]) == (200, "own-book")
    assert int(headers["X-Tickbus-Received-Ns"]) == venue.facts["last_ns"]
    book = json.loads(text)
    assert (book["lastUpdateId"], book["bids"][0]) == (30, ["100.0", "1"])
    assert venue.finish()["rest_own_books"] == 1


@pytest.mark.parametrize("name", ["raw_frames", "microseconds"])
async def test_frames_of_any_form_are_served_raw_and_combined(
    start_venue: StartVenue, found: Path, name: str
) -> None:
    path = found / f"{name}.jsonl.gz"
    streams = [f"btcusdt@{channel}" for channel in ("depth", "trade", "bookTicker")]
    payloads = []
    for url in (f"/stream?streams={'/'.join(streams)}", f"/ws/{'/'.join(streams)}"):
        venue = start_venue("--capture", path, "--speed", "max")
        frames, (status, _, text) = await _play(venue, url, SPOT_DEPTH)
        assert (status, text) == (200, read_capture([path]).bodies[0].text)
        parsed = [json.loads(frame) for frame in frames]
        if url.startswith("/stream"):
            assert {frame["stream"].partition("@")[0] for frame in parsed} == {"btcusdt"}
        payloads.append([frame.get("data", frame) for frame in parsed])
    assert len(payloads[0]) == len(read_capture([path]).texts)
    assert payloads[0] == payloads[1]


def test_every_answer_is_dated_by_the_capture_and_not_by_todays_clock(
    start_venue: StartVenue, found: Path
) -> None:
    venue = start_venue("--capture", found / "microseconds.jsonl.gz", "--capture-times")
    first_ns, last_ns = venue.facts["first_ns"], venue.facts["last_ns"]

    for name in ("exchangeInfo", "time"):
        status, headers, text = _get(venue, f"/api/v3/{name}")
        assert status == 200
        assert first_ns <= int(headers["X-Tickbus-Received-Ns"]) <= last_ns
        assert first_ns // 10**6 <= json.loads(text)["serverTime"] <= last_ns // 10**6


async def test_a_recorded_list_in_which_a_ticker_does_not_trade_is_served_and_plays(
    start_venue: StartVenue, tmp_path: Path
) -> None:
    content: dict[str, Any] = {"symbols": [{"symbol": "BTCUSDT", "status": "SETTLING"}]}
    url = "https://fapi.binance.com/fapi/v1/exchangeInfo"
    recording = Recording().raw(
        json.dumps({"ts": 1, "dir": "http", "url": url, "data": json.dumps(content)})
    )
    recording.frames(trade("btcusdt", 1), depth("btcusdt", 4, 5))
    venue = start_venue("--capture", recording.write(tmp_path / "c.jsonl"), "--speed", "max")

    assert json.loads(_get(venue, "/fapi/v1/exchangeInfo")[2]) == content
    assert venue.facts["instrument_lists"] == 1
    async with connect(f"{venue.ws}/public/stream?streams=btcusdt@trade/btcusdt@depth") as socket:
        assert len(await _all(socket)) == 2


async def test_streams_that_are_no_feed_are_played_to_whoever_asks(
    start_venue: StartVenue, found: Path
) -> None:
    venue = start_venue("--capture", found / "allmarket.jsonl.gz", "--speed", "max")
    assert venue.facts["other"] == {"!forceOrder@arr": 1}

    async with (
        connect(f"{venue.ws}/market/stream?streams=!forceOrder@arr") as market,
        connect(f"{venue.ws}/public/stream?streams=btcusdt@depth/btcusdt@trade") as public,
    ):
        body = asyncio.create_task(asyncio.to_thread(_get, venue, USDM_DEPTH))
        orders, frames = await asyncio.gather(_all(market), _all(public))
        await body
    assert [json.loads(frame)["data"]["o"]["s"] for frame in orders] == ["ETHUSDT"]
    assert len(frames) == 5
