"""Rows of a flush as columns: sorted by ticker, in order of arrival within each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import ABSENT, L2Flag, StatusKind

from tickbus_ingest.session.texts import Texts
from tickbus_ingest.venue.instruments import Instrument

_VALUE = re.compile(r"-?\d+(?:\.\d+)?|'[^']*'")
Array = npt.NDArray[Any]
I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]
U16 = npt.NDArray[np.uint16]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

PACKET_LEVELS_MAX = 8192
"""Levels in one packet at most; a fixed rule, so that rows never depend on a flush."""


def grown(column: Array, count: int, nothing: Any = 0) -> Array:
    """A column [tickers, ...] with room for `count` tickers; the new ones hold `nothing`."""
    if not nothing:
        more = np.zeros((count, *column.shape[1:]), column.dtype)  # of calloc: no memory yet
    else:
        more = np.full((count, *column.shape[1:]), nothing, column.dtype)
    more[: len(column)] = column
    return more


@dataclass(slots=True)
class Table:
    """Rows of one feed; `columns` are those of its message, and what ingest knows besides."""

    ticker: I32
    stands: Bool
    """the row is the first event of its frame: the frame's fate is this row's"""
    columns: dict[str, Array]
    ids: Texts | None = None
    """of trades whose id is a text"""

    def __len__(self) -> int:
        return len(self.ticker)

    def take(self, rows: I64 | Bool) -> Table:
        """Some rows, in the order given."""
        ids = self.ids
        if ids is not None:
            ids = ids.take(np.arange(len(ids))[rows])
        columns = {name: column[rows] for name, column in self.columns.items()}
        return Table(self.ticker[rows], self.stands[rows], columns, ids)

    def segments(self) -> list[tuple[int, int, int]]:
        """(ticker, start, stop): whose the rows [start, stop) are."""
        if len(self.ticker) < 2:
            return [(one, 0, 1) for one in self.ticker.tolist()]
        edges = np.flatnonzero(self.ticker[1:] != self.ticker[:-1]) + 1
        starts = [0, *edges.tolist()]
        stops = [*starts[1:], len(self.ticker)]
        return list(zip(self.ticker[starts].tolist(), starts, stops, strict=True))


def joined(tables: list[Table]) -> Table:
    """Several tables behind one another."""
    if len(tables) == 1:
        return tables[0]
    names = tables[0].columns
    ids = [table.ids for table in tables if table.ids is not None]
    return Table(
        np.concatenate([table.ticker for table in tables]),
        np.concatenate([table.stands for table in tables]),
        {name: np.concatenate([table.columns[name] for table in tables]) for name in names},
        Texts.joined(ids) if ids else None,
    )


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
    stands: Bool
    """the packet is the first event of its frame"""
    whole: Bool
    """the packet is a whole book"""
    checksum: I64
    """as the venue sent it; ABSENT where it did not"""
    depth: I64
    """of the book that begins with a whole one: levels a side, 0 for all of them"""
    price_decimals: I64
    """of its text on the wire; ABSENT where they do not matter"""
    qty_decimals: I64
    line: I32
    """the connection that it came over"""
    level_ends: I64
    side: I8
    price: F64
    qty: F64
    action: I8

    def __len__(self) -> int:
        return len(self.timestamp)

    def cut(self, start: int, stop: int) -> L2Table:
        """A copy of some packets, which keeps nothing of the rest in memory."""
        first, last = int(self.level_ends[start]), int(self.level_ends[stop])
        columns: dict[str, Any] = {
            name: getattr(self, name)[start:stop].copy() for name in PACKET_COLUMNS
        }
        columns |= {name: getattr(self, name)[first:last].copy() for name in LEVEL_COLUMNS}
        return L2Table(level_ends=self.level_ends[start : stop + 1] - first, **columns)

    def take(self, rows: Sequence[int] | I64) -> L2Table:
        """A copy of these packets, in the order given."""
        chosen = np.asarray(rows, np.int64)
        counts = np.diff(self.level_ends)[chosen]
        ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        levels = np.repeat(self.level_ends[chosen] - ends[:-1], counts) + np.arange(ends[-1])
        columns: dict[str, Any] = {name: getattr(self, name)[chosen] for name in PACKET_COLUMNS}
        columns |= {name: getattr(self, name)[levels] for name in LEVEL_COLUMNS}
        return L2Table(level_ends=ends, **columns)

    def content(self, row: int) -> tuple[int, int, bytes]:
        """What the venue said in a packet: time, checksum and levels, to compare with another's."""
        own = slice(int(self.level_ends[row]), int(self.level_ends[row + 1]))
        levels = b"".join(column[own].tobytes() for column in (self.side, self.price, self.qty))
        return int(self.timestamp[row]), int(self.checksum[row]), levels

    def in_parts(self) -> L2Table:
        """The same with packets of more than PACKET_LEVELS_MAX levels cut; each part links.

        Whole books stay whole: they are published as snapshots, which have parts of their own.
        """
        counts = np.diff(self.level_ends)
        if not len(counts) or counts.max() <= PACKET_LEVELS_MAX:
            return self
        parts = np.maximum(-(-counts // PACKET_LEVELS_MAX), 1)
        parts[self.whole] = 1
        first = np.zeros(int(parts.sum()), np.bool_)
        first[np.cumsum(parts) - parts] = True
        sizes = np.full(len(first), PACKET_LEVELS_MAX, np.int64)
        sizes[np.cumsum(parts) - 1] = counts - (parts - 1) * PACKET_LEVELS_MAX
        columns: dict[str, Any] = {
            name: np.repeat(getattr(self, name), parts) for name in PACKET_COLUMNS
        }
        columns["prev_update_id"][~first] = columns["update_id"][~first]
        columns["stands"] &= first
        last = np.append(first[1:], True)
        columns["checksum"][~last] = ABSENT  # it is that of the book after all of them
        columns |= {name: getattr(self, name) for name in LEVEL_COLUMNS}
        ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
        return L2Table(level_ends=ends, **columns)


PACKET_COLUMNS = (
    "timestamp", "engine_timestamp", "rcv_timestamp", "packet_id", "prev_update_id", "update_id",
    "flags", "stands", "whole", "checksum", "depth", "price_decimals", "qty_decimals", "line",
)  # fmt: skip
LEVEL_COLUMNS = ("side", "price", "qty", "action")


def joined_l2(pieces: list[L2Table]) -> L2Table:
    """Several tables of packets behind one another."""
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in pieces])
        for name in (*PACKET_COLUMNS, *LEVEL_COLUMNS)
    }
    counts = np.concatenate([np.diff(one.level_ends) for one in pieces])
    ends = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=ends[1:])
    return L2Table(level_ends=ends, **columns)


