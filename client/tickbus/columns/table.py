"""The messages of one kind and ticker in a group of stored messages, column by column."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from tickbus_schemas.messages import SEQ_ID_ROWS, Header, L2Batch

from tickbus.columns.joined import Array
from tickbus.columns.scanned import Int64s

Key: TypeAlias = tuple[type[Header], int, str] | tuple[type[Header], int, str, int, Hashable]
"""(kind, exchange code, ticker) of a raw feed; derived kinds add interval_ms and depth or names."""


@dataclass(slots=True)
class Table:
    """The messages of one kind and ticker in a group, in log order, column by column.

    `columns`: NumPy arrays of the message's own types over all its rows; L2 has packet columns and
    level columns; `trade_id_offsets` (rows + 1, from 0) into `trade_id_bytes` (u8); prices and
    sizes of a book are (rows, depth).
    """

    kind: type[Header]
    exchange: int
    ticker: str
    columns: dict[str, Array]
    message_seq: Int64s
    """stream sequence of each message"""
    message_rows: Int64s
    """rows of each message; of an L2Batch its packets"""
    message_levels: Int64s
    """level rows of each L2 message; empty for other kinds"""
    message_more: Int64s
    """how many messages of its ticker and flush follow directly behind each message"""
    interval_ms: int = 0
    depth: int = 0
    catalogue: str = ""
    features: dict[str, Array] = field(default_factory=dict)
    """of a FeatureBatch: an f64 column a name"""

    @property
    def rows(self) -> int:
        """Rows, or level rows of L2: what a file has."""
        return len(self.columns["price" if self.kind is L2Batch else "timestamp"])

    def seq_id(self) -> Int64s:
        """`seq_id` of each row, for L2 of each level row."""
        counts = self.message_levels if self.kind is L2Batch else self.message_rows
        ends = np.cumsum(counts)
        first = self.message_seq * SEQ_ID_ROWS - (ends - counts)
        return np.repeat(first, counts) + np.arange(len(first) and ends[-1])
