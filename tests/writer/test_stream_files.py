"""What a log becomes on disk: every row once, under the same names however the log arrived."""

from __future__ import annotations

import resource
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickbus.lake import manifest
from tickbus.lake.dataset_schema import columns
from tickbus.log.stored import Stored
from tickbus_schemas import codec
from tickbus_schemas.documents import FOLDER, meanings
from tickbus_schemas.errors import Fatal, Reject
from tickbus_schemas.feeds import OF_KIND, OF_NAME, RAW
from tickbus_schemas.messages import (
    ABSENT,
    SEQ_ID_ROWS,
    BarBatch,
    BookBatch,
    FeatureBatch,
    Header,
    L2Batch,
    Message,
    TradeBatch,
)

from tests.writer.logs import MIDNIGHT_US, LogWriter, derived_log, market_log
from tests.writer.writing import INCARNATION, LIMITS, STREAM, all_rows, data_files, written

LOG = market_log()


def decoded(log: list[Stored]) -> list[tuple[int, Message]]:
    found = []
    for one in log:
        try:
            found.append((one.seq, codec.decode(one.data, one.subject)))
        except Reject:
            continue
    return found


def numbers(data: bytes, code: str) -> list[float | None]:
    return [None if value == ABSENT else value for value in np.frombuffer(data, code).tolist()]


def expected_levels(log: list[Stored]) -> list[tuple[object, ...]]:
    """l2 rows straight from the messages, level by level."""
    rows: list[tuple[object, ...]] = []
    for seq, message in decoded(log):
        if not isinstance(message, L2Batch):
            continue
        levels = list(
            zip(
                *(
                    np.frombuffer(getattr(message, name), code).tolist()
                    for name, code in (
                        ("action", "<i1"),
                        ("side", "<i1"),
                        ("price", "<f8"),
                        ("qty", "<f8"),
                    )
                ),
                strict=True,
            )
        )
        at = within = 0
        counts = np.frombuffer(message.levels, "<i4").tolist()
        for packet, count in enumerate(counts):
            common = [
                numbers(getattr(message, name), "<i8")[packet]
                for name in (
                    "timestamp",
                    "rcv_timestamp",
                    "packet_id",
                    "prev_update_id",
                    "update_id",
                    "engine_timestamp",
                )
            ]
            flags = np.frombuffer(message.flags, "<u2").tolist()[packet]
            for level in levels[at : at + count]:
                seq_id = seq * SEQ_ID_ROWS + within
                within += 1
                rows.append((seq, seq_id, message.ticker, *common, flags, flags != 0, *level))
            at += count
    return [row[1:] for row in rows]


def test_l2_rows_are_the_messages_levels_in_log_order(tmp_path: Path) -> None:
    written(tmp_path, LOG)
    names = ["seq_id", "ticker", "timestamp", "rcv_timestamp", "packet_id", "prev_update_id"]
    names += ["update_id", "engine_timestamp", "flags", "is_snapshot"]
    names += ["action", "side", "price", "qty"]
    rows = [tuple(row[name] for name in names) for row in all_rows(tmp_path, "l2")]
    assert rows == expected_levels(LOG)


def test_trade_rows_are_the_messages_rows_with_their_ids(tmp_path: Path) -> None:
    written(tmp_path, LOG, [1])
    expected = []
    for seq, message in decoded(LOG):
        if isinstance(message, TradeBatch):
            offsets = np.frombuffer(message.trade_id_offsets, "<i4")
            ids = [message.trade_id_bytes[a:b].decode() for a, b in pairwise(offsets)]
            prices = np.frombuffer(message.price, "<f8").tolist()
            expected += [
                (seq * SEQ_ID_ROWS + n, message.ticker, 2, ids[n], prices[n])
                for n in range(len(ids))
            ]
    rows = [
        (row["seq_id"], row["ticker"], row["exchange"], row["trade_id"], row["price"])
        for row in all_rows(tmp_path, "trade")
    ]
    assert rows == expected


README = meanings((FOLDER / "README.md").read_text())
ABSENT_AS_TEXT = {"-2**63": str(ABSENT), "NaN": "nan", "0": "0"}


def known(kind: type[Header], name: str, value: object) -> object:
    """A value as a file has it: null where README says that it stands for an absent one."""
    said = README[kind.__name__].fields[name]
    is_absent = said.absent != "" and str(value) == ABSENT_AS_TEXT.get(said.absent)
    return None if is_absent and said.unit != "code" else value


