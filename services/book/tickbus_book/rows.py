"""Closed rows on their way from the kernel's space into messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tickbus.kernels.grid_layout import Rows, row_bytes
from tickbus_schemas import codec
from tickbus_schemas.messages import MAX_MESSAGE_BYTES, MAX_ROWS, BookBatch

_HEADER_BYTES = 4_096
"""A message has this at most besides its rows."""

_TIMES = ("timestamp", "rcv_timestamp", "packet_id", "update_id")
_COUNTS = ("bid_levels", "ask_levels")
_LEVELS = ("bid_px", "bid_sz", "ask_px", "ask_sz")


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
        filled, messages = rows.filled[place].tolist()
        packet_ids = rows.ints[2, place, :filled].tolist()
        columns = _columns(rows, place, filled)
        for first, count, in_seq, epoch in rows.messages[place, :messages].tolist():
            for part, start in enumerate(range(first, first + count, rows_max)):
                stop = min(start + rows_max, first + count)
                yield Closed(
                    in_seq=in_seq,
                    exchange=exchange,
                    ticker=ticker,
                    interval_ms=interval_ms,
                    part=part,
                    epoch=epoch,
                    packet_id=packet_ids[stop - 1],
                    rows=stop - start,
                    columns={
                        name: data[start * width : stop * width] for name, width, data in columns
                    },
                )


def _columns(rows: Rows, place: int, filled: int) -> list[tuple[str, int, bytes]]:
    """Name, bytes a row and bytes of each column of an interval: messages are cut out of them."""
    arrays = dict(zip(_TIMES, rows.ints, strict=True))
    arrays["flags"] = rows.flags
    arrays |= zip(_COUNTS, rows.counts, strict=True)
    arrays |= zip(_LEVELS, rows.tops, strict=True)
    return [
        (name, array[place, :1].nbytes, array[place, :filled].tobytes())
        for name, array in arrays.items()
    ]


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
