"""How often each stream usually speaks, and so for how long its silence tells nothing (no I/O).

A stream of a liquid ticker speaks each second, an option may be silent for an hour. The limit of a
stream comes from its own past:

    limit = clamp(max(FACTOR * mean interval, LONGEST * longest interval), least, most)

The longest interval fades, so that one quiet night does not count for ever. Until a stream has been
heard often enough, and for much longer than its limit, its limit is the one of the settings: a few
trades in a row do not make an illiquid ticker a liquid one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

FACTOR, LONGEST = 10.0, 3.0
HEARD_ENOUGH = 8
SPAN = 3.0
"""A stream must have been heard for so many times its limit before that counts."""
MEAN_OF = 32
"""Intervals that the mean looks back at."""
FADING = 0.99
LEAST_SHARE, MOST_SHARE = 0.1, 12.0
"""Bounds of a limit, as shares of that of the settings: 30 s and an hour where it is 300 s."""


class Activity:
    """The past of streams [streams]; times are monotonic seconds."""

    def __init__(self, streams: int, silence_s: float) -> None:
        """`silence_s`: limit of a stream of which nothing is known."""
        self._first_s = silence_s
        self.least_s, self.most_s = LEAST_SHARE * silence_s, MOST_SHARE * silence_s
        self._times: I64 = np.zeros(streams, np.int64)
        self._began_s: F64 = np.zeros(streams)
        self._last_s: F64 = np.zeros(streams)
        self._mean_s: F64 = np.zeros(streams)
        self._longest_s: F64 = np.zeros(streams)

    def take_over(self, places: I64, other: Activity, theirs: I64) -> None:
        """The streams at `places` have the past that those at `theirs` have in `other`."""
        for name in ("_times", "_began_s", "_last_s", "_mean_s", "_longest_s"):
            getattr(self, name)[places] = getattr(other, name)[theirs]

    def heard(self, which: Bool, now_s: float, learns: Bool) -> None:
        """These streams spoke. `learns`: whose silence before it was of their own kind.

        A silence that ended because a stream was asked for again was a fault, and no habit.
        """
        first = which & (self._times == 0)
        self._began_s[first] = now_s
        taught = which & ~first & learns
        passed_s = now_s - self._last_s[taught]
        weight = 1.0 / np.minimum(self._times[taught], MEAN_OF)
        self._mean_s[taught] += (passed_s - self._mean_s[taught]) * weight
        self._longest_s[taught] = np.maximum(passed_s, self._longest_s[taught] * FADING)
        self._times[first | taught] += 1
        self._last_s[which] = now_s

    def limits_s(self) -> F64:
        """After how long each stream's silence tells something."""
        own = np.maximum(FACTOR * self._mean_s, LONGEST * self._longest_s)
        own = np.clip(own, self.least_s, self.most_s)
        return np.where(self._knows(own), own, self._first_s)

    def known(self) -> Bool:
        """Streams whose limit is their own."""
        own = np.maximum(FACTOR * self._mean_s, LONGEST * self._longest_s)
        return self._knows(np.clip(own, self.least_s, self.most_s))

    def _knows(self, own_s: F64) -> Bool:
        span_s = self._last_s - self._began_s
        known: Bool = (self._times >= HEARD_ENOUGH) & (span_s >= SPAN * own_s)
        return known
