"""The venue's time, as its events tell it: of the whole shard and of every ticker."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tickbus_ingest.session.arrived import Arrived
from tickbus_ingest.session.decoding import Decoded
from tickbus_ingest.session.kernels.batch import observe
from tickbus_ingest.session.tables import I32, I64, Flush, grown

CLOCK_AHEAD_US = 60_000_000  # a venue time further ahead than this does not move the shard's clock
HURRY_MAX_S = 1.0
"""Venue time that passes between two ticks counts for so much at most: one wrong time is no hour"""


class VenueClock:
    """Moved by events; it never goes back."""

    def __init__(self, tickers: int) -> None:
        self.highest_us = 0
        """venue time that the whole shard has reached; 0 before there is any"""
        self._seen_us: I64 = np.zeros(tickers, np.int64)
        self._ticked_s, self._ticked_us, self._passed_s = 0.0, 0, 0.0

    def time_us(self, ticker: int, received_us: int) -> int:
        """Highest venue time seen of a ticker; the receive time before there is any."""
        return int(self._seen_us[ticker]) or received_us

    def grow(self, tickers: int) -> None:
        """Make room for so many tickers."""
        self._seen_us = grown(self._seen_us, tickers)

    def resume(self, ticker: int, time_us: int) -> None:
        """A predecessor stored an event of this time: what has none is not of an earlier one."""
        self._seen_us[ticker] = max(self._seen_us[ticker], time_us)

    def before(self, decoded: Decoded, arrived: Arrived, frame: int) -> I64:
        """Highest venue time of each ticker [tickers] up to a frame of a batch, 0 where none.

        The batch is not observed yet: so the times do not depend on how frames were batched.
        """
        seen = self._seen_us.copy()
        for columns in decoded.tables.values():
            earlier = columns["frame"] < frame
            time = _event_us(columns)[earlier]
            received_us = arrived.received_us[columns["frame"][earlier]]
            moves = (time > 0) & (time <= received_us + CLOCK_AHEAD_US)
            np.maximum.at(seen, columns["ticker"][earlier][moves], time[moves])
        return seen

    def observe(self, decoded: Decoded, arrived: Arrived, out: Flush) -> dict[str, I64]:
        """Move the clock; by feed: highest venue time seen of each row's ticker up to it.

        In order of frames over all feeds where a time must be inferred from it.
        """
        tables = decoded.tables
        times = {feed: _event_us(columns) for feed, columns in tables.items()}
        groups = [[feed] for feed in tables]
        if any(not time.all() for time in times.values()):
            groups = [list(tables)]
        seen: dict[str, I64] = {}
        for feeds in groups:
            if len(feeds) == 1:
                (feed,) = feeds
                own = tables[feed]
                seen[feed] = self._observe(own["frame"], own["ticker"], times[feed], arrived, out)
                continue
            frame = np.concatenate([tables[feed]["frame"] for feed in feeds])
            ticker = np.concatenate([tables[feed]["ticker"] for feed in feeds])
            time = np.concatenate([times[feed] for feed in feeds])
            order = np.argsort(frame, kind="stable")
            found = np.empty(len(frame), np.int64)
            found[order] = self._observe(frame[order], ticker[order], time[order], arrived, out)
            ends = np.cumsum([0] + [len(times[feed]) for feed in feeds]).tolist()
            for n, feed in enumerate(feeds):
                seen[feed] = found[ends[n] : ends[n + 1]]
        return seen

    def _observe(self, frame: I64, ticker: I32, time: I64, arrived: Arrived, out: Flush) -> I64:
        """Of rows in order of frames: highest venue time seen of each row's ticker up to it."""
        before, wire_us = np.empty(len(frame), np.int64), np.empty(len(frame), np.int64)
        highest, timed = observe(
            frame, ticker, time, arrived.received_us, CLOCK_AHEAD_US, self._seen_us, before,
            wire_us,
        )  # fmt: skip
        self.highest_us = max(self.highest_us, highest)
        out.wire_us.append(wire_us[:timed])
        return before

    def passed_s(self, now_s: float) -> float:
        """Seconds of a clock that goes as fast as ours or the venue's: a capture may hurry."""
        venue_s = (self.highest_us - self._ticked_us) / 1e6 if self._ticked_us else 0.0
        self._passed_s += max(now_s - self._ticked_s, min(venue_s, HURRY_MAX_S))
        self._ticked_s, self._ticked_us = now_s, self.highest_us
        return self._passed_s


def _event_us(columns: dict[str, npt.NDArray[np.int64]]) -> I64:
    """When the venue sent each event; 0 where it does not say."""
    if "event_us" not in columns:
        return columns["timestamp"]
    event_us = columns["event_us"]
    return event_us if event_us.all() else np.where(event_us, event_us, columns["timestamp"])
