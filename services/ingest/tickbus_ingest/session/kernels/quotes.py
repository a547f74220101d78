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
SAME = 9
"""How many quotes of one time or id are known by their content, + 1 for their number."""


@kernel
def judge_quotes(
    ticker: I32, slot: I32, update_id: I64, event_us: I64, received_us: I64, content: I64,
    last_id: I64, last_us: I64, same: I64, own: I64, stale_run: I64, fresh_us: I64, verdict: I8,
) -> int:  # fmt: skip
    """FRESH, STALE (an older update id) or REPEAT (the same again) for each quote.

    `last_*`, `stale_run` and `fresh_us` (receive time of the last fresh one) [tickers] are carried
    from batch to batch; an id that goes back while the venue's time goes on means that the venue
    began to count anew. Quotes without an id are older by their time. Those of one id, or without
    one of one time, are told apart by what they say and by how many of them a connection brought:
    same [tickers, SAME], how many were fresh, and the contents of the first ones; own
    [tickers, slots, 3], of each connection the id or time, how many it brought, and the last
    content, which does not count again. Returns how many are fresh.
    """
    fresh = 0
    for n in range(len(ticker)):
        t = ticker[n]
        if fresh_us[t] == 0:
            fresh_us[t] = received_us[n]
        only_stale = stale_run[t] >= STALE_RUN_MAX and received_us[n] - fresh_us[t] >= ANEW_US
        nameless = update_id[n] == ABSENT
        if update_id[n] < last_id[t]:
            anew = event_us[n] > last_us[t] if event_us[n] else only_stale
            if not anew:
                stale_run[t] += 1
                verdict[n] = STALE
                continue
        elif nameless and 0 < event_us[n] < last_us[t] and not only_stale:
            # Without ids the time tells what a connection that lags behind brings again.
            stale_run[t] += 1
            verdict[n] = STALE
            continue
        mark = event_us[n] if nameless else update_id[n]
        timeless = nameless and mark == 0
        mine = own[t, slot[n]]
        if mine[0] != mark:
            mine[0], mine[1], mine[2] = mark, 0, 0
        is_again = mine[2] == content[n]
        mine[1] += not is_again
        mine[2] = content[n]
        if update_id[n] != last_id[t] or (nameless and event_us[n] != last_us[t]):
            same[t, 0] = 0
        else:
            known = False
            for k in range(1, min(same[t, 0], SAME - 1) + 1):
                known = known or same[t, k] == content[n]
            if known and (timeless or is_again or mine[1] <= same[t, 0]):
                verdict[n] = REPEAT
                continue
            if timeless:  # one connection leads: only the last one could be said again
                same[t, 0] = 0
        stale_run[t] = 0
        fresh_us[t] = received_us[n]
        last_id[t], last_us[t] = update_id[n], event_us[n]
        same[t, 0] += 1
        if same[t, 0] < SAME:
            same[t, same[t, 0]] = content[n]
        verdict[n] = FRESH
        fresh += 1
    return fresh
