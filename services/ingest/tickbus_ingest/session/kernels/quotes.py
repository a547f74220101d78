"""Verdicts on best quotes, in order of arrival: what is new, older or said before."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus.compiled import kernel
from tickbus_schemas.messages import ABSENT

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]
F64 = npt.NDArray[np.float64]

FRESH, STALE, REPEAT = 0, 1, 2
STALE_RUN_MAX = 64
ANEW_US = 10_000_000
"""So many stale quotes and nothing else for so long, where no time or no id tells: the venue began
to count anew. A line that lags behind brings as many, but the others bring fresh ones meanwhile."""


@kernel
def judge_quotes(
    ticker: I32, update_id: I64, event_us: I64, received_us: I64, values: F64,
    last_id: I64, last_us: I64, last_values: F64, stale_run: I64, fresh_us: I64, verdict: I8,
) -> int:  # fmt: skip
    """FRESH, STALE (an older update id) or REPEAT (the same again) for each quote.

    `last_*`, `stale_run` and `fresh_us` (receive time of the last fresh one) [tickers] are carried
    from batch to batch; an id that goes back while
    the venue's time goes on means that the venue began to count anew. Quotes without an id repeat
    when time and values are the same, and are older by their time. Returns how many are fresh.
    """
    fresh = 0
    for n in range(len(ticker)):
        t = ticker[n]
        if fresh_us[t] == 0:
            fresh_us[t] = received_us[n]
        only_stale = stale_run[t] >= STALE_RUN_MAX and received_us[n] - fresh_us[t] >= ANEW_US
        if update_id[n] < last_id[t]:
            anew = event_us[n] > last_us[t] if event_us[n] else only_stale
            if not anew:
                stale_run[t] += 1
                verdict[n] = STALE
                continue
        elif update_id[n] == ABSENT and 0 < event_us[n] < last_us[t]:
            # Without ids the time tells what a connection that lags behind brings again.
            if not only_stale:
                stale_run[t] += 1
                verdict[n] = STALE
                continue
        elif update_id[n] == last_id[t] and (update_id[n] != ABSENT or event_us[n] == last_us[t]):
            same = True
            for k in range(4):
                same = same and values[n, k] == last_values[t, k]
            if same:
                verdict[n] = REPEAT
                continue
        stale_run[t] = 0
        fresh_us[t] = received_us[n]
        last_id[t] = update_id[n]
        last_us[t] = event_us[n]
        for k in range(4):
            last_values[t, k] = values[n, k]
        verdict[n] = FRESH
        fresh += 1
    return fresh
