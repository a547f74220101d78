"""Builds finished spans and gives them to OpenTelemetry's exporter in batches.

A Tracer starts and ends a span, with locks, limits, samplers and a context for the code inside it.
Our spans are over when they are noted, so the caller only queues their values. Once a second a
thread makes spans of them and exports them; it never blocks the caller.
"""

from __future__ import annotations

import logging
import os
import random
import re
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, TraceFlags

from tickbus_runtime.telemetry.metrics import Telemetry

QUEUE_NOTES = 4096
BATCH_NOTES = 256
EXPORT_EACH_S = 1.0
"""A request costs about as much as encoding a hundred spans, so requests are few."""
EXPORT_TIMEOUT_S = 2.0
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("tickbus")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")

Step: TypeAlias = tuple[str, int, int]
"""Name of a span, start and end in wall-clock ns since 1970."""


class _Note(NamedTuple):
    """Spans with the same parent, before they are made."""

    steps: Sequence[Step]
    parent: SpanContext | str | None
    """or its `traceparent` header, not read yet"""
    identity: SpanContext | None
    """of the one span whose identity is known already"""
    attributes: Mapping[str, str | int | float | bool] | None
    links: Sequence[SpanContext]


class Spans:
    """The spans of one process on their way to a collector."""

    def __init__(
        self, service: str, shard: str, telemetry: Telemetry, exporter: SpanExporter | None
    ) -> None:
        # Failed exports are counted; the exporter's own messages would flood the log.
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
        logging.getLogger("opentelemetry").propagate = False
        self._resource = Resource(
            {
                "service.name": f"tickbus-{service}",
                "service.instance.id": str(os.getpid()),
                "tickbus.shard": shard,
            }
        )
        self._exporter = exporter or _otlp_exporter()
        self._telemetry = telemetry
        self._notes: deque[_Note] = deque()
        self._exporting = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="spans")
        self._thread.start()

    def note(
        self,
        steps: Sequence[Step],
        parent: SpanContext | str | None,
        identity: SpanContext | None = None,
        attributes: Mapping[str, str | int | float | bool] | None = None,
        links: Sequence[SpanContext] = (),
    ) -> None:
        """Finished steps below `parent` (an identity, or a `traceparent`; None: their own trace).

        A malformed `traceparent` gives no spans. A full queue drops the spans and counts them.
        """
        if len(self._notes) >= QUEUE_NOTES:
            self._telemetry.count("telemetry_dropped", len(steps))
        else:
            self._notes.append(_Note(steps, parent, identity, attributes, links))

    def flush(self, within_s: float = 2 * EXPORT_TIMEOUT_S) -> None:
        """Send the queue; spans not sent within that time stay in it."""
        ends_s = time.monotonic() + within_s
        with self._exporting:
            while self._notes and time.monotonic() < ends_s:
                count = min(len(self._notes), BATCH_NOTES)
                notes = [self._notes.popleft() for _ in range(count)]
                self._export([span for note in notes for span in self._made(note)])

    def close(self) -> None:
        """Send the rest, for at most a few seconds, and end the thread."""
        self._closing.set()
        self.flush()
        left = sum(len(note.steps) for note in self._notes)
        if left:
            self._telemetry.count("telemetry_dropped", left)
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._closing.wait(EXPORT_EACH_S):
            self.flush()

    def _export(self, spans: list[ReadableSpan]) -> None:
        """Export spans; count and drop those that the collector does not take."""
        try:
            taken = not spans or self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:  # an error of the collector must not reach the service
            taken = False
        if not taken:
            self._telemetry.count("telemetry_dropped", len(spans))

    def _made(self, note: _Note) -> Iterator[ReadableSpan]:
        parent = note.parent
        if isinstance(parent, str):
            parent = parse_traceparent(parent)
            if parent is None:
                return
        for name, start_ns, end_ns in note.steps:
            yield ReadableSpan(
                name,
                note.identity or new_identity(parent),
                parent,
                self._resource,
                note.attributes,
                links=[Link(other) for other in note.links],
                start_time=start_ns,
                end_time=max(end_ns, start_ns),
                instrumentation_scope=_SCOPE,
            )


def new_identity(parent: SpanContext | None = None) -> SpanContext:
    """Identity of a new span, in its parent's trace or in a new one."""
    trace_id = parent.trace_id if parent else random.getrandbits(128) or 1
    return SpanContext(trace_id, random.getrandbits(64) or 1, False, _SAMPLED)


def parse_traceparent(text: str) -> SpanContext | None:
    """The remote parent in a `traceparent` header; None if it is malformed or not sampled."""
    match = _TRACEPARENT.fullmatch(text)
    if match is None or not int(match[3], 16) & TraceFlags.SAMPLED:
        return None
    context = SpanContext(int(match[1], 16), int(match[2], 16), True, _SAMPLED)
    return context if context.is_valid else None


def _otlp_exporter() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(timeout=EXPORT_TIMEOUT_S)
