"""The venue's own books: what a snapshot would say after the frames played so far.

Deliberately plain: decimal texts as keys, so that it is exact and shares nothing with the kernel
that it is compared with. It is folded only when somebody asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

import msgspec
from tickbus_schemas.continuity import Continuity, Verdict

from tickbus_sim.capture import Body, Capture

Side: TypeAlias = dict[str, str]
_RECENT_MAX = 256  # events kept for a body that is older than the frames before it


class Depth(msgspec.Struct, gc=False):
    """A diff depth event of Spot or USD-M (`pu` and `T` are USD-M's)."""

    first_id: int = msgspec.field(name="U")
    last_id: int = msgspec.field(name="u")
    bids: list[tuple[str, str]] = msgspec.field(name="b")
    asks: list[tuple[str, str]] = msgspec.field(name="a")
    event_ms: int = msgspec.field(name="E", default=0)
    transaction_ms: int = msgspec.field(name="T", default=0)
    prev_id: int | None = msgspec.field(name="pu", default=None)

    @property
    def follows(self) -> int:
        """The update that this one follows."""
        return self.first_id - 1 if self.prev_id is None else self.prev_id


class DepthFrame(msgspec.Struct, gc=False):
    """A diff depth event in its envelope."""

    data: Depth


class DepthBody(msgspec.Struct, gc=False):
    """A REST depth answer of Spot or USD-M."""

    last_id: int = msgspec.field(name="lastUpdateId")
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]
    event_ms: int = msgspec.field(name="E", default=0)
    transaction_ms: int = msgspec.field(name="T", default=0)


_decode_frame = msgspec.json.Decoder(DepthFrame).decode
_decode_body = msgspec.json.Decoder(DepthBody).decode


class NaiveBook:
    """One ticker's book of decimal texts."""

    def __init__(self) -> None:
        self.bids: Side = {}
        self.asks: Side = {}
        self.last_id = 0
        self.event_ms = 0
        self.transaction_ms = 0
        self.whole = False
        """a snapshot was loaded and every update since links to the one before"""
        self._continuity = Continuity()

    def load(self, body: DepthBody) -> None:
        """Replaces everything by a snapshot."""
        self.bids, self.asks = {}, {}
        _fold(self.bids, body.bids)
        _fold(self.asks, body.asks)
        self.last_id = body.last_id
        self.event_ms, self.transaction_ms = body.event_ms, body.transaction_ms
        self.whole = True
        self._continuity.snapshot(body.last_id)

    def apply(self, event: Depth) -> None:
        """Folds one event; after a break the levels go on as the best knowledge there is."""
        verdict = self._continuity.judge(event.follows, event.last_id)
        if verdict is Verdict.STALE:
            return
        if verdict is Verdict.GAP:
            self.whole = False
            self._continuity.resume(event.last_id)
        _fold(self.bids, event.bids)
        _fold(self.asks, event.asks)
        self.last_id = event.last_id
        self.event_ms, self.transaction_ms = event.event_ms, event.transaction_ms

    def body(self, limit: int) -> bytes:
        """The REST answer: at most `limit` levels a side, best first."""
        head = f'{{"lastUpdateId":{self.last_id},'
        if self.transaction_ms:  # Spot sends no times here
            head += f'"E":{self.event_ms},"T":{self.transaction_ms},'
        levels = {
            "bids": sorted(self.bids.items(), key=_price, reverse=True)[:limit],
            "asks": sorted(self.asks.items(), key=_price)[:limit],
        }
        return head.encode() + msgspec.json.encode(levels)[1:]


def _price(level: tuple[str, str]) -> Decimal:
    return Decimal(level[0])


def _fold(side: Side, levels: Sequence[tuple[str, str]]) -> None:
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


class CaptureBooks:
    """The books of a capture's tickers at any position of the play-out that does not go back."""

    def __init__(self, capture: Capture) -> None:
        self._texts = capture.texts
        depth_ids = {
            topic_id: topic.ticker
            for topic_id, topic in enumerate(capture.topics)
            if topic.family == "depth"
        }
        self.positions: dict[str, list[int]] = {ticker: [] for ticker in depth_ids.values()}
        """where each ticker's depth frames stand"""
        for position, topic_id in enumerate(capture.topic_ids):
            ticker = depth_ids.get(topic_id)
            if ticker is not None:
                self.positions[ticker].append(position)
        self._bodies: dict[str, list[Body]] = {}
        for body in capture.bodies:
            if body.resource == "depth":
                self._bodies.setdefault(body.ticker, []).append(body)
        self._folds: dict[str, _Fold] = {}

    def at(self, ticker: str, position: int) -> NaiveBook:
        """The book after all frames and bodies recorded before frame `position`."""
        fold = self._folds.get(ticker)
        if fold is None:
            fold = self._folds[ticker] = _Fold(
                self._texts, self.positions.get(ticker, []), self._bodies.get(ticker, [])
            )
        return fold.to(position)


class _Fold:
    """One ticker's frames and bodies, folded as far as was asked."""

    def __init__(
        self, texts: Sequence[bytes], positions: Sequence[int], bodies: Sequence[Body]
    ) -> None:
        self._texts, self._positions, self._bodies = texts, positions, bodies
        self._frame = self._body = 0
        self._book = NaiveBook()
        self._recent: deque[Depth] = deque(maxlen=_RECENT_MAX)

    def to(self, position: int) -> NaiveBook:
        while self._body < len(self._bodies) and self._bodies[self._body].position <= position:
            body = self._bodies[self._body]
            self._apply_frames(body.position)
            self._load(body)
            self._body += 1
        self._apply_frames(position)
        if not self._book.last_id and self._positions:
            # Nothing known yet: an empty book that the first event follows.
            first = self._event(self._positions[0])
            if first is not None:
                self._book.last_id = first.follows
        return self._book

    def _apply_frames(self, position: int) -> None:
        while self._frame < len(self._positions) and self._positions[self._frame] < position:
            event = self._event(self._positions[self._frame])
            if event is not None:
                self._book.apply(event)
                self._recent.append(event)
            self._frame += 1

    def _load(self, body: Body) -> None:
        try:
            snapshot = _decode_body(body.text)
        except msgspec.MsgspecError:
            return  # a recorded error answer; served as it is, but no book
        self._book.load(snapshot)
        # A body is often older than the last frames before it: those follow it again.
        for event in self._recent:
            self._book.apply(event)

    def _event(self, position: int) -> Depth | None:
        try:
            return _decode_frame(self._texts[position]).data
        except msgspec.MsgspecError:
            return None
