"""order-book: its C extension as a user feeds it, prices and sizes as doubles.

Timed: each level set or deleted in `OrderBook.bids` and `.asks`. Before: JSON, text to doubles.
"""

from __future__ import annotations

import time

from order_book import OrderBook
from recorded import Levels, Recorded


def _doubles(levels: Levels) -> list[tuple[float, float]]:
    return [(float(price), float(size)) for price, size in levels]


def ns_a_level(recorded: Recorded, runs: int) -> list[float]:
    """CPU ns of each run."""
    packets = [(_doubles(one.bids), _doubles(one.asks)) for one in recorded.packets]
    found = []
    for _ in range(runs):
        book = OrderBook()
        book.bids = dict(_doubles(recorded.snapshot.bids))
        book.asks = dict(_doubles(recorded.snapshot.asks))
        start_ns = time.process_time_ns()
        for sides in packets:
            for side, updates in zip((book.bids, book.asks), sides, strict=True):
                for price, size in updates:
                    if size:
                        side[price] = size
                    elif price in side:
                        del side[price]
        found.append((time.process_time_ns() - start_ns) / recorded.levels)
    return found
