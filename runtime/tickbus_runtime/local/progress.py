"""The progress of a run as plain lines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tickbus_runtime.local.lives import Lives

if TYPE_CHECKING:
    from tickbus_runtime.local.stack import Stack

EVERY_S = 5.0


class Progress:
    """Makes a line of the changes since the last one."""

    def __init__(self) -> None:
        self._at_s = 0.0
        self._frames = 0

    def line(self, lives: Lives, now_s: float, ingests: Sequence[str] = ()) -> str:
        """Frames and their rate, events, rows, lag, errors; of several `ingests` also the frames
        of each."""
        frames = _frames(lives)
        passed_s = now_s - self._at_s if self._at_s else 0.0
        rate = (frames - self._frames) / passed_s if passed_s > 0 else 0.0
        self._at_s, self._frames = now_s, frames
        events = lives.by_label("events", "feed", "ingest")
        parts = [
            f"{frames:,} frames ({rate:,.0f}/s)",
            *(_of_each(lives, ingests) if len(ingests) > 1 else ()),
            *(f"{count:,} {feed}" for feed, count in events.items() if count),
            *(f"{count:,} {feed}" for feed, count in lives.by_label("rows", "feed").items()),
            f"{lives.sum('rows_written', 'writer'):,} rows in files",
        ]
        for name in ("gaps", "rejects"):
            count = lives.sum(name)
            if count:
                parts.append(f"{count:,} {name}")
        return ", ".join(parts)


def _of_each(lives: Lives, ingests: Sequence[str]) -> list[str]:
    """The frames of each process, by the venue in its name."""
    return [f"{name.partition('-')[2]} {_frames(lives.only(name)):,}" for name in ingests]


def _frames(lives: Lives) -> int:
    """Without lists of instruments."""
    received = lives.by_label("frames", "source", "ingest")
    return received.get("websocket", 0) + received.get("rest", 0)


async def report_progress(stack: Stack, every_s: float = EVERY_S) -> None:
    """Say a line every few seconds, without end."""
    progress = Progress()
    progress.line(stack.poller.lives, time.monotonic())
    while True:
        await asyncio.sleep(every_s)
        stack.say(progress.line(stack.poller.lives, time.monotonic(), stack.ingests))
