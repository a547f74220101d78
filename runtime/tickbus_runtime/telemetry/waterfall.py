"""Collects spans of several processes into traces, and renders a trace. No I/O, no clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import msgspec

ROOT = "packet"
LAST = "write"
"""The span that normally comes last: the packet's row is in a committed file."""
SETTLE_S = 2.0
"""Other processes send their remaining spans within this time of the last span."""
QUIET_S = 5.0
TRACES_MAX = 1_000


class Span(msgspec.Struct, frozen=True):
    """One finished span as OTLP carries it; times in ns since 1970."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    service: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any] = {}
    links: tuple[str, ...] = ()
    """ids of linked traces"""


class Trace:
    """All spans of one trace that have arrived, in order of their start."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self.spans = sorted(spans, key=lambda span: (span.start_ns, -span.end_ns))

    @property
    def root(self) -> Span | None:
        """The packet's own span; None if it has not arrived."""
        return next((span for span in self.spans if span.name == ROOT), None)

    @property
    def start_ns(self) -> int:
        """When the first span began."""
        return self.spans[0].start_ns

    @property
    def total_ns(self) -> int:
        """From the first start to the last end: the packet's whole latency."""
        return max(span.end_ns for span in self.spans) - self.start_ns

    @property
    def covered(self) -> float:
        """Share of the whole latency that is inside a span other than the root."""
        covered_ns, reached_ns = 0, self.start_ns
        for span in self.spans:
            if span.name != ROOT and span.end_ns > reached_ns:
                covered_ns += span.end_ns - max(span.start_ns, reached_ns)
                reached_ns = span.end_ns
        return covered_ns / self.total_ns if self.total_ns else 1.0

    def depth(self, span: Span) -> int:
        """Number of ancestors of a span in the trace."""
        by_id = {other.span_id: other for other in self.spans}
        depth, seen = 0, {span.span_id}
        while span.parent_id in by_id and span.parent_id not in seen:
            span = by_id[span.parent_id]
            seen.add(span.span_id)
            depth += 1
        return depth

    def to_json(self) -> dict[str, Any]:
        """One JSON object; durations in microseconds, offsets from the trace's start."""
        root = self.root
        return {
            "trace_id": self.spans[0].trace_id,
            "start_ns": self.start_ns,
            "total_us": self.total_ns / 1e3,
            "covered": round(self.covered, 4),
            "complete": any(span.name == LAST for span in self.spans),
            "attributes": root.attributes if root else {},
            "spans": [
                {
                    "name": span.name,
                    "service": span.service,
                    "depth": self.depth(span),
                    "offset_us": (span.start_ns - self.start_ns) / 1e3,
                    "duration_us": (span.end_ns - span.start_ns) / 1e3,
                    "attributes": span.attributes,
                    "links": list(span.links),
                }
                for span in self.spans
            ],
        }


class Traces:
    """Collects spans until their trace is complete: the last span came, or none for a while."""

    def __init__(self, *, quiet_s: float = QUIET_S) -> None:
        self.quiet_s = quiet_s
        self._open: OrderedDict[str, tuple[list[Span], float]] = OrderedDict()

    def add(self, spans: Iterable[Span], now_s: float) -> None:
        """Take spans that arrived at this monotonic time."""
        for span in spans:
            known, _ = self._open.get(span.trace_id, ([], 0.0))
            known.append(span)
            self._open[span.trace_id] = (known, now_s)

    def take(self, now_s: float, *, everything: bool = False) -> list[Trace]:
        """The traces that are complete now, oldest first; each is given once."""
        ready = [
            trace_id
            for trace_id, (spans, at_s) in self._open.items()
            if everything or now_s - at_s >= self._patience_s(spans)
        ]
        # Bounded: with too many open traces the oldest are given incomplete.
        surplus = len(self._open) - len(ready) - TRACES_MAX
        if surplus > 0:
            waiting = [trace_id for trace_id in self._open if trace_id not in set(ready)]
            ready += waiting[:surplus]
        traces = [Trace(self._open.pop(trace_id)[0]) for trace_id in ready]
        return sorted(traces, key=lambda trace: trace.start_ns)

    def _patience_s(self, spans: list[Span]) -> float:
        last = any(span.name == LAST for span in spans) and any(s.name == ROOT for s in spans)
        return min(SETTLE_S, self.quiet_s) if last else self.quiet_s


def render(trace: Trace, width: int = 100) -> list[str]:
    """The waterfall as lines of at most `width` characters."""
    rows = [
        ("  " * trace.depth(span) + span.name, _short(span.service), span) for span in trace.spans
    ]
    name_width = max(len(name) for name, _, _ in rows)
    service_width = max(len(service) for _, service, _ in rows)
    times_width = 26
    bar_width = max(width - name_width - service_width - times_width - 4, 10)
    lines = [_headline(trace)]
    for name, service, span in rows:
        offset_ns = span.start_ns - trace.start_ns
        times = f"+{duration(offset_ns):>9}  {duration(span.end_ns - span.start_ns):>9}"
        bar = _bar(offset_ns, span.end_ns - span.start_ns, trace.total_ns, bar_width)
        line = f"{name:<{name_width}}  {service:<{service_width}}  {times}  {bar}"
        lines.append(line[:width].rstrip())
    return lines


def _headline(trace: Trace) -> str:
    root = trace.root
    facts = (
        [f"{key.rpartition('.')[2]} {value}" for key, value in root.attributes.items()]
        if root
        else []
    )
    whole = f"total {duration(trace.total_ns)}, {trace.covered:.0%} of it in spans"
    return ", ".join([f"trace {trace.spans[0].trace_id}", *facts, whole])


def _bar(offset_ns: int, length_ns: int, total_ns: int, width: int) -> str:
    if total_ns <= 0:
        return "█"
    start = min(int(offset_ns / total_ns * width), width - 1)
    length = max(round(length_ns / total_ns * width), 1)
    return " " * start + "█" * min(length, width - start)


def duration(ns: int) -> str:
    """A time in a fitting unit: `812 us`, `12.4 ms`, `3.20 s`."""
    if ns < 1_000_000:
        return f"{ns / 1e3:.0f} us" if ns >= 100_000 else f"{ns / 1e3:.1f} us"
    if ns < 1_000_000_000:
        return f"{ns / 1e6:.2f} ms"
    return f"{ns / 1e9:.2f} s"


def _short(service: str) -> str:
    return service.removeprefix("tickbus-")