def rows_of(seq: int, message: Message) -> list[dict[str, object]]:
    """The rows of a message whose columns have a value a row, or that has no columns."""
    names = list(README[type(message).__name__].fields)
    columns = [
        np.frombuffer(getattr(message, name), message.columns[name].code).tolist()
        if message.columns
        else [getattr(message, name)]
        for name in names
    ]
    return [
        {"seq_id": seq * SEQ_ID_ROWS + n, "ticker": message.ticker, "exchange": message.exchange}
        | {name: known(type(message), name, value) for name, value in zip(names, row, strict=True)}
        for n, row in enumerate(zip(*columns, strict=True))
    ]


@pytest.mark.parametrize("feed", [name for name in RAW if name not in ("trade", "l2")])
def test_rows_of_a_feed_are_the_messages_rows_with_every_column(tmp_path: Path, feed: str) -> None:
    written(tmp_path, LOG)
    kind = OF_NAME[feed].kind
    expected = [
        row
        for seq, message in decoded(LOG)
        if type(message) is kind
        for row in rows_of(seq, message)
    ]
    for row in expected:
        if feed == "status":
            row["about_feed"] = row["feed"]
    assert expected
    assert all_rows(tmp_path, feed) == expected


def test_hive_readers_see_what_a_status_is_about_beside_the_feed_of_the_path(
    tmp_path: Path,
) -> None:
    log = LogWriter()
    log.status("BTCUSDT", feed="l2")
    written(tmp_path, log.stored)
    hive = pl.read_parquet(f"{tmp_path}/**/*.parquet", hive_partitioning=True)
    assert hive["feed"].to_list() == ["status"]
    assert hive["about_feed"].to_list() == ["l2"]


def test_no_other_column_has_the_name_of_a_key_in_paths() -> None:
    for feed in OF_NAME:
        names = {column.name for column in columns(feed)}
        keys = names & {"feed", "venue", "symbol", "date", "set"}
        assert keys == ({"feed"} if feed == "status" else set())


def test_absent_integers_are_null_and_common_columns_never(tmp_path: Path) -> None:
    written(tmp_path, LOG)
    for row in all_rows(tmp_path, "bbo"):
        assert row["update_id"] is None
        assert row["engine_timestamp"] is None
    status = all_rows(tmp_path, "status")
    assert [row["reason"] for row in status] == ["socket opened, größer"] * 2
    assert {row["from_id"] for row in status} == {None}
    for path in tmp_path.rglob("*.parquet"):
        table = pq.ParquetFile(path).read()
        assert table.column_names[:6] == [
            "timestamp",
            "rcv_timestamp",
            "exchange",
            "ticker",
            "seq_id",
            "packet_id",
        ]
        assert all(table.column(n).null_count == 0 for n in range(6))


def test_folders_are_by_feed_venue_ticker_and_day_of_venue_time(tmp_path: Path) -> None:
    written(tmp_path, LOG)
    folders = {str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("*.parquet")}
    assert "feed=trade/venue=binance_usdm/symbol=ETH%2FUSDT/date=2024-07-18" in folders
    assert "feed=l2/venue=binance_usdm/symbol=BTCUSDT/date=2024-07-19" in folders
    for path in tmp_path.rglob("*.parquet"):
        days = {
            "date=2024-07-19" if time >= MIDNIGHT_US else "date=2024-07-18"
            for time in pq.ParquetFile(path).read(["timestamp"]).column(0).to_pylist()
        }
        assert days == {path.parent.name}


def test_file_and_footer_name_stream_and_range(tmp_path: Path) -> None:
    written(tmp_path, LOG)
    for path in tmp_path.rglob("*.parquet"):
        name = manifest.parse_data_file(path.name)
        assert name is not None
        assert (name.stream, name.incarnation) == (STREAM, INCARNATION)
        metadata = pq.read_metadata(path).metadata
        assert metadata[b"tickbus.schema"] == b"1"
        assert metadata[b"tickbus.range"].decode() == path.stem
        for row in pq.ParquetFile(path).read(["seq_id"]).to_pylist():
            assert name.first_seq <= row["seq_id"] // SEQ_ID_ROWS <= name.last_seq


def test_rows_of_a_file_are_in_order_of_seq_id(tmp_path: Path) -> None:
    """Also where several intervals of one ticker share a file."""
    for kind in ("book", "bar", "feature"):
        written(tmp_path, derived_log(kind), [9], stream=f"{kind.upper()}_X")
    for path in tmp_path.rglob("*.parquet"):
        seq_ids = pq.ParquetFile(path).read(["seq_id"]).column(0).to_pylist()
        assert seq_ids == sorted(set(seq_ids))


