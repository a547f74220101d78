"""Which requests of a connection the venue has answered. No I/O: times are monotonic seconds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tickbus_ingest.venue.contract import Request

ANSWER_S = 10.0
"""A request without its answers for so long is sent again; then later each time."""
DOUBLINGS_MAX = 5


@dataclass(slots=True)
class Asked:
    """A request, and what it is about."""

    request: Request
    about: str = ""
    """the stream that is subscribed to anew"""
    attempt: int = 0
    missing: int = 0
    sent_s: float = 0.0

    @property
    def late_s(self) -> float:
        """When it is sent again."""
        return self.sent_s + ANSWER_S * 2.0 ** min(self.attempt, DOUBLINGS_MAX)


class Answers:
    """The requests of one connection. A venue answers in the order in which it was asked."""

    def __init__(self) -> None:
        self._waiting: deque[Asked] = deque()

    def sent(self, asked: Asked, now_s: float) -> None:
        """A request went out."""
        if asked.request.answers:
            asked.missing, asked.sent_s = asked.request.answers, now_s
            self._waiting.append(asked)

    def came(self) -> None:
        """An answer came, good or bad."""
        if self._waiting:
            self._waiting[0].missing -= 1
            if not self._waiting[0].missing:
                self._waiting.popleft()

    def late(self, now_s: float) -> list[Asked]:
        """Requests to send again; they are removed here until they are sent."""
        late = [asked for asked in self._waiting if now_s >= asked.late_s]
        for asked in late:
            self._waiting.remove(asked)
            asked.attempt += 1
        return late

    @property
    def are_all_there(self) -> bool:
        """Whether every request that was sent has its answers."""
        return not self._waiting

    def waits_for(self, about: str) -> bool:
        """Whether a request about this has not been answered yet."""
        return any(asked.about == about for asked in self._waiting)
