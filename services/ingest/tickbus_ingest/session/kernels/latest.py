"""What partial messages leave out is filled with what is known of their ticker."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus.compiled import kernel

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
U16 = npt.NDArray[np.uint16]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@kernel
def merge(
    ticker: I32, slot: I32, counts: Bool, leads: Bool, time: I64, values: F64, own: F64, last: F64,
    last_us: I64, fields: U16, fresh: Bool,
) -> None:  # fmt: skip
    """Fill what a row leaves out with the last known value, in order; `fields`: what it said.

    last [tickers, values] and last_us [tickers] are carried on, and own [slots, tickers, values]:
    what each connection said last. A row that does not count only goes there; with the first one
    since its connection `leads` goes all that it has said. A row that says nothing new at the same
    time is not fresh.
    """
    for n in range(len(ticker)):
        t, s = ticker[n], slot[n]
        for k in range(values.shape[1]):
            if values[n, k] == values[n, k]:
                own[s, t, k] = values[n, k]
        fresh[n] = False
        if not counts[n]:
            continue
        if leads[n]:
            for k in range(values.shape[1]):
                if own[s, t, k] != last[t, k]:  # what is not known equals nothing
                    values[n, k] = own[s, t, k]
        news = time[n] != last_us[t] or time[n] == 0
        for k in range(values.shape[1]):
            value = values[n, k]
            if value != value:
                values[n, k] = last[t, k]
                continue
            fields[n] |= np.uint16(1) << np.uint16(k)
            news |= value != last[t, k]
            last[t, k] = value
        last_us[t] = time[n]
        fresh[n] = news and fields[n] != 0
