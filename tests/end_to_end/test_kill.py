"""Kill -9 of any part in mid-run: the same end result, or a gap that explains what is missing."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end import oracle
from tests.end_to_end.test_capture import DELTA_ROWS, assert_right

pytestmark = [pytest.mark.connected, pytest.mark.timeout(180)]

CAPTURE = "binance_spot/btcusdt_20240808"
SPEED = "60"  # 346 s of market in 6 s: time enough to hit the middle


def kill_in_the_middle(run: Any, name: str) -> None:
    run.wait_for_frames()
    time.sleep(random.uniform(0.2, 3.0))
    run.kill(name)


@pytest.mark.parametrize("name", ["book", "features", "writer", "nats"])
def test_a_killed_part_changes_nothing_in_the_files(up: Any, captures: Path, name: str) -> None:
    run = up("--capture", str(captures / "frames" / f"{CAPTURE}.jsonl.gz"), "--speed", SPEED)
    kill_in_the_middle(run, name)
    result = run.finish()
    assert_right(run.data, captures, CAPTURE)
    assert result["restarts"] >= 1
    assert f"{name} was killed by SIGKILL: restarted" in run.said


@pytest.mark.parametrize("name", ["writer", "nats"])
def test_a_part_that_somebody_else_stops_in_order_is_started_again(
    up: Any, captures: Path, name: str
) -> None:
    run = up("--capture", str(captures / "frames" / f"{CAPTURE}.jsonl.gz"), "--speed", SPEED)
    run.wait_for_frames()
    run.kill(name, signal.SIGTERM)
    run.finish()
    assert f"{name} ended with exit code 0: restarted" in run.said
    assert_right(run.data, captures, CAPTURE)


def test_what_a_killed_ingest_lost_is_a_gap_and_all_else_is_right(up: Any, captures: Path) -> None:
    capture = captures / "frames" / f"{CAPTURE}.jsonl.gz"
    run = up("--capture", str(capture), "--speed", SPEED)
    kill_in_the_middle(run, "ingest")
    result = run.finish()
    assert result["accounted"] is None  # nobody knows what it had received at last
    prefix = captures / "expected" / CAPTURE
    gaps = [row for row in oracle.rows(run.data, "status", "BTCUSDT") if row["kind"] == 3]
    assert_trades_are_right_or_in_a_gap(run.data, prefix, gaps)
    level_rows = oracle.rows(run.data, "l2", "BTCUSDT")
    assert {gap["feed"] for gap in gaps} >= {"l2", "bbo"}
    second_epoch = [row for row in level_rows if row["packet_id"] >> 40 == 2]
    assert second_epoch[0]["is_snapshot"]
    assert oracle.levels_differ(run.data, prefix) == []
    assert len([row for row in level_rows if not row["is_snapshot"]]) <= DELTA_ROWS[CAPTURE]
    assert oracle.common_columns_wrong(run.data) == []


def assert_trades_are_right_or_in_a_gap(
    root: Path, prefix: Path, gaps: list[dict[str, Any]]
) -> None:
    spans = [
        range(int(gap["from_id"]) + 1, int(gap["to_id"])) for gap in gaps if gap["feed"] == "trade"
    ]
    stored = {row["trade_id"] for row in oracle.rows(root, "trade", "BTCUSDT")}
    for line in oracle.trades_differ(root, prefix):
        trade_id = line.split()[1].rstrip(":")
        assert trade_id not in stored, line
        assert any(int(trade_id) in span for span in spans), line
