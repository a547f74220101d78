"""What a predecessor stored last of each ticker and feed, read from the stream's leader.

Read after our fence is stored: nothing of the predecessor can follow it.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Iterator

import msgspec
import nats.errors
import numpy as np
from nats.aio.client import Client
from tickbus_schemas import codec, subjects
from tickbus_schemas.errors import Reject, Retry
from tickbus_schemas.messages import BboBatch, L2Batch, TradeBatch

from tickbus_ingest.session import Session

REQUEST_S = 5.0
TOGETHER = 64
"""Requests in flight."""
FEEDS = ("trade", "l2", "bbo")


class _Info(msgspec.Struct):
    class State(msgspec.Struct):
        subjects: dict[str, int] = {}

    state: State | None = None
    total: int = 0


class _Found(msgspec.Struct):
    class Message(msgspec.Struct):
        data: str = ""

    message: Message | None = None


async def resume(nc: Client, stream: str, session: Session) -> int:
    """Tell the session what is stored already; how many subjects had something.

    Retry when the bus does not answer.
    """
    wanted = {
        subjects.md(session.venue.exchange, ticker, feed): (number, feed)
        for number, ticker in enumerate(session.venue.tickers)
        for feed in FEEDS
    }
    known = [subject for subject in await _subjects(nc, stream) if subject in wanted]
    for some in _chunks(known, TOGETHER):
        found = await asyncio.gather(*(_last(nc, stream, subject) for subject in some))
        for subject, data in zip(some, found, strict=True):
            if data is not None:
                _tell(session, wanted[subject][0], data)
    return len(known)


def _tell(session: Session, ticker: int, data: bytes) -> None:
    try:
        message = codec.decode(data)
    except Reject:
        return  # not one of ours: there is nothing to go on from
    if not isinstance(message, TradeBatch | L2Batch | BboBatch) or not message.timestamp:
        return
    times = np.frombuffer(message.timestamp, np.int64)
    if isinstance(message, TradeBatch):
        ends = np.frombuffer(message.trade_id_offsets, np.int32).tolist()
        ids = [int(message.trade_id_bytes[start:end]) for start, end in itertools.pairwise(ends)]
        highest = int(np.argmax(ids))
        session.trades[ticker].resume(ids[highest], int(times[highest]))
        return
    last_id = int(np.frombuffer(message.update_id, np.int64)[-1])
    if isinstance(message, L2Batch):
        session.books[ticker].resume(last_id, int(times[-1]))
        return
    columns = (message.bid_px, message.bid_sz, message.ask_px, message.ask_sz)
    values = tuple(float(np.frombuffer(column)[-1]) for column in columns)
    session.quotes.resume(ticker, last_id, int(times[-1]), values)


async def _subjects(nc: Client, stream: str) -> list[str]:
    """All market-data subjects that the stream holds."""
    found: list[str] = []
    while True:
        answer = await _ask(
            nc, f"$JS.API.STREAM.INFO.{stream}", {"subjects_filter": "md.>", "offset": len(found)}
        )
        info = msgspec.json.decode(answer, type=_Info)
        page = list(info.state.subjects) if info.state else []
        found += page
        if not page or len(found) >= info.total:
            return found


async def _last(nc: Client, stream: str, subject: str) -> bytes | None:
    """The last message of a subject, as the leader has it (a direct get may be behind)."""
    answer = await _ask(nc, f"$JS.API.STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
    found = msgspec.json.decode(answer, type=_Found)
    return base64.b64decode(found.message.data) if found.message else None


async def _ask(nc: Client, subject: str, question: dict[str, object]) -> bytes:
    try:
        answer = await nc.request(subject, msgspec.json.encode(question), timeout=REQUEST_S)
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise Retry(f"{subject}: {error or type(error).__name__}") from None
    return bytes(answer.data)


def _chunks(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
