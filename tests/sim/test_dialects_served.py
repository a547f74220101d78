"""Every dialect over real sockets: what a client receives is what happened in the market."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from tickbus_schemas.exchanges import Exchange
from tickbus_sim import dialects, events
from tickbus_sim.book import BookEvent, NaiveBook
from tickbus_sim.dialect import CONTROL, Books, Dialect, Topic
from tickbus_sim.market import Market
from tickbus_sim.pace import SECOND
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.sim.bare import bare
from tests.sim.conftest import RunningVenue
from tests.sim.test_dialects import DIALECTS, REQUESTS

pytestmark = pytest.mark.connected
StartVenue = Callable[..., RunningVenue]
WRITTEN = [one for one in DIALECTS if (REQUESTS / f"{one.exchange.token}.json").exists()]
every_dialect = pytest.mark.parametrize("dialect", WRITTEN, ids=lambda one: one.exchange.token)
Connections = list[dict[str, Any]]
GZIP_MAGIC = b"\x1f\x8b"


def _connections(dialect: Dialect) -> Connections:
    written = json.loads((REQUESTS / f"{dialect.exchange.token}.json").read_text())
    made: Connections = written["connections"]
    return made


def _bytes(frame: str | bytes) -> bytes:
    """The text of a frame, unpacked where its venue packs."""
    if isinstance(frame, str):
        return frame.encode()
    return gzip.decompress(frame) if frame.startswith(GZIP_MAGIC) else frame


async def _all(socket: ClientConnection) -> list[bytes]:
    frames: list[bytes] = []
    try:
        while True:
            frames.append(_bytes(await socket.recv()))
    except ConnectionClosed:
        return frames


async def _subscribe(socket: ClientConnection, connection: dict[str, Any]) -> None:
    for request in (*connection["subscribe"], *connection.get("ask", ())):
        await socket.send(json.dumps(request))


async def _first_book(socket: ClientConnection, dialect: Dialect, symbol: str) -> BookEvent:
    while True:
        text = _bytes(await socket.recv())
        if dialect.topic_of(text) == Topic(symbol, dialect.book_family):
            event = dialect.read_book(text)
            assert event is not None
            return event


def _journal(path: Path) -> Iterator[events.Event]:
    kinds: dict[str, Any] = {
        kind.__name__.lower(): kind
        for kind in (
            events.Trade,
            events.Change,
            events.Quote,
            events.Statistics,
            events.Derivative,
            events.Liquidation,
        )
    }
    for line in path.read_bytes().splitlines():
        facts = msgspec.json.decode(line)
        if facts["event"] in ("book", "unheard"):
            continue
        del facts["frames"]
        kind = kinds[facts.pop("event")]
        if kind is events.Change:
            facts["book"] = NaiveBook()
        event: events.Event = msgspec.convert(facts, kind)
        yield event


@every_dialect
async def test_a_client_receives_what_the_journal_tells(
    start_venue: StartVenue, tmp_path: Path, dialect: Dialect
) -> None:
    journal, symbol = tmp_path / "journal.jsonl", dialect.demo[0]
    arguments = ("--exchange", dialect.exchange.token, "--tickers", symbol, "--seed", 5)
    venue = start_venue(
        "--synthetic", *arguments, "--duration", 4, "--speed", "max", "--journal", journal
    )
    async with AsyncExitStack() as stack:
        sockets = []
        for connection in _connections(dialect):
            socket = await stack.enter_async_context(
                connect(venue.ws + connection["path"], max_size=None, max_queue=None)
            )
            await _subscribe(socket, connection)
            sockets.append(socket)
        everything = await asyncio.gather(*map(_all, sockets))

    sent: dict[str, list[bytes]] = {}
    for text in chain.from_iterable(everything):
        topic = dialect.topic_of(text)
        assert topic is not None
        if topic != CONTROL:
            sent.setdefault(topic.family, []).append(bare(dialect, text))
    frames = sent.pop(dialect.book_family)
    books = [book for text in frames if (book := dialect.read_book(text)) is not None]
    if dialect.books is Books.PUSHED:
        assert books.pop(0).whole
    told: dict[str, list[bytes]] = {}
    changes: list[events.Change] = []
    market = Market(dialect, [symbol], seed=5, rate=1)
    for event in _journal(journal):
        if isinstance(event, events.Change):
            changes.append(event)
            continue
        for family, text in market.written(event):
            if text:
                told.setdefault(family, []).append(bare(dialect, text))
    assert told == sent
    assert len(changes) == len(books) > 20
    if dialect.books is not Books.WHOLE:
        for change, book in zip(changes, books, strict=True):
            assert [tuple(level) for level in change.bids] == list(book.bids)
            assert [tuple(level) for level in change.asks] == list(book.asks)
    if dialect.books is Books.PULLED:
        assert [change.last_id for change in changes] == [book.last_id for book in books]
    assert venue.finish()["sent"] == sum(map(len, sent.values())) + len(changes)


def _recorded(dialect: Dialect, symbol: str, path: Path) -> list[bytes]:
    """A recording of two seconds, with an hour's silence after the first; the frames before it."""
    market = Market(dialect, [symbol], seed=3, rate=300, start_ms=1_700_000_000_000)
    host, route = min(dialect.hosts), dialect.route_of(dialect.book_family)
    line: dict[str, Any] = {"ts": 1, "dir": "connect", "url": f"wss://{host}{route}"}
    lines = [line]

    def add(text: bytes, time_ns: int) -> None:
        lines.append({"ts": 1_700_000_000 * SECOND + time_ns, "dir": "in", "data": text.decode()})

    first = dialect.write_book(symbol, market.book(symbol))
    add(first, 0)
    early = [first]
    for frame in market.advance(SECOND):
        # All at once: the silence is what is waited for.
        add(frame.text, 1)
        early.append(frame.text)
    for frame in market.advance(2 * SECOND):
        add(frame.text, 3600 * SECOND + frame.time_ns)
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return early


