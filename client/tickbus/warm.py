"""Compile every kernel once, so that no service pays for it at start.

A distribution with kernels names, in the entry point group `tickbus.kernels`, a function without
arguments that runs them with the very types that they get at work.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import numpy as np
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import L2Batch, L2Flag

from tickbus import column_checks
from tickbus.kernels.compiled import forget_old_caches
from tickbus.kernels.wire import KernelReader
from tickbus.orderbook import OrderBook

GROUP = "tickbus.kernels"

_VALUES: dict[str, Any] = {
    "flags": [int(L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST)],
    "levels": [2],
    "side": [1, -1],
    "action": [1, 1],
    "price": [1.0, 2.0],
    "qty": [1.0, 1.0],
}


def warm() -> None:
    """The client's own: bytes of the bus, checks of columns, the book in every way it is used."""
    KernelReader()
    column_checks.warm()
    columns: dict[str, Any] = {
        name: np.array(_VALUES.get(name, [1]), width.code).tobytes()
        for name, width in L2Batch.columns.items()
    }
    book = OrderBook()
    book.apply_batch(
        L2Batch(
            exchange=int(Exchange.BINANCE_SPOT), ticker="WARM", epoch=0, message_no=0, **columns
        )
    )
    many = np.arange(1_000, dtype=np.float64)  # more than a new book has room for: it grows
    book.apply(np.ones(len(many), np.int8), many, many)
    book.best()
    book.top(1)
    OrderBook.restore(book.dump()).depth(1.0)


def main() -> None:
    """Fill the kernel cache and drop what earlier sources left; called by `make setup`."""
    warm()
    for point in sorted(entry_points(group=GROUP)):
        point.load()()
    forget_old_caches()


if __name__ == "__main__":
    main()
