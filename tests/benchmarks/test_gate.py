"""The regression gate: what does not wobble. Python calls a message, and bytes a row.

Seconds are measured by `tickbus bench`. A loop over rows in Python, a message a row, a column that
no longer compresses: each multiplies a count below, on any machine, however busy. The limits are
some 30 % above what was counted when they were set.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tickbus.columns.assembler import Assembler
from tickbus.lake.manifest import committed_files
from tickbus_bench import log
from tickbus_bench.dataset import dataset
from tickbus_book.fold import BookFold
from tickbus_features.fold import FeatureFold

CAPTURE = "frames/binance_usdm/btcusdt_20240808.jsonl.gz"
READ_MESSAGES = 256


class Calls:
    """Calls of Python and of C functions from Python."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        def note(_frame: Any, event: str, _argument: Any) -> None:
            if event in ("call", "c_call"):
                self.count += 1

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            yield
        finally:
            sys.setprofile(before)


@pytest.fixture(scope="module")
def capture(captures: Path) -> Path:
    return captures / CAPTURE


@pytest.fixture(scope="module")
def recorded(capture: Path) -> log.Log:
    return log.of_capture(capture, flush_frames=64)


def test_ingest_makes_few_python_calls_a_frame(capture: Path) -> None:
    log.of_capture.cache_clear()
    log.of_capture(capture, flush_frames=512)  # kernels are loaded, the capture is read
    log.of_capture.cache_clear()
    calls = Calls()
    with calls.counted():
        made = log.of_capture(capture, flush_frames=512)
    # Most are the benchmark's own: it reads the capture and hands over frame by frame.
    assert calls.count / made.frames < 26


@pytest.mark.parametrize(
    ("fold", "limit"),
    [
        (lambda: BookFold([100], 10, stream="BOOK"), 27.0),
        (
            lambda: FeatureFold([100, 1_000, 60_000], bar_stream="BAR", feature_stream="FEATURE"),
            60.0,
        ),
    ],
    ids=["book", "features"],
)
def test_a_fold_makes_few_python_calls_a_message(
    recorded: log.Log, fold: Callable[[], Any], limit: float
) -> None:
    def run() -> None:
        one, assembler = fold(), Assembler()
        for part in log.groups_of(recorded.stored, READ_MESSAGES):
            group = assembler.add(part)
            if group is not None:
                one.apply(group)

    run()
    calls = Calls()
    with calls.counted():
        run()
    assert calls.count / len(recorded.stored) < limit
    assert calls.count / recorded.rows < 1.0


def test_a_level_row_takes_no_more_than_its_bytes(recorded: log.Log) -> None:
    with dataset({"MD": recorded.stored}) as (root, _, _):
        files = [file for file in committed_files(root) if file.feed == "l2"]
    assert sum(file.size for file in files) / sum(file.rows for file in files) <= 4.1
