"""The journal of a synthetic market: complete, and about the very frames that were sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from tickbus_sim.book import BookEvent, NaiveBook
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.sim.conftest import RunningVenue
from tests.sim.recordings import Recording, trade

pytestmark = pytest.mark.connected
StartVenue = Callable[..., RunningVenue]
STREAMS = "btcdemo@trade/btcdemo@depth@100ms"
START_MS = 1_700_000_000_000


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def _all(url: str) -> list[str]:
    """Every frame until the venue closes."""
    frames: list[str] = []
    async with connect(url, max_size=None, max_queue=None) as socket:
        try:
            while True:
                frames.append(str(await socket.recv()))
        except ConnectionClosed:
            return frames


async def _played(
    start_venue: StartVenue, journal: Path, faults: str = "[]", duration_s: float = 4
) -> tuple[list[str], dict[str, Any]]:
    """Trades and books of one ticker as received, and the venue's end line."""
    venue = start_venue(
        *("--synthetic", "--exchange", "binance_spot", "--tickers", "BTCDEMO", "--seed", 3),
        *("--duration", duration_s, "--speed", "max", "--start-ms", START_MS),
        *("--journal", journal, "--faults", faults),
    )
    frames = await _all(f"{venue.ws}/stream?streams={STREAMS}")
    return frames, venue.finish()


def _wait_for(venue: RunningVenue, holds: Callable[[dict[str, Any]], Any]) -> None:
    while not holds(json.loads(venue.get("/tickbus/status"))):
        time.sleep(0.05)


def _tell_to_end(venue: RunningVenue) -> int:
    request = Request(venue.facts["rest"] + "/tickbus/end", method="POST")
    try:
        with urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


async def test_its_changes_lead_from_its_first_book_to_its_last(
    start_venue: StartVenue, tmp_path: Path
) -> None:
    await _played(start_venue, tmp_path / "journal")
    lines = _read(tmp_path / "journal")
    opening, *changes, closing = (one for one in lines if one["event"] in ("book", "change"))
    assert len(changes) > 20
    assert (lines[0], lines[-1]) == (opening, closing)
    book = NaiveBook(dict(opening["bids"]), dict(opening["asks"]))
    for change in changes:
        book.apply(BookEvent("BTCDEMO", change["bids"], change["asks"]))
    assert book.bids == dict(closing["bids"])
    assert book.asks == dict(closing["asks"])
    assert closing["last_id"] == changes[-1]["last_id"]
    assert closing["time_ms"] - opening["time_ms"] == 4_000


async def test_each_frame_is_told_once_and_those_that_nobody_hears_are_named(
    start_venue: StartVenue, tmp_path: Path
) -> None:
    frames, end = await _played(start_venue, tmp_path / "journal")
    lines = _read(tmp_path / "journal")
    events = [one for one in lines if "ticker" in one and "frames" in one]
    numbers = [number for one in events for number in one["frames"]]
    assert numbers == list(range(end["frames"]))
    unheard = {n for one in lines if one["event"] == "unheard" for n in one["frames"]}
    kinds = Counter(one["event"] for one in events for n in one["frames"] if n not in unheard)
    assert set(kinds) == {"trade", "change"}
    assert kinds["trade"] == sum('"e":"trade"' in frame for frame in frames)
    assert sum(kinds.values()) == len(frames) == end["sent"]
    assert len(unheard) == end["unsubscribed"]


async def test_seconds_of_a_fault_are_counted_from_the_opening_and_its_frames_are_named(
    start_venue: StartVenue, tmp_path: Path
) -> None:
    faults = [
        {"kind": "corrupt", "at": 1.0, "channel": "trade"},
        {"kind": "drop", "at": 2.0, "count": 3, "channel": "trade"},
        {"kind": "silence", "at": 3.0, "length_s": 0.5},
    ]
    frames, _ = await _played(start_venue, tmp_path / "journal", json.dumps(faults))
    lines = _read(tmp_path / "journal")
    time_of = {n: one["time_ms"] for one in lines for n in one.get("frames", ()) if "ticker" in one}
    touched: dict[str, list[dict[str, Any]]] = {"corrupt": [], "drop": [], "silence": []}
    for one in lines:
        if one["event"] == "fault":
            touched[one["kind"]].append(one)
    assert len(touched["corrupt"]) == 1
    assert len(touched["drop"]) == 3
    assert len(touched["silence"]) > 10
    for fault, named in zip(faults, touched.values(), strict=True):
        for one in named:
            after_s = (time_of[one["frame"]] - START_MS) / 1000 - float(str(fault["at"]))
            assert -0.001 <= after_s < 1.0
    assert touched["corrupt"][0]["text"] in frames


async def test_a_mute_connection_hears_nothing_more_and_a_new_one_everything(
    start_venue: StartVenue, tmp_path: Path
) -> None:
    venue = start_venue(
        *("--synthetic", "--exchange", "binance_spot", "--tickers", "BTCDEMO", "--seed", 3),
        *("--speed", 4, "--journal", tmp_path / "journal", "--start-ms", START_MS),
        *("--faults", '[{"kind": "mute", "at": 1.0}]'),
    )
    url = f"{venue.ws}/stream?streams={STREAMS}"
    deaf = asyncio.create_task(_all(url))
    await asyncio.to_thread(_wait_for, venue, lambda status: status["faults"][0]["touched"])
    sent = json.loads(venue.get("/tickbus/status"))["sent"]
    hearing = asyncio.create_task(_all(url))
    await asyncio.to_thread(_wait_for, venue, lambda status: status["sent"] > sent)
    await asyncio.to_thread(_tell_to_end, venue)
    first, second = await deaf, await hearing
    times = [json.loads(frame)["data"]["E"] - START_MS for frame in first]
    assert 900 < max(times) <= 1_000
    assert min(json.loads(frame)["data"]["E"] for frame in second) > START_MS + 1_000
    lines = _read(tmp_path / "journal")
    unheard = {n for one in lines if one["event"] == "unheard" for n in one["frames"]}
    late = [one for one in lines if one["event"] == "trade" and one["time_ms"] > START_MS + 1_000]
    assert late[0]["frames"][0] in unheard
    assert venue.finish()["sent"] == len(first) + len(second)


async def test_a_market_without_end_ends_when_it_is_told_to(
    start_venue: StartVenue, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    venue = start_venue(
        *("--synthetic", "--exchange", "binance_spot", "--tickers", "BTCDEMO", "--seed", 3),
        *("--speed", 20, "--journal", journal),
    )
    receiving = asyncio.create_task(_all(f"{venue.ws}/stream?streams={STREAMS}"))
    await asyncio.to_thread(_wait_for, venue, lambda status: status["sent"])
    assert await asyncio.to_thread(_tell_to_end, venue) == 200
    frames = await receiving
    assert len(frames) == venue.finish()["sent"] > 0
    assert _read(journal)[-1]["event"] == "book"


async def test_a_recording_ends_by_itself_and_says_so(
    start_venue: StartVenue, tmp_path: Path
) -> None:
    path = Recording().frames(trade("btcusdt", 1)).write(tmp_path / "capture.jsonl")
    venue = start_venue("--capture", path, "--exchange", "binance_usdm")
    assert await asyncio.to_thread(_tell_to_end, venue) == 409
