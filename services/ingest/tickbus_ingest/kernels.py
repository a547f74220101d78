"""Decisions over all rows of a batch that need the rows before them; compiled, no Python object."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus.compiled import kernel

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

FEEDS = 3
"""Kinds of contract.Kind that are feeds; their values are 0, 1, 2."""
FRESH, STALE, REPEAT = 0, 1, 2
STALE_RUN_MAX = 64
"""So many stale quotes in a row without a time mean that the venue began to count anew."""


@kernel
def refuse_insane(
    kind: I8, event_us: I64, engine_us: I64, received_us: I64, first_us: int, ahead_us: int
) -> int:
    """Give frames with an impossible time to the full decoder (kind -1); how many it must decide.

    A time of 0 was not sent.
    """
    left = 0
    for n in range(len(kind)):
        if kind[n] >= 0:
            latest = received_us[n] + ahead_us
            event, engine = event_us[n], engine_us[n]
            insane = (event != 0 and event < first_us) or event > latest
            if insane or (engine != 0 and engine < first_us) or engine > latest:
                kind[n] = -1
        left += kind[n] < 0
    return left


@kernel
def arrange(kind: I8, ticker: I32, tickers: int, starts: I64, order: I64) -> int:
    """Rows by feed, within it by ticker, within it in order of arrival: a counting sort.

    Rows of feed f and ticker t become order[starts[f * tickers + t] : starts[f * tickers + t + 1]];
    `starts` has FEEDS * tickers + 1 zeros. Rows of other kinds are left out; how many are in.
    """
    for n in range(len(kind)):
        if 0 <= kind[n] < FEEDS:
            starts[kind[n] * tickers + ticker[n] + 1] += 1
    for n in range(1, len(starts)):
        starts[n] += starts[n - 1]
    place = starts[:-1].copy()
    for n in range(len(kind)):
        if 0 <= kind[n] < FEEDS:
            key = kind[n] * tickers + ticker[n]
            order[place[key]] = n
            place[key] += 1
    return int(starts[-1])


@kernel
def observe(
    kind: I8, ticker: I32, event_us: I64, received_us: I64, ahead_us: int,
    seen: I64, heard: Bool, out: I64, wire_us: I64,
) -> tuple[int, int]:  # fmt: skip
    """Highest venue time seen so far of each row's ticker, in order of arrival; 0 where none.

    `seen` [tickers] and `heard` [kinds, tickers] are carried from batch to batch. Times more than
    `ahead_us` after the receive time are left out. Returns the highest time of the batch, 0 when
    it has none, and how many values of `wire_us` (receive time minus event time) are filled.
    """
    highest = 0
    timed = 0
    for n in range(len(kind)):
        if kind[n] < 0:
            continue
        heard[kind[n], ticker[n]] = True
        time = event_us[n]
        if time > 0:
            wire_us[timed] = received_us[n] - time
            timed += 1
            if time <= received_us[n] + ahead_us:
                seen[ticker[n]] = max(seen[ticker[n]], time)
                highest = max(highest, time)
        out[n] = seen[ticker[n]]
    return highest, timed


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
