"""The progress of a run as plain lines."""

from __future__ import annotations

import asyncio
import time
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

    def line(self, lives: Lives, now_s: float) -> str:
        """Frames and their rate, events, rows, lag, errors."""
        received = lives.by_label("frames", "source", "ingest")
        frames = received.get("websocket", 0) + received.get("rest", 0)
        passed_s = now_s - self._at_s if self._at_s else 0.0
        rate = (frames - self._frames) / passed_s if passed_s > 0 else 0.0
        self._at_s, self._frames = now_s, frames
        events = lives.by_label("events", "feed", "ingest")
        parts = [
            f"{frames:,} frames ({rate:,.0f}/s)",
            *(f"{count:,} {feed}" for feed, count in events.items() if count),
            *(f"{count:,} {feed}" for feed, count in lives.by_label("rows", "feed").items()),
            f"{lives.sum('rows_written', 'writer'):,} rows in files",
        ]
        for name in ("gaps", "rejects"):
            count = lives.sum(name)
            if count:
                parts.append(f"{count:,} {name}")
        return ", ".join(parts)


async def report_progress(stack: Stack, every_s: float = EVERY_S) -> None:
    """Say a line every few seconds, without end."""
    progress = Progress()
    progress.line(stack.poller.lives, time.monotonic())
    while True:
        await asyncio.sleep(every_s)
        stack.say(progress.line(stack.poller.lives, time.monotonic()))
