"""Counts, times and traces of a fold's service; per group, never per row."""

from __future__ import annotations

import time

from tickbus.columns.group import Group

from tickbus_runtime.service.process import Context

_HOUR_US = 3_600_000_000
"""An older row comes from a replay: its age is not a latency."""


class Measure:
    """Measures the groups of one stream; `stage` names the work of this process."""

    def __init__(self, ctx: Context, stream: str, stage: str) -> None:
        self._ctx = ctx
        self._stream = stream
        self._stage = stage
        telemetry = ctx.telemetry
        self._messages = telemetry.counter("messages_read", stream=stream)
        self._bytes = telemetry.counter("bytes_read", stream=stream)
        self._rows = telemetry.counter("rows_read", stream=stream)

    def note(self, group: Group, received_ns: int) -> None:
        """Measure a group that was received at `received_ns` and is done now."""
        done_ns = time.time_ns()
        tables = group.tables.values()
        self._messages.add(group.messages)
        self._bytes.add(group.bytes)
        self._rows.add(sum([table.rows for table in tables]))
        if group.breaks or group.missing:
            self._warn(group)
        telemetry = self._ctx.telemetry
        telemetry.latency("bus").observe_since(received_ns, group.stored_ns)
        telemetry.latency(self._stage).observe((done_ns - received_ns) / 1_000, group.messages)
        last_us = [table.columns["rcv_timestamp"].item(-1) for table in tables]
        long_ago_us = done_ns // 1_000 - _HOUR_US
        ages_us = [done_ns / 1_000 - us for us in last_us if us > long_ago_us]
        if ages_us:
            telemetry.latency("total").observe_many(ages_us)
        if group.traced and self._ctx.tracing.enabled:
            self._trace(group, received_ns, done_ns)

    def _warn(self, group: Group) -> None:
        """Count breaks of the numbering and messages that are gone from the log."""
        telemetry, log = self._ctx.telemetry, self._ctx.log
        for one in group.breaks:
            telemetry.count("log_breaks", kind=one.kind)
            log.warning("the log breaks", kind=one.kind, seq=one.seq, found=one.found)
        for run in group.missing:
            gone = run.last_seq - run.first_seq + 1
            telemetry.count("log_expired", gone, stream=self._stream)
            log.warning("messages are gone", first_seq=run.first_seq, last_seq=run.last_seq)

    def _trace(self, group: Group, received_ns: int, done_ns: int) -> None:
        """This process's part in the traces of the sampled packets of a group."""
        tracing = self._ctx.tracing
        for one in group.traced:
            facts: dict[str, str | int] = {"tickbus.seq": one.seq, "tickbus.ticker": one.ticker}
            bus = "bus", one.stored_ns, received_ns
            process = f"{self._stage}.process", received_ns, done_ns
            tracing.steps(one.traceparent, (bus, process), facts)
