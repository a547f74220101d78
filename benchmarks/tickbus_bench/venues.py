"""Every venue file on frames of its own: from bytes to columns, frames/s, and us a book update.

The frames are what the simulated venue sends of its synthetic market in the venue's protocol, in
the market's mix of trades, quotes, book updates and statistics; then book updates of 60 levels
alone, fewer where the venue shows fewer. Sockets, books and the bus are left out: what differs
between venues is the reading.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tickbus_ingest import exchanges
from tickbus_ingest.session.decoding import FrameDecoder
from tickbus_ingest.venue.contract import Line, Venue
from tickbus_ingest.venue.instruments import understood
from tickbus_schemas.errors import Fatal
from tickbus_schemas.exchanges import Exchange
from tickbus_sim import dialect as contract
from tickbus_sim import dialects
from tickbus_sim.book import NaiveBook
from tickbus_sim.dialect import CONTROL, Books, Dialect, Listing, Resource
from tickbus_sim.events import Change
from tickbus_sim.market import Market
from tickbus_sim.pace import SECOND

from tickbus_bench.target import Target, of_runs

MIXED, DEPTH_US = 100_000, 10.0
DEPTH_BYTES = 60 * 64
"""In a frame of more bytes each of them may take as long as those of one that has so many."""
START_MS = 1_760_000_000_000
FRAMES, BATCH, LEVELS = 20_000, 2_048, 60


def measure(path: Path | None, quick: bool) -> list[Target]:
    """Two targets a venue."""
    found = []
    for token in exchanges.names():
        exchange = Exchange.from_token(token)
        if exchange not in dialects.exchanges():
            raise Fatal(f"the simulated venue has no dialect {token}: there are no frames of it")
        found += _of_venue(token, dialects.load(exchange), quick)
    return found


def _of_venue(token: str, dialect: Dialect, quick: bool) -> list[Target]:
    market = Market(dialect, list(dialect.demo), seed=7, rate=5_000, start_ms=START_MS)
    venue = _venue(token, dialect, market)
    opened = [_pushed(dialect, ticker, market.book(ticker)) for ticker in dialect.demo]
    opened, mixed = _on_wire(dialect, venue, opened, _mixed(market, venue))
    changes = [_deep(market, n) for n in range(BATCH)]
    full, books = _on_wire(
        dialect, venue, [_pushed(dialect, changes[0].ticker, changes[0].book)],
        [dialect.change(change) for change in changes],
    )  # fmt: skip
    size = sum(map(len, books)) / len(books)
    runs = 3 if quick else 7
    rates = [len(mixed) / one for one in _timed(venue, opened, mixed, runs)]
    levels = _levels(venue, full, books[0])
    costs = [1e6 * one / len(books) for one in _timed(venue, full, books, runs)]
    return [
        Target(
            f"ingest.venue.{token}", unit="frames/s", target=MIXED, at_least=True,
            notes={"frames": len(mixed)}, **of_runs(rates),
        ),
        Target(
            f"ingest.venue.{token}_depth", unit=f"us a frame of {levels} levels",
            target=round(DEPTH_US * max(1.0, size / DEPTH_BYTES), 1), at_least=False,
            notes={"bytes a frame": round(size)}, **of_runs(costs),
        ),
    ]  # fmt: skip


def _venue(token: str, dialect: Dialect, market: Market) -> Venue:
    """The venue file, with the market's tickers and all feeds but those that are only polled."""
    kind = exchanges.load(token)
    listed = [
        Listing(one.ticker, one.price_decimals, one.qty_decimals) for one in market.instruments
    ]
    bodies: list[bytes] = []
    waiting = kind.instruments_requests()
    for request in waiting:  # which grows: a body may name what must be asked for besides
        path, _, query = request.path.partition("?")
        fields = {k: [v] for k, _, v in (part.partition("=") for part in query.split("&") if part)}
        resource = dialect.resource(path, fields, request.body) or Resource("instruments")
        bodies.append(dialect.write_instruments(listed, START_MS, resource))
        waiting += kind.more_instruments_requests(request, bodies[-1])
    tickers = set(dialect.demo)
    instruments = [
        one for one in understood(kind.parse_instruments(bodies)) if one.ticker in tickers
    ]
    return kind(instruments, [feed for feed in kind.feeds if ":" not in feed])


