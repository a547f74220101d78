"""The data watchdog: a stream that is acknowledged and then says nothing (no I/O)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tickbus_ingest.venue.contract import Stream, Venue
from tickbus_ingest.venue.feeds import FEEDS

Bool = npt.NDArray[np.bool_]

_QUIET = frozenset(feed.name for feed in FEEDS if feed.may_be_quiet)
DOUBLINGS_MAX = 6


class DataWatch:
    """When each stream of the venue was last heard; times are monotonic seconds.

    A stream is heard when any of its feeds is, of its ticker, or of any ticker where it is of the
    whole market; one whose feeds may all be quiet need not be heard. One that stays silent is told
    again after twice the time, and so on.
    """

    def __init__(self, streams: Sequence[Stream], venue: Venue, silence_s: float) -> None:
        self._streams = [one for one in streams if not _QUIET.issuperset(one.feeds)]
        self._silence_s = silence_s
        self._places = _places(self._streams, venue)
        self._doublings = np.zeros(len(self._streams), np.int64)
        self._since_s: npt.NDArray[np.float64] | None = None

    def silent(self, heard: Mapping[str, Bool], now_s: float) -> list[Stream]:
        """Streams that have been silent for too long.

        `heard`: by feed, which tickers [tickers] were heard since the last call; it is cleared.
        """
        if self._since_s is None:
            self._since_s = np.full(len(self._streams), now_s)
        alive = np.zeros(len(self._streams), np.bool_)
        for feed, (stream, ticker) in self._places.items():
            if feed in heard:
                with_market = np.append(heard[feed], heard[feed].any())
                alive[stream[with_market[ticker]]] = True
        for flags in heard.values():
            flags[:] = False
        self._since_s[alive] = now_s
        self._doublings[alive] = 0
        late = now_s - self._since_s >= self._silence_s * 2.0**self._doublings
        self._since_s[late] = now_s
        self._doublings[late] = np.minimum(self._doublings[late] + 1, DOUBLINGS_MAX)
        return [self._streams[n] for n in np.flatnonzero(late).tolist()]


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
