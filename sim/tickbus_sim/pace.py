"""Decides when a play-out may go on: the subscribers it waits for, and the clock it keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tickbus_sim.dialect import Topic

SECOND = 1_000_000_000
QUIET_NS = SECOND // 2  # subscribing is over when nothing was added for so long


@dataclass(frozen=True)
class Wait:
    """Nothing to do before `until_ns` (None: before an input changes something)."""

    until_ns: int | None
    reason: str


class Pace:
    """Maps the source's time to the wall clock; stops while the play-out is held."""

    def __init__(self, speed: float) -> None:
        """`speed`: source seconds per second."""
        self.speed = speed
        self._origin: tuple[int, int] | None = None  # wall, source

    def stop(self) -> None:
        """The next event will be due at once, and the ones after it follow in their rhythm."""
        self._origin = None

    def source_ns(self, now_ns: int, next_ns: int) -> int:
        """The source's time at `now_ns`; a stopped pace goes on at `next_ns`."""
        if self._origin is None:
            self._origin = (now_ns, next_ns)
        wall, source = self._origin
        return source + int((now_ns - wall) * self.speed)

    def wall_ns(self, source_ns: int) -> int:
        """When the event of that time is due, rounded up; only for a running pace."""
        assert self._origin is not None
        wall, source = self._origin
        return wall + int((source_ns - source) / self.speed) + 1


@dataclass
class Gate:
    """Opens when the subscribers that a source expects are there; shuts when all have gone.

    It opens when every topic has a subscriber, or `wait_ns` after the first subscription. A client
    that wants only some of the channels need not wait that long: once each symbol is subscribed
    on each line that carries it, half a second without a further subscription opens it too.
    """

    topics: frozenset[Topic]
    """those that a client is expected to ask for"""
    played: frozenset[Topic]
    """all that the source plays: a client may want some of the others too"""
    route_of: Callable[[str], str]
    wait_ns: int
    audience: frozenset[Topic] = frozenset()
    is_open: bool = False
    _ever: set[Topic] = field(default_factory=set)
    _first_ns: int = 0
    _last_ns: int = 0

    def change(self, audience: frozenset[Topic], now_ns: int) -> None:
        """The topics that have a subscriber are now these."""
        if not self.audience:
            self._first_ns = now_ns
        self._last_ns = now_ns
        self.audience = audience
        if not audience:
            self.is_open = False

    def shut(self, now_ns: int) -> Wait | None:
        """What is waited for; None when events may be sent."""
        if not self.audience:
            return Wait(None, "a subscriber")
        missing = frozenset() if self.is_open else self._missing()
        deadline = self._first_ns + self.wait_ns
        if missing and self._every_line_is_there():
            deadline = min(deadline, self._last_ns + QUIET_NS)
        if missing and now_ns < deadline:
            return Wait(deadline, f"subscriptions: {len(missing)} missing")
        self.is_open = True
        self._ever |= self.audience
        return None

    def _missing(self) -> frozenset[Topic]:
        # After a pause: what was subscribed before it, not what nobody ever wanted.
        expected = self.played & self._ever if self._ever else self.topics
        return expected - self.audience

    def _every_line_is_there(self) -> bool:
        return self._lines(self.topics) <= self._lines(self.audience)

    def _lines(self, topics: frozenset[Topic]) -> set[tuple[str, str]]:
        return {(topic.symbol, self.route_of(topic.family)) for topic in topics if topic.symbol}