def test_book_levels_beyond_the_book_are_null_and_flags_are_columns(tmp_path: Path) -> None:
    log = derived_log("book")
    written(tmp_path, log, [5], stream="BOOK_X")
    expected = []
    for seq, message in decoded(log):
        assert isinstance(message, BookBatch)
        asks = np.frombuffer(message.ask_px, "<f8").reshape(-1, message.depth).tolist()
        levels = np.frombuffer(message.ask_levels, "<i4").tolist()
        flags = np.frombuffer(message.flags, "<u2").tolist()
        for n, (ask, count, flag) in enumerate(zip(asks, levels, flags, strict=True)):
            prices = [price if level < count else None for level, price in enumerate(ask)]
            quality = (bool(flag & 1), bool(flag & 2), bool(flag & 4))
            expected.append((seq * SEQ_ID_ROWS + n, message.interval_ms, *prices, *quality))
    names = ["seq_id", "interval_ms", "ask_px_01", "ask_px_02", "ask_px_03"]
    names += ["crossed", "stale", "gap"]
    assert [tuple(r[n] for n in names) for r in all_rows(tmp_path, "book")] == expected


def test_nan_of_bars_and_features_is_null(tmp_path: Path) -> None:
    for kind in ("bar", "feature"):
        written(tmp_path, derived_log(kind), [5], stream=f"{kind.upper()}_X")
    bars: list[object] = []
    features: list[object] = []
    for kind, into in (("bar", bars), ("feature", features)):
        for _, message in decoded(derived_log(kind)):
            if isinstance(message, BarBatch):
                into += np.frombuffer(message.close, "<f8").tolist()
            elif isinstance(message, FeatureBatch):
                into += np.frombuffer(message.values[1], "<f8").tolist()
    assert [repr(r["close"]) for r in all_rows(tmp_path, "bar")] == [
        "None" if value != value else repr(value) for value in bars
    ]
    assert [repr(r["ofi"]) for r in all_rows(tmp_path, "feature")] == [
        "None" if value != value else repr(value) for value in features
    ]
    assert list(tmp_path.glob("feed=feature/set=c0ffee/venue=*"))


def test_entries_cover_every_sequence_and_message_number(tmp_path: Path) -> None:
    written(tmp_path, LOG)
    entries = manifest.entries(tmp_path, STREAM)
    assert len(entries) > 2
    assert entries[0].first_seq == LOG[0].seq
    assert entries[-1].last_seq == LOG[-1].seq
    for before, after in pairwise(entries):
        assert after.first_seq == before.last_seq + 1
        assert after.previous == before.name
    kinds = [type(message) for _, message in decoded(LOG)]
    counted = sum(entry.messages_with_rows for entry in entries)
    assert counted == sum(kind in OF_KIND for kind in kinds) - 1  # one has packets without levels
    without = {
        reason: sum(entry.without_rows.get(reason, 0) for entry in entries)
        for reason in ("clock", "fence", "reject", "empty")
    }
    assert without == {"clock": 12, "fence": 2, "reject": 1, "empty": 1}
    numbers: dict[int, int] = {}
    for entry in entries:
        for one in entry.epochs:
            assert one.messages == one.last_message_no - one.first_message_no + 1
            assert one.first_message_no == numbers.get(one.epoch, -1) + 1
            numbers[one.epoch] = one.last_message_no
    assert sorted(numbers) == [1, 2]


def test_entries_say_where_books_can_be_started(tmp_path: Path) -> None:
    written(tmp_path, LOG)
    named = {
        (one.ticker, one.seq_id)
        for entry in manifest.entries(tmp_path, STREAM)
        for one in entry.snapshots
    }
    rows = [row for row in all_rows(tmp_path, "l2") if row["flags"] & 1]
    first = {(row["ticker"], row["packet_id"]): row["seq_id"] for row in reversed(rows)}
    assert named == {(ticker, seq_id) for (ticker, _), seq_id in first.items()}
    assert len(named) == 3


