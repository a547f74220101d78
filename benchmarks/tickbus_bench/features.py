"""Message bytes to bars and features: level rows/s, CPU of a whole capture, cost of a group."""

from __future__ import annotations

import time
from pathlib import Path

from tickbus.columns.assembler import Assembler
from tickbus.columns.group import Group
from tickbus.log.stored import Stored
from tickbus_features.fold import FeatureFold
from tickbus_features.warm import warm

from tickbus_bench.log import Log, as_live, groups_of, of_capture
from tickbus_bench.target import Target, of_runs

RUNS, RUNS_QUICK = 9, 3
READ_MESSAGES = 256
LEVELS_PER_S = 5_000_000
BUDGET_S = 0.4


def _fold(intervals_ms: list[int]) -> FeatureFold:
    return FeatureFold(intervals_ms, bar_stream="BAR", feature_stream="FEATURE")


def _groups(stored: list[Stored], size: int) -> list[Group]:
    assembler = Assembler()
    return [group for part in groups_of(stored, size) if (group := assembler.add(part))]


def _seconds_from_bytes(log: Log, intervals_ms: list[int]) -> float:
    """CPU seconds from stored messages to encoded bars and features."""
    fold, assembler = _fold(intervals_ms), Assembler()
    start = time.process_time()
    for part in groups_of(log.stored, READ_MESSAGES):
        group = assembler.add(part)
        if group is not None:
            fold.apply(group)
    return time.process_time() - start


def _seconds_of_fold(groups: list[Group], intervals_ms: list[int]) -> float:
    fold = _fold(intervals_ms)
    start = time.process_time()
    for group in groups:
        fold.apply(group)
    return time.process_time() - start


def measure(capture: Path, quick: bool) -> list[Target]:
    """Large flushes for throughput, flushes as they come live for the cost of a group."""
    runs = RUNS_QUICK if quick else RUNS
    warm()
    large, small = of_capture(capture, flush_frames=2048), as_live(capture, quick)
    _seconds_from_bytes(large, [1_000])
    to_seconds = [large.levels / _seconds_from_bytes(large, [1_000]) for _ in range(runs)]
    groups = _groups(large.stored, READ_MESSAGES)
    kernel = [_seconds_of_fold(groups, [1_000]) / large.levels * 1e9 for _ in range(runs)]
    whole = [_seconds_from_bytes(large, [100, 1_000, 60_000]) for _ in range(runs)]
    singles = _groups(small.stored[: 4_000 if quick else 20_000], 1)
    alone = [_seconds_of_fold(singles, [100, 1_000, 60_000]) for _ in range(min(runs, 3))]
    alone_us = [seconds / len(singles) * 1e6 for seconds in alone]
    return [
        Target(
            name="features.from_bytes",
            unit="level rows/s",
            target=LEVELS_PER_S,
            at_least=True,
            limit=f"fold alone {sorted(kernel)[len(kernel) // 2]:.0f} ns a level",
            **of_runs(to_seconds),
        ),
        Target(
            name="features.capture_cpu",
            unit="s",
            target=BUDGET_S,
            at_least=False,
            notes={"intervals": "100ms 1s 1m", "messages": len(large.stored)},
            **of_runs(whole),
        ),
        Target(
            name="features.group_alone",
            unit="us a group of one message",
            target=100.0,
            at_least=False,
            notes={"groups": len(singles)},
            **of_runs(alone_us),
        ),
    ]
