"""The log to books and 1 s features: from JetStream, and from Parquet.

A real server on this machine holds the capture's log three times, in flushes of different sizes.
Timed: Reader, Assembler and the fold that keeps the books and closes 1 s buckets, in one process,
until the last message is in. Beside it, in turn: a bare nats-py pull through a callback, which
counts the same messages and looks at none.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tickbus
from tickbus.columns.assembler import Assembler
from tickbus.log.connection import Connection, connect
from tickbus.log.reader import Reader
from tickbus_features.batch import compute, group_of
from tickbus_features.fold import FeatureFold
from tickbus_features.warm import warm
from tickbus_runtime.bus.in_flight import Outgoing
from tickbus_runtime.bus.publisher import Publisher
from tickbus_runtime.local.nats_server import EmbeddedServer

from tickbus_bench import peers
from tickbus_bench.dataset import dataset
from tickbus_bench.log import LIVE_MS, Log, as_live, of_capture
from tickbus_bench.target import Target, of_runs

LEVELS_PER_S = 5_000_000
SHARE_OF_BARE = 0.7
DAY_LEVELS = 110_000_000
DAY_S = 30.0
LINGER_MS = (0.0, 1.0, 5.0, 50.0)
_BATCH = 2_000


@asynccontextmanager
async def _bus() -> AsyncIterator[Connection]:
    with tempfile.TemporaryDirectory(prefix="tickbus-bench-") as folder:
        server = EmbeddedServer(Path(folder))
        await server.start()
        client = await connect(server.url, user=server.user, password=server.password)
        try:
            yield client
        finally:
            await client.close()
            await server.stop()


async def _store(nc: Connection, name: str, log: Log) -> None:
    """A stream of its own; subjects get a prefix that the reader takes off again."""
    prefix = f"{name.lower()}."
    await nc.jetstream().add_stream(name=name, subjects=[f"{prefix}>"])
    publisher = Publisher(nc)
    messages = [Outgoing(prefix + one.subject, one.data, f"{name}.{one.seq}") for one in log.stored]
    for start in range(0, len(messages), _BATCH):
        await publisher.flush(messages[start : start + _BATCH])
    await publisher.close()


async def _bare_pull(nc: Connection, stream: str, messages: int) -> float:
    """Seconds of a plain nats-py pull through a callback that only counts."""
    js = nc.jetstream()
    consumer = await js._jsm.add_consumer(
        stream, durable_name=None, ack_policy="none", mem_storage=True, inactive_threshold=30.0
    )
    inbox, done, seen = nc.new_inbox(), asyncio.Event(), 0

    async def arrived(message: Any) -> None:
        nonlocal seen
        if not message.data and message.headers and "Status" in message.headers:
            return
        seen += 1
        if seen == messages:
            done.set()

    subscription = await nc.subscribe(inbox, cb=arrived)
    subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer.name}"
    request = b'{"batch":%d}' % _BATCH
    start = time.perf_counter()
    for _ in range(0, messages + _BATCH, _BATCH):
        await nc.publish(subject, request, reply=inbox)
    await asyncio.wait_for(done.wait(), 60)
    took_s = time.perf_counter() - start
    await subscription.unsubscribe()
    return took_s


async def _replay(nc: Connection, stream: str, messages: int) -> float:
    """Seconds from the first request to books and 1 s features of every message."""
    fold = FeatureFold([1_000], bar_stream="BAR", feature_stream="FEATURE")
    assembler, skip = Assembler(), len(stream) + 1
    reader = Reader(nc, stream, start_seq=1)
    done = 0
    start = time.perf_counter()
    async for stored in reader.groups():
        for one in stored:
            one.subject = one.subject[skip:]
        done += len(stored)
        group = assembler.add(stored)
        if group is not None:
            fold.apply(group)
        if done == messages:
            reader.stop()
    return time.perf_counter() - start


async def _measure_bus(path: Path, quick: bool, runs: int) -> list[Target]:
    logs = {
        "WIDE": of_capture(path, flush_frames=2048),
        "FIFTY": of_capture(path, flush_frames=24),
        "LIVE": as_live(path, quick),
    }
    targets = []
    async with _bus() as nc:
        for name, log in logs.items():
            await _store(nc, name, log)
            count = len(log.stored)
            await _replay(nc, name, count)
            bare, ours = [], []
            for _ in range(runs):
                bare.append(await _bare_pull(nc, name, count))
                ours.append(await _replay(nc, name, count))
            limit = f"bare pull {count / median(bare) / 1e3:.0f}k messages/s"
            notes = {"messages": count, "rows_a_message": round(log.rows / count)}
            if name == "LIVE":
                share = [b / o for b, o in zip(bare, ours, strict=True)]
                targets.append(
                    Target(
                        "replay.messages_as_live",
                        unit="of a bare pull",
                        target=SHARE_OF_BARE,
                        at_least=True,
                        limit=limit,
                        notes=notes | {"messages_per_s": round(count / median(ours))},
                        **of_runs(share),
                    )
                )
                continue
            targets.append(
                Target(
                    f"replay.{name.lower()}_messages",
                    unit="level rows/s",
                    target=LEVELS_PER_S,
                    at_least=True,
                    limit=limit,
                    notes=notes,
                    **of_runs([log.levels / one for one in ours]),
                )
            )
    return targets


def _day_seconds(path: Path, runs: int) -> list[float]:
    """Seconds for a day of level rows, from the rate on the dataset of this capture."""
    log = of_capture(path, flush_frames=2048)
    seconds = []
    with dataset({"MD": log.stored}) as (root, _, _):
        for _ in range(runs + 1):
            start = time.perf_counter()
            read = {
                feed: tickbus.scan(feed, root=root).collect()
                for feed in ("trade", "l2", "bbo", "status")
            }
            ticker = (int(read["l2"]["exchange"][0]), str(read["l2"]["ticker"][0]))
            last_us = int(np.max(read["l2"]["timestamp"].to_numpy()))
            compute([group_of(ticker, **read, clock_us=last_us)], [1_000])
            seconds.append((time.perf_counter() - start) / log.levels * DAY_LEVELS)
    return seconds[1:]


def measure(path: Path, quick: bool) -> list[Target]:
    """From JetStream, from Parquet; and what lingering buys."""
    warm()
    runs = 3 if quick else 5
    targets = asyncio.run(_measure_bus(path, quick, runs))
    targets.append(
        Target(
            "replay.parquet_day",
            unit="s",
            target=DAY_S,
            at_least=False,
            peer=peers.figure(path, quick, "hftbacktest"),
            notes={"extrapolated": f"rate of this capture times {DAY_LEVELS:,} level rows"},
            **of_runs(_day_seconds(path, runs)),
        )
    )
    if not quick:
        targets.append(_linger(path))
    return targets


def _linger(path: Path) -> Target:
    """Messages a frame as frames gather for so long: what `ingest.linger_ms` buys."""
    shares = {}
    for wait_ms in LINGER_MS:
        log = of_capture(path, flush_ms=wait_ms or LIVE_MS)
        shares[f"{wait_ms:g} ms"] = round(len(log.stored) / log.frames, 3)
    return Target(
        "replay.messages_a_frame_at_50_ms",
        value=shares["50 ms"],
        unit="messages a frame",
        target=0.2,
        at_least=False,
        notes=shares,
    )
