"""Where blocks end and memory is emptied: a matter of the messages alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tickbus.columns.assembler import Assembler
from tickbus.columns.group import Group
from tickbus_writer.dataset_rows import packed
from tickbus_writer.segments import BLOCK_SEQS, Cutter, Filling, message_bytes, segment

from tests.writer.logs import derived_log, market_log

LOG = market_log(2, 6)


def whole_group() -> Group:
    group = Assembler().add(LOG)
    assert group is not None
    return group


def cuts(seqs: list[int], times_ns: list[int], pieces: list[int]) -> list[tuple[int, str]]:
    """First sequence and reason of every block after the first."""
    cutter, at, found = Cutter(2), 0, []
    cutter.open(seqs[0], times_ns[0])
    for piece in pieces:
        end = min(at + piece, len(seqs))
        while at < end:
            count, cut = cutter.count(np.array(seqs[at:end]), np.array(times_ns[at:end]))
            at += count
            if cut:
                found.append((seqs[at], cut))
                cutter.open(seqs[at], times_ns[at])
    return found


def test_a_block_ends_before_a_multiple_of_the_store_time() -> None:
    times = [1_900_000_000, 1_999_999_999, 2_000_000_000, 5_000_000_000]
    assert cuts([1, 2, 3, 4], times, [4]) == [(3, "time"), (4, "time")]


def test_a_block_ends_before_a_multiple_of_the_sequences() -> None:
    seqs = [BLOCK_SEQS - 2, BLOCK_SEQS - 1, BLOCK_SEQS, 2 * BLOCK_SEQS]
    assert cuts(seqs, [0] * 4, [4]) == [
        (BLOCK_SEQS, "sequence"),
        (2 * BLOCK_SEQS, "sequence"),
    ]


def test_a_clock_that_is_set_back_ends_no_block() -> None:
    times = [3_000_000_000, 1_000_000_000, 3_900_000_000, 4_000_000_000]
    assert cuts([1, 2, 3, 4], times, [4]) == [(4, "time")]


@given(
    st.lists(st.tuples(st.integers(1, 400_000), st.integers(-(10**9), 10**9)), min_size=1),
    st.lists(st.integers(1, 9), min_size=1),
)
def test_how_messages_arrive_changes_no_cut(
    steps: list[tuple[int, int]], pieces: list[int]
) -> None:
    seqs = np.cumsum([step for step, _ in steps]).tolist()
    times = (np.cumsum([step for _, step in steps]) + 10**12).tolist()
    assert cuts(seqs, times, pieces * len(seqs)) == cuts(seqs, times, [len(seqs)])


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=60),
    st.lists(st.integers(1, 9), min_size=1),
    st.integers(1, 200),
)
def test_memory_is_emptied_behind_the_same_messages(
    sizes: list[int], pieces: list[int], most: int
) -> None:
    alone = Filling(most).fulls(np.array(sizes))
    filling, at, found = Filling(most), 0, []
    for piece in pieces * len(sizes):
        part = sizes[at : at + piece]
        found += [at + end for end in filling.fulls(np.array(part, np.int64))]
        at += len(part)
    assert found == alone
    held, start = [], 0
    for end in [*alone, len(sizes)]:
        held.append(sum(sizes[start : max(end - 1, start)]))
        start = end
    assert max(held) < most


@given(st.data())
def test_segments_of_a_group_have_its_rows_in_order(data: st.DataObject) -> None:
    group = whole_group()
    at = data.draw(st.integers(1, group.messages - 1))
    parts = [segment(group, 0, at), segment(group, at, group.messages)]
    for feed in ("trade", "l2", "bbo", "status"):
        whole = seq_ids(group, feed)
        pieces = [seq_ids(part, feed) for part in parts]
        assert np.array_equal(np.concatenate(pieces), whole)
        assert (pieces[0] < (int(group.seqs[at]) << 20)).all()
        assert (pieces[1] >= (int(group.seqs[at]) << 20)).all()


def seq_ids(group: Group, feed: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Of all rows (packets of l2) of a feed, sorted."""
    found = [rows.rows["seq_id"] for key, rows in packed(group) if key.feed == feed]
    return np.sort(np.concatenate([np.zeros(0, np.int64), *map(np.asarray, found)]))


def test_bytes_of_messages_are_those_of_their_arrays() -> None:
    for log in (LOG, derived_log("book"), derived_log("feature")):
        group = Assembler().add(log)
        assert group is not None
        held = sum(
            array.nbytes
            for table in group.tables.values()
            for array in (*table.columns.values(), *table.features.values())
        )
        sizes = message_bytes(group)
        assert len(sizes) == group.messages
        assert 0.95 * held < sizes.sum() <= held
