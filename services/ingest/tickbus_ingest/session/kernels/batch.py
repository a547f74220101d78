"""Passes over all rows of a batch that need the rows before them; compiled, no Python object."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus.compiled import kernel

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]
F64 = npt.NDArray[np.float64]


@kernel
def by_ticker(ticker: I32, tickers: int, order: I64) -> bool:
    """Rows by ticker, within it in order of arrival: a counting sort into `order`.

    False when they are in that order already.
    """
    sorted_already = True
    ends = np.zeros(tickers + 1, np.int64)
    for n in range(len(ticker)):
        ends[ticker[n] + 1] += 1
        sorted_already &= n == 0 or ticker[n] >= ticker[n - 1]
    for n in range(1, len(ends)):
        ends[n] += ends[n - 1]
    for n in range(len(ticker)):
        order[ends[ticker[n]]] = n
        ends[ticker[n]] += 1
    return not sorted_already


@kernel
def observe(
    frame: I64, ticker: I32, event_us: I64, received_us: I64, ahead_us: int,
    seen: I64, before: I64, wire_us: I64,
) -> tuple[int, int]:  # fmt: skip
    """Highest venue time seen so far of each row's ticker, itself included; 0 where none.

    Rows in order of arrival. `seen` [tickers] is carried from batch to batch. Times more than
    `ahead_us` after the receive time are left out. Returns the highest time of the batch, 0 when
    it has none, and how many values of `wire_us` (receive time minus event time) are filled.
    """
    highest = 0
    timed = 0
    for n in range(len(ticker)):
        time = event_us[n]
        if time > 0:
            received = received_us[frame[n]]
            wire_us[timed] = received - time
            timed += 1
            if time <= received + ahead_us:
                seen[ticker[n]] = max(seen[ticker[n]], time)
                highest = max(highest, time)
        before[n] = seen[ticker[n]]
    return highest, timed


@kernel
def gather_levels(
    starts: I64, counts: I64, side: I8, price: F64, qty: F64, ends: I64,
    side_out: I8, price_out: F64, qty_out: F64,
) -> None:  # fmt: skip
    """Put the levels of the chosen packets behind one another."""
    for n in range(len(starts)):
        at = ends[n]
        for k in range(counts[n]):
            side_out[at + k] = side[starts[n] + k]
            price_out[at + k] = price[starts[n] + k]
            qty_out[at + k] = qty[starts[n] + k]