def _on_wire(
    dialect: Dialect, venue: Venue, opened: Sequence[bytes], frames: Sequence[bytes]
) -> tuple[list[bytes], list[bytes]]:
    """What opens the books and the frames behind it, as a connection gets them that subscribed.

    Where connections differ in form, its answers come first: frames may be named by them.
    """
    opened = [frame for frame in opened if frame]
    if type(dialect).on_wire is contract.Dialect.on_wire:
        return opened, list(frames)
    route = venue.routes()[0]
    line = dialect.open(route.path.partition("?")[0], {})
    if isinstance(line, contract.Refusal):
        return opened, list(frames)
    asked = [*venue.greet(), *venue.subscribe(route.streams)]
    answers = [text for one in asked for text in dialect.request(line, one.frame).frames]
    sent = [dialect.on_wire(line, text, CONTROL) for text in (*opened, *frames)]
    return [*answers, *sent[: len(opened)]], sent[len(opened) :]


def _mixed(market: Market, venue: Venue) -> list[bytes]:
    """The market's frames, a connection's life of them."""
    frames: list[bytes] = []
    now_ns = 0
    while len(frames) < FRAMES:
        now_ns += SECOND // 10
        frames += [one.text for one in market.advance(now_ns)]
    return frames


def _deep(market: Market, number: int) -> Change:
    """A book update that follows the one before: LEVELS levels, or one where more never come."""
    listed = market.instruments[0]
    is_one = market.dialect.one_level
    half, first = 1 if is_one else LEVELS // 2, listed.price_ticks
    bids = [
        (listed.price_text(first - k), listed.qty_text((number * 7 + k * 13) % 5_000))
        for k in range(half)
    ]
    asks = [
        (listed.price_text(first + 1 + k), listed.qty_text((number * 11 + k * 17) % 5_000))
        for k in range(half)
    ]
    ms = START_MS + number
    if is_one:
        asks = []
    book = NaiveBook(dict(bids), dict(asks), event_ms=ms, whole=True)
    return Change(
        listed.ticker, bids, asks, 2 * number + 1, 2 * number + 2, 2 * number, number + 1, ms, ms,
        book,
    )  # fmt: skip


def _pushed(dialect: Dialect, ticker: str, book: NaiveBook) -> bytes:
    """What a subscription to the book begins with; empty: books are asked for, or always whole."""
    return dialect.write_book(ticker, book) if dialect.books is Books.PUSHED else b""


def _levels(venue: Venue, opened: Sequence[bytes], frame: bytes) -> int:
    """How many levels a frame has that follows those that open the books."""
    line = Line(0, venue.routes()[0])
    venue.connected(line)
    frames = [*filter(None, opened), frame]
    received_us = np.full(len(frames), START_MS * 1000 + 10_000_000, np.int64)
    decoded = FrameDecoder(venue, 4 * 2**20).frames(
        frames, [line] * len(frames), received_us, sum(map(len, frames))
    )
    last = decoded.between(len(frames) - 1, len(frames))
    return 0 if last.levels is None else len(last.levels.price)


def _timed(
    venue: Venue, opened: Sequence[bytes], frames: Sequence[bytes], runs: int
) -> list[float]:
    """Seconds that each run over the frames takes, after those that open the books."""
    decoder = FrameDecoder(venue, 4 * 2**20)
    batches = [frames[n : n + BATCH] for n in range(0, len(frames), BATCH)]
    received_us = np.full(BATCH, START_MS * 1000 + 10_000_000, np.int64)

    def run() -> float:
        line = Line(0, venue.routes()[0])
        venue.connected(line)
        pushed = [frame for frame in opened if frame]
        decoder.frames(pushed, [line] * len(pushed), received_us[: len(pushed)], 0)
        started = time.perf_counter()
        for batch in batches:
            size = sum(map(len, batch))
            lines = [line] * len(batch)
            decoded = decoder.frames(batch, lines, received_us[: len(batch)], size)
            if decoded.refused or decoded.losses:
                wrong = [*decoded.refused.items(), *decoded.losses][0]
                raise Fatal(f"{venue.exchange.token} refused or lost a frame: {wrong}")
        return time.perf_counter() - started

    return _after_one(run, runs)


def _after_one(run: Callable[[], float], runs: int) -> list[float]:
    """The first run loads kernels: it does not count."""
    run()
    return [run() for _ in range(runs)]
