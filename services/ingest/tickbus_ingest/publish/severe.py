"""Which severe conditions hold at a venue, from counts and times. No I/O: times are monotonic s."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tickbus_runtime.alerts.alarms import Holding, Place

STALLED_S = 15.0
"""Frames wait and nothing was stored for so long."""
STORM_S = 300.0
STORM_MOMENTS = 12
"""Gaps in so many different seconds within STORM_S are a storm."""
STORM_AT_ONCE, STORM_PER_STREAM = 10, 3
"""So are so many within a minute: one reconnect costs each feed of a ticker one gap."""
CHECKSUMS = 3
CHECKSUM_S = 600.0
SKEW_S = 60.0
LATE_US, EARLY_US = 5_000_000, -1_000_000
"""If even the fastest event of a minute seems to be older than this, or most events come before
they happened, the clocks differ."""
REPLAY_US = 3_600_000_000
"""Older events are of a recording, not of a clock that is wrong."""
NAMED_MAX = 10


class Facts(NamedTuple):
    """What ingest knows of itself at one moment; counts are of its whole life."""

    frames: int = 0
    stored: int = 0
    """flushes that the bus has taken"""
    waiting: int = 0
    """frames that wait for the bus"""
    gaps: int = 0
    checksums: int = 0
    """books whose checksum was wrong"""
    held_s: Mapping[str, float] = {}
    """what the venue forbids for how much longer"""
    gone: Sequence[str] = ()
    """tickers that the venue lists no more, or trades no more"""
    silent: Sequence[str] = ()
    """streams that stayed silent although they were asked for again"""


@dataclass(slots=True)
class _Still:
    """For how long a number has not changed."""

    _value: int = -1
    _since_s: float = 0.0

    def seconds(self, value: int, now_s: float) -> float:
        if value != self._value:
            self._value, self._since_s = value, now_s
        return now_s - self._since_s


@dataclass(slots=True)
class _Recent:
    """How much a count has grown within a window, and in how many looks."""

    window_s: float
    _total: int = 0
    _grown: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, total: int, now_s: float) -> None:
        if total > self._total:
            self._grown.append((now_s, total - self._total))
        self._total = total
        while self._grown and self._grown[0][0] <= now_s - self.window_s:
            self._grown.popleft()

    @property
    def moments(self) -> int:
        return len(self._grown)

    def within(self, seconds: float, now_s: float) -> int:
        return sum(more for at_s, more in self._grown if at_s > now_s - seconds)


@dataclass(slots=True)
class _Extreme:
    """The least number within a window."""

    window_s: float
    _noted: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, number: int, now_s: float) -> None:
        while self._noted and self._noted[-1][1] >= number:
            self._noted.pop()  # a later one that is less counts longer
        self._noted.append((now_s, number))

    def get(self, now_s: float) -> int | None:
        while self._noted and self._noted[0][0] <= now_s - self.window_s:
            self._noted.popleft()
        return self._noted[0][1] if self._noted else None


class Severe:
    """Looks at one ingest, once a second."""

    def __init__(
        self, venue: str, streams: int, silence_s: float, *, of_recording: bool = False
    ) -> None:
        """`silence_s`: without a frame for so long there is no data.

        `of_recording`: times are of the past, and the input ends: neither is severe.
        """
        self._venue, self._silence_s, self._of_recording = venue, silence_s, of_recording
        self._storm = STORM_AT_ONCE + STORM_PER_STREAM * streams
        self._frames, self._stored = _Still(), _Still()
        self._gaps, self._checksums = _Recent(STORM_S), _Recent(CHECKSUM_S)
        self._least, self._most = _Extreme(SKEW_S), _Extreme(SKEW_S)

    def note_delays(self, least_us: int, typical_us: int, now_s: float) -> None:
        """Events of some frames came so long after their time at the venue: the fastest, and most.

        One event with a time in the future is the venue's mistake, and no clock's.
        """
        self._least.note(least_us, now_s)
        self._most.note(-typical_us, now_s)

    def look(self, facts: Facts, now_s: float) -> Holding:
        """What holds now."""
        holding: dict[Place, str] = {}
        told = {
            "no_data": self._no_data(facts, now_s),
            "publisher_stalled": self._publisher_stalled(facts, now_s),
            "gap_storm": self._gap_storm(facts, now_s),
            "checksum": self._checksum(facts, now_s),
            "clock_skew": self._clock_skew(now_s),
            "venue_limit": _venue_limit(facts),
            "instrument_gone": _named("no longer traded at the venue", facts.gone),
            "stream_silent": _named("silent, though asked for again", facts.silent),
        }
        for name, cause in told.items():
            if cause:
                holding[Place(name)] = f"{self._venue}: {cause}"
        return holding

    def _no_data(self, facts: Facts, now_s: float) -> str:
        silent_s = self._frames.seconds(facts.frames, now_s)
        if silent_s < self._silence_s or self._of_recording:
            return ""
        return f"no frame for more than {self._silence_s:.0f} s"

    def _publisher_stalled(self, facts: Facts, now_s: float) -> str:
        still_s = self._stored.seconds(facts.stored, now_s)
        if not facts.waiting or still_s < STALLED_S:
            return ""
        return f"{facts.waiting:,} frames wait, and NATS has stored nothing for {still_s:.0f} s"

    def _gap_storm(self, facts: Facts, now_s: float) -> str:
        self._gaps.note(facts.gaps, now_s)
        if (
            self._gaps.moments < STORM_MOMENTS
            and self._gaps.within(60.0, now_s) < self._storm
        ):  # fmt: skip
            return ""
        return f"{self._gaps.within(STORM_S, now_s):,} gaps within {STORM_S / 60:.0f} minutes"

    def _checksum(self, facts: Facts, now_s: float) -> str:
        self._checksums.note(facts.checksums, now_s)
        count = self._checksums.within(CHECKSUM_S, now_s)
        if count < CHECKSUMS:
            return ""
        return f"{count:,} books had a wrong checksum within {CHECKSUM_S / 60:.0f} minutes"

    def _clock_skew(self, now_s: float) -> str:
        least_us, negative_us = self._least.get(now_s), self._most.get(now_s)
        if least_us is None or negative_us is None or self._of_recording:
            return ""
        if LATE_US < least_us < REPLAY_US:
            return f"even the fastest event of a minute seems {least_us / 1e6:.1f} s old"
        if -negative_us < EARLY_US:
            return f"events come {negative_us / 1e6:.1f} s before their time at the venue"
        return ""


class Unlisted:
    """The wait for the venue's list of instruments: without it there is no data either."""

    def __init__(self, venue: str, silence_s: float, now_s: float) -> None:
        self._venue, self._silence_s, self._since_s = venue, silence_s, now_s
        self.has_come = False

    def look(self, now_s: float) -> Holding:
        """What holds now."""
        if self.has_come or now_s - self._since_s < self._silence_s:
            return {}
        told = f"{self._venue}: the list of instruments has not come for {self._silence_s:.0f} s"
        return {Place("no_data"): told}


def _venue_limit(facts: Facts) -> str:
    held = [f"no {what} for {held_s:.0f} s" for what, held_s in facts.held_s.items() if held_s > 0]
    return f"the venue holds us off: {', '.join(held)}" if held else ""


def _named(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return f"{what}: {', '.join(names[:NAMED_MAX])}{more}"
