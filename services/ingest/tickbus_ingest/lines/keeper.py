"""Keeps one line of a route open: reconnects with growing pauses, replaces before it breaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from tickbus.retry import backoff_s

from tickbus_ingest.lines.connection import Connection
from tickbus_ingest.lines.dialer import Dialer
from tickbus_ingest.venue.contract import Route
from tickbus_ingest.wire.buffer import Disconnected, Replaced
from tickbus_ingest.wire.socket import BROKEN, END_OF_INPUT, Closed

CHECK_S = 1.0
APART_S = 0.1
"""Lines of a route are opened one after the other."""
DELIVERS_S = 30.0
"""A replacement that has not delivered after this time is given up."""
STEADY_S = 60.0
"""After so long a connection, pauses are short again."""
AGAIN_FIRST_S, AGAIN_MAX_S = 0.5, 30.0
MAINTENANCE_FIRST_S, MAINTENANCE_MAX_S = 20.0, 300.0
"""Pauses while the venue is being maintained."""

Uniform = Callable[[float, float], float]
"""A number between two, by chance."""


class Keeper:
    """One line of a route, kept open until it is stopped or the input has ended."""

    def __init__(
        self,
        route: Route,
        dialer: Dialer,
        *,
        place: int = 0,
        name: str = "",
        turn: asyncio.Lock | None = None,
        stop_at_end: bool,
        uniform: Uniform,
    ) -> None:
        """`place`: among the lines of the route, of which one at a time is replaced: `turn`."""
        self.route, self._dialer = route, dialer
        """what the next connection carries"""
        self._place, self._name = place, name
        self._turn = turn or asyncio.Lock()
        self._stop_at_end, self._uniform = stop_at_end, uniform
        self._failures = 0
        """failed or short connections in a row"""
        self._maintained = False
        self._ended = False

    async def run(self) -> None:
        """Keep the line open; returns when the venue says that its input has ended."""
        await asyncio.sleep(self._place * APART_S)
        while not self._ended:
            await asyncio.sleep(self._pause_s())
            if self._ended:
                return
            connection = await self._open()
            if connection is None:
                self._failures += 1
            elif self._ended:  # meanwhile nobody wants it any more
                await connection.close()
                return
            while connection is not None:
                connection = await self._keep(connection)

    def end(self) -> None:
        """The line is wanted no more: once it is closed, no other is opened."""
        self._ended = True

    async def _open(self) -> Connection | None:
        return await self._dialer.open(self.route, self._place, self._name)

    async def _keep(self, connection: Connection) -> Connection | None:
        """Watch over an open line; the one that takes its place, None when it is lost."""
        opened_s = time.monotonic()
        closed = await self._watch(connection)
        steady = time.monotonic() - opened_s >= STEADY_S
        if steady or (closed is not None and connection.rows_s):
            self._failures = 0
        if closed is None:
            return await self._replaced_in_turn(connection)
        self._lost(connection, closed)
        return None

    def _pause_s(self) -> float:
        """How long to wait before the next connection."""
        if not self._failures:
            return 0.0
        first_s, max_s = AGAIN_FIRST_S, AGAIN_MAX_S
        if self._maintained:
            first_s, max_s = MAINTENANCE_FIRST_S, MAINTENANCE_MAX_S
        return backoff_s(self._failures, first_s, max_s, self._uniform)

    # ------------------------------------------------------------- watching

    async def _watch(self, connection: Connection) -> Closed | None:
        """Why the socket ended; None when it is to be replaced."""
        socket = connection.socket
        told = asyncio.ensure_future(connection.told.wait())
        waiting: set[asyncio.Future[Any]] = {socket.closed, told}
        try:
            while not socket.closed.done():
                await asyncio.wait(waiting, timeout=CHECK_S, return_when=asyncio.FIRST_COMPLETED)
                now_s = time.monotonic()
                if socket.closed.done():
                    break
                connection.delivers(now_s)  # it sees when all is subscribed
                carries_others = connection.line.route is not self.route  # changed as it opened
                if told.done() or now_s >= connection.until_s or carries_others:
                    return None
                self._ask_again(connection, now_s)
                if self._is_silent(connection, now_s):
                    await connection.close()
                    return Closed(BROKEN, f"silent for {connection.silence.limit_s:.0f} s")
        finally:
            told.cancel()
        return socket.closed.result()

    def _is_silent(self, connection: Connection, now_s: float) -> bool:
        if self._dialer.paused:
            connection.silence.check(-1, now_s)  # we do not read: nothing can come
            return False
        return connection.silence.check(connection.socket.intake.received, now_s)

    def _ask_again(self, connection: Connection, now_s: float) -> None:
        late = connection.answers.late(now_s)
        if late:
            self._dialer.log.warning(
                "the venue does not answer; asked again",
                line=connection.line.number,
                requests=len(late),
            )
            connection.outbox.again(late)

    # ------------------------------------------------------------ replacing

    async def _replaced_in_turn(self, old: Connection) -> Connection | None:
        """A venue that goes away tells all lines at once: one after the other is replaced."""
        turn = asyncio.ensure_future(self._turn.acquire())
        either: set[asyncio.Future[Any]] = {turn, old.socket.closed}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not turn.done():
                self._lost(old, old.socket.closed.result())
                return None
            return await self._replaced(old)
        finally:
            if not turn.cancel():
                self._turn.release()

    async def _replaced(self, old: Connection) -> Connection | None:
        """The connection to go on with: a new one once it delivers, else the old one."""
        pause_s, self._failures = self._pause_s(), self._failures + 1
        await asyncio.wait({old.socket.closed}, timeout=pause_s)
        if self._dialer.limits.connections.wait_s(time.monotonic()):
            await old.close()  # there is no room for two
            self._lost(old, Closed(BROKEN, "replaced"))
            return None
        opening = asyncio.ensure_future(self._open())
        either: set[asyncio.Future[Any]] = {opening, old.socket.closed}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if old.socket.closed.done():
                self._lost(old, old.socket.closed.result())
                return await opening if not self._ended else None
        finally:
            opening.cancel()  # no effect where it is done
        new = opening.result()
        if new is None:
            old.told.clear()
            old.until_s = max(old.until_s, time.monotonic() + AGAIN_MAX_S)
            return old
        return await self._one_of(old, new)

    async def _one_of(self, old: Connection, new: Connection) -> Connection | None:
        """Close the new connection or the old one, by whether the new one delivers."""
        dialer = self._dialer
        deadline_s = time.monotonic() + DELIVERS_S
        waiting = {old.socket.closed, new.socket.closed}
        while not new.delivers(time.monotonic(), old) and time.monotonic() < deadline_s:
            await asyncio.wait(waiting, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
            if old.socket.closed.done() or new.socket.closed.done():
                break
        if old.socket.closed.done():
            self._lost(old, old.socket.closed.result())
            return new
        if new.delivers(time.monotonic(), old) and not new.socket.closed.done():
            self._give_up(old, new, "replaced")
            await old.close()
            dialer.buffer.notice(Replaced(old.line.number, new.line.number))
            return new
        self._give_up(new, old, "useless")
        await new.close()
        dialer.buffer.notice(Replaced(new.line.number, old.line.number))
        old.told.clear()
        old.until_s = max(old.until_s, time.monotonic() + AGAIN_MAX_S)
        return old

    # ------------------------------------------------------------------ end

    def _lost(self, connection: Connection, closed: Closed) -> None:
        """The connection has ended by itself; the venue may say that its input has ended.

        Where no other one delivers, what the venue sends until one does is lost.
        """
        if closed.code == END_OF_INPUT and self._stop_at_end:
            self._ended = True
            return
        dialer = self._dialer
        self._failures += 1
        self._maintained = closed.code in dialer.venue.maintenance_codes
        why = f"{closed.code} {closed.reason}".strip()
        number = connection.line.number
        dialer.telemetry.count("disconnects", reason=str(closed.code))
        dialer.log.warning("disconnected", line=number, why=why)
        now_s, now_ns = time.monotonic(), time.time_ns()
        connection.silence.check(connection.socket.intake.received, now_s)  # it may have spoken
        others = [one for one in dialer.others_of(connection) if one.covers(connection, now_s)]
        if others:
            dialer.buffer.notice(Replaced(number, others[0].line.number, why, now_ns))
        else:
            dialer.buffer.notice(Disconnected(number, why, now_ns))

    def _give_up(self, one: Connection, other: Connection, why: str) -> None:
        numbers = {"line": one.line.number, "instead": other.line.number}
        self._dialer.telemetry.count("disconnects", reason=why)
        self._dialer.log.info("closes a connection", why=why, **numbers)
