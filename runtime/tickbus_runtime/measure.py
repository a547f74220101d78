"""What a fold's service counts, times and traces of each group; per group, never per row."""

from __future__ import annotations

import time

import numpy as np
from tickbus.group import Group

from tickbus_runtime.service import Context

_HOUR_US = 3_600_000_000
"""Older than that by its receive time, a row is replayed and its age no latency."""


def measure(ctx: Context, group: Group, stream: str, stage: str, received_ns: int) -> None:
    """Note a group of `stream` that was received at `received_ns` and is done now."""
    done_ns = time.time_ns()
    telemetry = ctx.telemetry
    telemetry.count("messages_read", group.messages, stream=stream)
    telemetry.count("bytes_read", group.bytes, stream=stream)
    rows = sum(table.rows for table in group.tables.values())
    telemetry.count("rows_read", rows, stream=stream)
    for one in group.breaks:
        telemetry.count("log_breaks", kind=one.kind)
        ctx.log.warning("the log breaks", kind=one.kind, seq=one.seq, found=one.found)
    for run in group.missing:
        gone = run.last_seq - run.first_seq + 1
        telemetry.count("log_expired", gone, stream=stream)
        ctx.log.warning("messages are gone", first_seq=run.first_seq, last_seq=run.last_seq)
    telemetry.latency("bus").observe_many((received_ns - group.stored_ns) / 1_000)
    telemetry.latency(stage).observe((done_ns - received_ns) / 1_000, group.messages)
    last_us = [int(table.columns["rcv_timestamp"][-1]) for table in group.tables.values()]
    ages_us = done_ns // 1_000 - np.array(last_us, np.int64)
    telemetry.latency("total").observe_many(ages_us[ages_us < _HOUR_US])
    if ctx.tracing.enabled:
        _trace(ctx, group, stage, received_ns, done_ns)


def _trace(ctx: Context, group: Group, stage: str, received_ns: int, done_ns: int) -> None:
    """This process's part in the traces of the sampled packets of a group."""
    for traced in group.traced:
        facts: dict[str, str | int] = {"tickbus.seq": traced.seq, "tickbus.ticker": traced.ticker}
        ctx.tracing.child(traced.traceparent, "bus", traced.stored_ns, received_ns, facts)
        ctx.tracing.child(traced.traceparent, f"{stage}.process", received_ns, done_ns, facts)
