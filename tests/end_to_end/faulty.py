"""A venue that goes wrong on schedule, ingest and the writer as processes, and what they left.

All kinds of faults are in one run of a venue, one after the other, each on the feeds whose loss
shows differently. Times are the venue's: it plays faster than the clock.
"""

from __future__ import annotations

import asyncio
import random
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tickbus.log.connection import Connection, connect
from tickbus.log.reader import Reader
from tickbus_ingest import exchanges
from tickbus_runtime.bus.streams import ensure
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_runtime.settings.sections import IngestSettings, Settings, Shard
from tickbus_schemas import codec, subjects
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import DeadLetter, Instrument, InstrumentStatus, L2Batch
from tickbus_sim import dialects
from tickbus_sim.dialect import Dialect
from tickbus_sim.market import Season

from tests.processes import ServiceProcess, stored
from tests.sim.conftest import RunningVenue

SPEED = 10.0
RATE = 160
"""Frames in a second of the venue's time."""
PAST_MS = 600_000
"""The market opens so long ago: however fast it plays, its times are not ahead of the clock."""
GOES_ON_US = 3_000_000
"""Venue time that a run goes on after its last fault is mended."""
END_S = 60.0
VENUES = [
    dialects.load(exchange)
    for exchange in dialects.exchanges()
    if exchange.token in exchanges.names()
]
"""All that ingest reads and the simulated venue speaks."""
Fault = dict[str, Any]


def faults_of(dialect: Dialect, ticker: str) -> list[Fault]:
    """Each kind of fault once on each main feed of a ticker; the connection and the silence on all.

    Between two of them a second or more passes: whatever the one broke is mended before the next.
    """
    trades, books, quotes = (dialect.family_of(feed) for feed in ("trade", "l2", "bbo"))
    # A venue without best quotes has no frames of them to touch.

    def each(kind: str, at: float, **counts: int) -> list[Fault]:
        families = {"trades": trades, "books": books, "quotes": quotes}
        return [
            {"kind": kind, "at": at, "ticker": ticker, "channel": families[name], "count": count}
            for name, count in counts.items()
            if families[name]  # a venue may have no channel of quotes
        ]

    return [
        *each("repeat", 1.5, trades=3, books=2, quotes=3),
        *each("drop", 2.5, trades=2, books=1, quotes=2),
        *each("reorder", 5.0, trades=2, books=2, quotes=3),
        *each("corrupt", 6.5, trades=1, books=1, quotes=1),
        {"kind": "disconnect", "at": 9.0, "length_s": 0.1},
        {"kind": "silence", "at": 15.0, "length_s": 1.5},
    ]


KINDS = ("drop", "repeat", "reorder", "silence", "disconnect", "corrupt")


def random_faults(dialect: Dialect, tickers: list[str], rng: random.Random) -> list[Fault]:
    """Faults of every kind on whatever channel, at any time, some upon others; then calm."""
    kinds = (*KINDS, "nan", "late_snapshot")
    found: list[Fault] = [{"kind": "silence", "at": 32.0, "length_s": 0.1}]
    for _ in range(25):
        fault: Fault = {"kind": rng.choice(kinds), "at": rng.uniform(0.5, 25.0)}
        fault["length_s"] = 0.2 if fault["kind"] == "disconnect" else rng.uniform(0.1, 3.0)
        if fault["kind"] not in ("disconnect", "late_snapshot"):
            fault["ticker"] = rng.choice(["", *tickers])
            fault["channel"] = rng.choice(["", *dialect.feeds])
            fault["count"] = rng.choice([1, 1, 2, 5])
        found.append(fault)
    return found


@dataclass(frozen=True)
class Outcome:
    """What a run left behind."""

    dialect: Dialect
    data: Path
    journal: Path
    letters: list[DeadLetter]
    end: dict[str, Any]
    """the venue's last line"""


def run(
    dialect: Dialect,
    faults: list[Fault],
    folder: Path,
    *,
    seed: int,
    seasons: Sequence[Season] = (),
    **settings: str,
) -> Outcome:
    """Run until each fault is over and every book has gone on behind it, then to the end.

    `seasons`: when tickers are listed. `settings`: environment variables of the services, beside
    those that make the run.
    """
    return asyncio.run(_run(dialect, faults, folder, seed, seasons, settings))


