"""The features service's fold: a shard's log in, bars and features out.

What is decided here is only who gets which columns and what a message is called; `events.py` holds
what an event does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import msgspec
from tickbus.columns.group import Group
from tickbus_runtime.service.derived import MessageNumbers, TracesOnTheWay
from tickbus_runtime.service.fold import Output
from tickbus_schemas import subjects
from tickbus_schemas.exchanges import Exchange

from tickbus_features.closed_rows import Closed, bar_payload, feature_payload
from tickbus_features.layout import STATE_HASH
from tickbus_features.state import Saved
from tickbus_features.tickers import Tickers


class _Checkpoint(msgspec.Struct, array_like=True, frozen=True):
    """The fold's state between two groups."""

    layout: str
    intervals_ms: list[int]
    catalogue: str
    epoch: int
    message_no: int
    """that the next message of the epoch gets, in both streams"""
    tickers: list[Saved]


class Count(Protocol):
    """Adds to a counter of `tickbus_runtime.telemetry.names`."""

    def __call__(self, name: str, n: float = 1, **labels: str) -> None: ...


def _uncounted(name: str, n: float = 1, **labels: str) -> None:
    """For a fold that nobody watches."""


class FeatureFold:
    """Bars and features of a shard; one message of each a ticker, interval and closing message.

    intervals_ms: bucket lengths, each dividing a day; grace_ms: how long an ended bucket waits for
    late events; bar_stream, feature_stream: where the outputs go; count: what is told of rows and
    late trades.
    """

    schema = 1

    def __init__(
        self,
        intervals_ms: list[int],
        *,
        grace_ms: int = 100,
        bar_stream: str,
        feature_stream: str,
        count: Count = _uncounted,
    ) -> None:
        self.tickers = Tickers(intervals_ms, grace_ms)
        self._bar_stream, self._feature_stream = bar_stream, feature_stream
        self._count = count
        self._numbers = MessageNumbers()
        self._traces = TracesOnTheWay()

    def apply(self, group: Group) -> list[Output]:
        """Of the rows that a group closes, a message of bars and one of features at a time."""
        for traced in group.traced:
            self._traces.note(traced.ticker, traced.packet_id, traced.traceparent)
        outputs: list[Output] = []
        in_seq = k = -1
        late_before = self.tickers.late_trades
        closed_rows = self.tickers.fold(group)
        rows = sum(closed.rows for closed in closed_rows)
        self._count("rows", rows, feed="bar")
        self._count("rows", rows, feed="feature")
        self._count("late_events", self.tickers.late_trades - late_before)
        for closed in closed_rows:
            k = k + 1 if closed.in_seq == in_seq else 0
            in_seq = closed.in_seq
            outputs += self._messages(closed, k)
        return outputs

    def _messages(self, closed: Closed, k: int) -> tuple[Output, Output]:
        number = self._numbers.take(closed.epoch)
        closed = closed._replace(epoch=self._numbers.epoch)
        traceparent = self._traces.take(closed.ticker, closed.packet_id)
        address = Exchange(closed.exchange), closed.ticker, closed.interval_ms
        return (
            Output(
                stream=self._bar_stream,
                subject=_subject("bar", *address),
                payload=bar_payload(closed, number),
                in_seq=closed.in_seq,
                k=k,
                traceparent=traceparent,
            ),
            Output(
                stream=self._feature_stream,
                subject=_subject("feature", *address),
                payload=feature_payload(closed, number, self.tickers.catalogue),
                in_seq=closed.in_seq,
                k=k,
                traceparent=traceparent,
            ),
        )

    def dump(self) -> bytes:
        """The whole state."""
        return msgspec.msgpack.encode(
            _Checkpoint(
                STATE_HASH,
                self.tickers.intervals_ms,
                self.tickers.catalogue.hash,
                self._numbers.epoch,
                self._numbers.message_no,
                self.tickers.save(),
            )
        )

    def restore(self, state: bytes) -> None:
        """Go on from a state of `dump`; ValueError when it is none, or of other settings."""
        try:
            saved = msgspec.msgpack.decode(state, type=_Checkpoint)
        except msgspec.MsgspecError as error:
            raise ValueError(f"not the state of this fold: {error}") from None
        if saved.layout != STATE_HASH:
            raise ValueError(f"records of layout {saved.layout}, not {STATE_HASH}")
        if saved.intervals_ms != self.tickers.intervals_ms:
            raise ValueError(f"intervals {saved.intervals_ms} ms, not {self.tickers.intervals_ms}")
        if saved.catalogue != self.tickers.catalogue.hash:
            raise ValueError(f"catalogue {saved.catalogue}, not {self.tickers.catalogue.hash}")
        self.tickers.load(saved.tickers)
        self._numbers = MessageNumbers(saved.epoch, saved.message_no)


_subject = lru_cache(maxsize=65_536)(subjects.derived)
