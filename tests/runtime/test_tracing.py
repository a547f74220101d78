"""One trace a sampled packet, over real OTLP/HTTP, put together from several processes."""

from __future__ import annotations

import asyncio
import gzip
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_runtime.telemetry.spans import QUEUE_NOTES, parse_traceparent
from tickbus_runtime.telemetry.trace_receiver import PROTOBUF, TraceReceiver
from tickbus_runtime.telemetry.tracing import FIRST_TRACED, Tracing
from tickbus_runtime.telemetry.waterfall import (
    QUIET_S,
    SETTLE_S,
    Span,
    Trace,
    Traces,
    duration,
    render,
)
from tickbus_schemas.errors import Fatal
from tickbus_schemas.messages import PACKETS_PER_EPOCH

MS = 1_000_000


def tracing(service: str, exporter: SpanExporter | None, every: int = 10) -> Tracing:
    return Tracing(
        service, every=every, telemetry=Telemetry(service), environ={}, exporter=exporter
    )


def test_without_an_endpoint_nothing_is_traced() -> None:
    off = tracing("ingest", None)
    assert not off.enabled
    assert not any(off.sampled(packet_id) for packet_id in range(5_000))
    assert off.packet(FIRST_TRACED, 1) is None
    assert off.batch("write.block", 1, 2) == []
    off.steps("00-" + "1" * 32 + "-" + "2" * 16 + "-01", [("write", 1, 2)])


@pytest.mark.parametrize(
    "header", ["", "00-1-2-01", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "x"]
)
def test_a_malformed_or_empty_parent_is_none(header: str) -> None:
    assert parse_traceparent(header) is None


def test_a_parent_that_was_not_sampled_is_none() -> None:
    assert parse_traceparent("00-" + "1" * 32 + "-" + "2" * 16 + "-00") is None


@given(st.integers(1, 10_000), st.integers(0, 2**20), st.integers(0, 100_000))
def test_which_packet_is_traced_depends_on_its_number_alone(every: int, epoch: int, n: int) -> None:
    on = tracing("ingest", None)
    on.every = every
    chosen = [k for k in range(n, n + every) if on.sampled(epoch * PACKETS_PER_EPOCH + k)]
    assert len(chosen) == 1
    assert on.sampled(epoch * PACKETS_PER_EPOCH + FIRST_TRACED)


@pytest.fixture
async def receiver() -> AsyncIterator[TraceReceiver]:
    receiver = TraceReceiver()
    await receiver.start()
    yield receiver
    await receiver.close()


@pytest.mark.connected
async def test_a_packet_is_one_trace_across_processes(receiver: TraceReceiver) -> None:
    endpoint = f"{receiver.url}/v1/traces"
    ingest, book, writer = (
        tracing(service, OTLPSpanExporter(endpoint)) for service in ("ingest", "book", "writer")
    )
    zero = time.time_ns()
    packet = ingest.packet(PACKETS_PER_EPOCH + FIRST_TRACED, zero, {"tickbus.ticker": "BTCUSDT"})
    assert packet is not None
    packet.span("receive", zero, zero + 1 * MS)
    packet.span("parse", zero + 1 * MS, zero + 2 * MS)
    packet.span("publish", zero + 2 * MS, zero + 5 * MS)
    packet.end(zero + 5 * MS)
    book.steps(packet.traceparent, [("book.process", zero + 5 * MS, zero + 8 * MS)])
    links = writer.batch("write.block", zero + 4 * MS, zero + 20 * MS, {"rows": 3})
    writer.steps(packet.traceparent, [("write", zero + 5 * MS, zero + 20 * MS)], links=links)
    for process in (ingest, book, writer):
        await process.close()

    traces = receiver.traces.take(time.monotonic(), everything=True)
    (trace,) = [trace for trace in traces if trace.root is not None]
    (block,) = [trace for trace in traces if trace.root is None]
    assert trace.spans[0].trace_id == packet.traceparent.split("-")[1]
    assert {(span.name, span.service) for span in trace.spans} == {
        ("packet", "tickbus-ingest"),
        ("receive", "tickbus-ingest"),
        ("parse", "tickbus-ingest"),
        ("publish", "tickbus-ingest"),
        ("book.process", "tickbus-book"),
        ("write", "tickbus-writer"),
    }
    assert trace.total_ns == 20 * MS
    assert trace.covered == 1.0
    assert trace.root is not None
    assert trace.root.attributes["tickbus.packet_id"] == PACKETS_PER_EPOCH + FIRST_TRACED
    (write,) = [span for span in trace.spans if span.name == "write"]
    assert write.links == (block.spans[0].trace_id,)
    assert trace.to_json()["complete"]


