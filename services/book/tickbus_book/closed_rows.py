"""Closed rows on their way from the kernel's space into messages."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
from tickbus_schemas import codec, subjects
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import MAX_MESSAGE_BYTES, MAX_ROWS, BookBatch

from tickbus_book.kernels import cutting
from tickbus_book.kernels.grid_layout import Rows, new_rows, row_bytes, with_more_space

_HEADER_BYTES = 4_096
"""A message has this at most besides its rows."""
_FIRST_BYTES = 1024**2
"""Space for rows to begin with."""
_KEPT_BYTES = 16 * 1024**2
"""Space for rows that is kept from one group to the next."""


class Closed(msgspec.Struct, order=True, frozen=True, gc=False):
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
    columns: bytes
    """of the message, framed"""


def rows_a_message(depth: int) -> int:
    """Rows of a message at most."""
    return min(MAX_ROWS, (MAX_MESSAGE_BYTES - _HEADER_BYTES) // row_bytes(depth))


class Space:
    """Where the kernel puts the rows of one ticker and group, and where they are cut."""

    def __init__(self, intervals_ms: list[int], depth: int) -> None:
        self._intervals_ms = intervals_ms
        self._depth = depth
        self._rows_max = rows_a_message(depth)
        self._begin()

    def _begin(self) -> None:
        bytes_a_row = len(self._intervals_ms) * row_bytes(self._depth)
        capacity = max(_FIRST_BYTES // bytes_a_row, 1)
        self._hold(new_rows(len(self._intervals_ms), self._depth, capacity))
        self._make_room(1)

    def _hold(self, rows: Rows) -> None:
        self._rows = rows
        self.rows = tuple(rows)
        """as a kernel takes them"""

    def _make_room(self, rows: int) -> None:
        self._data = np.empty(cutting.data_bytes(rows, row_bytes(self._depth)), np.uint8)
        self._told = np.empty((rows, cutting.STOP + 1), np.int64)

    def grow(self) -> None:
        """Twice the space; what is in it stays."""
        self._hold(with_more_space(self._rows))

    def shrink(self) -> None:
        """Give up what a large group took."""
        if self._rows.tops.nbytes > _KEPT_BYTES:
            self._begin()

    def take(self, exchange: int, ticker: str, rows: int) -> list[Closed]:
        """So many rows that were closed, cut into messages; their space is free again."""
        if rows > len(self._told):
            self._make_room(rows)
        count = cutting.cut(self.rows, self._rows_max, self._data, self._told)
        told = self._told[:count].tolist()
        data = self._data[: told[-1][cutting.STOP]].tobytes()
        lengths = self._intervals_ms
        return [
            Closed(
                in_seq,
                exchange,
                ticker,
                lengths[place],
                part,
                epoch,
                packet_id,
                rows,
                data[start:stop],
            )
            for place, part, in_seq, epoch, packet_id, rows, start, stop in told
        ]


class Address(NamedTuple):
    """What all messages of a ticker and interval have in common within an epoch."""

    subject: str
    before: bytes
    """their bytes before the number"""
    behind: bytes
    """their bytes between the number and the columns"""


@lru_cache(maxsize=65_536)
def address(exchange: int, ticker: str, interval_ms: int, depth: int, epoch: int) -> Address:
    """The address of a ticker's books."""
    empty: dict[str, Any] = dict.fromkeys(BookBatch.columns, b"")
    message = BookBatch(
        exchange=exchange,
        ticker=ticker,
        epoch=epoch,
        message_no=0,
        interval_ms=interval_ms,
        depth=depth,
        **empty,
    )
    subject = subjects.derived("book", Exchange(exchange), ticker, interval_ms)
    return Address(subject, *codec.frame(message))
