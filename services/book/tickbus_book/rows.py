"""Closed rows on their way from the kernel's space into messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tickbus.kernels.grid_layout import Rows, row_bytes
from tickbus_schemas import codec
from tickbus_schemas.messages import MAX_MESSAGE_BYTES, MAX_ROWS, BookBatch

_HEADER_BYTES = 4_096
"""A message has this at most besides its rows."""


class Closed(NamedTuple):
    """Rows of one output message; they sort in publishing order."""

    in_seq: int
    exchange: int
    ticker: str
    interval_ms: int
    part: int
    epoch: int
    packet_id: int
    """of the last row"""
    rows: int
    columns: dict[str, Any]
    """of the message, as bytes"""


def rows_a_message(depth: int) -> int:
    """Rows of a message at most."""
    return min(MAX_ROWS, (MAX_MESSAGE_BYTES - _HEADER_BYTES) // row_bytes(depth))


def closed_rows(
    rows: Rows, exchange: int, ticker: str, intervals_ms: list[int], rows_max: int
) -> Iterator[Closed]:
    """The rows that the kernel has closed, cut into messages; their space may be used again."""
    for place, interval_ms in enumerate(intervals_ms):
        for first, count, in_seq, epoch in rows.messages[place, : rows.filled[place, 1]].tolist():
            for part, start in enumerate(range(first, first + count, rows_max)):
                stop = min(start + rows_max, first + count)
                yield Closed(
                    in_seq=in_seq,
                    exchange=exchange,
                    ticker=ticker,
                    interval_ms=interval_ms,
                    part=part,
                    epoch=epoch,
                    packet_id=int(rows.ints[2, place, stop - 1]),
                    rows=stop - start,
                    columns=_columns(rows, place, slice(start, stop)),
                )


def _columns(rows: Rows, place: int, some: slice) -> dict[str, Any]:
    timestamp, rcv_timestamp, packet_id, update_id = (
        column[place, some].tobytes() for column in rows.ints
    )
    bid_levels, ask_levels = (column[place, some].tobytes() for column in rows.counts)
    bid_px, bid_sz, ask_px, ask_sz = (column[place, some].tobytes() for column in rows.tops)
    return {
        "timestamp": timestamp,
        "rcv_timestamp": rcv_timestamp,
        "packet_id": packet_id,
        "update_id": update_id,
        "flags": rows.flags[place, some].tobytes(),
        "bid_levels": bid_levels,
        "ask_levels": ask_levels,
        "bid_px": bid_px,
        "bid_sz": bid_sz,
        "ask_px": ask_px,
        "ask_sz": ask_sz,
    }


def payload(closed: Closed, epoch: int, message_no: int, depth: int) -> bytes:
    """The BookBatch of closed rows, encoded."""
    return codec.encode(
        BookBatch(
            exchange=closed.exchange,
            ticker=closed.ticker,
            epoch=epoch,
            message_no=message_no,
            interval_ms=closed.interval_ms,
            depth=depth,
            **closed.columns,
        )
    )
