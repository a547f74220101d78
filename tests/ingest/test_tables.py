"""Book updates as columns: chosen packets keep their levels."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tickbus_ingest.session.tables import L2Table, Moment, joined_l2, snapshot_table


def table(counts: list[int]) -> L2Table:
    """A packet for each count of levels; every value is another one."""
    packets = []
    for n, count in enumerate(counts):
        price = np.arange(100.0 * n, 100.0 * n + count, dtype=np.float64)
        side = np.ones(count, np.int8)
        packets.append(snapshot_table(Moment(n, n, n, n, n), side, price, price.copy(), 0))
    return joined_l2(packets)


@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=8), data=st.data())
def test_packets_that_are_taken_are_those_cut_one_by_one(
    counts: list[int], data: st.DataObject
) -> None:
    whole = table(counts)
    rows = data.draw(st.lists(st.integers(0, len(counts) - 1), min_size=1, max_size=8))
    taken, cut = whole.take(rows), joined_l2([whole.cut(n, n + 1) for n in rows])
    for field in fields(L2Table):
        one, other = getattr(taken, field.name), getattr(cut, field.name)
        assert one.dtype == other.dtype, field.name
        assert np.array_equal(one, other), field.name


def test_of_no_packet_nothing_is_taken() -> None:
    assert len(table([2, 3]).take([])) == 0
