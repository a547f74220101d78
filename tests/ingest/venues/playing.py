"""A story through a session and its messages: what ingest publishes, and what it asks for."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from tickbus_ingest.publish.messages import Messages
from tickbus_ingest.session.book_rules import SnapshotRule
from tickbus_ingest.session.session import Session
from tickbus_ingest.session.tables import Flush
from tickbus_ingest.venue.contract import Get, Line, Venue
from tickbus_ingest.wire.buffer import Body, BufferNotice, Connected, Disconnected, Frames
from tickbus_schemas import codec
from tickbus_schemas.feeds import FEEDS
from tickbus_schemas.messages import L2Batch, Message, StatusKind

from tests.ingest.venues.reading import RECEIVED_MS, get_of, opened
from tests.ingest.venues.vectors import Row, Step, Story

NEVER = SnapshotRule(interval_us=2**60)
FEED_OF = {feed.kind: feed.name for feed in FEEDS}

OF_MESSAGES = {"schema", "exchange", "epoch", "message_no", "more"}
"""Fields that tell of a message, not of what is in it."""


class Player:
    """One session; `published` is all that it said, feed by feed."""

    def __init__(
        self,
        venue: Venue,
        lines: Iterable[Line],
        *,
        wait_us: int = 0,
        rule: SnapshotRule = NEVER,
    ) -> None:
        """`wait_us`: 0, so that a hole is a gap at once. `rule`: when the log gets a full book."""
        self.venue = venue
        self.session = Session(venue, rule=rule, wait_us=wait_us)
        self.messages = Messages(venue.exchange, "shard", venue.tickers, 1)
        self.published: dict[str, list[Row]] = {}
        self.step_published: dict[str, list[Row]] = {}
        """of the last step"""
        self.asked: list[str] = []
        self.resubscribed: list[str] = []
        self.wishes: list[tuple[str, str]] = []
        """every ("ask" or "resubscribe", ticker)"""
        self.refused: list[str] = []
        self.replies: list[bytes] = []
        self.errors: list[str] = []
        self.broken: set[int] = set()
        """lines that lost messages"""
        self.fates: Counter[tuple[str, str]] = Counter()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.frames = 0
        self.received_ns = RECEIVED_MS * 1_000_000
        self.now_s = 0.0
        self._lines = {line.number: line for line in lines}
        for line in self._lines.values():
            self.notice(Connected(line, self.received_ns))
        self.published.clear()

    @classmethod
    def of(cls, story: Story) -> Player:
        """A player for a story's steps."""
        venue = story.venue()
        return cls(venue, opened(venue, story).values())

    # ----------------------------------------------------------------- input

    def step(self, step: Step) -> None:
        """Take one step of a story; `step_published`, `asked`, `resubscribed` are those of it."""
        if step.is_frame:
            self.say([step.data], [step.line])
        elif step.is_body:
            self.received_ns += 1_000_000
            get = get_of(self.venue, step)
            self.notice(Body(get, step.data, self.received_ns, 0))
        elif step.reconnect is not None:
            self.reconnect(step.reconnect)
        elif step.wait_s is not None:
            self.wait(step.wait_s)

    def say(self, frames: Sequence[bytes], lines: Sequence[int] = ()) -> Flush:
        """These frames arrive and are flushed together."""
        batch = Frames()
        for frame, line in zip(frames, lines or [0] * len(frames), strict=True):
            self.received_ns += 1_000_000
            batch.data.append(frame)
            batch.received_ns.append(self.received_ns)
            batch.line.append(line)
            batch.size += len(frame)
        self.frames += len(frames)
        out = Flush()
        self.session.receive(batch, out)
        return self._take([out])

    def pull(self, body: bytes, ticker: str = "A") -> Flush:
        """The book of a ticker comes over REST."""
        self.received_ns += 1_000_000
        return self.notice(Body(Get("", book_of=ticker), body, self.received_ns, 0))

    def notice(self, *notices: BufferNotice) -> Flush:
        """Something happens between two frames."""
        out = Flush()
        for notice in notices:
            self.session.notice(notice, out)
        return self._take([out])

    def disconnect(self, line: int = 0) -> None:
        """A line breaks, and none carries what it did."""
        self.notice(Disconnected(line, "broken", self.received_ns))

    def reconnect(self, line: int = 0) -> None:
        """A line breaks and is opened again."""
        self._lines[line] = Line(line, self._lines[line].route)
        self.notice(
            Disconnected(line, "broken", self.received_ns),
            Connected(self._lines[line], self.received_ns),
        )

    def count_anew(self, line: int = 0) -> None:
        """The venue's file forgets what it counted on a line: any number may come next."""
        self.venue.connected(self._lines[line])

    def wait(self, seconds: float, *, settle: bool = False) -> None:
        """Time passes, seen by a tick now and one then."""
        flushes = [Flush(), Flush()]
        for flush, now_s in zip(flushes, (self.now_s, self.now_s + seconds), strict=True):
            self.session.tick(now_s, flush, settle=settle)
        self.now_s += seconds
        self._take(flushes)

    # ---------------------------------------------------------------- output

    def _take(self, flushes: Sequence[Flush]) -> Flush:
        self.step_published = {}
        self.asked, self.resubscribed = [], []
        for out in flushes:
            self.fates.update(out.fates)
            self.counts.update(out.counts)
            self.asked += [self.venue.tickers[one] for one in out.snapshots_wanted]
            self.resubscribed += [self.venue.tickers[one] for one in out.subscriptions_wanted]
            self.refused += [one.reason for one in out.refused]
            self.broken |= out.broken_lines
            self.replies += [frame for _, frame in out.replies]
            self.errors += out.errors
            for one in self.messages.of(out):
                message = codec.decode(one.payload, one.subject)
                rows = rows_of(message)
                feed = FEED_OF[type(message)]
                self.step_published.setdefault(feed, []).extend(rows)
                self.published.setdefault(feed, []).extend(rows)
        self.wishes += [("ask", ticker) for ticker in self.asked]
        self.wishes += [("resubscribe", ticker) for ticker in self.resubscribed]
        return flushes[-1]

    def statuses(self, kind: StatusKind, feed: str = "l2") -> list[Row]:
        """Everything of this kind that was said of a feed."""
        said = self.published.get("status", ())
        return [one for one in said if one["kind"] == kind and one["feed"] == feed]

    def gaps(self, feed: str = "l2") -> list[tuple[int, int]]:
        """(from, to) of each gap of a feed, by ids."""
        return [(one["from_id"], one["to_id"]) for one in self.statuses(StatusKind.GAP, feed)]

    def links(self, ticker: str = "A") -> list[tuple[int, int]]:
        """(prev_update_id, update_id) of each packet of a ticker's book."""
        rows = self.published.get("l2", ())
        own = [row for row in rows if row["ticker"] == ticker]
        return [(row["prev_update_id"], row["update_id"]) for row in own]

    def accounted(self) -> int:
        """Frames whose fate is known; equal to `frames` when nothing was lost on the way."""
        return sum(self.fates.values()) + self.session.waiting_frames


