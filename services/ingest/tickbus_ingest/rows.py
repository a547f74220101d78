"""What a flush holds before it becomes messages: rows by ticker and feed, statuses, requests.

Rows stay where they are, in the columns of the batch they came with; a piece of them is a range.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import ABSENT, L2Flag, StatusKind

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]
U16 = npt.NDArray[np.uint16]
F64 = npt.NDArray[np.float64]

PACKET_LEVELS_MAX = 8192
"""Levels in one packet at most; a fixed rule, so that rows never depend on a flush."""


@dataclass(slots=True)
class TradeTable:
    """Trades, a row each, sorted by ticker; times in us."""

    timestamp: I64
    rcv_timestamp: I64
    packet_id: I64
    side: I8
    price: F64
    qty: F64
    flags: U16
    trade_id: I64


@dataclass(slots=True)
class QuoteTable:
    """Best quotes, a row each, sorted by ticker; times in us."""

    timestamp: I64
    engine_timestamp: I64
    rcv_timestamp: I64
    packet_id: I64
    update_id: I64
    bid_px: F64
    bid_sz: F64
    ask_px: F64
    ask_sz: F64
    flags: U16


@dataclass(slots=True)
class L2Table:
    """Book updates, a row a packet; levels of packet i lie in [level_ends[i], level_ends[i+1])."""

    timestamp: I64
    engine_timestamp: I64
    rcv_timestamp: I64
    packet_id: I64
    prev_update_id: I64
    update_id: I64
    flags: U16
    level_ends: I64
    side: I8
    price: F64
    qty: F64
    action: I8

    def cut(self, start: int, stop: int) -> L2Table:
        """A copy of some packets, which keeps nothing of the rest in memory."""
        first, last = int(self.level_ends[start]), int(self.level_ends[stop])
        return L2Table(
            self.timestamp[start:stop].copy(),
            self.engine_timestamp[start:stop].copy(),
            self.rcv_timestamp[start:stop].copy(),
            self.packet_id[start:stop].copy(),
            self.prev_update_id[start:stop].copy(),
            self.update_id[start:stop].copy(),
            self.flags[start:stop].copy(),
            self.level_ends[start : stop + 1] - first,
            self.side[first:last].copy(),
            self.price[first:last].copy(),
            self.qty[first:last].copy(),
            self.action[first:last].copy(),
        )

    def __len__(self) -> int:
        return len(self.timestamp)

    def in_parts(self) -> L2Table:
        """The same with packets of more than PACKET_LEVELS_MAX levels cut; each part links."""
        counts = np.diff(self.level_ends)
        if not len(counts) or counts.max() <= PACKET_LEVELS_MAX:
            return self
        parts = np.maximum(-(-counts // PACKET_LEVELS_MAX), 1)
        first = np.zeros(int(parts.sum()), np.bool_)
        first[np.cumsum(parts) - parts] = True
        sizes = np.full(len(first), PACKET_LEVELS_MAX, np.int64)
        sizes[np.cumsum(parts) - 1] = counts - (parts - 1) * PACKET_LEVELS_MAX
        update_id = np.repeat(self.update_id, parts)
        return L2Table(
            np.repeat(self.timestamp, parts),
            np.repeat(self.engine_timestamp, parts),
            np.repeat(self.rcv_timestamp, parts),
            np.repeat(self.packet_id, parts),
            np.where(first, np.repeat(self.prev_update_id, parts), update_id),
            update_id,
            np.repeat(self.flags, parts),
            np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes))),
            self.side,
            self.price,
            self.qty,
            self.action,
        )


@dataclass(frozen=True, slots=True)
class Moment:
    """Where in the log a snapshot stands: us, us, us, packet, update."""

    timestamp: int
    engine_timestamp: int
    rcv_timestamp: int
    packet_id: int
    update_id: int


def snapshot_table(moment: Moment, side: I8, price: F64, qty: F64, flags: int) -> L2Table:
    """A full book as packets of at most PACKET_LEVELS_MAX levels; `flags` besides the usual."""
    count = len(side)
    packets = max(-(-count // PACKET_LEVELS_MAX), 1)
    marks = np.full(packets, L2Flag.SNAPSHOT | (flags & L2Flag.TIME_INFERRED), np.uint16)
    marks[0] |= L2Flag.SNAPSHOT_FIRST | (flags & L2Flag.GAP_BEFORE)
    marks[-1] |= L2Flag.SNAPSHOT_LAST
    ends = np.minimum(np.arange(packets + 1, dtype=np.int64) * PACKET_LEVELS_MAX, count)
    return L2Table(
        np.full(packets, moment.timestamp, np.int64),
        np.full(packets, moment.engine_timestamp, np.int64),
        np.full(packets, moment.rcv_timestamp, np.int64),
        np.full(packets, moment.packet_id, np.int64),
        np.full(packets, ABSENT, np.int64),
        np.full(packets, moment.update_id, np.int64),
        marks,
        ends,
        side,
        price,
        qty,
        np.ones(count, np.int8),  # Action.NEW
    )


@dataclass(slots=True)
class Piece:
    """Rows [start, stop) of a table, all of one ticker."""

    ticker: int
    table: TradeTable | L2Table | QuoteTable
    start: int
    stop: int


@dataclass(slots=True)
class Notice:
    """A status of one ticker; times in us."""

    ticker: int
    kind: StatusKind
    timestamp: int
    rcv_timestamp: int
    packet_id: int
    feed: str = ""
    reason: str = ""
    from_id: int = ABSENT
    to_id: int = ABSENT
    from_timestamp: int = ABSENT
    to_timestamp: int = ABSENT
    line: int = 0


@dataclass(slots=True)
class Refused:
    """A frame that is nothing of ours: it goes to the dead letters."""

    packet_id: int
    rcv_timestamp: int
    reason: str
    data: bytes
    is_body: bool = False
    """a REST body, not a frame"""


@dataclass(slots=True)
class Flush:
    """Everything that one flush is about to say."""

    trades: list[Piece] = field(default_factory=list)
    l2: list[Piece] = field(default_factory=list)
    quotes: list[Piece] = field(default_factory=list)
    statuses: list[Notice] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    snapshots_wanted: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """what the venue answered to a request that it refused"""
    closing_lines: set[int] = field(default_factory=set)
    """lines that the venue will close soon"""
    wire_us: list[I64] = field(default_factory=list)
    """receive time minus the venue's event time of each frame that has one"""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(metric, label) -> how many"""

    def __bool__(self) -> bool:
        return bool(self.trades or self.l2 or self.quotes or self.statuses or self.refused)
