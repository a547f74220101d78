"""What the writer tells of its work: counters, latencies, spans, log lines."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import numpy.typing as npt
from tickbus.columns.group import Group
from tickbus.log.stored import Traced
from tickbus_runtime.service.process import Context
from tickbus_schemas.feeds import OF_KIND

from tickbus_writer.commit import CommitOutcome

TRACED_MAX = 10_000
"""Spans that may wait for their block; it is sampled data."""


class Report:
    """Follows one stream's messages from their receipt to the commit of their block."""

    def __init__(self, context: Context, stream: str) -> None:
        self._context = context
        self._stream = stream
        self._stored_ns: list[npt.NDArray[np.int64]] = []
        self._seqs: list[npt.NDArray[np.int64]] = []
        self._traced: list[tuple[Traced, int]] = []
        self._rows_open = 0

    def read(self, group: Group, received_ns: int, pending: int) -> None:
        """A group was received."""
        telemetry, stream = self._context.telemetry, self._stream
        telemetry.count("messages_read", group.messages, stream=stream)
        telemetry.count("bytes_read", group.bytes, stream=stream)
        rows = sum(table.rows for table in group.tables.values())
        rows += sum(len(several) for kind, several in group.singles.items() if kind in OF_KIND)
        telemetry.count("rows_read", rows, stream=stream)
        self._rows_open += rows
        telemetry.gauge("rows_waiting", self._rows_open, stream=stream)
        telemetry.gauge("pending", pending, stream=stream)
        telemetry.latency("bus").observe_since(received_ns, group.stored_ns)
        for one in group.breaks:
            telemetry.count("log_breaks", kind=one.kind)
            self._context.log.warning("message numbers do not follow", stream=stream, at=one)
        for hole in group.missing:
            telemetry.count("log_expired", hole.last_seq - hole.first_seq + 1, stream=stream)
            self._context.log.error("gone before it was written", stream=stream, sequences=hole)
        for reject in group.rejected:
            telemetry.count("rejects", reason="message")
            self._context.log.warning(
                "message refused", stream=stream, seq=reject.seq, reason=reject.reason
            )
        self._stored_ns.append(group.stored_ns)
        self._seqs.append(group.seqs)
        if self._context.tracing.enabled and len(self._traced) < TRACED_MAX:
            self._traced += [(one, received_ns) for one in group.traced]
        self._context.data_arrived()

    def committed(self, outcome: CommitOutcome) -> None:
        """A block was committed, here or by another writer."""
        now_ns = time.time_ns()
        entry = outcome.entry
        # A group may reach into the next block; its rows show again with the next group.
        self._rows_open = 0
        self._context.telemetry.gauge("rows_waiting", 0, stream=self._stream)
        self._context.committed(self._stream, entry.last_seq)
        if outcome.won:
            telemetry = self._context.telemetry
            telemetry.count("blocks_committed", stream=self._stream)
            feeds: Counter[str] = Counter()
            for file in entry.files:
                feeds[file.feed] += 1
                telemetry.count("rows_written", file.rows, feed=file.feed)
                telemetry.count("bytes_written", file.size, feed=file.feed)
            for feed, files in feeds.items():
                telemetry.count("files_written", files, feed=feed)
            self._observe(entry.last_seq, now_ns)
            self._trace(entry.last_seq, entry.name, now_ns)
            self._context.log.info(
                "block committed",
                stream=self._stream,
                first_seq=entry.first_seq,
                last_seq=entry.last_seq,
                cut=entry.cut,
                files=len(entry.files),
                rows=sum(file.rows for file in entry.files),
            )

    def overtaken(self, outcome: CommitOutcome) -> None:
        """Another writer committed first, with another end: what came after is read again."""
        self._context.log.warning(
            "another writer is at work on this stream; going on behind its block",
            stream=self._stream,
            last_seq=outcome.entry.last_seq,
        )
        self._stored_ns, self._seqs, self._traced = [], [], []

    def _observe(self, last_seq: int, now_ns: int) -> None:
        """Latency of every message of the block: stored by the server to committed."""
        if not self._seqs:
            return
        seqs, stored_ns = np.concatenate(self._seqs), np.concatenate(self._stored_ns)
        done = seqs <= last_seq
        self._context.telemetry.latency("write").observe_since(now_ns, stored_ns[done])
        self._seqs, self._stored_ns = [seqs[~done]], [stored_ns[~done]]

    def _trace(self, last_seq: int, entry: str, now_ns: int) -> None:
        """A `write` span in each traced packet's trace, linked to the block's own trace."""
        done = [one for one in self._traced if one[0].seq <= last_seq]
        if not done:
            return
        self._traced = [one for one in self._traced if one[0].seq > last_seq]
        tracing = self._context.tracing
        first_ns = min(received_ns for _, received_ns in done)
        attributes = {"tickbus.stream": self._stream, "tickbus.entry": entry}
        links = tracing.batch("write.block", first_ns, now_ns, attributes)
        for one, received_ns in done:
            tracing.steps(
                one.traceparent,
                [("write", received_ns, now_ns)],
                {**attributes, "tickbus.seq": one.seq, "tickbus.ticker": one.ticker},
                links,
            )
