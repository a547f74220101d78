"""Decisions over all rows of a batch that need the rows before them; compiled, no Python object."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus.kernels.compiled import kernel

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

FRESH, STALE, REPEAT = 0, 1, 2
STALE_RUN_MAX = 64
"""So many stale quotes in a row without a time mean that the venue began to count anew."""


@kernel
def observe(
    kind: I8, ticker: I32, event_us: I64, received_us: I64, ahead_us: int, seen: I64, out: I64
) -> int:
    """Highest venue time seen so far of each row's ticker, in order of arrival; 0 where none.

    `seen` [tickers] is carried from batch to batch. Times more than `ahead_us` after the receive
    time are left out. Returns the highest time of the batch, 0 when it has none.
    """
    highest = np.int64(0)
    for n in range(len(kind)):
        if kind[n] < 0:
            continue
        time = event_us[n]
        if time <= received_us[n] + ahead_us:
            if time > seen[ticker[n]]:
                seen[ticker[n]] = time
            if time > highest:
                highest = time
        out[n] = seen[ticker[n]]
    return int(highest)


@kernel
def judge_quotes(
    ticker: I32,
    update_id: I64,
    event_us: I64,
    values: F64,
    last_id: I64,
    last_us: I64,
    last_values: F64,
    stale_run: I64,
    verdict: I8,
) -> int:
    """FRESH, STALE (an older update id) or REPEAT (the same id and values) for each quote.

    `last_*` and `stale_run` [tickers] are carried from batch to batch; an id that goes back while
    the venue's time goes on means that the venue began to count anew. Returns how many are fresh.
    """
    fresh = 0
    for n in range(len(ticker)):
        t = ticker[n]
        if update_id[n] < last_id[t]:
            anew = event_us[n] > last_us[t] if event_us[n] else stale_run[t] >= STALE_RUN_MAX
            if not anew:
                stale_run[t] += 1
                verdict[n] = STALE
                continue
        elif update_id[n] == last_id[t]:
            same = True
            for k in range(4):
                same = same and values[n, k] == last_values[t, k]
            if same:
                verdict[n] = REPEAT
                continue
        stale_run[t] = 0
        last_id[t] = update_id[n]
        last_us[t] = event_us[n]
        for k in range(4):
            last_values[t, k] = values[n, k]
        verdict[n] = FRESH
        fresh += 1
    return fresh


@kernel
def gather_levels(
    starts: I64, counts: I32, side: I8, price: F64, qty: F64, ends: I64,
    side_out: I8, price_out: F64, qty_out: F64,
) -> None:  # fmt: skip
    """Put the levels of the chosen packets behind one another."""
    for n in range(len(starts)):
        at = ends[n]
        for k in range(counts[n]):
            side_out[at + k] = side[starts[n] + k]
            price_out[at + k] = price[starts[n] + k]
            qty_out[at + k] = qty[starts[n] + k]
