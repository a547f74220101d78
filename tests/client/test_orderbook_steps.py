"""Books of whole steps: any change of step is exact, paid for rarely, and inside the array."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus.book.kernels import levels as kernel
from tickbus.book.kernels.pages import BITS, BITS_MAX, CAPACITY, SCALE, UNIT, USED, new
from tickbus.book.kernels.steps import step_of
from tickbus.book.orderbook import OrderBook

from tests.client.test_orderbook import SIZES, Level, Naive, apply, assert_same

GUARD = 0x5AFE5AFE5AFE5AFE

# As a venue sends them: whole steps near a market, that may change its step or go far away.
STEPS = st.sampled_from([(1, 1), (5, 1), (1, 10), (5, 10), (25, 100), (1, 100), (1, 10**8)])
NEAR = st.tuples(STEPS, st.integers(-200, 200), st.sampled_from([0, 60_000, 10**7])).map(
    lambda drawn: (drawn[1] + drawn[2]) * drawn[0][0] / drawn[0][1]
)
ANY = st.one_of(
    NEAR,
    NEAR,
    st.sampled_from([-0.0, 0.01, 1e-12, 1e-13, 1e9, 1e12, 9_007_199_254_740_993.0, -60_000.5]),
    st.floats(allow_nan=False, allow_infinity=False),
)
ORDERS = st.sampled_from([1, -1])


def stream_of(prices: st.SearchStrategy[float]) -> st.SearchStrategy[list[list[Level]]]:
    return st.lists(st.lists(st.tuples(ORDERS, prices, SIZES), max_size=40), max_size=8)


def columns(levels: list[Level]) -> tuple[Any, Any, Any]:
    side, price, size = zip(*levels, strict=True) if levels else ((), (), ())
    return np.array(side, np.int8), np.array(price, np.float64), np.array(size, np.float64)


@given(st.one_of(stream_of(NEAR), stream_of(ANY)), st.integers(0, 8), st.integers(0, 8))
def test_a_book_is_the_dictionary_whatever_the_prices_turn_into(
    packets: list[list[Level]], dumped: int, cleared: int
) -> None:
    book, naive = OrderBook(), Naive()
    for place, levels in enumerate(packets):
        if place == dumped:
            book = OrderBook.restore(book.dump())
        if place == cleared:
            book.clear()
            naive = Naive()
        assert apply(book, levels) == naive.apply(levels)
        assert_same(book, naive)


def test_zero_has_no_sign() -> None:
    for others in ([], [(1, 1e-300, 1.0)]):  # in whole steps, and without a step
        book, naive = OrderBook(), Naive()
        levels = [*others, (1, -0.0, 1.0), (1, 0.0, 2.0), (-1, -1.0, 1.0), (-1, -0.0, 0.0)]
        assert apply(book, levels) == naive.apply(levels)
        assert_same(book, naive)


def test_sizes_are_kept_to_the_bit_and_a_negative_one_removes() -> None:
    book = OrderBook()
    apply(book, [(1, 2.0, 5e-324), (1, 1.0, 1.0), (-1, 3.0, 1e300)])
    assert book.best() == (2.0, 5e-324, 3.0, 1e300)
    assert apply(book, [(1, 2.0, -1.0), (-1, 3.0, -0.0)]) == [3, 3]
    assert book.best()[:2] == (1.0, 1.0)
    assert len(book) == 1


@pytest.mark.parametrize(
    ("prices", "step"),
    [
        ([61_700.1, 61_700.2], (1, 10)),
        ([61_700.5, 61_701.0], (5, 10)),
        ([0.00025, 0.0005], (25, 100_000)),
        ([-300.0, 0.0, 1_200.0], (300, 1)),
        ([0.0], (1, 1)),
        ([], (1, 1)),
        ([math.pi], (0, 1)),
        ([0.1 + 0.2], (0, 1)),
        ([1e-12, 1e6], (0, 1)),  # more steps than a double counts
        ([1e300], (0, 1)),
    ],
)
def test_the_step_is_the_largest_that_gives_every_price_back(
    prices: list[float], step: tuple[int, int]
) -> None:
    assert step_of(np.array(prices, np.float64)) == step


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_a_step_that_is_found_gives_every_price_back(prices: list[float]) -> None:
    unit, scale = step_of(np.array(prices))
    for price in prices if unit else []:
        assert round(price * scale / unit) * unit / scale == price


@pytest.mark.parametrize("emptied", [False, True])
def test_prices_cannot_have_every_packet_build_the_book_anew(emptied: bool) -> None:
    """Coarse and fine prices that come and go, and levels that wander."""
    rows: list[list[Level]] = [
        [(1, 100.0 + n, 1.0), (1, 0.5 * (n % 7), float(n % 2)), (1, 1.0 / (1 << n % 5), n % 3)]
        for n in range(1_000)
    ]
    book, built, naive = kernel.new(), 0, Naive()
    for levels in rows:
        side, price, size = columns(levels)
        roomy = kernel.reserve(book, side, price, 0, len(side))
        built += roomy is not book
        book = roomy
        kernel.fold(book, side, price, size, 0, len(side))
        naive.apply(levels)
        if emptied and levels is not rows[-1]:
            kernel.clear(book)
            naive = Naive()
    assert built < 40
    assert sorted(naive.sides[1], reverse=True) == kernel.whole(book, 1)[0].tolist()


def test_a_finer_step_keeps_the_levels_and_coarser_ones_come_back_with_growth() -> None:
    book = OrderBook()
    apply(book, [(1, float(n), 1.0) for n in range(100, 200)])
    assert book._book[[UNIT, SCALE]].tolist() == [1, 1]
    apply(book, [(1, 0.25, 1.0)])
    assert book._book[[UNIT, SCALE]].tolist() == [25, 100]
    apply(book, [(1, 0.25, 0.0)])
    apply(book, [(1, float(n), 1.0) for n in range(200, 20_000)])
    assert book._book[[UNIT, SCALE]].tolist() == [1, 1]
    assert len(book) == 19_900


def test_levels_too_far_apart_for_one_step_are_kept() -> None:
    book, naive = OrderBook(), Naive()
    for levels in ([(1, 1e12, 1.0), (1, 1.0, 1.0)], [(-1, 1e-8, 1.0)], [(-1, 2e12, 1.0)]):
        assert apply(book, levels) == naive.apply(levels)
        assert_same(book, naive)
    assert book._book[UNIT] == 0


def test_pages_are_large_where_levels_are_dense_and_small_where_they_are_lost() -> None:
    dense, sparse = OrderBook(), OrderBook()
    apply(dense, [(1, n / 100, 1.0) for n in range(1, 2_000)])
    apply(sparse, [(1, (n * n * 7 + n) / 100, 1.0) for n in range(1, 2_000)])
    assert dense._book[BITS] == BITS_MAX > sparse._book[BITS]
    assert dense._book.nbytes < 40 * 2_000
    assert sparse._book.nbytes < 400 * 2_000


@given(stream_of(NEAR), st.integers(1, 4), st.integers(0, BITS_MAX), st.booleans())
def test_a_book_without_room_says_so_and_nothing_beside_it_is_touched(
    packets: list[list[Level]], capacity: int, bits: int, stepless: bool
) -> None:
    empty = new(capacity, 0 if stepless else bits, 0 if stepless else 1, 10**8)
    around = np.full(len(empty) + 200, GUARD)
    book = around[100:-100]
    book[:] = empty
    for levels in packets:
        side, price, size = columns(levels)
        roomy = kernel.has_room(book, side, price, 0, len(side))
        try:
            kernel.apply(book, side, price, size, np.empty(len(side), np.int8), 0, len(side))
        except IndexError:
            assert not roomy
        assert book[USED] <= book[CAPACITY] == capacity
        for own in (1, -1):
            kernel.whole(book, own)
        assert (around[:100] == GUARD).all()
        assert (around[-100:] == GUARD).all()
