"""The book service's fold: a shard's log in, messages of its books on a time grid out.

This decides only the ids and numbers of messages; the rule is in `tickbus_book.kernels.grid`.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
from tickbus.columns.group import Group
from tickbus_runtime.service.derived import MessageNumbers, TracesOnTheWay
from tickbus_runtime.service.fold import Output
from tickbus_schemas import codec
from tickbus_schemas.messages import L2Batch

from tickbus_book.closed_rows import Closed, address
from tickbus_book.tickers import Saved, Tickers

_COUNTED = {"late": "late_events", "left_out": "left_out_events", "restarts": "grid_restarts"}
"""Of the kernel's counts, those that are metrics, by their names."""


class Count(Protocol):
    """Adds to a counter of `tickbus_runtime.telemetry.names`."""

    def __call__(self, name: str, n: float = 1, **labels: str) -> None: ...


def _uncounted(name: str, n: float = 1, **labels: str) -> None:
    """For a fold that nobody watches."""


class _Checkpoint(msgspec.Struct, array_like=True, frozen=True):
    """The fold's state between two groups."""

    intervals_ms: list[int]
    depth: int
    epoch: int
    message_no: int
    """that the next message of the epoch gets"""
    tickers: list[Saved]


class BookFold:
    """Books of a shard; one message a ticker, interval and closing message.

    intervals_ms: grids, each dividing a day, 0: a row whenever the best levels change; depth:
    levels a side, 1 to 1,000; stream: where the outputs go; count: what is told of rows and of
    packets that came late or were left out.
    """

    schema = 2

    def __init__(
        self,
        intervals_ms: list[int],
        depth: int,
        *,
        stream: str,
        count: Count = _uncounted,
    ) -> None:
        self.tickers = Tickers(intervals_ms, depth)
        self._stream = stream
        self._count = count
        self._numbers = MessageNumbers()
        self._traces = TracesOnTheWay()

    def apply(self, group: Group) -> list[Output]:
        """The messages whose rows a group closes."""
        for traced in group.traced:
            if traced.kind is L2Batch:
                self._traces.note(traced.ticker, traced.packet_id, traced.traceparent)
        before = self.tickers.counts.copy()
        outputs: list[Output] = []
        rows = 0
        in_seq = k = -1
        for closed in self.tickers.fold(group):
            k = k + 1 if closed.in_seq == in_seq else 0
            in_seq = closed.in_seq
            rows += closed.rows
            outputs.append(self._output(closed, k))
        self._count("rows", rows, feed="book")
        for field, name in _COUNTED.items():
            happened = int(self.tickers.counts[field][0] - before[field][0])
            if happened:
                self._count(name, happened)
        return outputs

    def _output(self, closed: Closed, k: int) -> Output:
        number = self._numbers.take(closed.epoch)
        subject, before, behind = address(
            closed.exchange,
            closed.ticker,
            closed.interval_ms,
            self.tickers.depth,
            self._numbers.epoch,
        )
        payload = b"".join((before, codec.number(number), behind, closed.columns))
        traceparent = self._traces.take(closed.ticker, closed.packet_id)
        return Output(self._stream, subject, payload, closed.in_seq, k, traceparent)

    def dump(self) -> bytes:
        """The whole state."""
        tickers = self.tickers
        return msgspec.msgpack.encode(
            _Checkpoint(
                tickers.intervals_ms,
                tickers.depth,
                self._numbers.epoch,
                self._numbers.message_no,
                tickers.save(),
            )
        )

    def restore(self, state: bytes) -> None:
        """Go on from a state of `dump`; ValueError when it is none, or of other settings."""
        try:
            saved = msgspec.msgpack.decode(state, type=_Checkpoint)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ValueError(f"not the state of this fold: {error}") from None
        tickers = self.tickers
        if (saved.intervals_ms, saved.depth) != (tickers.intervals_ms, tickers.depth):
            raise ValueError(
                f"intervals {saved.intervals_ms} ms and depth {saved.depth}, "
                f"not {tickers.intervals_ms} and {tickers.depth}"
            )
        tickers.load(saved.tickers)
        self._numbers = MessageNumbers(saved.epoch, saved.message_no)
