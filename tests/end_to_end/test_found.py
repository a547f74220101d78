"""Small recordings that went wrong when others tried them: what each must give."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.end_to_end.running import TICKBUS

pytestmark = [pytest.mark.connected, pytest.mark.timeout(180)]

Result = dict[str, Any]


@pytest.fixture
def found(captures: Path) -> Path:
    folder = captures.parent / "found"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: the recordings that went wrong are not here")
    return folder


def run(capture: Path, data: Path) -> tuple[int, Result, str]:
    """Exit code, the JSON object ({} where there is none) and what was said."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TICKBUS_")}
    done = subprocess.run(
        [TICKBUS, "up", "--capture", capture, "--speed", "max", "--data", data, "--json"],
        capture_output=True,
        text=True,
        timeout=150,
        env=inherited,
    )
    lines = done.stdout.strip().splitlines()
    result = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return done.returncode, result, done.stderr


def rows(data: Path, feed: str) -> pl.DataFrame:
    """All rows of a feed, as any reader would find them."""
    return pl.read_parquet(data / f"feed={feed}" / "**" / "*.parquet", hive_partitioning=False)


def accounted(result: Result) -> bool:
    fates = result["fates"]
    return bool(result["accounted"] and sum(fates.values()) == result["frames_websocket"])


WHOLE: dict[str, dict[str, int]] = {
    "allmarket": {"trade": 2, "bbo": 2, "l2": 6},
    "empty_updates": {"l2": 6},
    "lowercase_rest": {"trade": 1, "bbo": 1, "l2": 6},
    "microseconds": {"trade": 2, "bbo": 1, "l2": 7},
    "raw_frames": {"trade": 2, "bbo": 2, "l2": 6},
    "reorder": {"trade": 6, "l2": 9},
}


@pytest.mark.parametrize("name", WHOLE)
def test_it_is_read_whole(name: str, found: Path, tmp_path: Path) -> None:
    code, result, said = run(found / f"{name}.jsonl.gz", tmp_path)
    assert code == 0, said
    kept = {feed: result["rows"].get(feed, 0) for feed in ("trade", "bbo", "l2")}
    assert kept == {"trade": 0, "bbo": 0, "l2": 0} | WHOLE[name]
    assert (result["gaps"], result["rejects"]) == (0, 0)
    assert accounted(result)


def test_a_stream_of_the_whole_market_is_counted(found: Path, tmp_path: Path) -> None:
    _, result, said = run(found / "allmarket.jsonl.gz", tmp_path)
    assert result["left_out"] == {"!forceOrder@arr": 1}
    assert "!forceOrder@arr (1 frames)" in said


def test_two_lines_that_overtake_each_other_come_out_in_order(found: Path, tmp_path: Path) -> None:
    run(found / "reorder.jsonl.gz", tmp_path)
    assert rows(tmp_path, "trade")["trade_id"].to_list() == [str(n) for n in range(100, 106)]
    updates = rows(tmp_path, "l2").filter(~pl.col("is_snapshot"))["update_id"].to_list()
    assert updates == [20, 30, 40, 50, 60]


def test_the_recorded_book_is_the_snapshot_whatever_its_urls_case(
    found: Path, tmp_path: Path
) -> None:
    run(found / "lowercase_rest.jsonl.gz", tmp_path)
    book = rows(tmp_path, "l2").filter(pl.col("is_snapshot"))
    assert book["update_id"].unique().to_list() == [15]
    assert sorted(book["price"].to_list()) == [99.0, 100.0, 101.0, 102.0]


def test_times_in_microseconds_are_the_recordings(found: Path, tmp_path: Path) -> None:
    run(found / "microseconds.jsonl.gz", tmp_path)
    for feed in ("trade", "l2", "bbo"):
        times = rows(tmp_path, feed)["timestamp"]
        assert 1_760_000_000_000_000 <= times.min() <= times.max() < 1_760_000_001_000_000  # type: ignore[operator]


@pytest.mark.parametrize(("name", "updates"), [("no_snapshot", 600), ("body_as_frame", 3)])
def test_updates_without_a_snapshot_are_a_gap_and_a_bad_exit_code(
    name: str, updates: int, found: Path, tmp_path: Path
) -> None:
    code, result, said = run(found / f"{name}.jsonl.gz", tmp_path)
    assert code != 0
    assert f"{updates} updates of BTCUSDT" in said
    assert (result["gaps"], result["fates"]["waiting"]) == (1, updates)
    assert result["rows"].get("l2", 0) == 0
    assert accounted(result)
    (gap,) = rows(tmp_path, "status").filter(pl.col("kind") == 3).to_dicts()
    assert gap["about_feed"] == "l2"


def test_every_book_of_many_tickers_comes(found: Path, tmp_path: Path) -> None:
    code, result, said = run(found / "spot25.jsonl.gz", tmp_path)
    assert code == 0, said
    books = rows(tmp_path, "l2").filter(pl.col("is_snapshot"))
    assert books["ticker"].n_unique() == 25
    assert accounted(result)


def test_a_capture_without_a_feed_of_ours_says_what_it_holds(found: Path, tmp_path: Path) -> None:
    code, _, said = run(found / "partial_depth.jsonl.gz", tmp_path)
    assert code != 0
    assert "no feed of binance_spot: depth20 (4 frames)" in said


def test_a_capture_of_the_past_is_refused_before_its_first_frame(
    found: Path, tmp_path: Path
) -> None:
    assert run(found / "day2.jsonl.gz", tmp_path)[0] == 0
    code, _, said = run(found / "day1.jsonl.gz", tmp_path)
    assert code != 0
    assert "name another folder with --data" in said
    assert rows(tmp_path, "trade").height == 2
