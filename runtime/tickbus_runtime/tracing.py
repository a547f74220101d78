"""One trace a sampled packet, across processes: https://www.w3.org/TR/trace-context/.

Which packet is traced is decided before any span exists, so an unsampled packet costs one modulo.
Spans are made after the fact from measured times; a process that has no OTLP endpoint imports and
keeps nothing. The exporter works in a thread of its own with a bounded queue and never blocks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tickbus_schemas.messages import PACKETS_PER_EPOCH

from tickbus_runtime.telemetry import Telemetry

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Link, Span, SpanContext, Tracer

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
FIRST_TRACED = 1000
"""Packet number that is traced first; the ones before are mostly connection set-up."""
QUEUE_SPANS = 4096
EXPORT_TIMEOUT_S = 2.0

Attributes = Mapping[str, str | int | float | bool]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


class PacketTrace:
    """The trace of one received frame while its own process still works on it."""

    def __init__(self, tracing: Tracing, root: Span) -> None:
        self._tracing = tracing
        self._root = root
        context = root.get_span_context()
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
        """W3C header that the published message carries."""

    def span(
        self, name: str, start_ns: int, end_ns: int, attributes: Attributes | None = None
    ) -> None:
        """A finished step: `receive`, `parse` or `publish`; wall-clock ns since 1970."""
        self._tracing._span(name, start_ns, end_ns, self._root.get_span_context(), attributes)

    def end(self, end_ns: int) -> None:
        """The frame is stored: close the root span."""
        self._root.end(end_time=end_ns)


class Tracing:
    """Makes and exports the spans of one process; `enabled` is False without an endpoint."""

    def __init__(
        self,
        service: str,
        *,
        every: int,
        telemetry: Telemetry,
        shard: str = "",
        environ: Mapping[str, str] | None = None,
        exporter: SpanExporter | None = None,
    ) -> None:
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None
        self.every = 0
        """Each how many packets one is traced; 0: none."""
        if every and (exporter or (os.environ if environ is None else environ).get(ENDPOINT)):
            self.every = every
            self._start(service, shard, telemetry, exporter)

    @property
    def enabled(self) -> bool:
        """Whether anything is traced at all."""
        return self._tracer is not None

    def sampled(self, packet_id: int) -> bool:
        """Whether this packet is traced; the same answer in every run and process."""
        every = self.every
        return every > 0 and packet_id % PACKETS_PER_EPOCH % every == FIRST_TRACED % every

    def packet(
        self, packet_id: int, received_ns: int, attributes: Attributes | None = None
    ) -> PacketTrace | None:
        """Begin the trace of a packet; None when it is not sampled."""
        if self._tracer is None or not self.sampled(packet_id):
            return None
        from opentelemetry.context import Context

        root = self._tracer.start_span(
            "packet",
            context=Context(),
            start_time=received_ns,
            attributes={"tickbus.packet_id": packet_id, **(attributes or {})},
        )
        return PacketTrace(self, root)

    def child(
        self,
        traceparent: str,
        name: str,
        start_ns: int,
        end_ns: int,
        attributes: Attributes | None = None,
        links: Sequence[Link] = (),
    ) -> None:
        """A finished step of this process in a packet's trace; a malformed parent is left out."""
        if self._tracer is not None:
            parent = parse_traceparent(traceparent)
            if parent is not None:
                self._span(name, start_ns, end_ns, parent, attributes, links)

    def batch(
        self, name: str, start_ns: int, end_ns: int, attributes: Attributes | None = None
    ) -> list[Link]:
        """A batch's own trace of one span; what it returns links packets' spans to it."""
        if self._tracer is None:
            return []
        from opentelemetry.trace import Link

        return [Link(self._span(name, start_ns, end_ns, None, attributes))]

    async def close(self) -> None:
        """Send what is left, for at most a few seconds, and end the exporter."""
        if self._provider is not None:
            await asyncio.to_thread(self._provider.force_flush, int(2_000 * EXPORT_TIMEOUT_S))
            await asyncio.to_thread(self._provider.shutdown)
            self._provider = self._tracer = None
            self.every = 0

    def _span(
        self,
        name: str,
        start_ns: int,
        end_ns: int,
        parent: SpanContext | None,
        attributes: Attributes | None = None,
        links: Sequence[Link] = (),
    ) -> SpanContext:
        from opentelemetry.context import Context
        from opentelemetry.trace import NonRecordingSpan, set_span_in_context

        assert self._tracer is not None
        context = Context()
        if parent is not None:
            context = set_span_in_context(NonRecordingSpan(parent), context)
        span = self._tracer.start_span(
            name, context=context, start_time=start_ns, attributes=attributes, links=links
        )
        span.end(end_time=max(end_ns, start_ns))
        return span.get_span_context()

    def _start(
        self, service: str, shard: str, telemetry: Telemetry, exporter: SpanExporter | None
    ) -> None:
        # 0.1 s of imports: only processes that trace pay them.
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        # What cannot be exported is counted; the exporter's own complaints would flood the log.
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
        logging.getLogger("opentelemetry").propagate = False
        resource = Resource(
            {
                "service.name": f"tickbus-{service}",
                "service.instance.id": str(os.getpid()),
                "tickbus.shard": shard,
            }
        )
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                _counted(exporter or _otlp_exporter(), telemetry),
                max_queue_size=QUEUE_SPANS,
                schedule_delay_millis=200,
            )
        )
        self._tracer = self._provider.get_tracer("tickbus")


def parse_traceparent(text: str) -> SpanContext | None:
    """The remote parent that a `traceparent` header names; None unless it is one and sampled."""
    from opentelemetry.trace import SpanContext, TraceFlags

    match = _TRACEPARENT.fullmatch(text)
    if match is None or not int(match[3], 16) & TraceFlags.SAMPLED:
        return None
    context = SpanContext(
        int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=TraceFlags(1)
    )
    return context if context.is_valid else None


def _otlp_exporter() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(timeout=EXPORT_TIMEOUT_S)


def _counted(exporter: SpanExporter, telemetry: Telemetry) -> SpanExporter:
    """The same exporter; what it fails to send is counted and dropped."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Counted(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = exporter.export(spans)
            if result is not SpanExportResult.SUCCESS:
                telemetry.count("telemetry_dropped", len(spans))
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

    return Counted()
