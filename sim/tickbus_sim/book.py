"""The venue's own books: what a snapshot would say after the frames played so far.

Deliberately plain: decimal texts as keys, so that it is exact and shares nothing with the kernel
that it is compared with. It is folded only when somebody asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, TypeAlias

from tickbus_schemas.continuity import Continuity, Verdict

if TYPE_CHECKING:
    from tickbus_sim.capture import Body, Capture

Side: TypeAlias = dict[str, str]
Levels: TypeAlias = Sequence[tuple[str, str]]
_RECENT_MAX = 256  # events kept for a body that is older than the frames before it


@dataclass(frozen=True)
class BookEvent:
    """A book update or a whole book, as a dialect reads it. Id 0: the venue has no numbers."""

    symbol: str
    bids: Levels
    asks: Levels
    last_id: int = 0
    prev_id: int = 0
    whole: bool = False
    event_ms: int = 0
    engine_ms: int = 0
    checksum: int | None = None
    depth: int = 0
    """levels a side that the venue's book has; 0: all"""


@dataclass
class NaiveBook:
    """One ticker's book of decimal texts."""

    bids: Side = field(default_factory=dict)
    asks: Side = field(default_factory=dict)
    last_id: int = 0
    event_ms: int = 0
    engine_ms: int = 0
    depth: int = 0
    whole: bool = False
    """it began with a whole book, and every update since links to the one before"""
    _continuity: Continuity = field(default_factory=Continuity, repr=False)

    def load(self, event: BookEvent) -> None:
        """Replaces everything by a whole book."""
        self.bids, self.asks = {}, {}
        self.depth = event.depth
        self._set(event)
        self.whole = True
        self._continuity.snapshot(event.last_id)

    def apply(self, event: BookEvent) -> None:
        """Folds one event; after a break the levels go on as the best knowledge there is."""
        if event.whole:
            self.load(event)
            return
        if event.last_id or event.prev_id:
            verdict = self._continuity.judge(event.prev_id, event.last_id)
            if verdict is Verdict.STALE:
                return
            if verdict is Verdict.GAP:
                self.whole = False
                self._continuity.resume(event.last_id)
        self._set(event)

    def _set(self, event: BookEvent) -> None:
        _fold(self.bids, event.bids)
        _fold(self.asks, event.asks)
        if self.depth and max(len(self.bids), len(self.asks)) > self.depth:
            bids, asks = self.top(self.depth)
            self.bids, self.asks = dict(bids), dict(asks)
        self.last_id = event.last_id
        self.event_ms, self.engine_ms = event.event_ms, event.engine_ms

    def top(self, levels: int) -> tuple[Levels, Levels]:
        """At most so many levels a side (0: all), best first."""
        most = levels or None
        bids = sorted(self.bids.items(), key=_price, reverse=True)[:most]
        return bids, sorted(self.asks.items(), key=_price)[:most]


def _price(level: tuple[str, str]) -> Decimal:
    return Decimal(level[0])


def _fold(side: Side, levels: Levels) -> None:
    for price, qty in levels:
        if not _is_number(price) or not _is_number(qty):
            continue  # damaged in the recording: served as it is, but no level of ours
        if Decimal(qty):
            side[price] = qty
        else:
            side.pop(price, None)


def _is_number(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


def depths(capture: Capture) -> dict[str, int]:
    """Levels a side that each ticker was recorded with, as its first whole book tells."""
    missing = {t.symbol for t in capture.topics if t.family == capture.dialect.book_family}
    found: dict[str, int] = {}
    for text, topic_id in zip(capture.texts, capture.topic_ids, strict=True):
        topic = capture.topics[topic_id]
        if topic.symbol in missing and topic.family == capture.dialect.book_family:
            event = capture.dialect.read_book(text)
            if event is not None and event.whole:
                missing.discard(topic.symbol)
                found[topic.symbol] = event.depth
    return found


class CaptureBooks:
    """The books of a capture's tickers at any position of the play-out that does not go back."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        family = capture.dialect.book_family
        of_topic = {
            number: topic.symbol
            for number, topic in enumerate(capture.topics)
            if topic.family == family
        }
        self.positions: dict[str, list[int]] = {symbol: [] for symbol in of_topic.values()}
        """where each ticker's book frames stand"""
        for position, topic_id in enumerate(capture.topic_ids):
            symbol = of_topic.get(topic_id)
            if symbol is not None:
                self.positions[symbol].append(position)
        self._bodies: dict[str, list[Body]] = {}
        for body in capture.bodies:
            if body.kind == "book":
                self._bodies.setdefault(body.symbol, []).append(body)
        self._folds: dict[str, _Fold] = {}

    def at(self, symbol: str, position: int) -> NaiveBook:
        """The book after all frames and bodies recorded before frame `position`."""
        fold = self._folds.get(symbol)
        if fold is None:
            fold = self._folds[symbol] = _Fold(
                self._capture, self.positions.get(symbol, []), self._bodies.get(symbol, [])
            )
        return fold.to(position)


class _Fold:
    """One ticker's frames and bodies, folded as far as was asked."""

    def __init__(self, capture: Capture, positions: Sequence[int], bodies: Sequence[Body]) -> None:
        self._texts, self._dialect = capture.texts, capture.dialect
        self._positions, self._bodies = positions, bodies
        self._frame = self._body = 0
        self._book = NaiveBook()
        self._recent: deque[BookEvent] = deque(maxlen=_RECENT_MAX)

    def to(self, position: int) -> NaiveBook:
        while self._body < len(self._bodies) and self._bodies[self._body].position <= position:
            body = self._bodies[self._body]
            self._apply_frames(body.position)
            self._load(body)
            self._body += 1
        self._apply_frames(position)
        return self._book

    def _apply_frames(self, position: int) -> None:
        read: Callable[[bytes], BookEvent | None] = self._dialect.read_book
        while self._frame < len(self._positions) and self._positions[self._frame] < position:
            event = read(self._texts[self._positions[self._frame]])
            if event is not None:
                self._book.apply(event)
                self._recent.append(event)
                if not self._dialect.holds(self._book, event):
                    self._book.whole = False
            self._frame += 1

    def _load(self, body: Body) -> None:
        snapshot = self._dialect.read_body(body.text)
        if snapshot is None:
            return  # a recorded error answer; served as it is, but no book
        self._book.load(snapshot)
        # A body is often older than the last frames before it: those follow it again.
        for event in self._recent:
            self._book.apply(event)