def rows_of(message: Message) -> list[Row]:
    """The rows of a message, each with its ticker; a message without columns is one row."""
    columns = {
        name: np.frombuffer(getattr(message, name), width.code).tolist()
        for name, width in message.columns.items()
        if width.per == "rows" and name not in message.texts
    }
    if not columns:
        row = msgspec.structs.asdict(message)
        return [{name: value for name, value in row.items() if name not in OF_MESSAGES}]
    for name in message.texts:
        ends = np.frombuffer(getattr(message, f"{name}_offsets"), np.int32).tolist()
        text = getattr(message, f"{name}_bytes").decode()
        columns[name] = [text[a:b] for a, b in itertools.pairwise(ends)]
    if isinstance(message, L2Batch):
        columns["levels"] = _levels(message, columns["levels"])
    columns["ticker"] = [message.ticker] * len(next(iter(columns.values())))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _levels(message: L2Batch, counts: Sequence[int]) -> list[list[list[Any]]]:
    """[side, price, qty, action] of each packet's levels."""
    columns = ("side", np.int8), ("price", np.float64), ("qty", np.float64), ("action", np.int8)
    values = [np.frombuffer(getattr(message, name), kind).tolist() for name, kind in columns]
    levels = [list(level) for level in zip(*values, strict=True)]
    ends = list(itertools.accumulate(counts, initial=0))
    return [levels[a:b] for a, b in itertools.pairwise(ends)]
