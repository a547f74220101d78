"""Waiting for a bucket: first come, first served."""

from __future__ import annotations

import asyncio
import time

from tickbus_ingest.lines.limits import Bucket

LOOK_AGAIN_S = 0.25
"""What is given back meanwhile is seen after this time."""


class Turn:
    """The queue before one bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._queue = asyncio.Lock()

    async def take(self, units: int = 1) -> None:
        """Take units as soon as the bucket allows it and everybody before has had theirs."""
        async with self._queue:
            while True:
                wait_s = self.bucket.wait_s(time.monotonic(), units)
                if not wait_s:
                    break
                await asyncio.sleep(min(wait_s, LOOK_AGAIN_S))
            self.bucket.take(time.monotonic(), units)
