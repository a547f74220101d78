"""What a predecessor stored last of each ticker and feed, read from the stream's leader.

Read after our fence is stored, so that no message of the predecessor can follow. Anybody may have
stored anything there, so a message that makes no sense is skipped.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import nats.errors
import numpy as np
from nats.aio.client import Client
from tickbus_schemas import codec, subjects
from tickbus_schemas.errors import Reject, Retry
from tickbus_schemas.feeds import OF_KIND
from tickbus_schemas.messages import (
    ABSENT,
    BboBatch,
    Instrument,
    L2Batch,
    Status,
    TradeBatch,
)

from tickbus_ingest.session.sanity import AHEAD_MAX_US, FIRST_SANE_US
from tickbus_ingest.session.session import Session
from tickbus_ingest.venue import instruments
from tickbus_ingest.venue.contract import TradeIds
from tickbus_ingest.venue.feeds import BY_NAME, FEEDS, Treatment, name_of

REQUEST_S = 5.0
TOGETHER = 64
"""Requests in flight."""
ID_MAX = 2**62
"""No venue has counted so far; after such an id nothing would ever be new."""
_LISTED = [feed.name for feed in FEEDS if feed.treatment is Treatment.LISTED]
_INSTRUMENT = {field.name for field in msgspec.structs.fields(instruments.Instrument)}


class _State(msgspec.Struct):
    subjects: dict[str, int] = {}


class _Info(msgspec.Struct):
    state: _State | None = None
    total: int = 0


class _Stored(msgspec.Struct):
    data: str = ""


class _Found(msgspec.Struct):
    message: _Stored | None = None


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    error: _Error | None = None


NO_MESSAGE = 10037
"""https://github.com/nats-io/nats-server/blob/main/server/errors.json"""


@dataclass
class Resumed:
    """What was found."""

    subjects: int = 0
    """that had something of ours"""
    skipped: dict[str, str] = field(default_factory=dict)
    """subjects whose last message makes no sense, and why"""


async def resume(nc: Client, stream: str, session: Session) -> Resumed:
    """Tell the session what is stored already. Retry when the bus does not answer."""
    venue = session.venue
    wanted = {
        subjects.md(venue.exchange, ticker, feed): (number, feed)
        for number, ticker in enumerate(venue.tickers)
        for feed in (*_wanted_feeds(session), *_LISTED, "status")
    }
    stored = await _subjects(nc, stream, venue.exchange.token)
    known = [subject for subject in stored if subject in wanted]
    result = Resumed(len(known))
    told: set[tuple[int, str]] = set()
    last_status: dict[int, int] = {}
    for some in _chunks(known, TOGETHER):
        found = await asyncio.gather(*(_last(nc, stream, subject) for subject in some))
        for subject, data in zip(some, found, strict=True):
            if data is None:
                continue
            ticker, feed = wanted[subject]
            try:
                message = codec.decode(data, subject)
                if isinstance(message, Status):
                    last_status[ticker] = _sane_time(message.timestamp)
                else:
                    _tell(session, ticker, feed, message)
                    told.add((ticker, feed))
            except (Reject, ValueError, OverflowError, IndexError) as error:
                result.skipped[subject] = str(error)[:200]
    for ticker, time_us in last_status.items():
        silent = [feed for feed in _wanted_feeds(session) if (ticker, feed) not in told]
        session.resume_connected(ticker, time_us, silent)
    return result


def _wanted_feeds(session: Session) -> list[str]:
    """The feeds whose holes are announced, of those that are taken."""
    taken = {name_of(feed) for feed in session.venue.wanted}
    return [feed.name for feed in FEEDS if feed.hole_is_told and feed.name in taken]


def _tell(session: Session, ticker: int, feed: str, message: Any) -> None:
    """Let the session go on behind a message of a feed; ValueError when that cannot be."""
    kind = OF_KIND.get(type(message))
    if kind is None or kind.name != feed:
        raise ValueError(f"a message of another kind: {type(message).__name__}")
    if isinstance(message, Instrument):
        fields = {name: getattr(message, name) for name in _INSTRUMENT}
        session.resume_instrument(ticker, msgspec.convert(fields, instruments.Instrument))
        return
    times = np.frombuffer(message.timestamp, np.int64)
    last_us = _sane_time(int(times[-1]))
    session.resume_time(ticker, last_us)
    feeds = session.feeds
    match BY_NAME[feed].treatment:
        case Treatment.TRADES:
            number, last_us = _last_trade(message, session.venue.trade_ids, times)
            feeds.trades[feed].resume(ticker, number, _sane_time(last_us))
        case Treatment.EVENTS:
            feeds.events[feed].resume(ticker, ABSENT, last_us)
        case Treatment.BOOK:
            session.books[ticker].resume(_last_id(message), last_us)
        case Treatment.QUOTES:
            columns = (message.bid_px, message.bid_sz, message.ask_px, message.ask_sz)
            values = tuple(float(np.frombuffer(column)[-1]) for column in columns)
            feeds.quotes[feed].resume(ticker, _last_id(message), last_us, values)


def _last_id(message: L2Batch | BboBatch) -> int:
    return _sane_id(int(np.frombuffer(message.update_id, np.int64)[-1]))


def _last_trade(message: TradeBatch, kind: TradeIds, times: Any) -> tuple[int, int]:
    """Number and time of the last trade; without a number where ids do not count."""
    if kind is not TradeIds.DENSE:
        return ABSENT, int(times.max())
    ends = np.frombuffer(message.trade_id_offsets, np.int32).tolist()
    text = message.trade_id_bytes
    ids = [_whole(text[start:end]) for start, end in itertools.pairwise(ends)]
    highest = int(np.argmax(ids))
    return ids[highest], int(times[highest])


def _whole(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise ValueError(f"trade id {text[:40]!r} is no whole number")
    return _sane_id(int(text))


def _sane_id(number: int) -> int:
    if number != ABSENT and not 0 <= number < ID_MAX:
        raise ValueError(f"id {number} cannot be")
    return number


def _sane_time(time_us: int) -> int:
    latest = time.time_ns() // 1000 + AHEAD_MAX_US
    if not FIRST_SANE_US <= time_us <= latest:
        raise ValueError(f"time {time_us} us is not between 2009 and tomorrow")
    return time_us


async def _subjects(nc: Client, stream: str, exchange: str) -> list[str]:
    """All market-data subjects of an exchange that the stream holds."""
    found: list[str] = []
    while True:
        answer = await _ask(
            nc,
            f"$JS.API.STREAM.INFO.{stream}",
            {"subjects_filter": f"md.{exchange}.>", "offset": len(found)},
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
    refusal = msgspec.json.decode(answer.data, type=_Answer).error
    if refusal is not None and refusal.err_code != NO_MESSAGE:
        raise Retry(f"{subject}: {refusal.err_code} {refusal.description}")
    return bytes(answer.data)


def _chunks(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
