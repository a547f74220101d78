"""The notifier as a process: one delivery a receiver, and an ear for services that fall silent."""

from __future__ import annotations

import asyncio
import time

from tickbus.retry import wait_or_stop
from tickbus_runtime.alerts.alarms import Alarms, Place
from tickbus_runtime.alerts.teller import alert_of
from tickbus_runtime.bus.publisher import Publisher
from tickbus_runtime.service.process import Context

from tickbus_alerts.configured import receivers
from tickbus_alerts.delivery import Delivery
from tickbus_alerts.heartbeats import Heartbeats, listen
from tickbus_alerts.post import Poster

LOOK_S = 1.0


async def serve(ctx: Context) -> None:
    """Send alerts until told to stop. Fatal when a receiver takes nothing from us."""
    chosen = receivers(ctx.settings.alerts)
    poster = Poster()
    publisher = Publisher(ctx.nc, stopping=ctx.stopping, telemetry=ctx.telemetry)
    deliveries = [Delivery(ctx, receiver, poster, publisher) for receiver in chosen]
    heartbeats = Heartbeats()
    ctx.watched.watchers.append(heartbeats.look)
    try:
        for delivery in deliveries:
            await delivery.check()
        ctx.set_ready()
        async with asyncio.TaskGroup() as tasks:
            for delivery in deliveries:
                tasks.create_task(delivery.run())
            tasks.create_task(listen(ctx.nc, heartbeats, ctx.stopping))
            tasks.create_task(_watch_bus(ctx, deliveries, heartbeats))
    except* Exception as several:
        raise several.exceptions[0] from None  # one line for the user, not a group of them
    finally:
        await publisher.close()
        await poster.close()


async def _watch_bus(ctx: Context, deliveries: list[Delivery], heartbeats: Heartbeats) -> None:
    """What no stream can hold: that the bus is away. It goes to the receivers at once."""
    alarms = Alarms()
    while not await wait_or_stop(ctx.stopping, LOOK_S):
        now_s, now_us = time.monotonic(), time.time_ns() // 1000
        holding = {}
        if not ctx.nc.is_connected:
            heartbeats.deaf(now_s)
            holding[Place("bus_away")] = "the notifier has no connection to NATS"
        for change in alarms.look(holding, now_s, now_us):
            for delivery in deliveries:
                delivery.tell(alert_of(change, ctx.name, ctx.shard, now_us))
