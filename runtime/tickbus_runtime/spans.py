"""Finished spans, made whole and handed to OpenTelemetry's exporter in batches.

A Tracer makes a span in two acts with locks, limits, samplers and a context around it, all for code
that runs inside the span. Ours are over when they are made: some 3 us each in place of 25. The
exporter works in a thread of its own with a bounded queue and never blocks.
https://opentelemetry.io/docs/specs/otel/trace/sdk/#span-processor
"""

from __future__ import annotations

import logging
import os
import random
import re
from collections.abc import Iterable, Mapping, Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, TraceFlags

from tickbus_runtime.telemetry import Telemetry

QUEUE_SPANS = 4096
EXPORT_EACH_MS = 1_000
"""A request costs about as much as encoding a hundred spans, so few of them."""
EXPORT_TIMEOUT_S = 2.0
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("tickbus")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


class Spans:
    """The spans of one process on their way to a collector."""

    def __init__(
        self, service: str, shard: str, telemetry: Telemetry, exporter: SpanExporter | None
    ) -> None:
        # What cannot be exported is counted; the exporter's own complaints would flood the log.
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
        logging.getLogger("opentelemetry").propagate = False
        self._resource = Resource(
            {
                "service.name": f"tickbus-{service}",
                "service.instance.id": str(os.getpid()),
                "tickbus.shard": shard,
            }
        )
        self._processor = BatchSpanProcessor(
            _Counted(exporter or _otlp_exporter(), telemetry),
            max_queue_size=QUEUE_SPANS,
            schedule_delay_millis=EXPORT_EACH_MS,
        )

    def context(self, trace_id: int = 0) -> SpanContext:
        """Identity of a new span, in a trace of its own unless one is named."""
        trace_id = trace_id or random.getrandbits(128) or 1
        return SpanContext(trace_id, random.getrandbits(64) or 1, False, _SAMPLED)

    def add(
        self,
        name: str,
        start_ns: int,
        end_ns: int,
        parent: SpanContext | None,
        attributes: Mapping[str, str | int | float | bool] | None = None,
        links: Sequence[SpanContext] = (),
    ) -> SpanContext:
        """A finished span below `parent`, or the only one of a trace."""
        context = self.context(parent.trace_id if parent else 0)
        self.put(name, start_ns, end_ns, context, parent, attributes, links)
        return context

    def add_steps(
        self,
        traceparent: str,
        steps: Iterable[tuple[str, int, int]],
        attributes: Mapping[str, str | int | float | bool] | None = None,
        links: Sequence[SpanContext] = (),
    ) -> None:
        """Finished spans (name, start, end) below a remote parent; none if it is malformed."""
        parent = parse_traceparent(traceparent)
        if parent is not None:
            for name, start_ns, end_ns in steps:
                self.add(name, start_ns, end_ns, parent, attributes, links)

    def put(
        self,
        name: str,
        start_ns: int,
        end_ns: int,
        context: SpanContext,
        parent: SpanContext | None,
        attributes: Mapping[str, str | int | float | bool] | None = None,
        links: Sequence[SpanContext] = (),
    ) -> None:
        """A finished span with the identity `context`; wall-clock ns since 1970."""
        self._processor.on_end(
            ReadableSpan(
                name,
                context,
                parent,
                self._resource,
                attributes,
                links=[Link(other) for other in links],
                start_time=start_ns,
                end_time=max(end_ns, start_ns),
                instrumentation_scope=_SCOPE,
            )
        )

    def flush(self) -> None:
        """Send what waits; returns when it is sent or dropped."""
        self._processor.force_flush(int(2_000 * EXPORT_TIMEOUT_S))

    def close(self) -> None:
        """Send what is left and end the exporter's thread."""
        self.flush()
        self._processor.shutdown()  # type: ignore[no-untyped-call]


def parse_traceparent(text: str) -> SpanContext | None:
    """The remote parent that a `traceparent` header names; None unless it is one and sampled."""
    match = _TRACEPARENT.fullmatch(text)
    if match is None or not int(match[3], 16) & TraceFlags.SAMPLED:
        return None
    context = SpanContext(int(match[1], 16), int(match[2], 16), True, _SAMPLED)
    return context if context.is_valid else None


class _Counted(SpanExporter):
    """An exporter; what it fails to send is counted and dropped."""

    def __init__(self, exporter: SpanExporter, telemetry: Telemetry) -> None:
        self._exporter = exporter
        self._telemetry = telemetry

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self._telemetry.count("telemetry_dropped", len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _otlp_exporter() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(timeout=EXPORT_TIMEOUT_S)
