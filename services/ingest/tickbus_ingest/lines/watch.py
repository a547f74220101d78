"""The data watchdog: a stream that is acknowledged and then says nothing (no I/O).

| the stream is silent | then |
|---|---|
| for its limit | it is asked for again, and that is a status row |
| for as long again, and its limit is its own | its connection is replaced: another one carries it |
| at twice the time, four times, ... | it is asked for again |

It is *mute*, which is an alert, when it stayed silent although it was asked for again and its limit
is its own; or, where nothing is known of it, when it was silent for the longest limit of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tickbus_ingest.lines.activity import Activity, Bool
from tickbus_ingest.venue.contract import Stream, Venue
from tickbus_ingest.venue.feeds import FEEDS

_QUIET = frozenset(feed.name for feed in FEEDS if feed.may_be_quiet)
DOUBLINGS_MAX = 6
ANSWERS_S = 10.0
"""What speaks so soon after it was asked for again had not been subscribed to."""
MOVE_EVERY_S = 600.0
"""A connection is replaced for the sake of its streams this often at most."""


class Step(Enum):
    """What to do about a silent stream."""

    ASK = "asked for again"
    MOVE = "moved to another connection"


class Silent(NamedTuple):
    """A stream that has been silent for too long."""

    stream: Stream
    silent_s: float
    step: Step


class DataWatch:
    """When each stream of the venue was last heard; times are monotonic seconds.

    A stream is heard when any of its feeds is, of its ticker, or of any ticker where it is of the
    whole market; one whose feeds may all be quiet need not be heard.
    """

    def __init__(self, streams: Sequence[Stream], venue: Venue, silence_s: float) -> None:
        """`silence_s`: limit of a stream of which nothing is known."""
        self._streams = [one for one in streams if not _QUIET.issuperset(one.feeds)]
        self._silence_s = silence_s
        count = len(self._streams)
        self._activity = Activity(count, silence_s)
        self._places = _places(self._streams, venue)
        self._told = np.zeros(count, np.int64)
        """how often each was told since it was last heard"""
        self._told_s = np.full(count, -np.inf)
        self._since_s: npt.NDArray[np.float64] | None = None
        self._looked_s = 0.0
        self._mute: Bool = np.zeros(count, np.bool_)

    def of(self, streams: Sequence[Stream], venue: Venue) -> DataWatch:
        """A watch of other streams that knows what this one knows of those that stay."""
        other = DataWatch(streams, venue, self._silence_s)
        places = {stream: place for place, stream in enumerate(self._streams)}
        stay = [place for place, stream in enumerate(other._streams) if stream in places]
        ours = np.array([places[other._streams[place]] for place in stay], np.int64)
        theirs = np.array(stay, np.int64)
        other._activity.take_over(theirs, self._activity, ours)
        for name in ("_told", "_told_s", "_mute"):
            getattr(other, name)[theirs] = getattr(self, name)[ours]
        if self._since_s is not None:
            other._since_s = np.full(len(other._streams), self._looked_s)
            other._since_s[theirs] = self._since_s[ours]
        return other

    @property
    def mute(self) -> list[str]:
        """Names of the streams that do not speak whatever is done."""
        return [self._streams[n].name for n in np.flatnonzero(self._mute).tolist()]

    def look(
        self,
        heard: Mapping[str, Bool],
        now_s: float,
        may_speak: Callable[[Stream], bool] = lambda _: True,
    ) -> list[Silent]:
        """What to do about which streams.

        `heard`: by feed, which tickers [tickers] were heard since the last call; it is cleared.
        `may_speak`: whether a connection carries a stream that the venue did not refuse; the
        silence of another one begins when it is carried again.
        """
        if self._since_s is None:
            self._since_s = np.full(len(self._streams), now_s)
        self._looked_s = now_s
        self._hear(heard, now_s)
        silent_s = now_s - self._since_s
        limits_s = self._activity.limits_s()
        late = silent_s >= limits_s * _distance(self._told)
        for n in np.flatnonzero(late).tolist():
            if not may_speak(self._streams[n]):
                late[n] = False
                self._since_s[n], self._told[n], self._mute[n] = now_s, 0, False
        known = self._activity.known()
        asked = self._told > 0
        self._mute |= late & asked & (known | (silent_s >= self._activity.most_s))
        found = [
            Silent(
                self._streams[n],
                float(silent_s[n]),
                Step.MOVE if known[n] and self._told[n] == 1 else Step.ASK,
            )
            for n in np.flatnonzero(late).tolist()
        ]
        self._told[late] += 1
        self._told_s[late] = now_s
        return found

    def _hear(self, heard: Mapping[str, Bool], now_s: float) -> None:
        assert self._since_s is not None
        alive = np.zeros(len(self._streams), np.bool_)
        for feed, (stream, ticker) in self._places.items():
            if feed in heard:
                with_market = np.append(heard[feed], heard[feed].any())
                alive[stream[with_market[ticker]]] = True
        for flags in heard.values():
            flags[:] = False
        mended = (self._told > 0) & (now_s - self._told_s <= ANSWERS_S)
        self._activity.heard(alive, now_s, ~mended)
        self._since_s[alive] = now_s
        self._told[alive] = 0
        self._mute[alive] = False


def _distance(told: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """When a stream is told next, in limits: 1, 2, 4, ..., and then at the same distance."""
    further = np.maximum(told - DOUBLINGS_MAX, 0)
    return 2.0 ** np.minimum(told, DOUBLINGS_MAX) + further * 2.0 ** (DOUBLINGS_MAX - 1)


class Moves:
    """How often connections are replaced for the sake of silent streams."""

    def __init__(self) -> None:
        self._moved_s: dict[int, float] = {}

    def allows(self, route: int, now_s: float) -> bool:
        """Whether the connections of a route, by its number, may be replaced now; then they are."""
        last_s = self._moved_s.get(route)
        if last_s is not None and now_s - last_s < MOVE_EVERY_S:
            return False
        self._moved_s[route] = now_s
        return True


def _places(
    streams: Sequence[Stream], venue: Venue
) -> dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """By feed: places of streams, and the ticker of each; one behind the last for the market."""
    found: dict[str, list[tuple[int, int]]] = {}
    for place, stream in enumerate(streams):
        ticker = venue.index.get(stream.ticker, len(venue.tickers))
        for feed in stream.feeds:
            found.setdefault(feed, []).append((place, ticker))
    return {
        feed: (np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]))
        for feed, pairs in found.items()
    }
