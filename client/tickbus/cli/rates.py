"""Traffic on the bus: counts per subject since the last measurement. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tickbus_schemas import codec
from tickbus_schemas.errors import Reject
from tickbus_schemas.feeds import DERIVED
from tickbus_schemas.layout import ROWS
from tickbus_schemas.messages import ABSENT, L2Batch, Message
from tickbus_schemas.subjects import bare
from tickbus_schemas.values import column


class Flow(NamedTuple):
    """A subject's traffic in an interval."""

    subject: str
    messages_per_s: float
    rows_per_s: float
    bytes_per_s: float
    timestamp: int | None
    """venue time of the last row, us UTC; None before the first readable message"""
    lag_ms: float | None
    """from the receipt of its frame to its arrival here, of the last message"""
    rejects: int
    """messages of this interval that could not be read"""


class _Tally:
    def __init__(self) -> None:
        self.messages = self.rows = self.bytes = self.rejects = 0
        self.timestamp: int | None = None
        self.lag_ms: float | None = None

    def reset(self) -> None:
        self.messages = self.rows = self.bytes = self.rejects = 0


class Rates:
    """Counts messages; a silent subject keeps its last times."""

    def __init__(self) -> None:
        self._tallies: dict[str, _Tally] = {}

    def count(self, subject: str, data: bytes, now_us: int) -> None:
        """A message that arrived at `now_us` (us UTC)."""
        tally = self._tallies.get(subject)
        if tally is None:
            tally = self._tallies[subject] = _Tally()
        tally.messages += 1
        tally.bytes += len(data)
        try:
            message = codec.decode(data, subject, values=False)
        except Reject:
            tally.rejects += 1
            return
        tally.rows += (
            len(message.side) if isinstance(message, L2Batch) else ROWS[type(message)](message)
        )
        tally.timestamp = _last(message, "timestamp")
        received_us = _last(message, "rcv_timestamp")
        tally.lag_ms = None if received_us is None else (now_us - received_us) / 1_000

    def take(self, seconds: float) -> list[Flow]:
        """The interval of so many seconds that ends now, the busiest subject first."""
        flows = [
            Flow(
                subject,
                tally.messages / seconds,
                tally.rows / seconds,
                tally.bytes / seconds,
                tally.timestamp,
                tally.lag_ms,
                tally.rejects,
            )
            for subject, tally in self._tallies.items()
        ]
        for tally in self._tallies.values():
            tally.reset()
        return sorted(
            flows, key=lambda flow: (-flow.rows_per_s, -flow.messages_per_s, flow.subject)
        )


class Share(NamedTuple):
    """What one exchange has of the traffic in an interval."""

    exchange: str
    subjects: int
    messages_per_s: float
    rows_per_s: float
    bytes_per_s: float
    lag_ms: float | None
    """the largest of its feeds that came in: of what is derived from them it would count twice"""


def by_exchange(flows: Iterable[Flow]) -> list[Share]:
    """The traffic of each exchange, in order of name; what is no exchange's is left out."""
    of: dict[str, list[Flow]] = {}
    for flow in flows:
        exchange = exchange_of(flow.subject)
        if exchange:
            of.setdefault(exchange, []).append(flow)
    return [
        Share(
            exchange,
            len(own),
            sum(flow.messages_per_s for flow in own),
            sum(flow.rows_per_s for flow in own),
            sum(flow.bytes_per_s for flow in own),
            max(
                (
                    flow.lag_ms
                    for flow in own
                    if flow.lag_ms is not None
                    and ".md." in f".{flow.subject}"
                    and flow.messages_per_s
                ),
                default=None,
            ),
        )
        for exchange, own in sorted(of.items())
    ]


def exchange_of(subject: str) -> str:
    """The exchange's token in a subject; empty where none stands (a shard's clock)."""
    try:
        tokens = (bare(subject) or subject).split(".")
    except Reject:
        tokens = subject.split(".")
    place = {"dlq": 2, **dict.fromkeys(("md", *DERIVED), 1)}.get(tokens[0])
    return tokens[place] if place is not None and len(tokens) > place else ""


def _last(message: Message, name: str) -> int | None:
    """The last value of a time column, or the time of a message that has one."""
    value = getattr(message, name, None)
    if isinstance(value, bytes):
        value = column(value, "<i8")[-1]
    return None if value == ABSENT else value