@settings(max_examples=6)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_any_grouping_of_the_messages_gives_the_same_bytes(
    sizes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    one, other = (tmp_path_factory.mktemp("set") for _ in range(2))
    written(one, LOG, [len(LOG)])
    written(other, LOG, sizes)
    assert data_files(one) == data_files(other)
    assert manifest.entries(one, STREAM) == manifest.entries(other, STREAM)


@settings(max_examples=6)
@given(stops=st.lists(st.integers(1, len(LOG)), max_size=4), data=st.data())
def test_stops_and_restarts_change_no_row(
    stops: list[int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A stop drains (the tail is cut there) or does not (it is read again)."""
    one, other = (tmp_path_factory.mktemp("set") for _ in range(2))
    written(one, LOG)
    for stop in sorted(stops):
        written(other, LOG[:stop], [11], drain=data.draw(st.booleans()))
    written(other, LOG)
    for feed in ("trade", "l2", "bbo", "status"):
        assert all_rows(other, feed) == all_rows(one, feed)


def test_without_a_drain_blocks_end_at_the_same_sequences(tmp_path: Path) -> None:
    written(tmp_path / "whole", LOG)
    for stop in range(10, len(LOG), 10):
        written(tmp_path / "stopped", LOG[:stop], [3], drain=False)
    written(tmp_path / "stopped", LOG)
    assert data_files(tmp_path / "stopped") == data_files(tmp_path / "whole")


def test_a_second_drain_of_the_same_log_writes_nothing(tmp_path: Path) -> None:
    written(tmp_path, LOG)
    before = data_files(tmp_path)
    written(tmp_path, LOG)
    assert data_files(tmp_path) == before


def test_a_book_of_another_depth_gets_a_file_of_its_own(tmp_path: Path) -> None:
    log = LogWriter()
    log.book("BTCUSDT", 100, 2, depth=3)
    log.book("BTCUSDT", 100, 2, depth=5)
    written(tmp_path, log.stored, stream="BOOK_X")
    widths = {
        path.stem.rsplit("-", 1)[1]: pq.read_metadata(path).num_columns
        for path in tmp_path.rglob("*.parquet")
    }
    assert widths == {f"{log.seq - 1:013d}": 6 + 2 + 12 + 3, "2": 6 + 2 + 20 + 3}


def test_sequences_that_are_gone_are_an_entry_and_a_row_never_silent(tmp_path: Path) -> None:
    log = LogWriter()
    log.fence()
    log.snapshot("BTCUSDT")
    first = list(log.stored)
    log.skip(5)
    log.deltas("BTCUSDT", 3)
    log.skip(2)
    log.deltas("BTCUSDT", 3)
    written(tmp_path, first)
    written(tmp_path, log.stored[2:])
    entries = manifest.entries(tmp_path, STREAM)
    assert [(one.first_seq, one.last_seq, one.cut) for one in entries] == [
        (1, 2, "drain"),
        (3, 7, "expired"),
        (8, 11, "drain"),
    ]
    assert entries[1].without_rows == {"expired": 5}
    assert entries[2].without_rows == {"missing": 2}
    (row,) = all_rows(tmp_path, "status")
    assert row["ticker"] == "*"
    assert row["seq_id"] == 3 * SEQ_ID_ROWS
    assert (
        row["reason"]
        == f"{STREAM}: sequences 3 to 7 were gone from the stream before they were written"
    )


def test_a_stream_made_anew_goes_on_in_the_same_manifest(tmp_path: Path) -> None:
    written(tmp_path, LOG)
    anew = market_log(2, 2, first_seq=LOG[-1].seq + 100)
    written(tmp_path, anew, incarnation="0def")
    entries = manifest.entries(tmp_path, STREAM)
    cut = [one for one in entries if one.cut == "recreated"]
    assert [(one.first_seq, one.last_seq) for one in cut] == [(LOG[-1].seq + 1, anew[0].seq - 1)]
    assert entries[-1].incarnation == "0def"
    seq_ids = [row["seq_id"] for row in all_rows(tmp_path, "l2")]
    assert seq_ids == sorted(set(seq_ids))


@pytest.mark.parametrize("incarnation", [INCARNATION, "0def"])
def test_a_stream_that_ends_before_the_files_is_refused(tmp_path: Path, incarnation: str) -> None:
    written(tmp_path, LOG)
    with pytest.raises(Fatal, match="it ends at 20, the files at"):
        written(tmp_path, LOG[:20], incarnation=incarnation)


def test_rows_in_memory_are_bounded_by_spilling_row_groups(tmp_path: Path) -> None:
    written(tmp_path, LOG, limits=LIMITS._replace(block_s=10**6))
    groups = [pq.read_metadata(path).num_row_groups for path in tmp_path.rglob("*.parquet")]
    assert max(groups) > 3


@pytest.mark.parametrize("bytes_max", [100, 3_000])
def test_a_full_disk_ends_the_job_with_one_line_and_nothing_half_done(
    tmp_path: Path, bytes_max: int
) -> None:
    """Files may not grow beyond a limit, as on a disk that is full: first entries, then data."""
    log = market_log(3, 30)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, hard))
    try:
        with pytest.raises(Fatal, match=r"cannot write.*make room"):
            written(tmp_path / "set", log, limits=LIMITS._replace(block_s=60))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    written(tmp_path / "set", log, limits=LIMITS._replace(block_s=60))
    written(tmp_path / "right", log, limits=LIMITS._replace(block_s=60))
    assert data_files(tmp_path / "set") == data_files(tmp_path / "right")
