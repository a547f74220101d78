"""Closed rows of books cut into messages: the columns that msgspec would have written."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tickbus_book.kernels import cutting
from tickbus_book.kernels.grid_layout import Rows, new_rows, row_bytes


def filled_rows(intervals: list[list[int]], depth: int, seed: int) -> Rows:
    """Random rows: of each interval, messages of so many rows."""
    random = np.random.default_rng(seed)
    rows = new_rows(len(intervals), depth, max(map(sum, intervals)) + 1)
    for array in rows[:4]:
        array.view(np.uint8)[...] = random.integers(0, 256, array.view(np.uint8).shape)
    for place, counts in enumerate(intervals):
        for message, count in enumerate(counts):
            in_seq, epoch = random.integers(0, 2**62, 2)
            rows.messages[place, message] = sum(counts[:message]), count, in_seq, epoch
        rows.filled[place] = sum(counts), len(counts)
    return rows


def columns_of(rows: Rows, place: int, start: int, stop: int) -> list[bytes]:
    columns: list[Any] = [*rows.ints, rows.flags, *rows.counts, *rows.tops]
    return [column[place, start:stop].tobytes() for column in columns]


@given(
    st.lists(st.lists(st.integers(1, 40), max_size=6), min_size=1, max_size=3),
    st.sampled_from([1, 2, 10, 300]),
    st.integers(1, 50),
    st.integers(0, 2**32),
)
def test_a_message_has_its_rows_column_by_column_as_msgpack(
    intervals: list[list[int]], depth: int, rows_max: int, seed: int
) -> None:
    rows = filled_rows(intervals, depth, seed)
    closed = int(rows.filled[:, 0].sum())
    data = np.zeros(cutting.data_bytes(closed, row_bytes(depth)), np.uint8)
    told = np.zeros((closed, cutting.STOP + 1), np.int64)
    expected = []
    for place, counts in enumerate(intervals):
        for message in range(len(counts)):
            first, count, in_seq, epoch = rows.messages[place, message].tolist()
            for part, start in enumerate(range(first, first + count, rows_max)):
                stop = min(start + rows_max, first + count)
                last = int(rows.ints[2, place, stop - 1])
                columns = columns_of(rows, place, start, stop)
                body = b"".join(map(msgspec.msgpack.encode, columns))
                expected.append((place, part, in_seq, epoch, last, stop - start, body))
    count = cutting.cut(tuple(rows), rows_max, data, told)
    found = [
        (*numbers, data[start:stop].tobytes()) for *numbers, start, stop in told[:count].tolist()
    ]
    assert found == expected
    assert not rows.filled.any()
