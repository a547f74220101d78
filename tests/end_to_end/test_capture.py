"""A real capture from socket to Parquet, against the captures' independent answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end import oracle

pytestmark = [pytest.mark.connected, pytest.mark.timeout(180)]

DELTA_ROWS = {
    "binance_usdm/btcusdt_20240808": 443_262,
    "binance_usdm/btcusdt_20240718_19": 400_668,
    "binance_spot/btcusdt_20240808": 124_073,
    "binance_usdm/cryptofeed_20210722": 6_252,
}


def assert_right(root: Path, captures: Path, name: str) -> None:
    prefix = captures / "expected" / name
    capture = captures / "frames" / f"{name}.jsonl.gz"
    assert oracle.trades_differ(root, prefix) == []
    assert oracle.quotes_differ(root, capture) == []
    assert oracle.levels_differ(root, prefix, delta_rows=DELTA_ROWS[name]) == []
    assert oracle.books_differ(root, prefix) == []
    assert oracle.common_columns_wrong(root) == []


@pytest.mark.parametrize("name", DELTA_ROWS)
def test_every_packet_of_a_capture_is_in_the_files(up: Any, captures: Path, name: str) -> None:
    capture = captures / "frames" / f"{name}.jsonl.gz"
    run = up("--capture", str(capture), "--speed", "max")
    result = run.finish()
    assert_right(run.data, captures, name)
    lines = [frame["dir"] for frame in oracle.frames(capture)]
    others = sum(result["left_out"].values())
    assert result["frames"] + others == lines.count("in") + lines.count("http")
    assert sum(result["fates"].values()) == result["frames_websocket"]
    assert result["accounted"]
    assert result["gaps"] == 0
    assert result["rejects"] == 0
    for feed, count in result["rows"].items():
        assert count == oracle.row_count(run.data, feed), feed


def test_rows_do_not_depend_on_speed_or_flush_size(up: Any, captures: Path) -> None:
    capture = str(captures / "frames" / "binance_usdm/cryptofeed_20210722.jsonl.gz")
    fast = up("--capture", capture, "--speed", "max")
    fast.finish()
    timed = up("--capture", capture, "--speed", "20")
    timed.finish()
    lingering = up(
        "--capture", capture, "--speed", "max", environment={"TICKBUS_INGEST__LINGER_MS": "20"}
    )
    lingering.finish()
    for other in (timed, lingering):
        for feed in ("trade", "l2", "bbo", "status", "book", "bar", "feature"):
            assert oracle.content(other.data, feed) == oracle.content(fast.data, feed), feed
