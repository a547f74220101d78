"""The grid's rule in dictionaries and loops, and the kernel run over the same steps of a log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from tickbus.book.kernels import levels
from tickbus_book.kernels.grid import MORE_ROWS, fold_ticker
from tickbus_book.kernels.grid_layout import (
    COUNTS,
    CURSOR,
    Packets,
    Rows,
    State,
    new_rows,
    new_state,
    with_more_space,
)
from tickbus_schemas.messages import ABSENT, PACKETS_PER_EPOCH, BookFlag, L2Flag

Level = tuple[int, float, float]
"""side, price, size"""
FIRST, PART, LAST = L2Flag.SNAPSHOT_FIRST, L2Flag.SNAPSHOT, L2Flag.SNAPSHOT_LAST
SECOND = 1_000_000


@dataclass(frozen=True)
class Step:
    """One thing in the log of one ticker: l2, gap or clock; times in us."""

    kind: str
    packet: int
    timestamp: int = 0
    levels: tuple[Level, ...] = ()
    prev: int = ABSENT
    update: int = 0
    flags: int = 0
    epoch: int = 1

    @property
    def packet_id(self) -> int:
        return self.epoch * PACKETS_PER_EPOCH + self.packet

    @property
    def rcv_timestamp(self) -> int:
        return self.timestamp + 7


class Row(NamedTuple):
    """A row of the grid, and the message that closed it."""

    timestamp: int
    rcv_timestamp: int
    packet_id: int
    update_id: int
    flags: int
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]
    in_seq: int
    epoch: int


# ------------------------------------------------------------------ by hand


@dataclass
class _Shown:
    """What rows tell of a book."""

    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]
    last: Step
    latest: int


@dataclass
class ByHand:
    """One interval of one ticker; interval 0 tells each change."""

    interval_us: int
    depth: int
    rows: list[Row] = field(default_factory=list)
    sides: dict[int, dict[float, float]] = field(default_factory=lambda: {1: {}, -1: {}})
    shown: _Shown | None = None
    whole: bool = False
    gap: bool = False
    in_snapshot: bool = False
    update: int = ABSENT
    epoch: int | None = None
    next_point: int | None = None
    told: Any = None

    def take(self, step: Step, seq: int) -> None:
        """The next step of the log."""
        if self.epoch not in (None, step.epoch) or step.kind == "gap":
            self._lose()
        self.epoch = step.epoch
        if step.kind == "clock":
            self._close(lambda point: point + SECOND <= step.timestamp, seq)
        elif step.kind == "l2":
            self._packet(step, seq)

    def _lose(self) -> None:
        self.gap, self.whole, self.in_snapshot = True, False, False

    def _packet(self, step: Step, seq: int) -> None:
        is_snapshot = bool(step.flags & PART)
        linked = step.prev in (ABSENT, self.update) or step.prev < self.update <= step.update
        if step.flags & L2Flag.GAP_BEFORE or (self.whole and not is_snapshot and not linked):
            self._lose()
        self._close(lambda point: point < step.timestamp, seq)
        if step.flags & FIRST:
            self.sides = {1: {}, -1: {}}
            self.in_snapshot, self.whole = True, False
        if self.in_snapshot if is_snapshot else self.whole:
            self._apply(step)
        if not self.interval_us and self.shown and not self.in_snapshot:
            quality = self._flags(step.timestamp)
            if self.told != (quality, self.shown.bids, self.shown.asks):
                self.told = (quality, self.shown.bids, self.shown.asks)
                self._row(step.timestamp, seq)

    def _apply(self, step: Step) -> None:
        for side, price, size in step.levels:
            if size:
                self.sides[side][price] = size
            else:
                self.sides[side].pop(price, None)
        if self.in_snapshot and not step.flags & LAST:
            return
        if self.in_snapshot:
            self.whole, self.gap, self.in_snapshot = True, False, False
            if self.interval_us and self.next_point is None:
                self.next_point = -(-step.timestamp // self.interval_us) * self.interval_us
        self.update = step.update
        bids, asks = self.sides[1], self.sides[-1]
        self.shown = _Shown(
            [(price, bids[price]) for price in sorted(bids, reverse=True)][: self.depth],
            [(price, asks[price]) for price in sorted(asks)][: self.depth],
            step,
            max(step.timestamp, self.shown.latest if self.shown else 0),
        )

    def _flags(self, timestamp: int) -> int:
        assert self.shown is not None
        bids, asks = self.shown.bids, self.shown.asks
        crossed = bool(bids and asks and bids[0][0] >= asks[0][0])
        stale = timestamp - self.shown.latest > 60 * SECOND
        return crossed * BookFlag.CROSSED | stale * BookFlag.STALE | self.gap * BookFlag.GAP

    def _close(self, closes: Any, seq: int) -> None:
        while self.next_point is not None and closes(self.next_point):
            self._row(self.next_point, seq)
            self.next_point += self.interval_us

    def _row(self, timestamp: int, seq: int) -> None:
        assert self.shown is not None
        assert self.epoch is not None
        last = self.shown.last
        self.rows.append(
            Row(
                timestamp,
                last.rcv_timestamp,
                last.packet_id,
                last.update,
                self._flags(timestamp),
                self.shown.bids,
                self.shown.asks,
                seq,
                self.epoch,
            )
        )


# ------------------------------------------------------------------- kernel


class Flush(NamedTuple):
    """Messages that a publisher wrote together: seq, more, steps of each."""

    messages: list[tuple[int, int, list[Step]]]


def flushes(steps: list[Step], sizes: list[int], message_packets: int = 3) -> list[Flush]:
    """Steps in flushes of these sizes (over and over); a clock is one, an epoch ends one.

    The gaps of a flush stand behind its packets, as messages of another feed may.
    """
    found: list[Flush] = []
    seq, batch = 1, list[Step]()

    def end() -> None:
        nonlocal seq, batch
        l2 = [one for one in batch if one.kind == "l2"]
        parts = [l2[n : n + message_packets] for n in range(0, len(l2), message_packets)]
        parts += [[one] for one in batch if one.kind != "l2"]
        found.append(Flush([(seq + n, len(parts) - 1 - n, part) for n, part in enumerate(parts)]))
        seq += len(parts)
        batch = []

    for step in steps:
        if batch and (step.kind == "clock" or step.epoch != batch[-1].epoch):
            end()
        batch.append(step)
        if step.kind == "clock" or len(batch) >= sizes[len(found) % len(sizes)]:
            end()
    if batch:
        end()
    return found


class Kernel:
    """The kernel with its state, fed flush by flush or many at a time."""

    def __init__(self, intervals_ms: list[int], depth: int, capacity: int = 1) -> None:
        self.intervals_ms = intervals_ms
        self.depth = depth
        self.state: State = new_state(intervals_ms, depth)
        self.book = levels.new()
        self.counts = np.zeros(1, COUNTS)
        self.rows: dict[int, list[Row]] = {interval: [] for interval in intervals_ms}
        self._capacity = capacity

    def count(self, name: str) -> int:
        return int(self.counts[name][0])

    def take(self, group: list[Flush]) -> None:
        """Fold some flushes as one group."""
        messages = [message for flush in group for message in flush.messages]
        l2 = [(seq, more, part) for seq, more, part in messages if part[0].kind == "l2"]
        gaps = [(seq, more, part) for seq, more, part in messages if part[0].kind == "gap"]
        clocks = [(seq, part[0]) for seq, _, part in messages if part[0].kind == "clock"]
        packets = _packets([one for _, _, part in l2 for one in part])
        space, cursors = new_rows(len(self.intervals_ms), self.depth, self._capacity), _cursor()
        while True:
            closed = fold_ticker(
                *self.state,
                self.book,
                (
                    _i8([seq for seq, _, _ in gaps]),
                    _i8([more for _, more, _ in gaps]),
                    _i8([part[0].packet_id for _, _, part in gaps]),
                ),
                (
                    _i8([seq for seq, _, _ in l2]),
                    _i8([len(part) for _, _, part in l2]),
                    _i8([more for _, more, _ in l2]),
                ),
                tuple(packets),
                (
                    _i8([seq for seq, _ in clocks]),
                    _i8([one.timestamp for _, one in clocks]),
                    _i8([one.epoch for _, one in clocks]),
                ),
                cursors,
                self.counts,
                tuple(space),
            )
            if closed >= 0:
                break
            if closed == MORE_ROWS:
                space = with_more_space(space)
            else:
                start, row = int(cursors["level"][0]), int(cursors["row"][0])
                stop = start + int(packets.levels[row])
                self.book = levels.reserve(self.book, packets.side, packets.price, start, stop)
        assert closed == space.filled[:, 0].sum()
        for place, interval in enumerate(self.intervals_ms):
            self.rows[interval] += _rows(space, place)


def _cursor() -> Any:
    return np.zeros(1, CURSOR)


def _i8(values: list[int]) -> Any:
    return np.array(values, np.int64)


def _packets(steps: list[Step]) -> Packets:
    rows = [level for step in steps for level in step.levels]
    return Packets(
        _i8([one.timestamp for one in steps]),
        _i8([one.rcv_timestamp for one in steps]),
        _i8([one.packet_id for one in steps]),
        _i8([one.prev for one in steps]),
        _i8([one.update for one in steps]),
        np.array([one.flags for one in steps], np.uint16),
        np.array([len(one.levels) for one in steps], np.int32),
        np.array([side for side, _, _ in rows], np.int8),
        np.array([price for _, price, _ in rows], np.float64),
        np.array([size for _, _, size in rows], np.float64),
    )


def _rows(space: Rows, place: int) -> list[Row]:
    found = []
    for first, count, in_seq, epoch in space.messages[place, : space.filled[place, 1]].tolist():
        for row in range(first, first + count):
            bids, asks = (
                list(
                    zip(
                        space.tops[2 * side, place, row].tolist(),
                        space.tops[2 * side + 1, place, row].tolist(),
                        strict=True,
                    )
                )
                for side in (0, 1)
            )
            held = space.counts[:, place, row].tolist()
            assert not np.any([*bids[held[0] :], *asks[held[1] :]])
            timestamp, rcv_timestamp, packet_id, update_id = space.ints[:, place, row].tolist()
            found.append(
                Row(
                    timestamp,
                    rcv_timestamp,
                    packet_id,
                    update_id,
                    int(space.flags[place, row]),
                    bids[: held[0]],
                    asks[: held[1]],
                    in_seq,
                    epoch,
                )
            )
    return found


def by_hand(group: list[Flush], interval_ms: int, depth: int) -> ByHand:
    """Every step in the order of the log: flush by flush, within one by packet."""
    grid = ByHand(1_000 * interval_ms, depth)
    for flush in group:
        in_flush = [(step, seq) for seq, _, part in flush.messages for step in part]
        # Gaps stand before the packet that they came with; packets of one id keep their order.
        in_flush.sort(key=lambda item: (item[0].packet_id, item[0].kind != "gap"))
        for step, seq in in_flush:
            grid.take(step, seq)
    return grid
