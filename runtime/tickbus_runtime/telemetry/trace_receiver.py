"""An OTLP/HTTP receiver on loopback: https://opentelemetry.io/docs/specs/otlp/#otlphttp.

A small collector, so that traces can be seen without other programs: protobuf, plain or gzip.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # ships no types
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from tickbus_schemas.errors import Fatal

from tickbus_runtime.telemetry.waterfall import Span, Traces

REQUEST_BYTES_MAX = 16 * 1024**2
PROTOBUF = "application/x-protobuf"


class TraceReceiver:
    """Receives spans and collects them into traces."""

    def __init__(self, traces: Traces | None = None) -> None:
        self.traces = traces or Traces()
        self.spans = 0
        """How many have arrived."""
        self.url = ""
        """What OTEL_EXPORTER_OTLP_ENDPOINT must be, once started."""
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; Fatal when the port is taken."""
        app = web.Application(client_max_size=REQUEST_BYTES_MAX)
        app.add_routes([web.post("/v1/traces", self._export)])
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            raise Fatal(
                f"cannot listen on {host}:{port}: {error.strerror or error}; "
                "another collector may run there: choose a different --port"
            ) from None
        self._runner = runner
        self.url = f"http://{host}:{runner.addresses[0][1]}"

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _export(self, request: web.Request) -> web.Response:
        if request.content_type != PROTOBUF:
            raise web.HTTPUnsupportedMediaType(text=f"only {PROTOBUF} is accepted here\n")
        try:
            message = ExportTraceServiceRequest.FromString(await request.read())
            spans = list(read_spans(message))
        except (DecodeError, ValueError) as error:
            raise web.HTTPBadRequest(text=f"not an OTLP trace request: {error}\n") from None
        self.spans += len(spans)
        self.traces.add(spans, time.monotonic())
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type=PROTOBUF)


def read_spans(message: ExportTraceServiceRequest) -> Iterable[Span]:
    """The spans of an export request."""
    for resource_spans in message.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        service = str(resource.get("service.name", "?"))
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield Span(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    name=span.name,
                    service=service,
                    start_ns=span.start_time_unix_nano,
                    end_ns=max(span.end_time_unix_nano, span.start_time_unix_nano),
                    attributes=_attributes(span.attributes),
                    links=tuple(link.trace_id.hex() for link in span.links),
                )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind in ("string_value", "int_value", "double_value", "bool_value"):
        return getattr(value, kind)
    return str(value).strip()
