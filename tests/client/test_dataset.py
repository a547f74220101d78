"""`scan`: committed rows and no others, pruned by ticker and time, typed even when empty."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from tickbus.lake.dataset import scan, select
from tickbus.lake.dataset_schema import FEEDS, columns, schema
from tickbus_schemas.errors import Fatal, Reject

from tests.client.verifiable import right_dataset
from tests.writer.logs import MIDNIGHT_US, LogWriter, derived_log
from tests.writer.writing import STREAM, all_rows, written


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    right_dataset(folder)
    written(folder, derived_log("bar"), stream="BAR_BINANCE_USDM")
    written(folder, derived_log("feature"), stream="FEATURE_BINANCE_USDM")
    return folder


@pytest.mark.parametrize("feed", FEEDS)
def test_every_feed_gives_the_rows_that_are_in_the_files(root: Path, feed: str) -> None:
    rows = scan(feed, root=root).collect().sort("seq_id").to_dicts()
    assert rows == all_rows(root, feed)
    assert rows


def test_rows_of_a_ticker_come_in_log_order(root: Path) -> None:
    frame = scan("l2", tickers="ETH/USDT", root=root).collect()
    assert frame["ticker"].unique().to_list() == ["ETH/USDT"]
    assert frame["seq_id"].is_sorted()


@pytest.mark.parametrize(
    "midnight",
    [
        MIDNIGHT_US,
        "2024-07-19",
        "2024-07-19T00:00:00Z",
        "2024-07-19T02:00:00+02:00",
        date(2024, 7, 19),
        datetime(2024, 7, 19),
        datetime(2024, 7, 19, tzinfo=UTC),
    ],
)
def test_start_is_included_and_end_is_not(root: Path, midnight: str | int) -> None:
    every = [row["timestamp"] for row in all_rows(root, "trade")]
    before = scan("trade", end=midnight, root=root).collect()["timestamp"].to_list()
    after = scan("trade", start=midnight, root=root).collect()["timestamp"].to_list()
    assert sorted(before) == sorted(time for time in every if time < MIDNIGHT_US)
    assert sorted(after) == sorted(time for time in every if time >= MIDNIGHT_US)
    assert before
    assert after


def test_only_files_that_can_hold_such_rows_are_opened(root: Path) -> None:
    files = select(root, "l2", exchange="binance_usdm", tickers={"BTCUSDT"}, end=MIDNIGHT_US)
    assert files
    assert {(file.ticker, file.date) for file in files} == {("BTCUSDT", "2024-07-18")}


@pytest.mark.parametrize("feed", FEEDS)
def test_without_rows_the_frame_is_empty_and_typed(root: Path, feed: str) -> None:
    frame = scan(feed, tickers=["NOSUCH"], root=root).collect()
    assert frame.height == 0
    full = scan(feed, root=root).collect()
    shared = [name for name in frame.columns if name in full.columns]
    assert shared[:6] == [column.name for column in columns(feed)][:6]
    assert {name: frame.schema[name] for name in shared} == {
        name: full.schema[name] for name in shared
    }


def test_times_are_plain_integers_and_the_ticker_is_text(root: Path) -> None:
    kinds = scan("l2", root=root).collect_schema()
    assert kinds["timestamp"] == pl.Int64
    assert kinds["ticker"] == pl.String
    assert kinds["exchange"] == pl.Int16
    assert kinds["is_snapshot"] == pl.Boolean


def test_files_that_are_not_committed_are_not_read(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "set")
    expected = scan("trade", root=copy).collect().height
    path = next(copy.glob("feed=trade/**/*.parquet"))
    shutil.copy(path, path.with_name(f"{STREAM}-0abc-0000000900000-0000000900009.parquet"))
    assert scan("trade", root=copy).collect().height == expected


def test_a_frame_is_the_dataset_of_the_moment_it_was_made(tmp_path: Path) -> None:
    log = LogWriter()
    log.trades("BTCUSDT", 3)
    written(tmp_path, log.stored)
    frame = scan("trade", root=tmp_path)
    log.trades("BTCUSDT", 4)
    written(tmp_path, log.stored)
    assert frame.collect().height == 3
    assert scan("trade", root=tmp_path).collect().height == 7


def test_books_of_two_depths_are_one_frame(tmp_path: Path) -> None:
    log = LogWriter()
    log.book("BTCUSDT", 100, 2, depth=3)
    log.book("BTCUSDT", 100, 2, depth=5)
    written(tmp_path, log.stored, stream="BOOK_X")
    frame = scan("book", root=tmp_path).collect()
    assert frame.height == 4
    assert frame["bid_px_05"].null_count() == 2


def test_files_have_the_schema_that_is_documented(root: Path) -> None:
    for feed in {*FEEDS} - {"book", "feature"}:
        for path in root.glob(f"feed={feed}/**/*.parquet"):
            assert pq.read_schema(path).remove_metadata() == schema(columns(feed))


def test_readme_names_the_columns_of_every_table() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for feed in sorted({*FEEDS} - {"book", "feature"}):
        own = [column.name for column in columns(feed)][6:]
        assert f"\n| {feed} | `{', '.join(own)}` |\n" in readme, feed


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="holds no dataset"):
        scan("trade", root=tmp_path)


def test_an_unknown_feed_is_refused_with_those_there_are(root: Path) -> None:
    with pytest.raises(Fatal, match="unknown feed 'trades': one of trade, l2, bbo"):
        scan("trades", root=root)


def test_an_unknown_exchange_is_refused_with_those_there_are(root: Path) -> None:
    with pytest.raises(Reject, match="unknown exchange 'binance': one of"):
        scan("trade", "binance", root=root)


def test_text_that_is_no_time_is_refused(root: Path) -> None:
    with pytest.raises(Fatal, match="'yesterday' is not a time: write 2024-08-08"):
        scan("trade", start="yesterday", root=root)
