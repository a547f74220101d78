"""A story through `FrameDecoder`: what the venue's file makes of each step by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tickbus_ingest.session.decoding import Decoded, FrameDecoder
from tickbus_ingest.venue.contract import Get, Line, Venue

from tests.ingest.venues.vectors import Step, Story

RECEIVED_MS = 1_760_000_000_000
"""2025-10-09: the first frame of a story arrives a millisecond later, each next one another."""
FRAME_BYTES = 4 * 2**20


def opened(venue: Venue, story: Story) -> dict[int, Line]:
    """The lines of a story: line n carries the venue's route n; the last one for all beyond."""
    routes = venue.routes()
    count = max([len(routes), *(step.line + 1 for step in story.steps)])
    return {n: Line(n, routes[min(n, len(routes) - 1)]) for n in range(count)}


def get_of(venue: Venue, step: Step) -> Get:
    """The request that the body of a step answers."""
    if step.snapshot_of is not None:
        return Get("", book_of=step.snapshot_of)
    polls = {poll.get.path: poll.get for poll in venue.polls()}
    assert step.poll in polls, f"no poll of {step.poll}: the venue polls {', '.join(polls)}"
    return polls[step.poll]


class Reader:
    """Decodes a story's frames as a session would, several at a time if wanted."""

    def __init__(self, story: Story, venue: Venue | None = None) -> None:
        self.venue = venue or story.venue()
        self.decoder = FrameDecoder(self.venue, FRAME_BYTES)
        self.lines = opened(self.venue, story)
        self.received_us = RECEIVED_MS * 1000
        for line in self.lines.values():
            self.venue.connected(line)

    def frames(self, frames: Sequence[bytes], lines: Sequence[int]) -> Decoded:
        """What the frames hold."""
        first = self.received_us + 1000
        self.received_us += 1000 * len(frames)
        return self.decoder.frames(
            frames,
            [self.lines[number] for number in lines],
            np.arange(first, self.received_us + 1, 1000, dtype=np.int64),
            max(map(len, frames), default=0),
        )

    def body(self, step: Step, data: bytes) -> Decoded:
        """What a REST body holds that answers the request of the step."""
        self.received_us += 1000
        get = get_of(self.venue, step)
        if step.snapshot_of is None:
            return self.decoder.body(
                "parse_poll", lambda rows: self.venue.parse_poll(data, get, rows), self.received_us
            )
        return self.decoder.body(
            "parse_snapshot",
            lambda rows: self.venue.parse_snapshot(data, get.book_of, rows),
            self.received_us,
        )

    def step(self, step: Step) -> Decoded | None:
        """What one step holds; None for a step that is no data."""
        if step.is_frame:
            return self.frames([step.data], [step.line])
        if step.is_body:
            return self.body(step, step.data)
        if step.reconnect is not None:
            self.venue.connected(self.lines[step.reconnect])
        return None
