"""Receive times that the simulated venue puts in front of each frame of a capture."""

from __future__ import annotations

from tickbus_ingest.wire.buffer import Frames

DIGITS_MAX = 20


def strip_times(frames: Frames) -> None:
    """Take the leading `<ns> ` off each frame and use it as its receive time."""
    size = 0
    for n, data in enumerate(frames.data):
        head, space, rest = data.partition(b" ")
        if space and len(head) <= DIGITS_MAX and head.isdigit():
            frames.data[n] = rest
            frames.received_ns[n] = int(head)
        size += len(frames.data[n])
    frames.size = size
