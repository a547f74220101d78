"""Asks the server how full streams are, and compares that with how far a service has read them."""

from __future__ import annotations

import asyncio
from datetime import datetime

from tickbus.log import inventory
from tickbus.log.connection import BUS_AWAY, Connection
from tickbus_schemas.errors import TickbusError

from tickbus_runtime.alerts import lag
from tickbus_runtime.alerts.alarms import Holding, Place
from tickbus_runtime.alerts.lag import StreamState
from tickbus_runtime.alerts.watched import Watched

ASK_EVERY_S = 10.0
_NS = 1_000_000_000


class StreamsWatch:
    """The streams that a service reads."""

    def __init__(self, nc: Connection, watched: Watched) -> None:
        self._nc, self._watched = nc, watched
        self.holding: Holding = {}
        """what held when the server was last asked"""

    async def run(self) -> None:
        """Ask again and again, until cancelled; without an answer what held before holds."""
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            try:
                found = await inventory.streams(self._nc)
            except (TickbusError, *BUS_AWAY):
                continue
            self.holding = self._judged([state_of(one) for one in found])

    def _judged(self, streams: list[StreamState]) -> Holding:
        holding: dict[Place, str] = {}
        for stream in streams:
            position = self._watched.positions.get(stream.name)
            if position is None:
                continue
            holding |= lag.lag(stream, position)
            if self._watched.full_streams:
                holding |= lag.full(stream)
        return holding


def state_of(stream: inventory.Stream) -> StreamState:
    """A stream as the rules take it."""
    state, limits = stream.state, stream.config
    return StreamState(
        limits.name,
        state.messages,
        state.bytes,
        state.first_seq,
        state.last_seq,
        _seconds(state.first_ts) if state.messages else 0.0,
        _seconds(state.last_ts) if state.messages else 0.0,
        max(limits.max_bytes, 0),
        limits.max_age / _NS,
    )


def _seconds(rfc3339: str) -> float:
    return datetime.fromisoformat(rfc3339).timestamp()
