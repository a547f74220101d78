"""Death at every point of the protocol, and two writers at once: the dataset is whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickbus.columns.assembler import Assembler
from tickbus.lake import manifest
from tickbus.log.stored import Stored
from tickbus_schemas.feeds import RAW
from tickbus_writer.block import Block
from tickbus_writer.commit import EMPTY, CommitOutcome, commit
from tickbus_writer.local_target import LocalTarget
from tickbus_writer.part import Part
from tickbus_writer.partition import PartKey
from tickbus_writer.steps import Steps

from tests.writer.dying import BEHIND, DIED, FINISHED, short_log
from tests.writer.logs import market_log
from tests.writer.writing import (
    INCARNATION,
    LIMITS,
    STREAM,
    all_rows,
    data_files,
    written,
)


def assert_whole(root: Path, log: Sequence[Stored]) -> None:
    """Entries cover the log without hole or overlap, and there is no file that they do not name."""
    entries = manifest.entries(root, STREAM)
    assert entries[0].first_seq == log[0].seq
    assert entries[-1].last_seq == log[-1].seq
    for before, after in pairwise(entries):
        assert after.first_seq == before.last_seq + 1
    links = root / manifest.stream_folder(STREAM) / manifest.CHAIN
    assert len(list(links.iterdir())) == len(entries)
    named = [file.path for entry in entries for file in entry.files]
    assert sorted(named) == sorted(data_files(root))


@pytest.mark.connected
def test_dataset_is_whole_after_death_at_any_point(tmp_path: Path) -> None:
    log = short_log()
    written(tmp_path / "right", log, limits=LIMITS._replace(block_s=1))
    done = subprocess.run(
        [sys.executable, "-m", "tests.writer.dying", str(tmp_path / "died")],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    points = [[int(code) for code in line.split()] for line in done.stdout.splitlines()]
    assert {codes[1] for codes in points[:-1]} == {DIED}
    assert {codes[2] for codes in points} == {FINISHED}
    assert len(points) > 40
    early = [codes for codes in points[:-1] if len(codes) > 3]
    assert {(codes[3], codes[5]) for codes in early} == {(DIED, FINISHED)}
    drained = [codes[4] for codes in early]
    assert drained == sorted(drained)
    assert set(drained) == {FINISHED, BEHIND}
    right = data_files(tmp_path / "right")
    for point, *_ in points:
        restarted = tmp_path / "died" / str(point)
        assert data_files(restarted) == right, f"death before change {point}"
        assert_whole(restarted, log)
        assert not list((restarted / "_tmp").iterdir()), f"left behind by death at {point}"
    for point, *_ in early:
        assert_whole(tmp_path / "died" / f"{point}-early", log)
        for feed in RAW:
            rows = all_rows(tmp_path / "died" / f"{point}-early", feed)
            assert rows == all_rows(tmp_path / "right", feed)


def building(target: LocalTarget, log: Sequence[Stored], cut: str) -> Steps[CommitOutcome]:
    """A writer with a block of these messages in hand, about to commit it."""
    group = Assembler().add(list(log))
    assert group is not None

    def new_part(key: PartKey) -> Part:
        return Part(key, target.temporary(), zstd_level=1, row_group_rows=100)

    block = Block(STREAM, INCARNATION, log[0].seq, new_part, 10**6)
    block.append(group)
    with ThreadPoolExecutor(1) as pool:
        entry, built = block.finish(cut, EMPTY, pool)
    return commit(entry, built)


def interleave(
    writers: list[tuple[Steps[CommitOutcome], LocalTarget]], turns: list[bool]
) -> list[CommitOutcome | None]:
    """Carry out the steps of two writers in this order; what a finished one ended with."""
    answers: list[Any] = [None, None]
    outcomes: list[CommitOutcome | None] = [None, None]
    turns = turns + [False, True] * 200
    for turn in turns:
        steps, target = writers[turn]
        if outcomes[turn] is None:
            try:
                answers[turn] = steps.send(answers[turn]).on(target)
            except StopIteration as done:
                outcomes[turn] = done.value
    return outcomes


@settings(max_examples=20)
@given(turns=st.lists(st.booleans(), max_size=120), shorter=st.integers(0, 20))
def test_of_two_writers_one_commits_and_the_dataset_is_whole(
    turns: list[bool], shorter: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """They cut at the same sequence, or one drains earlier: whichever is first wins."""
    root = tmp_path_factory.mktemp("set")
    log = market_log(3, 3)
    with closing(LocalTarget(root)) as one, closing(LocalTarget(root)) as other:
        cut = log[: len(log) - shorter]
        writers = [(building(one, log, "time"), one), (building(other, cut, "drain"), other)]
        outcomes = interleave(writers, turns)
    assert outcomes[0] is not None
    assert outcomes[1] is not None
    assert outcomes[0].entry == outcomes[1].entry
    if shorter:
        assert sorted([outcomes[0].won, outcomes[1].won]) == [False, True]
    assert_whole(root, log[: outcomes[0].entry.last_seq])
    written(root, log)
    assert_whole(root, log)
    written(root / "right", log)
    for feed in RAW:
        assert all_rows(root, feed) == all_rows(root / "right", feed)


def test_a_torn_file_in_place_is_replaced(tmp_path: Path) -> None:
    log = market_log(3, 3)
    written(tmp_path / "right", log)
    for path, data in data_files(tmp_path / "right").items():
        (tmp_path / "torn" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "torn" / path).write_bytes(data[: len(data) // 2])
    written(tmp_path / "torn", log)
    assert data_files(tmp_path / "torn") == data_files(tmp_path / "right")


def test_a_file_with_other_rows_in_place_is_replaced(tmp_path: Path) -> None:
    log, other = market_log(3, 3), market_log(4, 3)
    for name, made in (("right", log), ("wrong", other)):
        written(tmp_path / name, made, limits=LIMITS._replace(block_s=10**6))
    wrong = data_files(tmp_path / "wrong")
    for path in data_files(tmp_path / "right"):
        twin = next(name for name in wrong if Path(name).parent == Path(path).parent)
        (tmp_path / "mixed" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mixed" / path).write_bytes(wrong[twin])
    written(tmp_path / "mixed", log, limits=LIMITS._replace(block_s=10**6))
    assert data_files(tmp_path / "mixed") == data_files(tmp_path / "right")


def test_an_entry_that_went_missing_is_written_again(tmp_path: Path) -> None:
    log, limits = market_log(3, 3), LIMITS._replace(block_s=1)
    written(tmp_path, log, limits=limits)
    entries = sorted((tmp_path / manifest.stream_folder(STREAM)).glob("*.json"))
    before = {path: path.read_bytes() for path in entries}
    for path in (entries[0], entries[-1]):
        path.unlink()
    written(tmp_path, log, limits=limits)
    assert {path: path.read_bytes() for path in entries} == before


def test_temporary_files_of_a_living_writer_stay(tmp_path: Path) -> None:
    log = market_log(3, 3)
    with closing(LocalTarget(tmp_path)) as living:
        temporary = Path(living.temporary())
        temporary.write_bytes(b"half a file")
        written(tmp_path, log)
        assert temporary.exists()
