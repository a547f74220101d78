"""Waits between attempts double up to a limit, are never zero, and end when told to stop."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus.retry import Attempts, backoff_s, longest_s, wait_or_stop

AN_HOUR_S = 3_600.0


@given(st.integers(1, 10**9), st.floats(1e-3, 10.0), st.floats(10.0, 1e3))
def test_a_wait_is_between_half_of_the_longest_and_all_of_it(
    attempt: int, first_s: float, max_s: float
) -> None:
    limit_s = longest_s(attempt, first_s, max_s)
    assert limit_s / 2 <= backoff_s(attempt, first_s, max_s) <= limit_s
    assert backoff_s(attempt, first_s, max_s, min) == limit_s / 2
    assert backoff_s(attempt, first_s, max_s, max) == limit_s


def test_the_longest_wait_doubles_up_to_its_limit() -> None:
    assert [longest_s(n, 0.5, 30.0) for n in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert longest_s(10**9, 0.5, 30.0) == 30.0


async def test_a_stop_ends_a_wait() -> None:
    stopping = asyncio.Event()
    waiting = asyncio.create_task(wait_or_stop(stopping, AN_HOUR_S))
    await asyncio.sleep(0)
    assert not waiting.done()
    stopping.set()
    assert await waiting
    assert await wait_or_stop(stopping, AN_HOUR_S)


@pytest.mark.parametrize("stopping", [asyncio.Event(), None])
async def test_without_a_stop_the_whole_time_is_waited(stopping: asyncio.Event | None) -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    assert not await wait_or_stop(stopping, 0.02)
    assert loop.time() - began_s >= 0.019


async def test_attempts_are_numbered_and_end_with_their_count() -> None:
    assert [number async for number in Attempts(None, 1e-4, 1e-3, count=4)] == [1, 2, 3, 4]


async def test_a_stop_between_attempts_ends_them() -> None:
    stopping = asyncio.Event()
    numbers: list[int] = []
    async for number in Attempts(stopping, AN_HOUR_S, AN_HOUR_S):
        numbers.append(number)
        stopping.set()
    assert numbers == [1]


async def test_told_to_stop_before_it_begins_nothing_is_attempted() -> None:
    stopping = asyncio.Event()
    stopping.set()
    assert [number async for number in Attempts(stopping)] == []
