"""The data watchdog: a stream that is acknowledged and then says nothing (no I/O)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tickbus_ingest.venue.contract import Kind, Stream, Venue


class DataWatch:
    """When each stream of the venue was last heard; times are monotonic seconds."""

    def __init__(self, streams: list[Stream], venue: Venue, silence_s: float) -> None:
        self._streams = [stream for stream in streams if stream.kind != Kind.IGNORED]
        self._silence_s = silence_s
        self._place = np.array(
            [(stream.kind, venue.index[stream.ticker]) for stream in self._streams], np.int64
        ).reshape(-1, 2)
        self._since_s: npt.NDArray[np.float64] | None = None

    def silent(self, heard: npt.NDArray[np.bool_], now_s: float) -> list[Stream]:
        """Streams that have been silent for too long, each once per silence.

        `heard` [kinds, tickers] tells which were heard since the last call; it is cleared.
        """
        if self._since_s is None:
            self._since_s = np.full(len(self._streams), now_s)
        self._since_s[heard[self._place[:, 0], self._place[:, 1]]] = now_s
        heard[:] = False
        late = np.flatnonzero(now_s - self._since_s >= self._silence_s)
        self._since_s[late] = now_s
        return [self._streams[n] for n in late.tolist()]
