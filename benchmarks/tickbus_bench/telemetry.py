"""What metrics and traces cost a reader: the same groups folded with and without them, in pairs.

One packet in 10,000 is traced, as by default; its spans are made, batched and handed to an exporter
that keeps them in memory, so a collector's own cost is not in the figure.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tickbus.group import Assembler
from tickbus.stored import Stored
from tickbus_features.fold import FeatureFold
from tickbus_features.warm import warm
from tickbus_runtime.measure import measure as note
from tickbus_runtime.service import Context
from tickbus_runtime.telemetry import Telemetry
from tickbus_runtime.tracing import Tracing

from tickbus_bench.log import groups_of, of_capture
from tickbus_bench.target import Target, of_runs

SHARE = 0.03
READ_MESSAGES = 256
TRACED_EACH = 625  # 16 frames a message: one packet in 10,000
INTERVALS_MS = [100, 1_000, 60_000]


def _seconds(stored: list[Stored], ctx: Context | None) -> float:
    """CPU seconds from bytes to features, with what a service notes of each group or without."""
    fold = FeatureFold(INTERVALS_MS, bar_stream="BAR", feature_stream="FEATURE")
    assembler = Assembler()
    start = time.process_time()
    for part in groups_of(stored, READ_MESSAGES):
        received_ns = time.time_ns()
        group = assembler.add(part)
        if group is not None:
            fold.apply(group)
            if ctx is not None:
                note(ctx, group, "MD_BENCH", "feature", received_ns)
    return time.process_time() - start


def _stored(path: Path) -> list[Stored]:
    """A log in which every so many messages one carries a sampled packet's trace."""
    stored = of_capture(path, flush_frames=16).stored
    for one in stored[::TRACED_EACH]:
        one.headers = b"NATS/1.0\r\ntraceparent: 00-%032x-%016x-01\r\n\r\n" % (one.seq, one.seq)
    return stored


def measure(path: Path, quick: bool) -> list[Target]:
    """One target: the share of CPU that metrics and traces add."""
    warm()
    stored = _stored(path)
    telemetry = Telemetry("bench")
    tracing = Tracing("bench", every=1, telemetry=telemetry, exporter=InMemorySpanExporter())
    ctx = cast(Context, SimpleNamespace(telemetry=telemetry, tracing=tracing))
    _seconds(stored, ctx)
    shares = []
    for _ in range(11 if quick else 41):
        without = _seconds(stored, None)
        shares.append(_seconds(stored, ctx) / without - 1)
    asyncio.run(tracing.close())
    notes: dict[str, Any] = {"messages": len(stored), "messages_a_read": READ_MESSAGES}
    return [
        Target(
            "telemetry.share",
            unit="of the CPU without",
            target=SHARE,
            at_least=False,
            notes=notes,
            **of_runs(shares),
        )
    ]
