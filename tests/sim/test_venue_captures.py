"""Real captures of venues that push their books: served whole, and folded as the oracle did."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from tickbus_schemas.exchanges import Exchange
from tickbus_sim.book import CaptureBooks, Levels
from tickbus_sim.capture import Capture, read_capture
from tickbus_sim.dialect import CONTROL, Topic
from tickbus_sim.instruments import listings
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.ingest.venues import vectors
from tests.sim.bare import bare
from tests.sim.conftest import RunningVenue
from tests.sim.test_dialects_served import _bytes

StartVenue = Callable[..., RunningVenue]
REQUESTS = Path(__file__).with_name("requests")
BOOKS = [  # capture, book frames, of them from the first on in a book that is whole
    (name, frames, whole)
    for held in vectors.captures_of_venues().values()
    for name, (frames, whole) in held.folds.items()
]


def _capture(captures: Path, name: str) -> Capture:
    # Frames alone do not tell one market of Bybit from the others.
    exchange = Exchange.BYBIT_LINEAR if name.startswith("bybit/") else None
    for token, held in vectors.captures_of_venues().items():
        if name in held.folds:
            exchange = Exchange[token.upper()]
    return read_capture([captures / "frames" / f"{name}.jsonl.gz"], exchange)


def _expected(captures: Path, name: str) -> list[dict[str, Any]]:
    path = captures / "expected" / f"{name}.oracle.book_top10_per_event.jsonl.gz"
    with gzip.open(path, "rt") as lines:
        parsed = [json.loads(line) for line in lines]
    return [one for one in parsed if not one["channel"].startswith("orderbook.1.")]


def _numbers(levels: Levels) -> list[list[Decimal]]:
    return [[Decimal(price), Decimal(qty)] for price, qty in levels]


@pytest.mark.parametrize(("name", "frames", "whole"), BOOKS)
def test_the_venues_own_book_is_the_oracles_after_every_frame(
    captures: Path, name: str, frames: int, whole: int
) -> None:
    capture, expected = _capture(captures, name), _expected(captures, name)
    books = CaptureBooks(capture)
    positions = sorted(
        (position, symbol) for symbol, places in books.positions.items() for position in places
    )
    assert (len(positions), len(expected)) == (frames, whole)

    for (position, symbol), wanted in zip(positions, expected, strict=False):
        book = books.at(symbol, position + 1)
        assert (book.whole, symbol) == (True, wanted["ticker"])
        bids, asks = book.top(10)
        assert _numbers(bids) == _numbers(wanted["bids"])
        assert _numbers(asks) == _numbers(wanted["asks"])
        if wanted.get("seq") is not None and book.last_id:  # else the connection is counted
            assert book.last_id == wanted["seq"]
    for position, symbol in positions[whole:]:
        assert not books.at(symbol, position + 1).whole


@pytest.mark.parametrize(("name", "frames", "whole"), BOOKS)
def test_a_book_of_ours_reads_back_as_the_same_book(
    captures: Path, name: str, frames: int, whole: int
) -> None:
    capture = _capture(captures, name)
    dialect, books = capture.dialect, CaptureBooks(capture)
    symbol, places = next(iter(books.positions.items()))
    book = books.at(symbol, places[min(whole, len(places)) - 1] + 1)

    text = dialect.write_book(symbol, book)
    event = dialect.read_book(text)
    assert event is not None
    assert dialect.topic_of(text) == Topic(symbol, dialect.book_family)
    assert event.whole
    assert (event.last_id, event.event_ms) == (book.last_id, book.event_ms)
    assert (list(event.bids), list(event.asks)) == tuple(map(list, book.top(0)))
    assert dialect.holds(book, event)


@pytest.mark.parametrize(("name", "frames", "whole"), BOOKS)
def test_no_level_of_the_oracle_is_finer_than_the_steps_that_a_capture_is_listed_with(
    captures: Path, name: str, frames: int, whole: int
) -> None:
    listed = {one.ticker: one for one in listings(_capture(captures, name))}
    finest: dict[str, tuple[int, int]] = {}
    for book in _expected(captures, name):
        for price, qty in (*book["bids"], *book["asks"]):
            known = finest.get(book["ticker"], (0, 0))
            finest[book["ticker"]] = max(known[0], _digits(price)), max(known[1], _digits(qty))
    for ticker, (price_decimals, qty_decimals) in finest.items():
        assert price_decimals <= listed[ticker].price_decimals, ticker
        assert qty_decimals <= listed[ticker].qty_decimals, ticker


def _digits(text: str) -> int:
    return len(text.partition(".")[2])


def _connections(capture: Capture) -> list[tuple[str, list[Any]]]:
    """Path and requests of each connection that a client of all its tickers opens."""
    dialect = capture.dialect
    written = (REQUESTS / f"{dialect.exchange.token}.json").read_text()
    made = []
    for number in range(len(json.loads(written)["connections"])):
        each: list[list[Any]] = []
        for ticker in capture.tickers or ["-"]:
            # An index is named as its contract without the last part.
            pair = (dialect.demo[0].removesuffix("-SWAP"), ticker.removesuffix("-SWAP"))
            named = json.loads(written.replace(dialect.demo[0], ticker).replace(*pair))
            connection = named["connections"][number]
            each.append(connection["subscribe"])
        if connection.get("whole_set"):
            requests = list(map(_joined, zip(*each, strict=True)))
        else:
            requests = list(chain.from_iterable(each))
        made.append((connection["path"], requests))
    return made


def _joined(requests: Sequence[Any]) -> Any:
    """One request that names what these name: lists of texts are put behind one another."""
    first = requests[0]
    if isinstance(first, dict):
        return {name: _joined([one[name] for one in requests]) for name in first}
    if isinstance(first, list):
        texts = list(chain.from_iterable(requests))
        is_list_of_texts = all(isinstance(one, str) for one in texts)
        return texts if is_list_of_texts else list(map(_joined, zip(*requests, strict=True)))
    return first


async def _all(socket: ClientConnection) -> list[bytes]:
    frames: list[bytes] = []
    try:
        while True:
            frames.append(_bytes(await socket.recv()))
    except ConnectionClosed:
        assert socket.close_code == 4900
        return frames


@pytest.mark.connected
@pytest.mark.parametrize(
    "name",
    [
        *(name for name, *_ in BOOKS),
        "okx/fastmm_md_excerpt_20260926",
        "okx/fastmm_perp_mark_funding_oi_20260930",
        "okx/inline_airates_liquidations",
        "hyperliquid/btc_20250126",
        "bybit/fastmm_tickers_20260930",
        "bybit/inline_airates_liquidations",
    ],
)
async def test_a_capture_arrives_whole_and_byte_for_byte(
    start_venue: StartVenue, captures: Path, name: str
) -> None:
    capture = _capture(captures, name)
    path = captures / "frames" / f"{name}.jsonl.gz"
    told = ("--exchange", capture.dialect.exchange.token)
    venue = start_venue("--capture", path, *told, "--speed", "max", "--subscribe-wait-s", 2)

    async with AsyncExitStack() as stack:
        sockets = []
        for target, requests in _connections(capture):
            socket = await stack.enter_async_context(
                connect(venue.ws + target, max_size=None, max_queue=None)
            )
            sockets.append(socket)
            # Once all that was recorded is subscribed, a small capture is over at once.
            with contextlib.suppress(ConnectionClosed):
                for request in requests:
                    await socket.send(json.dumps(request))
        received = await asyncio.gather(*map(_all, sockets))

    topic_of = capture.dialect.topic_of
    data = [
        [bare(capture.dialect, text) for text in frames if topic_of(text) != CONTROL]
        for frames in received
    ]
    topics = [topic for topic in capture.topics if topic.family in capture.dialect.feeds]
    recorded = [
        bare(capture.dialect, text)
        for text, topic_id in zip(capture.texts, capture.topic_ids, strict=True)
        if capture.topics[topic_id] in topics
    ]
    assert sorted(text for frames in data for text in frames) == sorted(recorded)
    for frames in data:
        mine = set(frames)
        assert frames == [text for text in recorded if text in mine]
    end = venue.finish()
    assert end["pushed_own_books"] == 0
    assert end["sent"] == len(recorded)
