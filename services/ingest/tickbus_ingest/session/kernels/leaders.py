"""Verdicts on rows that say nothing of who they are, where several connections bring them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus.compiled import kernel

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

RECENT = 8
"""Rows of a ticker that are known by their content: two connections are apart by fewer."""
COUNTS, OTHER, LEADS, TAKES_OVER = range(4)
"""Verdicts: of the connection that leads; of another one; the first one of a new leader after the
last one was gone; the same where the last one only fell silent, and something may be missing."""
PATIENCE_US = 1_000_000
"""A leader that brings nothing for so long while another connection does has to go."""
LAG_MAX_US = 60_000_000
"""No connection lags further behind another: the venue has set its clock back."""


@kernel
def contents(values: F64, time: I64, content: I64) -> None:
    """A hash of each row: its values [rows, values] and its time."""
    bits = values.view(np.int64)
    for n in range(len(time)):
        mixed = time[n] * np.int64(-7046029254386353131)
        for k in range(bits.shape[1]):
            mixed = (mixed ^ (mixed >> 29) ^ bits[n, k]) * np.int64(-4417276706812531889)
        content[n] = mixed | 1  # 0 stands for nothing


@kernel
def judge_leaders(
    chosen: Bool, ticker: I32, slot: I32, time: I64, received_us: I64, content: I64, is_state: bool,
    leader: I32, ahead_us: I64, ahead: I64, behind_us: I64, last_us: I64, recent: I64, filled: I64,
    verdict: I8,
) -> None:  # fmt: skip
    """A verdict on each of the rows of one route that are `chosen`, in order of arrival.

    By ticker: `leader`, the slot that leads + 1, 0 for nobody; `ahead_us`, since when another one
    has been ahead of it, 0 for not, and `ahead`, with which content; `behind_us`, since when a new
    leader has repeated what was published before it, 0 for no more; `last_us`, venue time of the
    last row that counts; recent [tickers, RECENT], contents of those, `filled` of them ever. Of a
    state (`is_state`) a content that comes again is news.
    """
    for n in range(len(ticker)):
        if not chosen[n]:
            continue
        t, own = ticker[n], slot[n] + 1
        known = False
        for k in range(RECENT):
            known = known or recent[t, k] == content[n]
        if leader[t] == 0:
            behind_us[t] = received_us[n] if filled[t] else 0
            leader[t], ahead_us[t] = own, 0
        elif leader[t] != own:
            verdict[n] = OTHER
            if known:
                continue
            if ahead_us[t] == 0:
                ahead_us[t] = received_us[n]
            ahead[t] = content[n]
            if received_us[n] - ahead_us[t] < PATIENCE_US:
                continue
            leader[t], ahead_us[t], behind_us[t] = own, 0, 0
            verdict[n] = TAKES_OVER
        elif ahead_us[t]:
            ahead_us[t] = 0 if content[n] == ahead[t] else received_us[n]
        if behind_us[t]:
            is_old = time[n] > 0 and 0 < last_us[t] - time[n] < LAG_MAX_US
            is_said = known and (time[n] > 0 or not is_state)
            if (is_old or is_said) and received_us[n] - behind_us[t] < LAG_MAX_US:
                verdict[n] = OTHER
                continue
            behind_us[t] = 0
            verdict[n] = LEADS
        recent[t, filled[t] % RECENT] = content[n]
        filled[t] += 1
        last_us[t] = time[n]
