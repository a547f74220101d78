"""Whether a reader is about to lose messages, and whether a stream is about to be full. No I/O."""

from __future__ import annotations

from typing import NamedTuple

from tickbus_runtime.alerts.alarms import Holding, Place

FULL = 0.7
"""Share of `max_bytes`: data that comes in for a while still fits."""
LATE = 0.5
"""Share of what a stream keeps: a reader further back than this has half of the time left."""


class StreamState(NamedTuple):
    """What a server says of a stream; times are seconds UTC."""

    name: str
    messages: int
    bytes: int
    first_seq: int
    last_seq: int
    first_s: float
    last_s: float
    max_bytes: int
    """0: no limit"""
    max_age_s: float
    """0: no limit"""

    @property
    def use(self) -> float:
        """Share of `max_bytes` that is taken; 0 without a limit."""
        return self.bytes / self.max_bytes if self.max_bytes > 0 else 0.0


def lag(stream: StreamState, position: int) -> Holding:
    """Of a reader that has processed everything up to sequence `position`."""
    unread = stream.last_seq - position
    if unread <= 0 or not stream.messages:
        return {}
    place = Place("lag", stream.name)
    lost = stream.first_seq - 1 - position
    if lost > 0 and position:
        return {place: f"{lost:,} messages of {stream.name} are gone before they were read"}
    share = min(unread / max(stream.last_seq - stream.first_seq + 1, 1), 1.0)
    behind_s = share * max(stream.last_s - stream.first_s, 0.0)
    told = f"{unread:,} messages of {stream.name} are unread, about {behind_s:,.0f} s of them"
    if stream.max_age_s and behind_s > LATE * stream.max_age_s:
        return {place: f"{told}; the stream keeps {stream.max_age_s:,.0f} s"}
    if stream.use >= FULL and share > LATE:
        return {place: f"{told}; {stream.use:.0%} of max_bytes is taken"}
    return {}


def full(stream: StreamState) -> Holding:
    """Of a stream that refuses new messages, or drops old ones, when it is full."""
    if stream.use < FULL:
        return {}
    told = f"{stream.name} takes {stream.use:.0%} of its {stream.max_bytes:,} bytes"
    return {Place("stream_full", stream.name): told}
