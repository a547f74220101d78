"""One open connection of a route: its line, its socket, what was asked over it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tickbus_ingest.lines.answers import Answers
from tickbus_ingest.lines.outbox import Outbox
from tickbus_ingest.lines.silence import Silence
from tickbus_ingest.venue.contract import BEHIND_MAX_US, Line
from tickbus_ingest.wire.socket import Socket

QUIET_S = 5.0
"""A subscribed connection without a row counts as one of a quiet market after this time."""


@dataclass(slots=True, eq=False)
class Connection:
    """What a keeper knows of one socket."""

    line: Line
    socket: Socket
    outbox: Outbox
    answers: Answers
    silence: Silence
    until_s: float
    """it is replaced at this time"""
    told: asyncio.Event = field(default_factory=asyncio.Event)
    """set when it is to be replaced"""
    refused: set[str] = field(default_factory=set)
    """names of streams that the venue will never give"""
    sending: asyncio.Task[None] | None = None
    """ends by itself when the socket is closed"""

    rows_s: float = 0.0
    """when it brought rows last, monotonic; 0 before the first"""
    subscribed_s: float | None = None
    """when all of its first requests were seen to be sent and answered"""

    def delivers(self, now_s: float, beside: Connection | None = None) -> bool:
        """Whether it does all that a connection of its route can do. Monotonic seconds.

        All of it is subscribed, and rows came: answers, heartbeats and notices are none. Of a quiet
        market no row may come for minutes: then it does after QUIET_S, unless `beside`, which
        carries the same, brought some meanwhile.
        """
        if self.subscribed_s is None:
            if not self.outbox.is_empty or not self.answers.are_all_there:
                return False
            self.subscribed_s = now_s
        if self.rows_s:
            return True
        is_quiet = beside is None or beside.rows_s <= self.subscribed_s
        return is_quiet and now_s - self.subscribed_s >= QUIET_S

    def covers(self, lost: Connection, now_s: float) -> bool:
        """Whether it delivered all that `lost` did not, so that nothing is missing.

        It delivered when that one was last heard, and has brought rows since, or nearly: one that
        is mute itself, or came only after that one fell silent, proves nothing.
        """
        return (
            self.delivers(now_s)
            and self.subscribed_s is not None
            and self.subscribed_s <= lost.silence.heard_s
            and self.rows_s >= lost.rows_s - BEHIND_MAX_US / 1e6
        )

    async def close(self) -> None:
        """Hang up; nothing of what still arrives is taken."""
        self.socket.intake.end()
        if self.sending is not None:
            self.sending.cancel()
            await asyncio.gather(self.sending, return_exceptions=True)
        await self.socket.close()
