"""When to connect, to ask and to give up waiting, decided without clock or socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_ingest.reconnect import BACKOFF_MAX_S, Budget, Silence, backoff_s, refusal_hold_s


def highest(low: float, high: float) -> float:
    return high


def test_the_wait_doubles_up_to_a_limit_and_any_part_of_it_may_be_drawn() -> None:
    waits = [backoff_s(n, highest) for n in range(1, 9)]
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == BACKOFF_MAX_S
    assert backoff_s(5, lambda low, high: low) == 0.0
    assert backoff_s(10_000, highest) == BACKOFF_MAX_S


def test_a_budget_is_spent_and_comes_back() -> None:
    budget = Budget(2, window_s=300)
    assert budget.wait_s(0) == 0
    budget.spend(0)
    budget.spend(10)
    assert budget.wait_s(20) == 280
    assert budget.wait_s(300) == 0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=40))
def test_no_window_ever_sees_more_than_the_limit(requests: list[tuple[int, int]]) -> None:
    budget, now_s = Budget(20, window_s=60), 0.0
    spent: list[tuple[float, int]] = []
    for pause_s, units in requests:
        now_s += pause_s
        while wait_s := budget.wait_s(now_s, units):
            now_s += wait_s
        budget.spend(now_s, units)
        spent.append((now_s, units))
        assert sum(n for at_s, n in spent if at_s > now_s - 60) <= 20


def test_the_venues_own_count_is_believed_when_it_is_higher() -> None:
    budget = Budget(100, window_s=60)
    budget.spend(0, 10)
    budget.correct(1, 95)
    assert budget.wait_s(1, 5) == 0
    assert budget.wait_s(1, 6) > 0
    budget.correct(2, 3)
    assert budget.wait_s(2, 6) > 0


@pytest.mark.parametrize(
    ("status", "retry_after", "expected"),
    [
        (200, None, None),
        (500, "9", None),
        (429, "7", 7.0),
        (418, "120", 120.0),
        (429, None, 60.0),
        (418, "soon", 60.0),
        (429, "-5", 0.0),
    ],
)
def test_a_venue_that_refuses_is_left_alone_as_long_as_it_says(
    status: int, retry_after: str | None, expected: float | None
) -> None:
    assert refusal_hold_s(status, retry_after) == expected


def test_a_held_budget_waits() -> None:
    budget = Budget(10)
    budget.hold(50)
    assert budget.wait_s(20) == 30
    assert budget.wait_s(50) == 0


def test_silence_is_told_once_each_time() -> None:
    silence = Silence(10)
    told = [
        silence.check(n, s)
        for n, s in ((0, 0), (0, 9), (0, 10), (0, 15), (1, 16), (1, 25), (1, 26))
    ]
    assert told == [False, False, True, False, False, False, True]
