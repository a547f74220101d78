"""What cannot be stored leaves a trace: a gap, a line, a number, an exit code."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.end_to_end import oracle
from tests.ingest import wire
from tests.ingest.wire import depth, trade

pytestmark = [pytest.mark.connected, pytest.mark.timeout(300)]
URL = "wss://fstream.binance.com/stream"


def capture(path: Path, frames: Sequence[bytes]) -> str:
    """A recording of these frames, a millisecond each."""
    lines: list[dict[str, Any]] = [
        {"ts": wire.T0_MS * 1_000_000, "conn": 0, "dir": "connect", "url": URL}
    ]
    lines += [
        {"ts": (wire.T0_MS + n) * 1_000_000, "conn": 0, "dir": "in", "data": frame.decode()}
        for n, frame in enumerate(frames)
    ]
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    return str(path)


def test_updates_whose_book_never_comes_are_a_gap_and_an_exit_code(up: Any, tmp_path: Path) -> None:
    frames = [
        frame
        for n in range(1, 201)
        for frame in (depth(n, n, n - 1, n, [(str(n), "1")]), trade(n, n))
    ]
    made = capture(tmp_path / "binance_usdm.jsonl.gz", frames)
    run = up("--capture", made, "--speed", "max")
    result = run.finish(code=3)
    assert "200 updates of BTCUSDT" in run.said
    assert (result["gaps"], result["rows"]["trade"]) == (1, 200)
    assert result["books_without_snapshot"] == {"BTCUSDT": 200}
    assert result["fates"]["waiting"] == 200
    assert result["accounted"]
    gaps = pl.scan_parquet(run.data / "feed=status" / "**" / "*.parquet").collect()
    (gap,) = gaps.filter(pl.col("from_id").is_not_null()).to_dicts()
    assert (gap["from_id"], gap["to_id"]) == (0, 200)
    assert oracle.row_count(run.data, "l2") == 0


def test_updates_behind_a_gap_that_no_book_follows_are_an_exit_code_too(
    up: Any, captures: Path
) -> None:
    name = "kraken/v2_btcusd_book10_20260720_with_gap"
    run = up("--capture", str(captures / "frames" / f"{name}.jsonl.gz"), "--speed", "max")
    result = run.finish(code=3)
    assert "16 updates of BTC/USD have no snapshot" in run.said
    assert "16 updates of BTC/USD are not stored: no snapshot came for them" in run.said
    assert result["books_without_snapshot"] == {"BTC/USD": 16}
    assert (result["fates"]["waiting"], result["accounted"]) == (16, True)


def test_what_is_refused_or_not_asked_for_is_counted_with_its_reason(
    up: Any, tmp_path: Path
) -> None:
    frames = [trade(1, 1), trade(1, 1), trade(2, 2, price="x"), trade(3, 3)]
    made = capture(tmp_path / "binance_usdm.jsonl.gz", frames)
    result = up("--capture", made, "--speed", "max").finish()
    assert result["fates"]["published"] == 2
    assert result["fates"]["duplicate"] == 1
    assert result["fates"]["refused"] == 1
    assert sum(result["refusals"].values()) == result["rejects"] == 1
    assert sum(result["fates"].values()) == result["frames_websocket"] == len(frames)
