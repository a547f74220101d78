"""A capture as a shard's log in memory: what ingest would have published, flush by flush.

The real session and the real batching make the messages; only sockets and the server are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tickbus.log.stored import Stored
from tickbus_ingest.exchanges import load
from tickbus_ingest.publish.messages import Messages
from tickbus_ingest.session.session import Session
from tickbus_ingest.session.tables import Flush
from tickbus_ingest.venue.contract import Get, Line
from tickbus_ingest.venue.instruments import Instrument
from tickbus_ingest.wire.buffer import Body, Connected, Frames
from tickbus_runtime.service import memory
from tickbus_schemas.errors import Fatal

from tickbus_bench.capture import exchange, lines

LIVE_MS = 0.001
"""Flushes as they come live at linger 0: frames of one moment of receive time together."""
LIVE_LINES_QUICK = 20_000
"""A flush a frame takes long to make: as much of it is enough with --quick."""


@dataclass(frozen=True)
class Log:
    """Stored messages and what is in them."""

    stored: list[Stored]
    levels: int
    """level rows, snapshots included"""
    rows: int
    """rows of all feeds"""
    frames: int

    @property
    def bytes(self) -> int:
        return sum(len(one.data) for one in self.stored)


class _Publisher:
    """Gathers frames, flushes them through the session, numbers what comes out."""

    def __init__(self, exchange: str, tickers: list[str]) -> None:
        listed = [Instrument(ticker=ticker) for ticker in tickers]
        self.venue = load(exchange)(listed, ("trade", "l2", "bbo"))
        self.session = Session(self.venue)
        self.messages = Messages(self.venue.exchange, exchange, tickers, epoch=1)
        self.session.notice(Connected(Line(0, self.venue.routes()[0]), 0), Flush())
        self.stored: list[Stored] = []
        self.levels = self.rows = 0
        self.waiting = Frames()

    def add(self, data: bytes, received_ns: int) -> None:
        self.waiting.data.append(data)
        self.waiting.received_ns.append(received_ns)
        self.waiting.monotonic_ns.append(received_ns)
        self.waiting.line.append(0)
        self.waiting.size += len(data)

    def flush(self, received_ns: int) -> None:
        out = Flush()
        self.session.receive(self.waiting, out)
        self.waiting = Frames()
        self._store(out, received_ns)

    def body(self, data: bytes, ticker: str, received_ns: int) -> None:
        self.flush(received_ns)
        out = Flush()
        self.session.notice(Body(Get("", book_of=ticker), data, received_ns, received_ns), out)
        self._store(out, received_ns)

    def clock(self, received_ns: int) -> None:
        at_us = self.session.clock_us()
        if at_us:
            one = self.messages.clock(at_us, received_ns // 1000, self.session.packets, final=False)
            self.stored.append(Stored(len(self.stored) + 1, received_ns, one.subject, one.payload))

    def _store(self, out: Flush, received_ns: int) -> None:
        for piece in out.l2:
            ends = piece.table.level_ends
            self.levels += int(ends[piece.stop] - ends[piece.start])
        self.rows += sum(len(table) for _, table in out.tables)
        for one in self.messages.of(out):
            self.stored.append(Stored(len(self.stored) + 1, received_ns, one.subject, one.payload))


@lru_cache(maxsize=4)
def of_capture(
    path: Path, *, flush_frames: int = 0, flush_ms: float = 0.0, lines_max: int | None = None
) -> Log:
    """The log of a capture in flushes of so many frames, or of so many ms of receive time.

    `lines_max`: of its first lines only.
    """
    recorded = lines(path)[:lines_max]
    wire = [line for line in recorded if line.dir == "in"]
    venue = exchange(path)
    tickers = sorted({json.loads(line.data)["data"]["s"] for line in wire[:2_000]})
    publisher = _Publisher(venue, tickers)
    began_ns = clocked_ns = recorded[0].ts
    for line in recorded:
        if line.ts - clocked_ns >= 1_000_000_000:
            publisher.flush(line.ts)
            publisher.clock(line.ts)
            began_ns = clocked_ns = line.ts
        if line.dir == "http" and "symbol=" in line.url:
            ticker = line.url.split("symbol=")[1].split("&")[0]
            publisher.body(line.data.encode(), ticker, line.ts)
        elif line.dir == "in":
            due = line.ts - began_ns > flush_ms * 1e6 if flush_ms else False
            if due or (flush_frames and len(publisher.waiting) >= flush_frames):
                publisher.flush(line.ts)
                began_ns = line.ts
            publisher.add(line.data.encode(), line.ts)
    publisher.flush(recorded[-1].ts)
    publisher.clock(recorded[-1].ts)
    if not publisher.levels:
        raise Fatal(f"{path} cannot be measured with: no order book update of it can be used")
    rows = publisher.levels + publisher.rows
    memory.settle()  # no service holds a log: the collector should not walk over this one
    return Log(publisher.stored, publisher.levels, rows, len(wire))


def as_live(path: Path, quick: bool) -> Log:
    """The log in flushes as they come live."""
    return of_capture(path, flush_ms=LIVE_MS, lines_max=LIVE_LINES_QUICK if quick else None)


def groups_of(stored: list[Stored], size: int) -> Iterator[list[Stored]]:
    """The log in reads of so many messages."""
    for start in range(0, len(stored), size):
        yield stored[start : start + size]
