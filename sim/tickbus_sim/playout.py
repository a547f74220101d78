"""Decides what a served capture does next: order, pace, holds and pauses, without I/O or clock.

Nothing is sent before the expected subscribers are there, no frame that was recorded after a depth
body before that body was fetched, no body before the frames ahead of it; and while nobody is
connected the play-out stands still.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

from tickbus_sim.capture import Body, Capture
from tickbus_sim.dialect import Topic
from tickbus_sim.pace import SECOND, Gate, Pace, Wait
from tickbus_sim.snapshots import Reply, Snapshots

RUN_MAX = 256  # frames of one Send


@dataclass(frozen=True)
class Send:
    """Frames start <= i < stop are sent now."""

    start: int
    stop: int


@dataclass(frozen=True)
class End:
    """Everything was played."""


Step: TypeAlias = Send | Reply | Wait | End


class Playout:
    """A capture's play-out: inputs change its state, `step` says what to do next."""

    def __init__(
        self,
        capture: Capture,
        *,
        speed: float | None = 1.0,
        subscribe_wait_s: float = 5.0,
        stops: tuple[int, ...] = (),
        snapshot_delay_s: Callable[[Body], float] = lambda body: 0.0,
    ) -> None:
        """Prepares the play-out of `capture` from its first frame.

        `speed`: capture seconds per second, None for as fast as the reader takes it.
        `stops`: positions where a run of frames ends (faults that cut connections).
        `snapshot_delay_s`: capture seconds by which a body is answered too late.
        """
        self.capture = capture
        self.position = 0
        self.done = False
        self.snapshots = Snapshots(capture, self._release)
        self._delay_s = snapshot_delay_s
        # Receive times of several recorders may step back; the pace may not.
        self._source_ns = list(accumulate(capture.received_ns, max))
        self._stops = [stop for stop in sorted(set(stops)) if stop > 0]
        self._pace = None if speed is None else Pace(speed)
        self._gate = Gate(
            topics=frozenset(
                topic for topic in capture.topics[1:] if topic.family in capture.families
            ),
            played=frozenset(capture.topics[1:]),
            route_of=capture.dialect.route_of,
            wait_ns=int(subscribe_wait_s * SECOND),
        )
        self.snapshots.reach(0)

    def subscribed(self, audience: frozenset[Topic], joined: frozenset[Topic], now_ns: int) -> None:
        """Subscriptions changed: all topics with a subscriber now, and those just subscribed."""
        self._gate.change(audience, now_ns)
        for topic in joined:
            if topic.family == self.capture.dialect.book_family:
                self.snapshots.joined(topic.symbol, self.position)
        if not audience:
            self.snapshots.paused()

    def step(self, now_ns: int) -> Step:
        """What to do next; asked again after each Send, each input, each Wait."""
        reply = self.snapshots.reply(self.position)
        if reply is not None:
            return reply
        if self.done:
            return Wait(None, "the end")
        held = self._gate.shut(now_ns) or self.snapshots.hold(
            now_ns, self.position, self._gate.audience
        )
        if held is not None:
            if self._pace is not None:
                self._pace.stop()
            return held
        if self.position == len(self.capture.texts):
            self.done = True
            return End()
        return self._run(now_ns)

    def _run(self, now_ns: int) -> Send | Wait:
        start, stop = self.position, self._limit()
        if self._pace is not None:
            next_ns = self._source_ns[start]
            source_ns = self._pace.source_ns(now_ns, next_ns)
            due = bisect_right(self._source_ns, source_ns)
            stop = min(stop, due)
            if stop <= start:
                return Wait(self._pace.wall_ns(next_ns), "the next frame's time")
        self.position = stop
        self.snapshots.reach(stop)
        return Send(start, stop)

    def _limit(self) -> int:
        limit = min(self.position + RUN_MAX, len(self.capture.texts))
        body = self.snapshots.next_position()
        if body is not None:
            limit = min(limit, body)
        while self._stops and self._stops[0] <= self.position:
            self._stops.pop(0)
        return min(limit, self._stops[0]) if self._stops else limit

    def _release(self, body: Body) -> int:
        delay_s = self._delay_s(body)
        if delay_s <= 0:
            return body.position
        release_ns = body.received_ns + int(delay_s * SECOND)
        return bisect_right(self._source_ns, release_ns)
