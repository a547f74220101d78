"""Socket read to a subscriber's hands, with every service running beside it.

The venue plays a capture at 5,000 frames/s; a plain subscriber of `live.md.>` decodes each message
and takes the time since `rcv_timestamp` of its last row. Beside it, on the same server: the round
trip of a bare nats-py request to an echo, two connections in one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tickbus
from nats.errors import NoRespondersError
from tickbus_schemas import codec
from tickbus_schemas.errors import Fatal
from tickbus_schemas.messages import BboBatch, L2Batch, TradeBatch

from tickbus_bench import capture
from tickbus_bench.processes import running_up
from tickbus_bench.target import Target

FRAMES_PER_S = 5_000
SECONDS, SECONDS_QUICK = (2.0, 12.0), (0.5, 2.5)
"""From the first message on: until caches are warm and the flow is even; then what is watched."""


def measure(path: Path, quick: bool) -> list[Target]:
    """Two targets: p50 and p99 as multiples of the median round trip."""
    recorded = capture.lines(path)
    span_s = (recorded[-1].ts - recorded[0].ts) / 1e9
    speed = FRAMES_PER_S / (len(recorded) / span_s)
    arguments = ("--capture", str(path), "--speed", f"{speed:.3f}")
    with running_up(*arguments, settings={"TICKBUS_TELEMETRY__LOG_LEVEL": "warning"}) as data:
        waits_us, trips_us = asyncio.run(_watch(data, *(SECONDS_QUICK if quick else SECONDS)))
    trip = median(trips_us)
    p50, p99 = (float(np.percentile(waits_us, percent)) for percent in (50, 99))
    limit = f"bare nats-py request {trip:.0f} us (median of {len(trips_us)})"
    facts = {"p50_us": round(p50), "p99_us": round(p99), "messages": len(waits_us)}
    return [
        Target("latency.p50", p50 / trip, "x", 3, False, limit=limit, notes=facts),
        Target("latency.p99", p99 / trip, "x", 10, False, limit=limit, notes=facts),
    ]


async def _watch(data: Path, before_s: float, seconds: float) -> tuple[list[float], list[float]]:
    bus = await tickbus.connect(data_dir=data)
    waits_us: list[float] = []
    flows, started = asyncio.Event(), False

    async def arrived(message: Any) -> None:
        flows.set()
        decoded = codec.decode(message.data, values=False)
        if started and isinstance(decoded, TradeBatch | L2Batch | BboBatch):
            received_us = codec.column(decoded.rcv_timestamp, "<i8")[-1]
            waits_us.append(time.time_ns() / 1e3 - received_us)

    subscription = await bus.subscribe("live.md.>", cb=arrived)
    await asyncio.wait_for(flows.wait(), 60)
    await asyncio.sleep(before_s)
    started = True
    await asyncio.sleep(seconds)
    started = False
    await subscription.unsubscribe()
    trips_us = await _round_trips(bus, data)
    await bus.close()
    return waits_us, trips_us


async def _wait_for_echo(bus: tickbus.Connection) -> None:
    """nats-py's flush may overtake its subscribe."""
    for _ in range(500):
        with contextlib.suppress(NoRespondersError):
            await bus.request("bench.echo", b"")
            return
        await asyncio.sleep(0.01)
    raise Fatal("the echo beside the benchmark is not heard")


async def _round_trips(bus: tickbus.Connection, data: Path) -> list[float]:
    other = await tickbus.connect(data_dir=data)

    async def echo(message: Any) -> None:
        await message.respond(message.data)

    await other.subscribe("bench.echo", cb=echo)
    await _wait_for_echo(bus)
    trips_us = []
    for _ in range(1_000):
        start = time.perf_counter_ns()
        await bus.request("bench.echo", b"x" * 128)
        trips_us.append((time.perf_counter_ns() - start) / 1e3)
    await other.close()
    return trips_us
