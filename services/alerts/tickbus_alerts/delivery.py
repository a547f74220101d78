"""Carries alerts from the stream to one receiver; its place in the stream survives restarts.

The place is stored after each letter that was taken. So nothing is lost, and nothing is told twice,
except for a letter whose receiver had taken it when we were killed before its place was stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from math import inf
from typing import Any

from nats.js.errors import NotFoundError
from tickbus.log.alerts import STREAM, Alerts, alerts_in
from tickbus.log.reader import Reader
from tickbus.retry import Attempts
from tickbus_runtime.bus import checkpoint
from tickbus_runtime.bus.checkpoint import Checkpoint
from tickbus_runtime.bus.connection import until_answered
from tickbus_runtime.bus.publisher import Publisher
from tickbus_runtime.bus.streams import incarnation
from tickbus_runtime.service.process import Context
from tickbus_schemas.errors import Fatal, Retry
from tickbus_schemas.messages import Alert, AlertState, Severity

from tickbus_alerts.letters import Letter, Letters
from tickbus_alerts.post import Poster
from tickbus_alerts.receivers.receiver import Again, Receiver, Refused, Sent, Wrong

WAITING_MAX = 1_000
"""Alerts that wait for their receiver before no more are read."""
CHECKS = 5
"""Attempts to reach a receiver at the start, before it is only tried with each letter."""


class Delivery:
    """One receiver and its letters."""

    def __init__(
        self, ctx: Context, receiver: Receiver, poster: Poster, publisher: Publisher
    ) -> None:
        settings = ctx.settings.alerts
        self._ctx, self._receiver, self._poster = ctx, receiver, poster
        self._publisher = publisher
        self._least = Severity[settings.severity.upper()]
        self._letters = Letters(settings.per_minute)
        self._added, self._taken = asyncio.Event(), asyncio.Event()
        self._number, self._incarnation, self._seq = 0, "", 0
        self._saving: asyncio.Task[None] | None = None

    def tell(self, alert: Alert) -> None:
        """Send an alert that is in no stream."""
        self._letters.add(0, alert)
        self._added.set()

    async def check(self) -> None:
        """Fatal when the receiver says that the settings are wrong."""
        post = self._receiver.check()
        if post is None:
            return
        async for _ in Attempts(self._ctx.stopping, 0.5, 5.0, CHECKS):
            verdict = self._receiver.judge(await self._poster.send(post), plain=True)
            if isinstance(verdict, Wrong):
                raise self._wrong(verdict)
            if isinstance(verdict, Sent):
                return

    async def run(self) -> None:
        """Send what comes until told to stop. Fatal when the receiver takes nothing from us."""
        reading = asyncio.create_task(self._read())
        reading.add_done_callback(lambda _: self._added.set())  # it ends only with an error
        try:
            while not self._ctx.stopping.is_set():
                if reading.done():
                    reading.result()
                step = self._letters.next(time.monotonic())
                if isinstance(step, Letter):
                    await self._send(step)
                else:
                    await self._wait(step)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            if self._saving is not None:
                await asyncio.wait({self._saving}, timeout=2.0)
                self._saving.cancel()

    async def _wait(self, seconds: float) -> None:
        self._added.clear()
        told = asyncio.ensure_future(self._ctx.stopping.wait())
        added = asyncio.ensure_future(self._added.wait())
        waiting: set[asyncio.Future[Any]] = {told} if self._letters.waiting else {told, added}
        try:
            timeout = None if seconds == inf else seconds
            await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            added.cancel()

    async def _send(self, letter: Letter) -> None:
        receiver, log, count = self._receiver, self._ctx.log, self._ctx.telemetry.count
        answer = await self._poster.send(receiver.post(letter.alerts, plain=letter.plain))
        verdict = receiver.judge(answer, plain=letter.plain)
        count("notifications", outcome=type(verdict).__name__.lower())
        if isinstance(verdict, Wrong):
            raise self._wrong(verdict)
        if isinstance(verdict, Again):
            log.warning(f"{receiver.name} does not take alerts; tried again", why=verdict.why)
        elif isinstance(verdict, Refused):
            names = ", ".join(alert.condition for alert in letter.alerts[:5])
            log.error(f"{receiver.name} refuses a letter", why=verdict.why, alerts=names)
        if self._letters.ended(letter, verdict, time.monotonic()):
            self._taken.set()
            if isinstance(verdict, Sent):
                count("notified", len(letter.alerts))
            if letter.last_seq:
                self._save(letter.last_seq)

    def _wrong(self, verdict: Wrong) -> Fatal:
        return Fatal(f"alerts cannot be sent to {self._receiver.name}: {verdict.why}")

    # ------------------------------------------------------- place in the stream

    async def _read(self) -> None:
        start_seq = await until_answered(self._ctx.stopping, STREAM, self._resume)
        reader = Reader(self._ctx.nc, STREAM, start_seq=start_seq)
        async with contextlib.aclosing(reader.groups()) as groups:
            async for group in groups:
                for stored, alert in alerts_in(group):
                    if self._is_told(alert):
                        self._letters.add(stored.seq, alert)
                        self._added.set()
                while self._letters.waiting >= WAITING_MAX:
                    self._taken.clear()
                    await self._taken.wait()

    def _is_told(self, alert: Alert) -> bool:
        """Whether it is severe enough; reminders are sent of critical alerts only."""
        is_reminder = alert.state == AlertState.RENEWED and alert.severity < Severity.CRITICAL
        return alert.severity >= self._least and not is_reminder

    async def _resume(self) -> int:
        """Where to go on; at the first start what is open now is told, and nothing older."""
        nc, name = self._ctx.nc, self._receiver.name
        try:
            info = await nc.jsm().stream_info(STREAM)
        except NotFoundError:
            raise Fatal(f"there is no stream {STREAM}: 'tickbus init' creates it") from None
        stored = await checkpoint.load(nc, self._ctx.name, name)
        if stored is not None:
            self._number, self._incarnation = stored.number, stored.incarnation
            if stored.incarnation == incarnation(info):
                return stored.seq + 1
        self._incarnation = incarnation(info)
        alerts, last_seq = await self._history(info.state.last_seq)
        told = [alert for alert in alerts.open if self._is_told(alert)]
        if not told:
            self._save(last_seq)
        for place, alert in enumerate(told, start=1):
            # Only the last one moves the place: until then all of them are told again.
            self._letters.add(last_seq if place == len(told) else 0, alert)
        self._added.set()
        return last_seq + 1

    async def _history(self, last_seq: int) -> tuple[Alerts, int]:
        """The alerts up to now, and the sequence up to which they are taken in."""
        alerts = Alerts()
        history = Reader(self._ctx.nc, STREAM, only_history=True)
        async with contextlib.aclosing(history.groups()) as groups:
            async for group in groups:
                for _, alert in alerts_in(group):
                    alerts.take(alert)
                last_seq = max(last_seq, group[-1].seq)
        return alerts, last_seq

    def _save(self, seq: int) -> None:
        """Store the place; when the bus is away, the letters go on."""
        self._seq, self._number = seq, self._number + 1
        if self._saving is None or self._saving.done():
            self._saving = asyncio.create_task(self._store())

    async def _store(self) -> None:
        stored = -1
        while stored != self._number:
            stored = self._number
            place = Checkpoint(
                number=stored,
                incarnation=self._incarnation,
                seq=self._seq,
                epoch=0,
                message_no=0,
                schema=1,
                state=b"",
            )
            try:
                await checkpoint.save(self._publisher, self._ctx.name, self._receiver.name, place)
            except Retry:
                return  # told to stop while the bus is away: these letters are told again
