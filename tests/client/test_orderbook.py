"""The order book against a dictionary: the same levels, in the same order, after anything."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus.book.orderbook import OrderBook
from tickbus_schemas.messages import ABSENT, Action, L2Batch, L2Flag

Level = tuple[int, float, float]
"""side, price, size"""
SNAPSHOT = L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST

# Few prices, so that levels come back; neighbours that differ in the last bit; every magnitude.
PRICES = st.one_of(
    st.integers(1, 40).map(lambda ticks: ticks * 0.1),
    st.sampled_from([1.0, math.nextafter(1.0, 2.0), math.nextafter(1.0, 0.0), 5e-324, 1e-12]),
    st.sampled_from([1e15, 1.7e308, -1.0, -1e-9, -1e15]),
)
SIZES = st.one_of(st.just(0.0), st.sampled_from([1.0, 0.001, 5e-324, 1e300]))
LEVELS = st.lists(st.tuples(st.sampled_from([1, -1]), PRICES, SIZES), max_size=60)


class Naive:
    """Two dictionaries, sorted whenever one looks."""

    def __init__(self) -> None:
        self.sides: dict[int, dict[float, float]] = {1: {}, -1: {}}
        self.unknown_deletes = 0

    def apply(self, levels: list[Level]) -> list[int]:
        return [self._set(*level) for level in levels]

    def _set(self, side: int, price: float, size: float) -> int:
        known = price in self.sides[side]
        if size:
            self.sides[side][price] = size
            return int(Action.UPDATE if known else Action.NEW)
        self.unknown_deletes += not known
        self.sides[side].pop(price, None)
        return int(Action.DELETE)

    def levels(self) -> list[Level]:
        bids, asks = self.sides[1], self.sides[-1]
        return [(1, p, bids[p]) for p in sorted(bids, reverse=True)] + [
            (-1, p, asks[p]) for p in sorted(asks)
        ]


def apply(book: OrderBook, levels: list[Level]) -> list[int]:
    side, price, size = zip(*levels, strict=True) if levels else ((), (), ())
    action = book.apply(
        np.array(side, np.int8), np.array(price, np.float64), np.array(size, np.float64)
    )
    return [int(one) for one in action]


def levels_of(book: OrderBook) -> list[Level]:
    return list(zip(*(column.tolist() for column in book.levels()), strict=True))


def assert_same(book: OrderBook, naive: Naive) -> None:
    levels = naive.levels()
    assert levels_of(book) == levels
    assert len(book) == len(levels)
    assert book.unknown_deletes == naive.unknown_deletes
    bids = [(price, size) for side, price, size in levels if side == 1]
    asks = [(price, size) for side, price, size in levels if side == -1]
    for n in (1, 5, 100):
        bid_px, bid_sz, ask_px, ask_sz = (column.tolist() for column in book.top(n))
        assert list(zip(bid_px, bid_sz, strict=True)) == bids[:n]
        assert list(zip(ask_px, ask_sz, strict=True)) == asks[:n]
        deeper = [(1, price) for price, _ in bids[n:]] + [(-1, price) for price, _ in asks[n:]]
        found = book.deeper_than(n)
        assert found is not None or not deeper
        columns = () if found is None else (column.tolist() for column in found)
        assert list(zip(*columns, strict=True)) == deeper
    best = [*(bids[0] if bids else (math.nan,) * 2), *(asks[0] if asks else (math.nan,) * 2)]
    np.testing.assert_array_equal(book.best(), best)
    assert book.crossed == bool(bids and asks and bids[0][0] >= asks[0][0])


@given(st.lists(LEVELS, max_size=8))
def test_any_updates_leave_the_levels_of_a_dictionary_and_say_what_each_was(
    batches: list[list[Level]],
) -> None:
    book, naive = OrderBook(), Naive()
    for levels in batches:
        assert apply(book, levels) == naive.apply(levels)
        assert_same(book, naive)


@given(st.lists(LEVELS, max_size=4), LEVELS, LEVELS)
def test_an_emptied_book_begins_anew(
    before: list[list[Level]], snapshot: list[Level], after: list[Level]
) -> None:
    book, naive = OrderBook(), Naive()
    for levels in before:
        apply(book, levels)
    book.clear()
    assert len(book) == 0
    assert not book.valid
    assert apply(book, snapshot + after) == naive.apply(snapshot + after)
    assert_same(book, naive)


@given(st.lists(LEVELS, max_size=6), st.integers(0, 6))
def test_a_book_goes_on_from_its_dump_at_any_place(batches: list[list[Level]], cut: int) -> None:
    book, naive = OrderBook(), Naive()
    for place, levels in enumerate(batches):
        if place == cut:
            book = OrderBook.restore(book.dump())
            assert_same(book, naive)
        assert apply(book, levels) == naive.apply(levels)
    assert_same(book, naive)


@pytest.mark.parametrize("seed", range(4))
def test_a_book_grows_far_beyond_its_first_size_and_shrinks_again(seed: int) -> None:
    random = np.random.default_rng(seed)
    book, naive = OrderBook(), Naive()
    for step in range(40):
        count = 3_000 if step in (0, 20) else 400
        ticks = np.unique(random.integers(1, 30_000, count))
        random.shuffle(ticks)
        sizes = random.choice([0.0, 1.0, 2.0], len(ticks), p=[0.4, 0.3, 0.3] if step else [0, 1, 0])
        sides = random.choice([1, -1], len(ticks))
        levels = [
            (side, tick / 100, size)
            for side, tick, size in zip(sides.tolist(), ticks.tolist(), sizes.tolist(), strict=True)
        ]
        assert apply(book, levels) == naive.apply(levels)
    assert len(book) > 5_000
    assert_same(book, naive)
    gone = [(side, price, 0.0) for side, price, _ in naive.levels()]
    assert set(apply(book, gone)) == {int(Action.DELETE)}
    assert levels_of(book) == []


def test_levels_that_arrive_from_worst_to_best_and_back_are_all_kept() -> None:
    book, naive = OrderBook(), Naive()
    rising = [(side, float(n), 1.0) for n in range(1, 3_001) for side in (1, -1)]
    for levels in (rising, rising[::-1]):
        assert apply(book, levels) == naive.apply(levels)
        assert_same(book, naive)


def test_depth_adds_the_sizes_within_a_distance_of_the_mid() -> None:
    book = OrderBook()
    apply(book, [(1, 99.0, 1.0), (1, 98.0, 2.0), (-1, 101.0, 4.0), (-1, 110.0, 8.0)])
    assert book.depth(100.0) == (1.0, 4.0)
    assert book.depth(200.0) == (3.0, 4.0)
    assert book.depth(1_000.0) == (3.0, 12.0)
    assert all(math.isnan(value) for value in OrderBook().depth(100.0))


def message(*packets: tuple[int, int, int, list[Level]]) -> L2Batch:
    """Packets of (flags, prev_update_id, update_id, levels)."""
    levels = [level for *_, of_packet in packets for level in of_packet]
    values: dict[str, list[Any]] = {
        "timestamp": [10 * (n + 1) for n in range(len(packets))],
        "flags": [flags for flags, *_ in packets],
        "prev_update_id": [prev for _, prev, *_ in packets],
        "update_id": [update for _, _, update, _ in packets],
        "levels": [len(of_packet) for *_, of_packet in packets],
        "side": [side for side, _, _ in levels],
        "action": [1 for _ in levels],
        "price": [price for _, price, _ in levels],
        "qty": [size for _, _, size in levels],
    }
    columns: dict[str, Any] = {
        name: np.array(values.get(name, [0] * len(packets)), width.code).tobytes()
        for name, width in L2Batch.columns.items()
    }
    return L2Batch(exchange=1, ticker="T", epoch=1, message_no=1, **columns)


def test_a_batch_is_folded_with_its_snapshots_and_links() -> None:
    book = OrderBook()
    early = book.apply_batch(message((0, 1, 2, [(1, 1.0, 1.0)])))
    assert (early.broken, len(book), book.valid) == (1, 0, False)

    applied = book.apply_batch(
        message(
            (SNAPSHOT, ABSENT, 5, [(1, 1.0, 1.0), (-1, 2.0, 1.0)]),
            (0, 4, 6, [(1, 1.0, 3.0)]),  # overlaps the snapshot
            (0, 6, 7, [(1, 1.0, 0.0), (1, 1.5, 1.0)]),
        )
    )
    assert applied.broken == 0
    assert applied.action.tolist() == [1, 1, 2, 3, 1]
    assert (book.valid, book.update_id, book.timestamp) == (True, 7, 30)
    assert levels_of(book) == [(1, 1.5, 1.0), (-1, 2.0, 1.0)]


def test_an_update_that_does_not_follow_breaks_the_book_until_the_next_snapshot() -> None:
    book = OrderBook()
    book.apply_batch(message((SNAPSHOT, ABSENT, 5, [(1, 1.0, 1.0)])))
    applied = book.apply_batch(message((0, 8, 9, [(1, 1.0, 2.0)]), (0, 9, 10, [(1, 3.0, 2.0)])))
    assert applied.broken == 2
    assert not book.valid
    assert levels_of(book) == [(1, 1.0, 1.0)]
    restored = OrderBook.restore(book.dump())
    assert (restored.valid, restored.update_id) == (False, 5)
    book.apply_batch(message((SNAPSHOT, ABSENT, 10, [(1, 3.0, 2.0)])))
    assert book.valid
    assert levels_of(book) == [(1, 3.0, 2.0)]


def test_a_snapshot_in_parts_is_valid_with_its_last_one() -> None:
    book = OrderBook()
    first, middle, last = L2Flag.SNAPSHOT_FIRST, L2Flag.SNAPSHOT, L2Flag.SNAPSHOT_LAST
    book.apply_batch(message((first | middle, ABSENT, 5, [(1, 1.0, 1.0)])))
    assert not book.valid
    book.apply_batch(message((middle, ABSENT, 5, [(1, 2.0, 1.0)])))
    book.apply_batch(message((middle | last, ABSENT, 5, [(-1, 3.0, 1.0)])))
    assert book.valid
    assert len(book) == 3


@pytest.mark.parametrize("state", [b"", b"x" * 23, b"\xff" * 48, b"\0" * 47])
def test_bytes_that_are_no_dump_are_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match="not the state of a book"):
        OrderBook.restore(state)
