"""Where the commands get messages from: streams, from a given start, or live subjects."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from difflib import get_close_matches

from nats.aio.client import Client
from tickbus_schemas.errors import Fatal, Reject
from tickbus_schemas.subjects import bare

from tickbus.log import inventory
from tickbus.log.connection import Connection
from tickbus.log.reader import Reader
from tickbus.log.stored import Stored, header
from tickbus.log.wire import Messages

MAX_WAITING = 100_000
"""Messages that a live listener buffers for a slow terminal before it drops some."""


def overlap(pattern: str, other: str) -> bool:
    """Whether some subject matches both; each may have `*` and a last `>`."""
    one, two = pattern.split("."), other.split(".")
    for left, right in zip(one, two, strict=False):
        if ">" in (left, right):
            return True
        if left != right and "*" not in (left, right):
            return False
    return len(one) == len(two)


def stored_form(subject: str) -> str:
    """The subject in the stream: without `live.` or `replay.<job>.`."""
    try:
        return bare(subject) or subject
    except Reject:
        return subject


async def streams_of(nc: Client, subject: str) -> list[inventory.Stream]:
    """The streams that may hold messages on `subject`; Fatal when none does."""
    streams = await inventory.streams(nc)
    found = [
        stream
        for stream in streams
        if any(overlap(subject, held) for held in stream.config.subjects)
    ]
    if not found:
        known = sorted({held for stream in streams for held in stream.config.subjects})
        raise Fatal(f"no stream holds {subject}: {_nearest(subject, known)}")
    return found


def _nearest(subject: str, known: Sequence[str]) -> str:
    """The subject of a stream that was meant, or what the streams hold."""
    if not known:
        return "there are no streams yet; 'tickbus up' or 'tickbus init' creates them"
    # Only what the streams' subjects name, kind and exchange, may be spelled wrong here.
    begin = ".".join(subject.split(".")[:2])
    begins = {".".join(held.split(".")[:2]): held for held in known}
    near = get_close_matches(begin, begins, n=1, cutoff=0.7)
    if near:
        return f"did you mean {near[0]}? 'tickbus streams' lists all"
    return f"streams hold {', '.join(known[:8])}; 'tickbus streams' lists them"


async def follow(
    nc: Connection,
    streams: Sequence[inventory.Stream],
    subject: str,
    start: datetime | int | None,
) -> AsyncGenerator[list[Stored], None]:
    """The messages on `subject` from `start` on (a time, a sequence, or None for now), without end.

    Messages of several streams come in the order of their arrival here.
    """
    sources = [reader(nc, stream, subject, start).groups() for stream in streams]
    waiting = {asyncio.ensure_future(anext(source)): source for source in sources}
    try:
        while True:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                source = waiting.pop(task)
                yield task.result()
                waiting[asyncio.ensure_future(anext(source))] = source
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for source in sources:
            await source.aclose()


def reader(
    nc: Connection,
    stream: inventory.Stream,
    subject: str,
    start: datetime | int | None,
    *,
    only_history: bool = False,
) -> Reader:
    """A reader of the stream's messages on `subject`."""
    everything = all(_within(held, subject) for held in stream.config.subjects)
    return Reader(
        nc,
        stream.config.name,
        start_seq=start if isinstance(start, int) else _next_seq(stream) if start is None else None,
        start_time_ns=_ns(start) if isinstance(start, datetime) else None,
        subject_filter=None if everything else subject,
        only_history=only_history,
    )


def _within(held: str, pattern: str) -> bool:
    """Whether every subject of `held` matches `pattern`, so that no filter is needed."""
    tokens, wanted = held.split("."), pattern.split(".")
    for place, want in enumerate(wanted):
        if want == ">":
            return len(tokens) > place
        if place >= len(tokens) or tokens[place] == ">":
            return False
        if want not in ("*", tokens[place]):
            return False
    return len(tokens) == len(wanted)


def _next_seq(stream: inventory.Stream) -> int:
    return stream.state.last_seq + 1


def _ns(time: datetime) -> int:
    return round(time.timestamp() * 1_000_000) * 1_000


async def history(
    nc: Connection, stream: inventory.Stream, subject: str, start: datetime, end: datetime
) -> AsyncGenerator[list[Stored], None]:
    """The messages on `subject` that the stream stored from `start` to `end`; ends after them."""
    end_ns = _ns(end)
    source = reader(nc, stream, subject, start, only_history=True)
    async with aclosing(source.groups()) as groups:
        async for group in groups:
            kept = group[: bisect_right(group, end_ns, key=_stored_ns)]
            if kept:
                yield kept
            if len(kept) < len(group):
                return


async def in_time_order(
    sources: Sequence[AsyncGenerator[list[Stored], None]],
) -> AsyncGenerator[list[Stored], None]:
    """The messages of several finite sources, in the order in which they were stored."""
    heads = {source: group for source in sources if (group := await _next(source))}
    while heads:
        first, *others = sorted(heads, key=lambda source: heads[source][0].stored_ns)
        group = heads[first]
        until = heads[others[0]][0].stored_ns if others else group[-1].stored_ns
        cut = bisect_right(group, until, key=_stored_ns)
        yield group[:cut]
        rest = group[cut:] or await _next(first)
        if rest:
            heads[first] = rest
        else:
            del heads[first]


async def _next(source: AsyncGenerator[list[Stored], None]) -> list[Stored]:
    """The next group, empty at the end."""
    try:
        return await anext(source)
    except StopAsyncIteration:
        return []


def _stored_ns(stored: Stored) -> int:
    return stored.stored_ns


async def live(nc: Connection, subject: str) -> AsyncGenerator[list[Stored], None]:
    """The messages published on `subject` (with `live.` or `replay.<job>.`) from now on.

    A consumer of this that is too slow misses messages; the sequences show it.
    """
    waiting: list[Stored] = []
    news = asyncio.Event()

    def keep(messages: Messages) -> None:
        for subject, data, headers in messages.each():
            if len(waiting) < MAX_WAITING:
                seq = int(header(headers, "Nats-Sequence") or 0)
                waiting.append(Stored(seq, 0, subject.decode(), data, headers))
        news.set()

    subscription = await nc.pour(subject, keep)
    try:
        while True:
            await news.wait()
            news.clear()
            batch, waiting = waiting, []
            yield batch
    finally:
        await nc.stop(subscription)