async def _run(
    dialect: Dialect,
    faults: list[Fault],
    folder: Path,
    seed: int,
    seasons: Sequence[Season],
    more: dict[str, str],
) -> Outcome:
    start_ms = time.time_ns() // 1_000_000 - PAST_MS
    journal = folder / "journal.jsonl"
    server = EmbeddedServer(folder / "bus")
    await server.start()
    venue = RunningVenue(
        *("--synthetic", "--exchange", dialect.exchange.token, "--seed", str(seed)),
        *("--rate", str(RATE), "--speed", str(SPEED), "--start-ms", str(start_ms)),
        *("--journal", str(journal), "--faults", _schedule(faults, seed)),
        *("--seasons", msgspec.json.encode(seasons).decode()),
    )
    services: list[ServiceProcess] = []
    bus = await connect(server.url, name="test", user=server.user, password=server.password)
    try:
        settings = Settings(ingest=IngestSettings(exchange=dialect.exchange.token))
        await ensure(bus.jetstream(), settings, settings.of_shard)
        environment = _environment(dialect.exchange, venue) | more
        data = folder / "data"
        services += [
            ServiceProcess(name, server, data, environment) for name in ("ingest", "writer")
        ]
        ingest, writer = services
        overs_s = [f["at"] + f.get("length_s", 0) for f in faults]
        over_us = start_ms * 1000 + int(1e6 * max([*overs_s, *(one.from_s for one in seasons)]))
        ended = [one.ticker for one in seasons if one.until_s is not None]
        async with asyncio.timeout(END_S):
            await _books_go_on(bus, settings.of_shard.md, set(dialect.demo) - set(ended), over_us)
            await _are_delisted(bus, settings.of_shard, ended)
        await asyncio.to_thread(_tell_to_end, venue)
        async with asyncio.timeout(END_S):
            code, said = await ingest.ended()
        assert code == 0, said
        finished = asyncio.ensure_future(asyncio.to_thread(venue.finish))
        md = await _messages(bus, settings.of_shard.md)
        await writer.read_up_to({settings.of_shard.md: md})
        assert writer.drain() == 0
        letters, end = await _dead_letters(bus), await finished
    finally:
        for one in services:
            one.kill()
        venue.close()
        await bus.close()
        await server.kill()
    return Outcome(dialect, data, journal, letters, end)


def _schedule(faults: list[Fault], seed: int) -> str:
    return msgspec.json.encode({"seed": seed, "faults": faults}).decode()


def _environment(exchange: Exchange, venue: RunningVenue) -> dict[str, str]:
    feeds = [feed for feed in venue.facts["feeds"] if ":" not in feed]
    return {
        "TICKBUS_INGEST__EXCHANGE": exchange.token,
        "TICKBUS_INGEST__TICKERS": "*",
        "TICKBUS_INGEST__FEEDS": ",".join(feeds),
        "TICKBUS_INGEST__WS_URL": venue.facts["ws"],
        "TICKBUS_INGEST__REST_URL": venue.facts["rest"],
        "TICKBUS_INGEST__STOP_AT_END": "true",
        # They are by the clock, and this venue hurries.
        "TICKBUS_INGEST__LIMITS": "false",
    }


async def _books_go_on(bus: Connection, stream: str, tickers: set[str], after_us: int) -> None:
    """Wait until each ticker's book has gone on for a while after a venue time: it is whole again.

    In that while its other feeds tell what they lost.
    """
    since_us: dict[str, int] = {}
    missing = set(tickers)
    async for arrived in Reader(bus, stream).groups():
        for one in arrived:
            message = codec.decode(one.data, one.subject)
            if not isinstance(message, L2Batch):
                continue
            times, received = (
                np.frombuffer(one, "<i8") for one in (message.timestamp, message.rcv_timestamp)
            )
            # A time of receipt stands where the venue has told none yet: it plays another hour.
            time_us = int(times[times != received].max(initial=0))
            if time_us > after_us:
                since_us.setdefault(message.ticker, time_us)
                if time_us - since_us[message.ticker] > GOES_ON_US:
                    missing.discard(message.ticker)
        if not missing:
            return


async def _are_delisted(bus: Connection, shard: Shard, tickers: list[str]) -> None:
    """Wait until the log says of each of these that it is traded no more."""
    for ticker in tickers:
        subject = subjects.md(shard.exchange, ticker, "instrument")
        while True:
            found = await bus.jetstream().get_last_msg(shard.md, subject)
            message = codec.decode(found.data or b"", subject)
            if isinstance(message, Instrument) and message.status == InstrumentStatus.DELISTED:
                break
            await asyncio.sleep(0.05)


def _tell_to_end(venue: RunningVenue) -> None:
    request = urllib.request.Request(venue.facts["rest"] + "/tickbus/end", method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


async def _messages(bus: Connection, stream: str) -> int:
    info = await bus.jetstream().stream_info(stream)
    return int(info.state.last_seq)


async def _dead_letters(bus: Connection) -> list[DeadLetter]:
    count = await _messages(bus, "DLQ")
    found = []
    for one in await stored(bus, "DLQ", count) if count else ():
        message = codec.decode(one.data, one.subject)
        assert isinstance(message, DeadLetter)
        found.append(message)
    return found
