"""`tickbus verify` says yes to what the writer makes, and no to every change of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tickbus.cli.dispatch import main
from tickbus.lake import manifest
from tickbus.lake.verify.check import verify
from tickbus.lake.verify.findings import SHOWN_MAX, Findings
from tickbus.lake.verify.kernels.recompute import compare
from tickbus.warm import warm
from tickbus_schemas.messages import Status, StatusKind
from tickbus_writer.local_target import LocalTarget

from tests.client.verifiable import BOOKS, right_dataset
from tests.writer.logs import LogWriter, market_log
from tests.writer.writing import STREAM, written


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("right")
    right_dataset(root)
    return root


@pytest.fixture
def dataset(right: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(right, tmp_path / "set"))


def kinds(findings: Findings) -> set[str]:
    return set(findings.counts)


def a_file(root: Path, feed: str) -> Path:
    return sorted(root.glob(f"feed={feed}/**/*.parquet"))[0]


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write a file anew with other rows and the same metadata."""
    with pq.ParquetFile(path) as file:
        table, metadata = file.read(), file.metadata.metadata
    table = change(table)
    with pq.ParquetWriter(path, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(
            {key.decode(): value.decode() for key, value in metadata.items()}
        )


def entries_of(root: Path, stream: str = STREAM) -> list[Path]:
    return sorted((root / manifest.stream_folder(stream)).glob("*.json"))


def test_what_the_writer_made_is_right(right: Path) -> None:
    findings = verify(right)
    assert findings.problems == []
    assert findings.notes == []
    assert findings.facts["book rows compared"] > 30
    assert findings.facts["links"] > 40
    assert findings.facts["rows"] == sum(
        pq.read_metadata(path).num_rows for path in right.rglob("*.parquet")
    )


def test_warming_leaves_nothing_to_compile(right: Path) -> None:
    warm()
    verify(right)
    compiled: Any = compare
    assert len(compiled.signatures) == 1


def test_a_file_that_was_cut_is_noticed(dataset: Path) -> None:
    path = a_file(dataset, "l2")
    path.write_bytes(path.read_bytes()[:-50])
    assert kinds(verify(dataset)) == {"file unreadable"}


def test_a_changed_byte_is_noticed_even_if_the_rows_still_read(dataset: Path) -> None:
    path = a_file(dataset, "trade")
    data = path.read_bytes()
    # The name of the program in the footer: no row depends on it.
    assert b"parquet-cpp-arrow" in data
    path.write_bytes(data.replace(b"parquet-cpp-arrow", b"parquet-cpp-arroW"))
    assert kinds(verify(dataset)) == {"file changed"}


@pytest.mark.parametrize("feed", ["trade", "l2", "bbo", "status", "book"])
def test_a_changed_row_is_noticed(dataset: Path, feed: str) -> None:
    def add_one(table: pa.Table) -> pa.Table:
        at = table.column_names.index("rcv_timestamp")
        column = pa.array([value + 1 for value in table.column(at).to_pylist()], pa.int64())
        return table.set_column(at, table.schema.field(at), column)

    rewrite(a_file(dataset, feed), add_one)
    assert kinds(verify(dataset)) == {"file changed"}


def test_a_row_removed_is_noticed(dataset: Path) -> None:
    rewrite(a_file(dataset, "l2"), lambda table: table.slice(1))
    assert kinds(verify(dataset)) == {"file changed"}


def test_a_file_removed_is_noticed(dataset: Path) -> None:
    a_file(dataset, "bbo").unlink()
    assert kinds(verify(dataset)) == {"file missing"}


def renamed(path: Path) -> Path:
    return path.with_name(f"copy of {path.name}")


def next_block(path: Path) -> Path:
    return path.with_name(f"{STREAM}-0abc-0000000900000-0000000900009.parquet")


def other_day(path: Path) -> Path:
    return path.parent.parent / "date=2020-01-01" / path.name


@pytest.mark.parametrize("place", [renamed, next_block, other_day])
def test_a_file_doubled_under_any_name_is_noticed(
    dataset: Path, place: Callable[[Path], Path]
) -> None:
    path = a_file(dataset, "l2")
    twin = place(path)
    twin.parent.mkdir(exist_ok=True)
    shutil.copy(path, twin)
    assert kinds(verify(dataset)) == {"file stray"}


@pytest.mark.parametrize("stream", [STREAM, BOOKS])
@pytest.mark.parametrize("place", [0, 1, -1])
def test_an_entry_removed_is_noticed(dataset: Path, stream: str, place: int) -> None:
    entries_of(dataset, stream)[place].unlink()
    assert "entry missing" in kinds(verify(dataset))


@pytest.mark.parametrize("place", [0, 1, -1])
def test_a_link_removed_is_noticed(dataset: Path, place: int) -> None:
    folder = dataset / manifest.stream_folder(STREAM) / manifest.CHAIN
    sorted(folder.iterdir())[place].unlink()
    assert "link missing" in kinds(verify(dataset))


@pytest.mark.parametrize("place", [0, -1])
def test_an_entry_removed_with_its_link_and_files_but_the_last_is_noticed(
    dataset: Path, place: int
) -> None:
    path = entries_of(dataset)[place]
    entry = manifest.decode(path.read_bytes(), path.name)
    (path.parent / manifest.CHAIN / manifest.link_name(entry.first_seq)).unlink()
    path.unlink()
    assert not verify(dataset).ok  # its files are still there, or its successor names it


def test_an_entry_changed_is_noticed(dataset: Path) -> None:
    path = entries_of(dataset)[1]
    data = path.read_bytes()
    assert b'"clock": ' in data
    path.unlink()  # its link is the same file under another name, and stays as it was
    path.write_bytes(data.replace(b'"clock": ', b'"clock": 1'))
    assert {"entry changed", "count"} <= kinds(verify(dataset))


def test_a_block_in_progress_is_a_note_and_a_leftover_a_problem(dataset: Path) -> None:
    log = [*market_log(5, 8)]
    end = manifest.entries(dataset, STREAM)[-1].last_seq
    path = a_file(dataset, "trade")
    name = f"{STREAM}-0abc-{end + 1:013d}-{end + 9:013d}"
    leftover = path.with_name(f"{name}.parquet")
    with pq.ParquetWriter(leftover, pq.read_schema(path), store_schema=False) as writer:
        writer.add_key_value_metadata({"tickbus.range": name})
    with closing(LocalTarget(dataset)):
        working = verify(dataset)
    assert kinds(working) == set()
    assert [note.kind for note in working.notes] == ["not committed"]
    assert kinds(verify(dataset)) == {"not committed"}
    assert log[-1].seq == end


def test_a_break_of_links_is_noticed(tmp_path: Path) -> None:
    log = LogWriter()
    log.fence()
    log.snapshot("BTCUSDT")
    log.deltas("BTCUSDT", 3)
    log.update_id["BTCUSDT"] += 5
    log.deltas("BTCUSDT", 2)
    written(tmp_path, log.stored)
    findings = verify(tmp_path)
    assert kinds(findings) == {"link"}
    assert findings.counts["link"] == 1


def gap_row(log: LogWriter, ticker: str, feed: str) -> None:
    log.store(
        f"md.binance_usdm.{ticker}.status",
        Status(
            **log.header(ticker),
            timestamp=log.now_us,
            rcv_timestamp=log.now_us,
            packet_id=log.packet,
            kind=int(StatusKind.GAP),
            feed=feed,
            reason="lost",
            from_id=1,
            to_id=9,
        ),
    )


@pytest.mark.parametrize(
    ("ticker", "feed", "explains"),
    [("BTCUSDT", "l2", True), ("BTCUSDT", "trade", False), ("ETHUSDT", "l2", False)],
)
def test_a_new_snapshot_needs_a_gap_row_of_its_ticker_and_feed(
    tmp_path: Path, ticker: str, feed: str, explains: bool
) -> None:
    log = LogWriter()
    log.fence()
    log.snapshot("BTCUSDT")
    log.deltas("BTCUSDT", 3)
    gap_row(log, ticker, feed)
    log.update_id["BTCUSDT"] += 5
    log.snapshot("BTCUSDT")
    log.deltas("BTCUSDT", 3)
    written(tmp_path, log.stored)
    findings = verify(tmp_path)
    assert kinds(findings) == (set() if explains else {"unexplained gap"})
    assert [gap["feed"] for gap in findings.gaps] == [feed]


@pytest.mark.parametrize(
    ("step", "updates", "found"),
    [(1, 0, set()), (2, 0, {"unexplained gap"}), (1, 1, {"unexplained gap"})],
)
def test_whole_books_follow_each_other_by_their_numbers(
    tmp_path: Path, step: int, updates: int, found: set[str]
) -> None:
    log = LogWriter()
    log.fence()
    log.snapshot("BTCUSDT")
    log.deltas("BTCUSDT", updates)
    log.update_id["BTCUSDT"] += step
    log.snapshot("BTCUSDT")
    written(tmp_path, log.stored)
    assert kinds(verify(tmp_path)) == found


def test_a_packet_without_levels_keeps_the_chain_whole(tmp_path: Path) -> None:
    log = LogWriter()
    log.fence()
    log.snapshot("BTCUSDT")
    log.deltas("BTCUSDT", 1, empty=True)
    log.deltas("BTCUSDT", 2)
    log.deltas("BTCUSDT", 1, empty=True)
    log.deltas("BTCUSDT", 2)
    written(tmp_path, log.stored)
    findings = verify(tmp_path)
    assert findings.problems == []
    assert findings.facts["links"] == 7


def test_a_first_update_may_overlap_its_snapshot_and_a_later_one_may_not(tmp_path: Path) -> None:
    def level(qty: float) -> list[tuple[int, int, float, float]]:
        return [(1, 2, 9.0, qty)]

    log = LogWriter()
    log.fence()
    log.snapshot("BTCUSDT")
    log.packets("BTCUSDT", [(990, 1_004, 0, level(1.0)), (1_004, 1_006, 0, level(2.0))])
    written(tmp_path / "joins", log.stored)
    assert verify(tmp_path / "joins").ok
    log.packets("BTCUSDT", [(1_003, 1_009, 0, level(3.0))])
    written(tmp_path / "overlaps", log.stored)
    assert kinds(verify(tmp_path / "overlaps")) == {"link"}


def test_a_message_number_that_is_missing_is_noticed(tmp_path: Path) -> None:
    log = LogWriter()
    log.fence()
    log.clock()
    log.message_no += 1
    log.clock()
    written(tmp_path, log.stored)
    assert kinds(verify(tmp_path)) == {"message_no"}


def test_missing_numbers_are_explained_by_sequences_that_were_gone(tmp_path: Path) -> None:
    log = LogWriter()
    log.fence()
    written(tmp_path, log.stored)
    log.skip(4)
    log.clock()
    log.skip(2)
    log.clock()
    written(tmp_path, log.stored[1:])
    findings = verify(tmp_path)
    assert findings.problems == []
    assert [gap["ticker"] for gap in findings.gaps] == ["*"]


def test_a_book_that_its_l2_rows_do_not_give_is_noticed(tmp_path: Path) -> None:
    """The files are as committed: only making the book again shows it."""
    log = market_log(5, 8)
    right_dataset(tmp_path / "right", log)
    other = market_log(6, 8)
    right_dataset(tmp_path / "wrong", other)
    shutil.rmtree(tmp_path / "wrong" / "_manifest" / BOOKS)
    shutil.rmtree(tmp_path / "wrong" / "feed=book")
    shutil.copytree(tmp_path / "right/_manifest" / BOOKS, tmp_path / "wrong/_manifest" / BOOKS)
    shutil.copytree(tmp_path / "right/feed=book", tmp_path / "wrong/feed=book")
    findings = verify(tmp_path / "wrong")
    assert kinds(findings) == {"book"}
    assert findings.counts["book"] > SHOWN_MAX == len(findings.problems)


def run(*arguments: str, capsys: Any) -> tuple[int, str, str]:
    code = main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def test_command_says_yes_with_0_and_no_with_1(dataset: Path, capsys: Any) -> None:
    code, out, err = run("verify", str(dataset), capsys=capsys)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].endswith("whole and unchanged")
    a_file(dataset, "l2").unlink()
    code, out, err = run("verify", str(dataset), capsys=capsys)
    assert (code, err) == (1, "")
    assert "NOT right: 1 file missing" in out.splitlines()[-1]


def test_command_prints_one_json_object(dataset: Path, capsys: Any) -> None:
    code, out, _ = run("verify", str(dataset), "--json", capsys=capsys)
    report = json.loads(out)
    assert (code, report["ok"], report["problems"]) == (0, True, [])
    a_file(dataset, "l2").unlink()
    code, out, _ = run("verify", str(dataset), "--json", capsys=capsys)
    report = json.loads(out)
    assert (code, report["ok"]) == (1, False)
    assert report["problem_counts"] == {"file missing": 1}


def test_a_folder_without_a_dataset_is_said_in_one_line(tmp_path: Path, capsys: Any) -> None:
    code, out, err = run("verify", str(tmp_path), capsys=capsys)
    assert (code, out) == (1, "")
    assert err.startswith(f"tickbus: {tmp_path} holds no dataset")


def test_a_run_that_has_committed_nothing_yet_is_told_when_it_will(
    tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "_run").mkdir()
    code, out, err = run("verify", str(tmp_path), capsys=capsys)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "no committed file yet: the writer commits when a block of writer.block_s ends" in err
