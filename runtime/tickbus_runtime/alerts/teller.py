"""Looks once a second at what holds, and stores the alerts that `Alarms` decides, in order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from tickbus.log.alerts import STREAM, Alerts, alerts_in, begun
from tickbus.log.connection import BUS_AWAY, Connection
from tickbus.log.reader import Reader
from tickbus_schemas import codec, subjects
from tickbus_schemas.errors import Fatal, Retry
from tickbus_schemas.messages import MAX_TEXT, Alert, AlertState, Severity

from tickbus_runtime.alerts.alarms import Alarms, Change, Place
from tickbus_runtime.alerts.conditions import OF_NAME
from tickbus_runtime.alerts.streams_watch import StreamsWatch
from tickbus_runtime.alerts.watched import Watched
from tickbus_runtime.bus.in_flight import Outgoing
from tickbus_runtime.bus.publisher import Publisher
from tickbus_runtime.settings.sections import Shard
from tickbus_runtime.telemetry.metrics import Telemetry

FIRST_LOOK_S = 5.0
"""The start of a service is not held up by it."""
LOOK_S = 1.0
NO_STREAM_S = 30.0
"""Between two looks for the stream of alerts, where there is none."""
LAST_WORD_S = 2.0


class Teller:
    """The alerts of one service and shard."""

    def __init__(
        self,
        nc: Connection,
        source: str,
        shard: Shard,
        watched: Watched,
        telemetry: Telemetry,
        log: Any,
    ) -> None:
        self._nc, self._source, self._shard, self._watched = nc, source, shard, watched
        self._telemetry, self._log = telemetry, log
        self._alarms = Alarms()
        self._publisher = Publisher(nc)  # its own: data never waits for an alert
        self._streams = StreamsWatch(nc, watched)
        self._waiting: list[Change] = []
        self._storing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Look, decide and store, until cancelled."""
        await asyncio.sleep(FIRST_LOOK_S)
        await self._adopt()
        async with asyncio.TaskGroup() as tasks:
            if self._watched.streams:
                tasks.create_task(self._streams.run())
            while True:
                self._look()
                await asyncio.sleep(LOOK_S)

    async def close(self) -> None:
        """Store what is decided, if the bus takes it at once."""
        if self._storing is not None:
            await asyncio.wait({self._storing}, timeout=LAST_WORD_S)
            self._storing.cancel()
            await asyncio.gather(self._storing, return_exceptions=True)
        with contextlib.suppress(*BUS_AWAY):
            await self._publisher.close()

    def tell_failure(self, cause: str) -> None:
        """The service ends because of this: the last thing that it can tell."""
        now_us = time.time_ns() // 1000
        self._waiting.append(Change(Place("failed"), AlertState.RAISED, cause, now_us))
        self._begin_to_store()

    def _look(self) -> None:
        now_s = time.monotonic()
        holding = dict(self._streams.holding)
        for watcher in self._watched.watchers:
            holding |= watcher(now_s)
        self._waiting += self._alarms.look(holding, now_s, time.time_ns() // 1000)
        self._telemetry.gauge("alerts_open", len(self._alarms.open))
        if self._waiting:
            self._begin_to_store()

    def _begin_to_store(self) -> None:
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store())

    async def _store(self) -> None:
        while self._waiting:
            changes, self._waiting = self._waiting, []
            outcomes = await self._publisher.flush([self._outgoing(one) for one in changes])
            for change, outcome in zip(changes, outcomes, strict=True):
                state = change.state.name.lower()
                self._telemetry.count("alerts", state=state)
                say = self._log.info if change.state is AlertState.RESOLVED else self._log.warning
                facts = {"condition": change.place.condition, "cause": change.cause}
                say(f"alert {state}", **facts)
                if not outcome.stored:
                    self._log.error("an alert is refused by the bus", why=outcome.text, **facts)

    def _outgoing(self, change: Change) -> Outgoing:
        alert = alert_of(change, self._source, self._shard, time.time_ns() // 1000)
        parts = (self._source, self._shard.name, *change.place, change.raised_us, alert.timestamp)
        return Outgoing(
            subjects.alert(Severity(alert.severity).name.lower(), self._source),
            codec.encode(alert),
            f"alert|{'|'.join(map(str, parts))}",
        )

    async def _adopt(self) -> None:
        """Take over what earlier processes of this service raised and did not resolve."""
        said = False
        while True:
            try:
                alerts = await self._stored()
            except Retry:  # told to stop, or the connection is closed
                await asyncio.sleep(NO_STREAM_S)
            except Fatal as error:
                if not said:
                    self._log.warning("alerts are not told", why=str(error))
                    said = True
                await asyncio.sleep(NO_STREAM_S)
            else:
                break
        now_s = time.monotonic()
        for one in alerts.open:
            if (one.source, one.shard) == (self._source, self._shard.name):
                self._alarms.adopt(Place(one.condition, one.about), begun(one), one.cause, now_s)

    async def _stored(self) -> Alerts:
        alerts = Alerts()
        reader = Reader(
            self._nc, STREAM, subject_filter=f"alert.*.{self._source}", only_history=True
        )
        async with contextlib.aclosing(reader.groups()) as groups:
            async for group in groups:
                for _, alert in alerts_in(group):
                    alerts.take(alert)
        return alerts


def alert_of(change: Change, source: str, shard: Shard, now_us: int) -> Alert:
    """The message of a change."""
    condition = OF_NAME[change.place.condition]
    return Alert(
        exchange=int(shard.exchange),
        ticker="",
        epoch=0,
        message_no=0,
        timestamp=now_us,
        state=int(change.state),
        severity=int(condition.severity),
        source=source,
        shard=shard.name,
        condition=condition.name,
        about=change.place.about[:MAX_TEXT],
        cause=change.cause[:MAX_TEXT],
        remedy=condition.remedy,
        raised_timestamp=change.raised_us,
    )
