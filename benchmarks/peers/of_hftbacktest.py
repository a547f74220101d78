"""hftbacktest: its market depths, which Python reaches through its replay loop only.

Timed: `elapse` in steps of 100 ms over the whole feed, without a strategy: its clock, its event
loop, and one book (events are marked for the local side only, which leaves the exchange's empty).
Before: JSON, one array of its event records. Its ROI vector is told the range of prices beforehand;
its hash map is not. Its loop is called as its Numba classes call it, which saves compiling those.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from hftbacktest import (
    BUY_EVENT,
    DEPTH_EVENT,
    DEPTH_SNAPSHOT_EVENT,
    LOCAL_EVENT,
    SELL_EVENT,
    BacktestAsset,
    build_hashmap_backtest,
    build_roivec_backtest,
)
from hftbacktest.binding import (
    hashmapbt_close,
    hashmapbt_elapse,
    roivecbt_close,
    roivecbt_elapse,
)
from hftbacktest.types import event_dtype
from recorded import Packet, Recorded

STEP_NS = 100_000_000
TICK, LOT = 0.1, 0.001


def _events(packet: Packet, kind: int) -> Iterator[tuple[Any, ...]]:
    for side, levels in ((BUY_EVENT, packet.bids), (SELL_EVENT, packet.asks)):
        for price, size in levels:
            times = packet.received_ns, packet.received_ns
            yield (kind | LOCAL_EVENT | side, *times, float(price), float(size), 0, 0, 0.0)


def _feed(recorded: Recorded) -> Any:
    """The snapshot, then the packets after it."""
    rows = list(_events(recorded.snapshot, DEPTH_SNAPSHOT_EVENT))
    for packet in recorded.packets:
        if packet.received_ns > recorded.snapshot.received_ns:
            rows += _events(packet, DEPTH_EVENT)
    return np.array(rows, event_dtype)


def _asset(feed: Any) -> Any:
    asset = BacktestAsset().data(feed).tick_size(TICK).lot_size(LOT).linear_asset(1.0)
    asset = asset.constant_order_latency(0, 0).risk_adverse_queue_model()
    return asset.no_partial_fill_exchange().trading_value_fee_model(0, 0)


def ns_a_level(recorded: Recorded, runs: int) -> list[float]:
    """CPU ns of each run, in its ROI vector."""
    feed = _feed(recorded)
    low, high = float(feed["px"].min()) - 1, float(feed["px"].max()) + 1
    found = []
    for _ in range(runs):
        replay = build_roivec_backtest([_asset(feed).roi_lb(low).roi_ub(high)])
        found.append(_elapsed_ns(replay, roivecbt_elapse) / len(feed))
        roivecbt_close(replay)
    return found


def ns_a_level_hash_map(recorded: Recorded, runs: int) -> list[float]:
    """The same in the structure that needs no range of prices."""
    feed = _feed(recorded)
    found = []
    for _ in range(runs):
        replay = build_hashmap_backtest([_asset(feed)])
        found.append(_elapsed_ns(replay, hashmapbt_elapse) / len(feed))
        hashmapbt_close(replay)
    return found


def _elapsed_ns(replay: int, elapse: Callable[[int, int], int]) -> int:
    """CPU ns until the feed is at its end."""
    start_ns = time.process_time_ns()
    while elapse(replay, STEP_NS) == 0:
        pass
    return time.process_time_ns() - start_ns
