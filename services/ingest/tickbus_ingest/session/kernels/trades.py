"""Verdicts on trades, in order of arrival: what is new, repeated, late or missing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus.compiled import kernel
from tickbus_schemas.messages import ABSENT

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

RECENT = 1024
"""How many of a ticker's last trades are known by id and content; two lines overlap by less."""
FRESH, REPEAT, HOLE, LATE, REUSED, ANEW = range(6)
"""Verdicts: new, published before, new behind missing ones, older but new, an id that stood for
another trade, the venue counts anew."""
COUNTING, UNIQUE, NONE = range(3)


@kernel
def holes(ticker: I32, number: I64, last_number: I64, interrupted: Bool, waits: Bool) -> bool:
    """Whether some ticker's numbers leave a hole that another line may fill; marks it in `waits`.

    waits [tickers]: set for those that have early trades already.
    """
    found = False
    n = 0
    while n < len(ticker):
        t = ticker[n]
        last = last_number[t]
        known = last != ABSENT and not interrupted[t]
        while n < len(ticker) and ticker[n] == t:
            if known and number[n] > last + 1:
                waits[t] = True
            known = True
            last = max(last, number[n])
            n += 1
        found |= waits[t]
    return found


@kernel
def judge_trades(
    mode: int, ticker: I32, number: I64, timestamp: I64, side: I8, price: F64, qty: F64,
    last_number: I64, last_us: I64, recent: I64, filled: I64, stored: I64,
    stored_us: I64, verdict: I8, before: I64,
) -> int:  # fmt: skip
    """A verdict for each trade, in order; how many are not FRESH.

    recent [tickers, RECENT, 2]: number and content of the last trades published of each ticker,
    `filled` [tickers] of them ever. stored [tickers]: the last number of a predecessor; where ids
    do not count, a trade up to the time stored_us is its. before [out]: last number and time before
    each trade.
    """
    odd = 0
    price_bits, qty_bits = price.view(np.int64), qty.view(np.int64)
    for n in range(len(ticker)):
        t = ticker[n]
        own, time = number[n], timestamp[n]
        last, was_us = last_number[t], last_us[t]
        before[n, 0], before[n, 1] = last, was_us
        content = _mix(price_bits[n], qty_bits[n], time, side[n])
        ring = recent[t]
        found = FRESH
        if mode == UNIQUE:
            found = REPEAT if time <= stored_us[t] else _seen(ring, filled[t], own, content)
        elif mode == COUNTING and (last != ABSENT or was_us != ABSENT) and own != last + 1:
            found = _seen(ring, filled[t], own, content)
            if found == FRESH:
                found = _place(ring, filled[t], stored[t], own, last, time > was_us)
        if found == ANEW:
            stored[t] = ABSENT
        verdict[n] = found
        odd += found != FRESH
        if found == REPEAT:
            continue
        at = filled[t] % RECENT
        ring[at, 0], ring[at, 1] = own, content
        filled[t] += 1
        if last == ABSENT or own > last or time > was_us or mode != COUNTING:
            last_number[t], last_us[t] = own, time
    return odd


@kernel
def content_numbers(
    ticker: I32, packet_id: I64, timestamp: I64, side: I8, price: F64, qty: F64, number: I64
) -> None:
    """Numbers for events without an id, made of their content; equal ones of a packet differ."""
    price_bits, qty_bits = price.view(np.int64), qty.view(np.int64)
    for n in range(len(ticker)):
        number[n] = _mix(price_bits[n], qty_bits[n], timestamp[n], side[n])
        first = n
        while first > 0 and packet_id[first - 1] == packet_id[n] and ticker[first - 1] == ticker[n]:
            first -= 1
        for k in range(first, n):  # upwards: the third of equal ones comes behind the second
            if number[k] == number[n]:
                number[n] += 1


@kernel
def _mix(price: int, qty: int, time: int, side: int) -> int:
    """A hash of a trade's content."""
    mixed = np.int64(price) * np.int64(-7046029254386353131)
    mixed ^= np.int64(qty) * np.int64(-4417276706812531889)
    mixed ^= (np.int64(time) << 2) ^ np.int64(side)
    return int(mixed ^ (mixed >> 29))


@kernel
def _seen(ring: I64, filled: int, own: int, content: int) -> int:
    """REPEAT, REUSED or FRESH by what the ring knows."""
    other = False
    for k in range(min(filled, RECENT)):
        if ring[k, 0] == own:
            if ring[k, 1] == content:
                return REPEAT
            other = True
    return REUSED if other else FRESH


@kernel
def _place(ring: I64, filled: int, stored: int, own: int, last: int, is_later: bool) -> int:
    """Of a number that the ring does not hold and that does not follow the last one."""
    if own > last:
        return HOLE
    if is_later:
        return ANEW
    if own <= stored:
        return REPEAT
    oldest = own
    if filled > RECENT:  # older ones have been forgotten
        oldest = last
        for k in range(RECENT):
            oldest = min(oldest, ring[k, 0])
    return LATE if own >= oldest else REPEAT
