"""What goes out over one connection: replies first, requests as fast as the venue allows."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable

from tickbus_ingest.lines.answers import Answers, Asked
from tickbus_ingest.lines.limits import Bucket
from tickbus_ingest.venue.contract import Keepalive, Request
from tickbus_ingest.wire.socket import Socket

REPLIES_MAX = 1_000
"""That wait to be sent: a venue that asks for more is not answered."""


class Outbox:
    """Sends until the connection is closed."""

    def __init__(
        self,
        socket: Socket,
        answers: Answers,
        *,
        messages: Bucket,
        subscriptions: Bucket,
        keepalive: Keepalive | None,
        sent: Callable[[bytes, int], None],
    ) -> None:
        """`sent` is called with each frame that went out, and how many answers it will have."""
        self._socket, self._answers = socket, answers
        self._messages, self._subscriptions = messages, subscriptions
        self._keepalive, self._sent = keepalive, sent
        self._replies: deque[bytes] = deque()
        self._requests: deque[Asked] = deque()
        self._filled = asyncio.Event()

    def reply(self, frame: bytes) -> None:
        """Send this before all else."""
        if len(self._replies) < REPLIES_MAX:
            self._replies.append(frame)
            self._filled.set()

    def request(self, requests: Iterable[Request], about: str = "") -> None:
        """Send these in their order."""
        self._requests += [Asked(request, about) for request in requests]
        self._filled.set()

    def again(self, asked: Iterable[Asked]) -> None:
        """Send requests once more."""
        self._requests += asked
        self._filled.set()

    @property
    def is_empty(self) -> bool:
        """Whether every request went out."""
        return not self._requests

    def holds(self, about: str) -> bool:
        """Whether a request about this waits to be sent."""
        return any(asked.about == about for asked in self._requests)

    async def run(self) -> None:
        """Send what is due until the connection is gone."""
        keepalive = self._keepalive
        due_s = time.monotonic() + keepalive.every_s if keepalive else float("inf")
        while not self._socket.closed.done():
            now_s = time.monotonic()
            wait_s = self._wait_s(now_s, due_s)
            if wait_s:
                await self._wait(wait_s)
                continue
            self._messages.take(now_s)
            try:
                if keepalive and now_s >= due_s:
                    due_s = now_s + keepalive.every_s
                    await self._keep_alive(keepalive)
                else:
                    await self._send_next(now_s)
            except Exception:  # closed meanwhile: the keeper sees it by `closed`
                return

    def _wait_s(self, now_s: float, due_s: float) -> float:
        """How long nothing may be sent, or there is nothing to send."""
        if self._replies or now_s >= due_s:
            return self._messages.wait_s(now_s)
        if not self._requests:
            return due_s - now_s
        wait_s = max(self._messages.wait_s(now_s), self._subscriptions.wait_s(now_s))
        return min(wait_s, due_s - now_s)

    async def _wait(self, seconds: float) -> None:
        """So long, or until there is more to send; never when it may not be sent yet."""
        self._filled.clear()
        timeout = None if seconds == float("inf") else seconds
        try:
            await asyncio.wait_for(self._filled.wait(), timeout)
        except TimeoutError:
            return

    async def _keep_alive(self, keepalive: Keepalive) -> None:
        if keepalive.as_ping:
            await self._socket.ping()
        else:
            await self._socket.send(keepalive.frame)
            self._sent(keepalive.frame, 1)

    async def _send_next(self, now_s: float) -> None:
        if self._replies:
            frame = self._replies.popleft()
            await self._socket.send(frame)
            self._sent(frame, 0)
            return
        asked = self._requests.popleft()
        self._subscriptions.take(now_s)
        self._answers.sent(asked, now_s)
        await self._socket.send(asked.request.frame)
        self._sent(asked.request.frame, asked.request.answers)