@pytest.mark.parametrize(
    "dialect",
    [one for one in WRITTEN if one.books is Books.PUSHED],
    ids=lambda one: one.exchange.token,
)
async def test_a_subscription_in_the_middle_of_a_capture_begins_with_a_whole_book(
    start_venue: StartVenue, tmp_path: Path, dialect: Dialect
) -> None:
    symbol, path = dialect.demo[0], tmp_path / "capture.jsonl"
    early = _recorded(dialect, symbol, path)
    book, last = NaiveBook(), b""
    for text in early:
        if dialect.topic_of(text) == Topic(symbol, dialect.book_family):
            event = dialect.read_book(text)
            assert event is not None
            book.apply(event)
            last = text
    venue = start_venue("--capture", path, "--subscribe-wait-s", 0.2)
    connection = next(
        one for one in _connections(dialect) if [symbol, dialect.book_family] in one["topics"]
    )

    async with (
        connect(venue.ws + connection["path"]) as one,
        connect(venue.ws + connection["path"]) as other,
    ):
        await _subscribe(one, connection)
        # The recorded book is the first; nothing of ours before it.
        assert (await _first_book(one, dialect, symbol)).whole
        while bare(dialect, _bytes(await one.recv())) != bare(dialect, last):
            pass
        await _subscribe(other, connection)
        pushed = await _first_book(other, dialect, symbol)
    assert pushed.whole
    loaded = NaiveBook()
    loaded.load(pushed)
    assert loaded.top(0) == book.top(0)
    assert loaded.last_id == book.last_id
    assert dialect.holds(loaded, pushed)
    assert venue.stop()["pushed_own_books"] == 1


async def test_a_client_that_says_nothing_is_cut_off(start_venue: StartVenue) -> None:
    venue = start_venue("--synthetic", "--idle-s", 0.3)

    async with connect(f"{venue.ws}/public/stream", ping_interval=None) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(30):
                await socket.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "idle")


@pytest.mark.parametrize(
    "arguments", [("--exchange", "binance_spot"), ("--exchange", "okx", "--messages-per-s", 3)]
)
async def test_a_client_that_says_too_much_is_cut_off(
    start_venue: StartVenue, arguments: tuple[Any, ...]
) -> None:
    venue = start_venue("--synthetic", *arguments)
    target = dialects.load(Exchange.from_token(arguments[1])).routes[0] or "/stream"

    async with connect(venue.ws + target, ping_interval=None) as socket:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(50):
                await socket.send("{}")
        await _all(socket)
    assert (socket.close_code, socket.close_reason) == (1008, "Too many requests")


