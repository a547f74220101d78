"""What became of every frame: counters, latencies and the sum that must come out even.

received = published + stale + duplicate + ignored + control + refused + gap + dropped + waiting
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
from tickbus_runtime.telemetry.metrics import Telemetry

from tickbus_ingest.session.book_rules import State
from tickbus_ingest.session.session import Session
from tickbus_ingest.session.tables import Flush, Refused
from tickbus_ingest.wire.buffer import Buffer, Frames
from tickbus_ingest.wire.recorder import Recorder

FATES = (
    "published", "stale", "duplicate", "ignored", "control", "refused", "gap", "dropped",
)  # fmt: skip
"""How a frame ends: as rows; older than its book; said before; of a channel that is no feed or not
wanted; an answer or notice; not understood; of a book that was lost; without room in the buffer."""
LABELS = {
    "stale_events": "feed", "duplicates": "feed", "gaps": "feed", "inferred_times": "feed",
    "reused_ids": "feed", "snapshots": "source",
}  # fmt: skip
CHANNELS_MAX = 64
"""Channels that are counted one by one: their names come from outside."""
OTHERS = "others"
REASONS_MAX = 10
"""Different reasons of refusals that are kept."""


class Accounts:
    """Adds up flush by flush; `status` is shown at /status."""

    def __init__(self, telemetry: Telemetry, status: dict[str, Any]) -> None:
        self._telemetry = telemetry
        self._status = status
        self._wire, self._ingest = telemetry.latency("wire"), telemetry.latency("ingest")
        self._parse, self._publish = telemetry.latency("parse"), telemetry.latency("publish")
        self._received = 0
        self._fates: Counter[str] = Counter(dict.fromkeys(FATES, 0))
        self._channels: set[str] = set()
        self._reasons: Counter[str] = Counter()
        self._stored_ns = 0

    def received(self, frames: Frames) -> None:
        """Frames were taken from the buffer."""
        if not self._received:
            self._status["first_frame_ns"] = time.time_ns()
        self._received += len(frames.data)
        self._telemetry.count("frames", len(frames.data), source="websocket")
        self._telemetry.count("frame_bytes", frames.size, source="websocket")

    def read(self, flush: Flush) -> list[Refused]:
        """A flush was read: what becomes of its frames. Refusals with a reason that is new."""
        count = self._telemetry.count
        for (fate, label), number in flush.fates.items():
            if not number:
                continue
            self._fates[fate] += number
            count("fates", number, fate=fate)
            if fate == "ignored":
                count("ignored_frames", number, channel=self._channel(label))
            elif fate == "control":
                count("control_frames", number)
            elif fate == "dropped":
                self._received += number
                count("frames", number, source="websocket")
        for (name, label), number in flush.counts.items():
            if label:
                count(name, number, **{LABELS[name]: label})
            else:
                count(name, number)
        self._count_rows(flush)
        return self._refused(flush)

    def _refused(self, flush: Flush) -> list[Refused]:
        news = []
        for one in flush.refused:
            self._telemetry.count("rejects", reason="body" if one.is_body else "frame")
            kind = one.kind
            if kind not in self._reasons:
                if len(self._reasons) >= REASONS_MAX:
                    kind = OTHERS
                else:
                    news.append(one)
            self._reasons[kind] += 1
        return news

    def _channel(self, name: str) -> str:
        if name not in self._channels and len(self._channels) >= CHANNELS_MAX:
            return "others"
        self._channels.add(name)
        return name

    def _count_rows(self, flush: Flush) -> None:
        rows: Counter[str] = Counter()
        for feed, table in flush.tables:
            rows[feed] += len(table)
        rows["l2"] += sum(piece.stop - piece.start for piece in flush.l2)
        rows["status"] += len(flush.statuses)
        rows["instrument"] += len(flush.instruments)
        for feed, number in rows.items():
            if number:
                self._telemetry.count("events", number, feed=feed)

    def stored(
        self, flush: Flush, arrived_ns: list[int], parsed_ns: int, sent_ns: int, stored_ns: int
    ) -> None:
        """A flush is stored; monotonic ns. It may have waited for the one before it to be."""
        self._telemetry.count("flushes")
        if not arrived_ns:
            return
        self._stored_ns = stored_ns
        times = np.array(arrived_ns, np.int64)
        self._ingest.observe_since(stored_ns, times)
        self._parse.observe_since(parsed_ns, times)
        self._publish.observe((stored_ns - sent_ns) / 1e3)
        for wire_us in flush.wire_us:
            self._wire.observe_many(wire_us)

    def work(self) -> dict[str, float]:
        """Wall-clock ns when the last packet was stored, and CPU seconds of the process so far."""
        ago_ns = time.monotonic_ns() - self._stored_ns if self._stored_ns else 0
        return {"stored_ns": time.time_ns() - ago_ns, "cpu_s": time.process_time()}

    def show(self, session: Session, buffer: Buffer, recorder: Recorder | None) -> None:
        """Gauges and the sum; between two flushes, so that it comes out even."""
        gauge = self._telemetry.gauge
        live = sum(book.state is State.LIVE for book in session.books)
        gauge("books_live", live)
        gauge("books_not_live", len(session.books) - live)
        gauge("buffer_frames", len(buffer))
        gauge("buffer_bytes", buffer.size)
        if recorder is not None:
            gauge("raw_bytes", recorder.text_bytes)
        self._status["frames"] = {
            "received": self._received, **self._fates, "waiting": session.waiting_frames,
        }  # fmt: skip
        self._status["refusals"] = dict(self._reasons)
        self._status["books_without_snapshot"] = {
            book.name: book.waiting_packets for book in session.books if book.waiting_packets
        }
