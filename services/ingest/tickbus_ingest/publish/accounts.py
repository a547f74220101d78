"""What became of every frame: counters, latencies and the sum that must come out even.

received = published + stale or repeated + ignored + control + rejected + waiting for a snapshot
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
from tickbus_runtime.telemetry.metrics import Telemetry

from tickbus_ingest.books import State
from tickbus_ingest.wire.buffer import Buffer, Frames
from tickbus_ingest.wire.recorder import Recorder
from tickbus_ingest.rows import Flush
from tickbus_ingest.session import Session

ENDS = {
    "published_frames": "published",
    "stale_events": "dropped",
    "duplicates": "dropped",
    "ignored_frames": "ignored",
    "control_frames": "control",
}
"""Where a frame ends, by the counter that tells."""
LABELS = {
    "stale_events": "feed", "duplicates": "feed", "gaps": "feed",
    "inferred_times": "feed", "snapshots": "source", "ignored_frames": "channel",
}  # fmt: skip


class Accounts:
    """Adds up flush by flush; `status` is shown at /status."""

    def __init__(self, telemetry: Telemetry, status: dict[str, Any]) -> None:
        self._telemetry = telemetry
        self._status = status
        self._wire, self._ingest = telemetry.latency("wire"), telemetry.latency("ingest")
        self._parse, self._publish = telemetry.latency("parse"), telemetry.latency("publish")
        self._sums: Counter[str] = Counter()
        self._began = (0, 0.0)
        self._stored_ns = 0

    def received(self, frames: Frames) -> None:
        """Frames were taken from the buffer."""
        if not self._sums["received"]:
            self._status["first_frame_ns"] = time.time_ns()
            self._began = (time.monotonic_ns(), time.process_time())
        self._sums["received"] += len(frames.data)
        self._telemetry.count("frames", len(frames.data), source="websocket")
        self._telemetry.count("frame_bytes", frames.size, source="websocket")

    def flushed(self, flush: Flush, arrived_ns: list[int], parsed_ns: int, stored_ns: int) -> None:
        """A flush is stored; monotonic ns."""
        count = self._telemetry.count
        count("flushes")
        for (name, label), number in flush.counts.items():
            if name in ENDS:
                self._sums[ENDS[name]] += number
            if name == "packet_parts":  # one frame that became several packets
                self._sums["published"] -= number
            elif label:
                count(name, number, **{LABELS[name]: label})
            elif name != "published_frames":
                count(name, number)
        for one in flush.refused:
            count("rejects", reason="body" if one.is_body else "frame")
            self._sums["rejected"] += not one.is_body
        self._count_rows(flush)
        if arrived_ns:
            self._stored_ns = stored_ns
            times = np.array(arrived_ns, np.int64)
            self._ingest.observe_since(stored_ns, times)
            self._parse.observe_since(parsed_ns, times)
            self._publish.observe((stored_ns - parsed_ns) / 1e3)
            for wire_us in flush.wire_us:
                self._wire.observe_many(wire_us)

    def _count_rows(self, flush: Flush) -> None:
        for feed, pieces in (("trade", flush.trades), ("l2", flush.l2), ("bbo", flush.quotes)):
            rows = sum(piece.stop - piece.start for piece in pieces)
            if rows:
                self._telemetry.count("events", rows, feed=feed)
        if flush.statuses:
            self._telemetry.count("events", len(flush.statuses), feed="status")

    def work(self) -> dict[str, float]:
        """Packets' seconds from the first received to the last stored, and their CPU seconds."""
        began_ns, began_cpu_s = self._began
        return {
            "seconds": max(self._stored_ns - began_ns, 0) / 1e9 if began_ns else 0.0,
            "cpu_s": time.process_time() - began_cpu_s if began_ns else 0.0,
        }

    def show(self, session: Session, buffer: Buffer, recorder: Recorder | None) -> None:
        """Gauges and the sum; once a second."""
        gauge = self._telemetry.gauge
        live = sum(book.state is State.LIVE for book in session.books)
        gauge("books_live", live)
        gauge("books_not_live", len(session.books) - live)
        gauge("buffer_frames", len(buffer))
        gauge("buffer_bytes", buffer.size)
        if recorder is not None:
            gauge("raw_bytes", recorder.text_bytes)
        waiting = sum(book.waiting_packets for book in session.books)
        self._status["frames"] = {**self._sums, "waiting": waiting, "buffered": len(buffer)}
