"""Traces of sampled packets: begun when a flush is read, ended when its messages are stored."""

from __future__ import annotations

from dataclasses import dataclass

from tickbus_runtime.telemetry.tracing import FIRST_TRACED, PacketTrace, Tracing
from tickbus_schemas.messages import PACKETS_PER_EPOCH

from tickbus_ingest.publish.messages import Numbered


@dataclass
class _Open:
    number: int
    """of the packet within the epoch"""
    trace: PacketTrace
    received_ns: int


class PacketTraces:
    """The sampled packets of one flush; almost always none."""

    def __init__(self, tracing: Tracing, epoch: int) -> None:
        self._tracing = tracing
        self._before = epoch * PACKETS_PER_EPOCH
        self._open: list[_Open] = []

    def begin(self, first: int, monotonic_ns: list[int], offset_ns: int) -> None:
        """Begin those of the packets from number `first` on that are sampled.

        `offset_ns`: wall clock minus monotonic clock.
        """
        every = self._tracing.every
        if not every:
            return
        from_sampled = (FIRST_TRACED - first) % every
        for n in range(from_sampled, len(monotonic_ns), every):
            received_ns = monotonic_ns[n] + offset_ns
            trace = self._tracing.packet(self._before + first + n, received_ns)
            if trace is not None:
                self._open.append(_Open(first + n, trace, received_ns))

    def headers(self, message: Numbered) -> dict[str, str] | None:
        """The `traceparent` header of the message that holds a sampled packet."""
        if self._open and message.packets is not None:
            column, first, last = message.packets
            for one in self._open:
                if (column[first:last] == one.number).any():
                    return {"traceparent": one.trace.traceparent}
        return None

    def end(self, taken_ns: int, parsed_ns: int, stored_ns: int) -> None:
        """The flush is stored: wall-clock ns of its steps."""
        for one in self._open:
            one.trace.span("receive", one.received_ns, taken_ns)
            one.trace.span("parse", taken_ns, parsed_ns)
            one.trace.span("publish", parsed_ns, stored_ns)
            one.trace.end(stored_ns)
