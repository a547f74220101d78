"""One open connection of a route: its line, its socket, what was asked over it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tickbus_ingest.lines.answers import Answers
from tickbus_ingest.lines.outbox import Outbox
from tickbus_ingest.lines.silence import Silence
from tickbus_ingest.venue.contract import Line
from tickbus_ingest.wire.socket import Socket


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

    @property
    def delivers(self) -> bool:
        """More came than answers to our requests."""
        return self.socket.intake.received > self.answers.expected

    async def close(self) -> None:
        """Hang up; nothing of what still arrives is taken."""
        self.socket.intake.end()
        if self.sending is not None:
            self.sending.cancel()
            await asyncio.gather(self.sending, return_exceptions=True)
        await self.socket.close()
