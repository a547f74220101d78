"""Cases of Cont, Kukanov and Stoikov (2014): what a change of the best quotes contributes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_features.order_flow import contribution, side_or_none

from tests.features import naive

BEFORE = (100.0, 5.0, 101.0, 7.0)
CASES = {
    "nothing changes": ((100.0, 5.0, 101.0, 7.0), 0.0),
    "the bid queue grows": ((100.0, 8.0, 101.0, 7.0), 3.0),
    "the ask queue grows": ((100.0, 5.0, 101.0, 9.0), -2.0),
    "both queues shrink": ((100.0, 4.0, 101.0, 4.0), -1.0 + 3.0),
    "the bid improves: its whole new size": ((100.5, 2.0, 101.0, 7.0), 2.0),
    "the bid falls: its whole old size": ((99.0, 50.0, 101.0, 7.0), -5.0),
    "the ask improves: its whole new size": ((100.0, 5.0, 100.5, 3.0), -3.0),
    "the ask rises: its whole old size": ((100.0, 5.0, 102.0, 40.0), 7.0),
    "the market moves up": ((101.0, 1.0, 102.0, 2.0), 1.0 + 7.0),
    "the bid side empties": ((-math.inf, 0.0, 101.0, 7.0), -5.0),
    "the ask side empties": ((100.0, 5.0, math.inf, 0.0), 7.0),
}


@pytest.mark.parametrize("case", CASES)
def test_contribution_of_a_change(case: str) -> None:
    now, expected = CASES[case]
    assert contribution(*now, *BEFORE) == expected


def test_difference_of_sizes_is_wrong_as_soon_as_a_price_moves() -> None:
    now = (100.5, 2.0, 101.0, 7.0)
    assert contribution(*now, *BEFORE) == 2.0
    assert (now[1] - BEFORE[1]) - (now[3] - BEFORE[3]) == -3.0  # the older systems' answer


def test_an_empty_side_has_no_price() -> None:
    assert side_or_none(0.0, 0.0, -math.inf) == (-math.inf, 0.0)
    assert side_or_none(100.0, 2.0, -math.inf) == (100.0, 2.0)


prices = st.integers(95, 105).map(float)
sizes = st.integers(1, 50).map(float)
quotes = st.tuples(prices, sizes, prices, sizes)


@given(quotes, quotes)
def test_contribution_agrees_with_its_cases_written_out(
    before: naive.Quote, now: naive.Quote
) -> None:
    assert contribution(*now, *before) == naive.order_flow(before, now)


@given(quotes, quotes)
def test_there_and_back_at_unchanged_prices_contributes_nothing(
    before: naive.Quote, now: naive.Quote
) -> None:
    now = (before[0], now[1], before[2], now[3])
    assert contribution(*now, *before) + contribution(*before, *now) == 0.0
