"""What a user gets wrong: one clear line with the remedy, an exit code, no traceback."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end import oracle
from tests.end_to_end.running import TICKBUS

pytestmark = [pytest.mark.connected, pytest.mark.timeout(120)]


def mistake(*arguments: str, environment: dict[str, str] | None = None) -> str:
    """Run `tickbus ...`; the lines on stderr of a run that must fail."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TICKBUS_")}
    done = subprocess.run(
        [TICKBUS, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=inherited | (environment or {}),
    )
    assert done.returncode not in (0, -9), done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    return done.stderr


def test_all_settings_mistakes_are_listed_at_once(tmp_path: Path) -> None:
    config = tmp_path / "tickbus.toml"
    config.write_text(
        "[book]\ndepth = 5000\n[nats]\nreplicas = 2\n[ingest]\nexchang = 'binance_usdm'\n"
    )
    said = mistake("up", "--config", str(config), "--data", str(tmp_path / "data"))
    for name in ("book.depth", "nats.replicas", "ingest.exchang"):
        assert name in said


def test_a_capture_that_is_not_there(tmp_path: Path) -> None:
    said = mistake("up", "--capture", str(tmp_path / "no.jsonl.gz"), "--data", str(tmp_path / "d"))
    assert "no.jsonl.gz" in said


def test_a_wrong_ticker_is_named_with_the_nearest(captures: Path, tmp_path: Path) -> None:
    capture = captures / "frames" / "binance_usdm/cryptofeed_20210722.jsonl.gz"
    data = str(tmp_path / "d")
    said = mistake("up", "--capture", str(capture), "--tickers", "SUSHIUSD", "--data", data)
    assert "SUSHIUSD" in said
    assert "SUSHIUSDT" in said


def test_feeds_that_a_capture_does_not_hold_are_named_with_those_that_it_does(
    captures: Path, tmp_path: Path
) -> None:
    capture = captures / "frames" / "binance_usdm/cryptofeed_20210722.jsonl.gz"
    data = str(tmp_path / "d")
    said = mistake(
        "up", "--capture", str(capture), "--data", data,
        environment={"TICKBUS_INGEST__FEEDS": "trade"},
    )  # fmt: skip
    assert "no trade to give; it has trade:aggregate, l2, bbo" in said
    assert "or leave it unset for all" in said


def test_feeds_and_tickers_of_the_environment_are_not_replaced_by_those_of_the_capture(
    up: Any, captures: Path
) -> None:
    capture = captures / "frames" / "binance_usdm/cryptofeed_20210722.jsonl.gz"
    result = up(
        "--capture", str(capture), "--speed", "max",
        environment={
            "TICKBUS_INGEST__FEEDS": "bbo,trade",
            "TICKBUS_INGEST__TICKERS": "SUSHIUSDT,CTKUSDT",
            "TICKBUS_INGEST__EXCHANGE": "okx",
            "TICKBUS_INGEST__REST_URL": "http://127.0.0.1:9",
        },
    )  # fmt: skip
    found = result.finish()
    assert found["rows"]["bbo"] > 0
    assert not {"trade", "l2"} & set(found["rows"])
    assert "no trade to give" in result.said
    assert "of binance_usdm: the setting ingest.exchange = okx is not used" in result.said
    assert "the setting ingest.rest_url is not used" in result.said
    names = {path.name for path in result.data.glob("feed=bbo/*/symbol=*")}
    assert names == {"symbol=SUSHIUSDT", "symbol=CTKUSDT"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(captures: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    capture = captures / "frames" / "binance_usdm/cryptofeed_20210722.jsonl.gz"
    assert str(tmp_path) in mistake("up", "--capture", str(capture), "--data", str(tmp_path / "d"))


def test_a_file_where_the_folder_should_be(captures: Path, tmp_path: Path) -> None:
    capture = captures / "frames" / "binance_usdm/cryptofeed_20210722.jsonl.gz"
    (tmp_path / "d").write_text("not a folder")
    assert str(tmp_path / "d") in mistake(
        "up", "--capture", str(capture), "--data", str(tmp_path / "d")
    )


def test_bad_lines_and_frames_cost_only_themselves(up: Any, captures: Path, tmp_path: Path) -> None:
    good = captures / "frames" / "binance_usdm/cryptofeed_20210722.jsonl.gz"
    with gzip.open(good, "rt") as source:
        lines = source.readlines()
    frame = '{"ts":1626992745000000000,"conn":0,"dir":"in","data":"%s"}\n'
    envelope = '{\\"stream\\":\\"sushiusdt@bookTicker\\",\\"data\\":%s}'
    quote = (
        '{\\"e\\":\\"bookTicker\\",\\"u\\":600859600577,\\"s\\":\\"SUSHIUSDT\\",\\"b\\":\\"%s\\",'
        '\\"B\\":\\"2\\",\\"a\\":\\"7.6120\\",\\"A\\":\\"297\\",\\"T\\":1626992741012,'
        '\\"E\\":1626992741017}'
    )
    bad = [
        "this is no line of a capture\n",
        frame % "neither is this a frame",
        frame % (envelope % (quote % "NaN")),
        frame % (envelope % (quote % "1e999")),
        frame % (envelope % '{\\"e\\":\\"bookTicker\\"}'),
        frame % ("x" * 10_000_000),
    ]
    for place, line in zip(range(100, 1_300, 200), bad, strict=True):
        lines.insert(place, line)
    capture = tmp_path / "binance_usdm" / "bad.jsonl.gz"
    capture.parent.mkdir()
    with gzip.open(capture, "wt") as target:
        target.writelines(lines)
    run = up("--capture", str(capture), "--speed", "max")
    result = run.finish(code=3)
    assert result["rejects"] == len(bad) - 1
    assert result["bad_lines"] == 1
    assert result["untold_frames"] == 2  # no frame, and the long one
    assert f"1 line of the capture cannot be read; the first: {capture}:101: " in run.said
    prefix = captures / "expected" / "binance_usdm/cryptofeed_20210722"
    assert oracle.trades_differ(run.data, prefix) == []
    assert oracle.quotes_differ(run.data, good) == []
    assert oracle.levels_differ(run.data, prefix, delta_rows=6_252) == []
    assert oracle.books_differ(run.data, prefix) == []


def test_verify_says_yes_and_then_no(up: Any, captures: Path, tmp_path: Path) -> None:
    capture = captures / "frames" / "binance_usdm/cryptofeed_20210722.jsonl.gz"
    run = up("--capture", str(capture), "--speed", "max")
    run.finish()
    good = subprocess.run([TICKBUS, "verify", run.data], capture_output=True, text=True, timeout=60)
    assert good.returncode == 0, good.stdout + good.stderr
    doubled = tmp_path / "doubled"
    shutil.copytree(run.data, doubled)
    one = next(doubled.glob("feed=trade/**/*.parquet"))
    shutil.copy(one, one.with_name(one.name.replace("-", "-0", 1)))
    done = subprocess.run([TICKBUS, "verify", doubled], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
