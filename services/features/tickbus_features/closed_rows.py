"""Closed rows on their way from the kernels' space into messages."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from tickbus_schemas import codec
from tickbus_schemas.messages import MAX_MESSAGE_BYTES, MAX_ROWS, BarBatch, FeatureBatch

from tickbus_features.catalogue import Catalogue
from tickbus_features.layout import FLOATS, INTS, Rows


def new_rows(intervals: int, features: int, capacity: int = 256) -> Rows:
    """Space for `capacity` rows of each interval."""
    return Rows(
        ints=np.zeros((intervals, capacity, len(INTS)), np.int64),
        floats=np.zeros((intervals, capacity, len(FLOATS) + features)),
        flags=np.zeros((intervals, capacity, 2), np.uint16),
        messages=np.zeros((intervals, capacity, 4), np.int64),
        counts=np.zeros((intervals, 2), np.int64),
    )


def with_more_space(rows: Rows) -> Rows:
    """The same rows in twice the space."""
    more = new_rows(len(rows.counts), rows.floats.shape[2] - len(FLOATS), 2 * rows.ints.shape[1])
    capacity = rows.ints.shape[1]
    more.ints[:, :capacity] = rows.ints
    more.floats[:, :capacity] = rows.floats
    more.flags[:, :capacity] = rows.flags
    more.messages[:, :capacity] = rows.messages
    more.counts[:] = rows.counts
    return more


class Closed(NamedTuple):
    """Rows of one output message of bars and one of features; they sort in publishing order."""

    in_seq: int
    exchange: int
    ticker: str
    interval_ms: int
    part: int
    epoch: int
    packet_id: int
    """of the last row"""
    rows: int
    ints: bytes
    """columns one behind the other"""
    floats: bytes
    bar_flags: bytes
    feature_flags: bytes


def rows_a_message(features: int) -> int:
    """Rows of a message at most: both kinds of message stay well below the limit of bytes."""
    bytes_a_row = 8 * (max(len(FLOATS), features) + len(INTS)) + 2
    return min(MAX_ROWS, (MAX_MESSAGE_BYTES - 16_384) // bytes_a_row)


def closed_rows(
    rows: Rows, exchange: int, ticker: str, intervals_ms: list[int], rows_max: int
) -> Iterator[Closed]:
    """The rows that the kernels have closed, cut into messages; their space may be used again."""
    for place, interval_ms in enumerate(intervals_ms):
        for first, count, in_seq, epoch in rows.messages[place, : rows.counts[place, 1]].tolist():
            for part, start in enumerate(range(first, first + count, rows_max)):
                stop = min(start + rows_max, first + count)
                ints = rows.ints[place, start:stop]
                yield Closed(
                    in_seq=in_seq,
                    exchange=exchange,
                    ticker=ticker,
                    interval_ms=interval_ms,
                    part=part,
                    epoch=epoch,
                    packet_id=int(ints[-1, 3]),
                    rows=stop - start,
                    ints=ints.T.tobytes(),
                    floats=rows.floats[place, start:stop].T.tobytes(),
                    bar_flags=rows.flags[place, start:stop, 0].tobytes(),
                    feature_flags=rows.flags[place, start:stop, 1].tobytes(),
                )


def _columns(data: bytes, rows: int) -> Iterator[bytes]:
    return (data[start : start + 8 * rows] for start in range(0, len(data), 8 * rows))


def bar_payload(closed: Closed, message_no: int) -> bytes:
    """The BarBatch of closed rows, encoded."""
    columns: dict[str, Any] = dict(zip(INTS, _columns(closed.ints, closed.rows), strict=True))
    columns.update(zip(FLOATS, _columns(closed.floats, closed.rows), strict=False))
    return codec.encode(
        BarBatch(
            exchange=closed.exchange,
            ticker=closed.ticker,
            epoch=closed.epoch,
            message_no=message_no,
            interval_ms=closed.interval_ms,
            flags=closed.bar_flags,
            **columns,
        )
    )


def feature_payload(closed: Closed, message_no: int, catalogue: Catalogue) -> bytes:
    """The FeatureBatch of closed rows, encoded."""
    ints, floats = _columns(closed.ints, closed.rows), _columns(closed.floats, closed.rows)
    timestamp, end_timestamp, rcv_timestamp, packet_id = islice(ints, 4)
    return codec.encode(
        FeatureBatch(
            exchange=closed.exchange,
            ticker=closed.ticker,
            epoch=closed.epoch,
            message_no=message_no,
            interval_ms=closed.interval_ms,
            catalogue=catalogue.hash,
            names=catalogue.names,
            timestamp=timestamp,
            end_timestamp=end_timestamp,
            rcv_timestamp=rcv_timestamp,
            packet_id=packet_id,
            flags=closed.feature_flags,
            values=list(islice(floats, len(FLOATS), None)),
        )
    )