@pytest.mark.connected
async def test_without_a_collector_spans_are_counted_and_dropped() -> None:
    telemetry = Telemetry("ingest")
    exporter = OTLPSpanExporter("http://127.0.0.1:9/v1/traces", timeout=0.2)
    lost = Tracing("ingest", every=1, telemetry=telemetry, environ={}, exporter=exporter)
    lost.batch("write.block", 1, 2)
    await lost.close()
    assert telemetry.status()["counters"] == {"telemetry_dropped": 1}


async def test_every_span_is_exported_or_counted_as_dropped() -> None:
    telemetry, kept = Telemetry("book"), InMemorySpanExporter()
    many = Tracing("book", every=1, telemetry=telemetry, environ={}, exporter=kept)
    parent = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    for n in range(QUEUE_NOTES + 10):
        many.steps(parent, [("bus", n, n + 1), ("book.process", n + 1, n + 2)])
    await many.close()
    dropped = telemetry.status()["counters"].get("telemetry_dropped", 0)
    spans = kept.get_finished_spans()
    assert len(spans) + dropped == 2 * (QUEUE_NOTES + 10)
    assert len({span.context.span_id for span in spans}) == len(spans) >= QUEUE_NOTES
    assert {span.parent.span_id for span in spans if span.parent} == {int("2" * 16, 16)}


async def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    def send() -> int:
        request = urllib.request.Request(f"{url}/v1/traces", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    return await asyncio.to_thread(send)


@pytest.mark.connected
async def test_the_receiver_refuses_what_is_no_trace(receiver: TraceReceiver) -> None:
    url = receiver.url
    assert await post(url, b"\xff\xff", {"Content-Type": PROTOBUF}) == 400
    assert await post(url, b"{}", {"Content-Type": "application/json"}) == 415
    zipped = {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}
    assert await post(url, gzip.compress(b""), zipped) == 200
    assert receiver.spans == 0


@pytest.mark.connected
async def test_a_port_in_use_is_one_line(receiver: TraceReceiver) -> None:
    port = int(receiver.url.rpartition(":")[2])
    with pytest.raises(Fatal, match=f"127.0.0.1:{port}"):
        await TraceReceiver().start(port=port)


def span(name: str, start: int, end: int, parent: str = "packet", trace: str = "t") -> Span:
    return Span(trace, name, "" if name == parent else parent, name, "tickbus-x", start, end)


def test_a_trace_is_complete_soon_after_its_write_and_late_without_one() -> None:
    traces = Traces()
    traces.add([span("packet", 0, 5), span("write", 5, 9)], now_s=100.0)
    traces.add([span("packet", 0, 5, trace="u")], now_s=100.0)
    assert traces.take(100.0 + SETTLE_S - 0.1) == []
    (done,) = traces.take(100.0 + SETTLE_S)
    assert done.to_json()["complete"]
    (late,) = traces.take(100.0 + QUIET_S)
    assert not late.to_json()["complete"]
    assert traces.take(1e9) == []


def test_coverage_counts_overlaps_once_and_leaves_out_the_root() -> None:
    spans = [span("packet", 0, 60), span("parse", 0, 20), span("publish", 10, 40)]
    assert Trace([*spans, span("write", 80, 100)]).covered == pytest.approx(0.6)


def test_the_oldest_of_too_many_open_traces_are_shown_unfinished() -> None:
    traces = Traces()
    traces.add([span("packet", n, n + 1, trace=f"t{n}") for n in range(1_005)], now_s=0.0)
    assert [trace.start_ns for trace in traces.take(0.0)] == [0, 1, 2, 3, 4]


def test_a_waterfall_shows_each_span_with_offset_duration_and_a_bar_to_scale() -> None:
    spans = [
        span("packet", 0, 50 * MS),
        span("parse", 0, 25 * MS),
        span("write", 50 * MS, 100 * MS),
    ]
    head, *rows = render(Trace(spans), width=80)
    assert head == "trace t, total 100.00 ms, 75% of it in spans"
    assert [row.split()[0] for row in rows] == ["packet", "parse", "write"]
    assert all(len(row) <= 80 for row in rows)
    bars = [row.count("█") for row in rows]
    assert bars[0] == bars[2] == pytest.approx(2 * bars[1], abs=1)
    assert rows[2].index("█") > rows[1].rindex("█")


def test_a_trace_whose_spans_name_each_other_as_parents_is_shown_too() -> None:
    spans = [span("a", 0, 1, parent="b"), span("b", 0, 1, parent="a")]
    assert len(render(Trace(spans))) == 3


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0.0 us"),
        (1_500, "1.5 us"),
        (250_000, "250 us"),
        (12_340_000, "12.34 ms"),
        (3 * 10**9, "3.00 s"),
    ],
)
def test_durations_read_well(ns: int, text: str) -> None:
    assert duration(ns) == text