BEAT = re.compile(rb'heartbeat|"ping"|"hb"')
"""What the venues call it."""


async def test_heartbeats_come_in_real_time(start_venue: StartVenue) -> None:
    async def beats(dialect: Dialect) -> None:
        venue = start_venue("--synthetic", "--exchange", dialect.exchange.token)
        async with connect(venue.ws + dialect.routes[0]) as socket:
            if dialect in WRITTEN:  # some venues beat only for those who ask
                await _subscribe(socket, _connections(dialect)[0])
            while not BEAT.search(_bytes(await socket.recv())):
                pass
        venue.stop()

    beating = [one for one in map(dialects.load, dialects.exchanges()) if one.heartbeat_s]
    assert beating
    async with asyncio.timeout(100), asyncio.TaskGroup() as group:
        for dialect in beating:
            group.create_task(beats(dialect))


class _Holding(WSListener):
    """A client that has read nothing of its turn until it is told: the others' frames wait."""

    def __init__(self) -> None:
        self.transport: WSTransport | None = None
        self.is_asked = asyncio.Event()
        self._lets_go = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), b"")
            transport.disconnect()
        elif frame.msg_type == WSMsgType.PING:
            self.is_asked.set()
            if self._lets_go:
                transport.send_pong(b"turn")

    def subscribe(self, connection: dict[str, Any]) -> None:
        assert self.transport is not None
        for request in (*connection["subscribe"], *connection.get("ask", ())):
            self.transport.send(WSMsgType.TEXT, json.dumps(request).encode())

    def let_go(self) -> None:
        assert self.transport is not None
        self._lets_go = True
        self.transport.send_pong(b"turn")


@pytest.mark.parametrize(
    "dialect",
    [one for one in WRITTEN if one.books is Books.PUSHED],
    ids=lambda one: one.exchange.token,
)
async def test_no_update_after_a_pushed_book_is_older_than_it(
    start_venue: StartVenue, tmp_path: Path, dialect: Dialect
) -> None:
    """Who subscribes between two clients' turns gets a book that holds the frames of both."""
    symbol, other = dialect.demo[:2]
    market = Market(dialect, [symbol, other], seed=3, rate=300, start_ms=1_700_000_000_000)
    texts = [dialect.write_book(one, market.book(one)) for one in (symbol, other)]
    made = market.advance(SECOND)
    family = dialect.book_family
    texts += [f.text for f in made if market.topics[f.topic_id].family == family]
    host, path = min(dialect.hosts), tmp_path / "capture.jsonl"
    line: dict[str, Any] = {"ts": 1, "url": f"wss://{host}{dialect.route_of(family)}"}
    lines = [line | {"dir": "connect"}]
    lines += [{"ts": n, "dir": "in", "data": text.decode()} for n, text in enumerate(texts, 2)]
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    venue = start_venue("--capture", path, "--speed", "max")
    mine = next(one for one in _connections(dialect) if [symbol, family] in one["topics"])
    theirs = json.loads(json.dumps(mine).replace(symbol, other))
    target = venue.ws + mine["path"]

    _, holding = await ws_connect(_Holding, target, enable_auto_pong=False)
    assert isinstance(holding, _Holding)
    async with connect(target) as one, connect(target) as late:
        holding.subscribe(theirs)
        await _subscribe(one, mine)
        await holding.is_asked.wait()
        await _subscribe(late, mine)
        seen = [_bytes(await late.recv()) for _ in range(len(mine["subscribe"]))]
        holding.let_go()
        # Both are read at once: a client that stops reading holds up all.
        rest, _ = await asyncio.gather(_all(late), _all(one))
        seen += rest

    told = [text for text in seen if dialect.topic_of(text) == Topic(symbol, family)]
    events_read = [event for text in told if (event := dialect.read_book(text)) is not None]
    place = next(n for n, event in enumerate(events_read) if event.whole)
    whole = NaiveBook()
    whole.apply(events_read[place])
    assert _numbers(whole) == _numbers(market.book(symbol))
    assert events_read[place + 1 :] == []
    assert venue.finish()["pushed_own_books"] == 1


def _numbers(book: NaiveBook) -> list[list[tuple[float, float]]]:
    return [[(float(price), float(qty)) for price, qty in side] for side in book.top(0)]
