"""The whole job by hand: msgspec, one Numba loop and pyarrow, in one process, without a bus.

This is what a good programmer writes in an afternoon for one venue and one ticker: depth and trade
frames of a capture in memory to 100 ms snapshots of the top 10 in Parquet. It is the yardstick of
the whole path, not a part of tickbus: a dense array over ticks, no gaps, no restart, no proof.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit
from numpy.typing import NDArray

DEPTH = 10
GRID_MS = 100


class _Depth(msgspec.Struct):
    E: int
    u: int
    b: list[tuple[float, float]]
    a: list[tuple[float, float]]


class _Trade(msgspec.Struct):
    T: int
    p: float
    q: float
    m: bool


class _DepthFrame(msgspec.Struct):
    data: _Depth


class _TradeFrame(msgspec.Struct):
    data: _Trade


class _Snapshot(msgspec.Struct):
    lastUpdateId: int
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]


@njit(cache=True)
def _snapshots(
    event_ms: NDArray[np.int64],
    offsets: NDArray[np.int64],
    sides: NDArray[np.int8],
    ticks: NDArray[np.int64],
    qty: NDArray[np.float64],
    bids: NDArray[np.float64],
    asks: NDArray[np.float64],
    out_ms: NDArray[np.int64],
    out: NDArray[np.float64],
) -> int:
    best_bid, best_ask, rows = 0, asks.size - 1, 0
    grid = -1
    for event in range(event_ms.size):
        if grid >= 0:
            while grid < event_ms[event]:
                out_ms[rows] = grid
                level, tick = 0, best_bid
                while level < DEPTH and tick > 0:
                    if bids[tick] > 0.0:
                        out[rows, 0, level] = tick
                        out[rows, 1, level] = bids[tick]
                        level += 1
                    tick -= 1
                level, tick = 0, best_ask
                while level < DEPTH and tick < asks.size:
                    if asks[tick] > 0.0:
                        out[rows, 2, level] = tick
                        out[rows, 3, level] = asks[tick]
                        level += 1
                    tick += 1
                rows += 1
                grid += GRID_MS
        for place in range(offsets[event], offsets[event + 1]):
            tick = ticks[place]
            if sides[place] > 0:
                bids[tick] = qty[place]
                if qty[place] > 0.0 and tick > best_bid:
                    best_bid = tick
            else:
                asks[tick] = qty[place]
                if qty[place] > 0.0 and tick < best_ask:
                    best_ask = tick
        while best_bid > 0 and bids[best_bid] == 0.0:
            best_bid -= 1
        while best_ask < asks.size - 1 and asks[best_ask] == 0.0:
            best_ask += 1
        if grid < 0:
            grid = (event_ms[event] + GRID_MS - 1) // GRID_MS * GRID_MS
    return rows


def run(depth: list[bytes], trades: list[bytes], snapshot: bytes, out: Path) -> int:
    """Depth and trade frames and one REST body to Parquet files; returns the snapshot rows."""
    book = msgspec.json.decode(snapshot, type=_Snapshot, strict=False)
    decode_depth = msgspec.json.Decoder(_DepthFrame, strict=False).decode
    decode_trade = msgspec.json.Decoder(_TradeFrame, strict=False).decode
    events = [decode_depth(frame).data for frame in depth]
    events = [event for event in events if event.u >= book.lastUpdateId]
    first = _Depth(events[0].E, book.lastUpdateId, book.bids, book.asks)
    events.insert(0, first)
    flat: list[tuple[float, float]] = []
    counts, sides = [], []
    for event in events:
        flat += event.b
        flat += event.a
        counts.append(len(event.b) + len(event.a))
        sides.append((len(event.b), len(event.a)))
    levels = np.array(flat)
    side = np.repeat(np.tile(np.array([1, -1], np.int8), len(events)), np.array(sides).ravel())
    ticks = np.rint(levels[:, 0] * 100).astype(np.int64)
    low = ticks.min() - 1
    size = int(ticks.max() - low + 2)
    event_ms = np.array([event.E for event in events])
    offsets = np.concatenate(([0], np.cumsum(counts)))
    room = int((event_ms[-1] - event_ms[0]) // GRID_MS + 2)
    out_ms, tops = np.zeros(room, np.int64), np.full((room, 4, DEPTH), np.nan)
    rows = _snapshots(
        event_ms,
        offsets,
        side,
        ticks - low,
        np.ascontiguousarray(levels[:, 1]),
        np.zeros(size),
        np.zeros(size),
        out_ms,
        tops,
    )
    tops = tops[:rows]
    tops[:, 0::2] = (tops[:, 0::2] + low) / 100
    columns = {"timestamp": out_ms[:rows] * 1_000}
    for place, name in enumerate(("bid_px", "bid_sz", "ask_px", "ask_sz")):
        for level in range(DEPTH):
            columns[f"{name}_{level + 1:02}"] = np.ascontiguousarray(tops[:, place, level])
    pq.write_table(pa.table(columns), out / "book.parquet", compression="zstd")
    prints = [decode_trade(frame).data for frame in trades]
    table = {
        "timestamp": np.array([trade.T for trade in prints]) * 1_000,
        "side": np.where([trade.m for trade in prints], -1, 1).astype(np.int8),
        "price": np.array([trade.p for trade in prints]),
        "qty": np.array([trade.q for trade in prints]),
    }
    pq.write_table(pa.table(table), out / "trade.parquet", compression="zstd")
    return rows


def seconds(depth: list[bytes], trades: list[bytes], snapshot: bytes, out: Path) -> float:
    """Wall seconds of one run, after one that warmed the kernel."""
    start = time.perf_counter()
    run(depth, trades, snapshot, out)
    return time.perf_counter() - start
