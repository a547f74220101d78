"""The order book of one ticker as a Python object, over the compiled kernel.

Needs the extra `tickbus[book]`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tickbus_schemas.messages import ABSENT, L2Batch

from tickbus.book.kernels import levels as kernel
from tickbus.book.kernels.levels import F64, I8

_I1, _F8 = np.dtype("<i1"), np.dtype("<f8")


@dataclass(frozen=True)
class Applied:
    """What a batch did, packet by packet."""

    action: I8
    """NEW, UPDATE or DELETE of each level"""
    broken: int
    """packets that did not follow the book and were skipped"""


class OrderBook:
    """Absolute sizes in, sorted levels out; prices are doubles and compared as such.

    `valid` is False until a snapshot is complete, and after an update that does not follow. The
    levels of an invalid book are those of its last valid state.
    """

    def __init__(self) -> None:
        self._book = kernel.new()
        self.update_id = ABSENT
        self.timestamp = 0
        """us UTC of the last packet"""
        self.valid = False

    def clear(self) -> None:
        """Forget everything."""
        kernel.clear(self._book)
        self.update_id = ABSENT
        self.valid = False

    def apply(self, side: I8, price: F64, qty: F64) -> I8:
        """Set levels to absolute sizes, 0 removes; what each did: NEW, UPDATE or DELETE.

        side: i8[n] BID 1 or ASK -1; price, qty: f64[n], finite. The caller checks links.
        TypeError for columns of other types: their bits would be read as prices.
        """
        if side.dtype is not _I1 or price.dtype is not _F8 or qty.dtype is not _F8:
            raise TypeError(
                f"side {side.dtype}, price {price.dtype}, qty {qty.dtype}: i8, f64, f64"
            )
        action = np.empty(len(side), np.int8)
        if not kernel.apply_whole(self._book, side, price, qty, action):
            self._book = kernel.reserve(self._book, side, price, 0, len(side))
            kernel.apply_whole(self._book, side, price, qty, action)
        return action

    def apply_batch(self, message: L2Batch) -> Applied:
        """Apply the packets of a message; snapshots and links are respected."""
        column = np.frombuffer
        side = column(message.side, "<i1")
        action = column(message.action, "<i1").copy()
        price = column(message.price, "<f8")
        levels = column(message.levels, "<i4")
        shown = np.array((self.update_id, self.valid, -1, 0, 0, 0), np.int64)
        while not kernel.apply_packets(
            self._book,
            shown,
            column(message.flags, "<u2"),
            column(message.prev_update_id, "<i8"),
            column(message.update_id, "<i8"),
            levels,
            side,
            price,
            column(message.qty, "<f8"),
            action,
        ):
            packet, start = shown[4:].tolist()
            self._book = kernel.reserve(self._book, side, price, start, start + int(levels[packet]))
        self.update_id, valid, row, broken, *_ = shown.tolist()
        self.valid = bool(valid)
        if row >= 0:
            self.timestamp = int(column(message.timestamp, "<i8")[row])
        return Applied(action, broken)

    def best(self) -> tuple[float, float, float, float]:
        """Best bid price and size, best ask price and size; NaN where a side is empty."""
        return kernel.best(self._book)

    def top(self, n: int) -> tuple[F64, F64, F64, F64]:
        """The best n levels (or all, if fewer): bid prices and sizes, ask prices and sizes."""
        columns: list[F64] = []
        for side in (1, -1):
            price, size = np.empty(n), np.empty(n)
            found = kernel.top(self._book, side, price, size)
            columns += [price[:found], size[:found]]
        return columns[0], columns[1], columns[2], columns[3]

    def deeper_than(self, n: int) -> tuple[I8, F64] | None:
        """Side and price of the levels behind the best n of each side; None where there are none.

        Bids first, the better ones of a side first. For books of venues that keep n levels and do
        not say which ones they drop.
        """
        count = kernel.count_behind(self._book, n)
        if not count:
            return None
        side, price = np.empty(count, np.int8), np.empty(count)
        kernel.behind(self._book, n, side, price)
        return side, price

    def depth(self, bps: float) -> tuple[float, float]:
        """Size within `bps` basis points of the mid: bids, asks; NaN unless both sides exist."""
        bid, _, ask, _ = self.best()
        mid, near = (bid + ask) / 2, (bid + ask) / 2 * bps / 1e4
        if np.isnan(mid):
            return float("nan"), float("nan")
        bid_size, _ = kernel.depth(self._book, 1, mid - near)
        ask_size, _ = kernel.depth(self._book, -1, mid + near)
        return bid_size, ask_size

    def levels(self) -> tuple[I8, F64, F64]:
        """The whole book: side, price, qty of every level; bids best first, then asks."""
        bid_px, bid_sz = kernel.whole(self._book, 1)
        ask_px, ask_sz = kernel.whole(self._book, -1)
        side = np.repeat(np.array((1, -1), np.int8), (len(bid_px), len(ask_px)))
        return side, np.concatenate((bid_px, ask_px)), np.concatenate((bid_sz, ask_sz))

    def __len__(self) -> int:
        """Levels of both sides."""
        return kernel.count(self._book, 1) + kernel.count(self._book, -1)

    @property
    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask."""
        bid, _, ask, _ = self.best()
        return bid >= ask

    @property
    def unknown_deletes(self) -> int:
        """Removals of unknown prices since the book was emptied; venues send them normally."""
        return kernel.unknown_deletes(self._book)

    def dump(self) -> bytes:
        """The state as bytes, for a checkpoint."""
        head = np.array((self.update_id, self.timestamp, self.valid), np.int64)
        return head.tobytes() + kernel.dump(self._book)

    @classmethod
    def restore(cls, state: bytes) -> OrderBook:
        """The book of `dump`; ValueError when the bytes are not one."""
        if len(state) < 24:
            raise ValueError("not the state of a book")
        book = cls()
        update_id, timestamp, valid = np.frombuffer(state[:24], np.int64).tolist()
        book.update_id, book.timestamp, book.valid = update_id, timestamp, bool(valid)
        book._book = kernel.load(state[24:])
        return book
