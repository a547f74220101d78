"""What metrics and traces cost a reader, as a share of the CPU from message bytes to features.

The same groups are folded side by side without notes, with metrics, and with metrics and traces:
each group by all three before the next one comes, in changing order, so that they share whatever
the machine does meanwhile. One packet in 10,000 is traced, as by default; its spans are made,
batched and encoded for a collector (in another thread, whose CPU counts) and not sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from tickbus.columns.assembler import Assembler
from tickbus.log.stored import Stored
from tickbus_features.fold import FeatureFold
from tickbus_features.warm import warm
from tickbus_runtime.service import memory
from tickbus_runtime.service.measure import Measure
from tickbus_runtime.service.process import Context
from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_runtime.telemetry.tracing import Tracing

from tickbus_bench.log import groups_of, of_capture
from tickbus_bench.target import Target

Int64s: TypeAlias = npt.NDArray[np.int64]
SHARE = 0.03
READ_MESSAGES = 256
TRACED_EACH = 10_000
"""One packet in so many: the default of `telemetry.trace_every`."""
INTERVALS_MS = [100, 1_000, 60_000]


class _Encoding(SpanExporter):
    """All of an OTLP exporter but the request."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS


class _Side:
    """A reader and the CPU that it needed."""

    def __init__(self, ctx: Context | None) -> None:
        self.ns: list[int] = []
        """of each part of the log"""
        self._measure = Measure(ctx, "MD_BENCH", "feature") if ctx else None
        self._fold = FeatureFold(INTERVALS_MS, bar_stream="BAR", feature_stream="FEATURE")
        self._assembler = Assembler()

    def take(self, part: list[Stored]) -> None:
        """Do a part of the log and note what CPU it took."""
        start_ns = time.thread_time_ns()
        self._do(part)
        self.ns.append(time.thread_time_ns() - start_ns)

    def _do(self, part: list[Stored]) -> None:
        """From bytes to features, then what a service notes of the group."""
        received_ns = time.time_ns()
        group = self._assembler.add(part)
        if group is not None:
            self._fold.apply(group)
            if self._measure is not None:
                self._measure.note(group, received_ns)


def _run(stored: list[Stored], metrics: Context, both: Context) -> Int64s:
    """CPU ns of the three sides (rows) for each part of the log, and of what exporting took."""
    others_ns = time.process_time_ns() - time.thread_time_ns()
    sides = [_Side(None), _Side(metrics), _Side(both)]
    for n, part in enumerate(groups_of(stored, READ_MESSAGES)):
        for k in range(3):
            sides[(n + k) % 3].take(part)
    start_ns = time.thread_time_ns()
    both.tracing.flush()
    export_ns = time.thread_time_ns() - start_ns
    export_ns += time.process_time_ns() - time.thread_time_ns() - others_ns
    return np.array([[*side.ns, end] for side, end in zip(sides, (0, 0, export_ns), strict=True)])


def _stored(path: Path) -> list[Stored]:
    """A log in which every so many messages one carries a sampled packet's trace."""
    log = of_capture(path, flush_frames=24)
    for one in log.stored[:: TRACED_EACH * len(log.stored) // log.frames]:
        one.headers = b"NATS/1.0\r\ntraceparent: 00-%032x-%016x-01\r\n\r\n" % (one.seq, one.seq)
    return log.stored


def _context(*, every: int) -> Context:
    """As much of a service's context as notes need."""
    telemetry = Telemetry("bench")
    tracing = Tracing("bench", every=every, telemetry=telemetry, exporter=_Encoding())
    return cast(Context, SimpleNamespace(telemetry=telemetry, tracing=tracing))


def measure(path: Path, quick: bool) -> list[Target]:
    """One target: the share of CPU that metrics and traces add."""
    warm()
    stored = _stored(path)
    metrics, both = _context(every=0), _context(every=1)
    _run(stored, metrics, both)
    memory.settle()  # as a service does before its first group
    runs = np.stack([_run(stored, metrics, both) for _ in range(7 if quick else 25)])
    asyncio.run(both.tracing.close())
    # The median of each part first: one of them disturbed does not weigh on its whole run.
    without, counted, traced = np.median(runs, axis=0).sum(axis=1)
    shares = runs[:, 2].sum(axis=1) / runs[:, 0].sum(axis=1) - 1
    export = np.median(runs[:, 2, -1])
    return [
        Target(
            "telemetry.share",
            value=float(traced / without - 1),
            unit="of the CPU without",
            target=SHARE,
            at_least=False,
            spread=(float(shares.min()), float(shares.max())),
            runs=len(runs),
            notes={
                "metrics_alone": round(float(counted / without - 1), 4),
                "of_it_exporting": round(float(export / without), 4),
                "messages": len(stored),
                "messages_a_read": READ_MESSAGES,
            },
        )
    ]