@dataclass(frozen=True, slots=True)
class Moment:
    """Where in the log a book stands: us, us, us, packet, update."""

    timestamp: int
    engine_timestamp: int
    rcv_timestamp: int
    packet_id: int
    update_id: int


def moment_of(table: L2Table, at: int) -> Moment:
    """The moment of one packet."""
    return Moment(
        int(table.timestamp[at]),
        int(table.engine_timestamp[at]),
        int(table.rcv_timestamp[at]),
        int(table.packet_id[at]),
        int(table.update_id[at]),
    )


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
        np.zeros(packets, np.bool_),
        np.ones(packets, np.bool_),
        np.full(packets, ABSENT, np.int64),
        np.zeros(packets, np.int64),
        np.full(packets, ABSENT, np.int64),
        np.full(packets, ABSENT, np.int64),
        np.zeros(packets, np.int32),
        ends,
        side,
        price,
        qty,
        np.ones(count, np.int8),  # Action.NEW
    )


@dataclass(slots=True)
class Piece:
    """Packets [start, stop) of a table, all of one ticker."""

    ticker: int
    table: L2Table
    start: int
    stop: int


@dataclass(slots=True)
class StatusRow:
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
class InstrumentRow:
    """What the venue lists of one ticker, new or changed; times in us."""

    ticker: int
    timestamp: int
    packet_id: int
    instrument: Instrument


@dataclass(slots=True)
class Refused:
    """A frame or body that is nothing of ours: it goes to the dead letters."""

    packet_id: int
    rcv_timestamp: int
    reason: str
    data: bytes
    is_body: bool = False
    """a REST body, not a frame"""

    @property
    def kind(self) -> str:
        """The reason without the values in it, to count by."""
        return _VALUE.sub("N", self.reason)


@dataclass(slots=True)
class Flush:
    """Everything that one flush is about to say, and what the session wishes."""

    tables: list[tuple[str, Table]] = field(default_factory=list)
    """(feed, rows) of every feed but l2; a feed may stand several times"""
    l2: list[Piece] = field(default_factory=list)
    statuses: list[StatusRow] = field(default_factory=list)
    instruments: list[InstrumentRow] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    snapshots_wanted: list[int] = field(default_factory=list)
    """tickers whose book must be asked for over REST"""
    subscriptions_wanted: list[int] = field(default_factory=list)
    """tickers whose book must be subscribed to again"""
    replies: list[tuple[int, bytes]] = field(default_factory=list)
    """(line, frame) to send"""
    heard_lines: set[int] = field(default_factory=set)
    """lines that brought rows"""
    answers: list[int] = field(default_factory=list)
    """lines whose requests were answered, once for each answer"""
    errors: list[str] = field(default_factory=list)
    """what the venue refused"""
    refused_streams: list[tuple[int, str]] = field(default_factory=list)
    """(line, name) of streams that the venue will never give: asking again is no use"""
    closing_lines: set[int] = field(default_factory=set)
    """lines that the venue will close soon"""
    broken_lines: set[int] = field(default_factory=set)
    """lines that lost messages: they must be opened anew"""
    wire_us: list[I64] = field(default_factory=list)
    """receive time minus the venue's event time of each event that has one"""
    fates: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(fate, label) -> frames; see `accounts.FATES`"""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(metric, label) -> how many"""

    def publish(self, feed: str, table: Table) -> None:
        """Rows of a feed go out."""
        self.tables.append((feed, table))
        self.fates["published", ""] += int(np.count_nonzero(table.stands))

    def count_duplicates(self, feed: str, stands: Bool, rows: int) -> None:
        """So many rows of a feed were said before; `stands` [rows] marks those of frames."""
        self.fates["duplicate", feed] += int(np.count_nonzero(stands))
        self.counts["duplicates", feed] += rows

    def __bool__(self) -> bool:
        return bool(self.tables or self.l2 or self.statuses or self.instruments or self.refused)
