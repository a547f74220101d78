"""Which connection brought each event first, and by how much the others were later."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus.compiled import kernel

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]

BUCKETS, WAYS = 8192, 8
KEY, FIRST_US, FIRST, BROUGHT, SETTLED, FIELDS = range(6)
"""Of an event that is known: its key, when it came first (0: nothing is here), the runner that
brought it, which slots have brought it, and whether those that have not were counted."""
SLOTS = 8
"""Connections of a route: the runner of a slot is `route * SLOTS + slot`."""
WINS, DROPS, MISSED, SINCE_US, COUNTS = range(5)
"""Of a runner: events that it brought first, later than another, and never; since when it runs."""


@kernel
def race_keys(feed: int, route: I32, ticker: I32, one: I64, two: I64, frame: I64, key: I64) -> None:
    """A hash of each event's identity: feed, route of its frame, ticker and two numbers."""
    for n in range(len(ticker)):
        mixed = (np.int64(route[frame[n]]) << 40) ^ (np.int64(ticker[n]) << 8) ^ feed
        for value in (one[n], two[n], np.int64(0)):
            mixed = (mixed ^ (mixed >> 31)) * np.int64(-7046029254386353131)
            mixed = (mixed ^ (mixed >> 29) ^ value) * np.int64(-4417276706812531889)
        key[n] = mixed ^ (mixed >> 32)


@kernel
def run_race(
    key: I64, frame: I64, route: I32, slot: I32, received_us: I64, events: I64, counts: I64,
    winner: I32, loser: I32, lead_us: I64,
) -> int:  # fmt: skip
    """Enter events in order of arrival; how many came once more over another connection.

    events [BUCKETS, WAYS, FIELDS] and counts [runners, COUNTS] are carried on; winner, loser
    (runners) and lead_us [rows] are filled for those that came once more.
    """
    later = 0
    for n in range(len(key)):
        own_route, own_slot = route[frame[n]], slot[frame[n]]
        if own_route < 0:
            continue
        runner, time = own_route * SLOTS + own_slot, received_us[frame[n]]
        if counts[runner, SINCE_US] == 0:
            counts[runner, SINCE_US] = time
        ways = events[(key[n] >> 17) & (BUCKETS - 1)]
        found, oldest = -1, 0
        for k in range(WAYS):
            if ways[k, FIRST_US] and ways[k, KEY] == key[n]:
                found = k
            if ways[k, FIRST_US] < ways[oldest, FIRST_US]:
                oldest = k
        if found < 0:
            _settle(ways[oldest], counts)
            ways[oldest, KEY], ways[oldest, FIRST_US] = key[n], time
            ways[oldest, FIRST], ways[oldest, BROUGHT] = runner, 1 << own_slot
            ways[oldest, SETTLED] = 0
            counts[runner, WINS] += 1
            continue
        event = ways[found]
        if event[BROUGHT] & (1 << own_slot):
            continue
        event[BROUGHT] |= 1 << own_slot
        counts[runner, DROPS] += 1
        if event[SETTLED] and counts[runner, SINCE_US] < event[FIRST_US]:
            counts[runner, MISSED] -= 1
        winner[later], loser[later] = event[FIRST], runner
        lead_us[later] = time - event[FIRST_US]
        later += 1
    return later


@kernel
def settle_race(before_us: int, events: I64, counts: I64) -> None:
    """Count for each runner what came first before this time and never over it."""
    for bucket in range(BUCKETS):
        for k in range(WAYS):
            if 0 < events[bucket, k, FIRST_US] < before_us:
                _settle(events[bucket, k], counts)


@kernel
def _settle(event: I64, counts: I64) -> None:
    if event[FIRST_US] == 0 or event[SETTLED]:
        return
    event[SETTLED] = 1
    first = event[FIRST] // SLOTS * SLOTS
    for slot in range(SLOTS):
        since_us = counts[first + slot, SINCE_US]
        if 0 < since_us < event[FIRST_US] and not event[BROUGHT] & (1 << slot):
            counts[first + slot, MISSED] += 1
