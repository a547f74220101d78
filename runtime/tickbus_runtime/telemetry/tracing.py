"""One trace a sampled packet, across processes: https://www.w3.org/TR/trace-context/.

Sampling is decided before any span exists, so an unsampled packet costs one modulo. Spans are made
afterwards from measured times. A process without an OTLP endpoint imports and keeps nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from tickbus_schemas.messages import PACKETS_PER_EPOCH

from tickbus_runtime.telemetry.metrics import Telemetry

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanContext

    from tickbus_runtime.telemetry.spans import Spans, Step

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
FIRST_TRACED = 1000
"""Number of the first traced packet; earlier ones are mostly connection set-up."""

Attributes: TypeAlias = Mapping[str, str | int | float | bool]


class PacketTrace:
    """The trace of one received frame while its own process still works on it."""

    def __init__(
        self, spans: Spans, root: SpanContext, received_ns: int, attributes: Attributes
    ) -> None:
        self._spans = spans
        self._root = root
        self._received_ns = received_ns
        self._attributes = attributes
        self.traceparent = f"00-{root.trace_id:032x}-{root.span_id:016x}-01"
        """W3C header that the published message carries."""

    def span(
        self, name: str, start_ns: int, end_ns: int, attributes: Attributes | None = None
    ) -> None:
        """A finished step: `receive`, `parse` or `publish`; wall-clock ns since 1970."""
        self._spans.note([(name, start_ns, end_ns)], self._root, attributes=attributes)

    def end(self, end_ns: int) -> None:
        """The frame is stored: close the root span."""
        step = "packet", self._received_ns, end_ns
        self._spans.note([step], None, self._root, self._attributes)


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
        self._spans: Spans | None = None
        self.every = 0
        """One in this many packets is traced; 0: none."""
        if every and (exporter or (os.environ if environ is None else environ).get(ENDPOINT)):
            from tickbus_runtime.telemetry.spans import (
                Spans,
            )  # takes 0.1 s: imported only for tracing

            self.every = every
            self._spans = Spans(service, shard, telemetry, exporter)

    @property
    def enabled(self) -> bool:
        """Whether anything is traced at all."""
        return self._spans is not None

    def sampled(self, packet_id: int) -> bool:
        """Whether this packet is traced; the same answer in every run and process."""
        every = self.every
        return every > 0 and packet_id % PACKETS_PER_EPOCH % every == FIRST_TRACED % every

    def packet(
        self, packet_id: int, received_ns: int, attributes: Attributes | None = None
    ) -> PacketTrace | None:
        """Begin the trace of a packet; None when it is not sampled."""
        if self._spans is None or not self.sampled(packet_id):
            return None
        from tickbus_runtime.telemetry.spans import new_identity

        facts = {"tickbus.packet_id": packet_id, **(attributes or {})}
        return PacketTrace(self._spans, new_identity(), received_ns, facts)

    def steps(
        self,
        traceparent: str,
        steps: Sequence[Step],
        attributes: Attributes | None = None,
        links: Sequence[SpanContext] = (),
    ) -> None:
        """Note finished steps in a packet's trace; they are dropped if the parent is malformed."""
        if self._spans is not None:
            self._spans.note(steps, traceparent, None, attributes, links)

    def batch(
        self, name: str, start_ns: int, end_ns: int, attributes: Attributes | None = None
    ) -> list[SpanContext]:
        """Note a batch as a trace of one span; the result links spans of packets to it."""
        if self._spans is None:
            return []
        from tickbus_runtime.telemetry.spans import new_identity

        identity = new_identity()
        self._spans.note([(name, start_ns, end_ns)], None, identity, attributes)
        return [identity]

    def flush(self) -> None:
        """Send the waiting spans; returns when they are sent or dropped."""
        if self._spans is not None:
            self._spans.flush()

    async def close(self) -> None:
        """Send the rest, for at most a few seconds, and end the exporter."""
        if self._spans is not None:
            spans, self._spans, self.every = self._spans, None, 0
            await asyncio.to_thread(spans.close)
