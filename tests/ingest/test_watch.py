"""Streams that are acknowledged and then say nothing: judged by their own activity."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from tickbus_ingest.lines.watch import MOVE_EVERY_S, DataWatch, Moves, Step
from tickbus_ingest.venue.contract import Stream

from tests.ingest.plain_venue import PlainVenue, plain

FEEDS = PlainVenue.feeds
FIRST_S = 300.0
LEAST_S, MOST_S = FIRST_S / 10, FIRST_S * 12
ASK, MOVE = Step.ASK, Step.MOVE
few = settings(max_examples=12)  # each is an hour, looked at each second


class Heard:
    """What a session heard of tickers A and B."""

    def __init__(self) -> None:
        self.flags: dict[str, npt.NDArray[np.bool_]] = {
            feed: np.zeros(2, np.bool_) for feed in FEEDS
        }

    def of(self, *places: tuple[str, int]) -> dict[str, npt.NDArray[np.bool_]]:
        for feed, ticker in places:
            self.flags[feed][ticker] = True
        return self.flags


def watch(*streams: Stream, silence_s: float = 10.0) -> DataWatch:
    return DataWatch(streams, plain("A", "B", feeds=FEEDS), silence_s)


TRADE_A, TRADE_B = Stream("ta", "A", ("trade",)), Stream("tb", "B", ("trade",))
BOTH_A = Stream("ba", "A", ("bbo", "derivative"))
MARKET = Stream("all", "", ("bbo",))
FORCED = Stream("liq", "A", ("liquidation",))
TRADE = ("trade", 0)


def told(one: DataWatch, heard: Heard, now_s: float, *places: tuple[str, int]) -> list[Stream]:
    return [silent.stream for silent in one.look(heard.of(*places), now_s)]


def test_each_stream_is_told_that_was_not_heard_for_so_long() -> None:
    one, heard = watch(TRADE_A, TRADE_B), Heard()
    assert told(one, heard, 0) == []
    assert told(one, heard, 6, TRADE) == []
    assert told(one, heard, 10) == [TRADE_B]
    assert told(one, heard, 16) == [TRADE_A]


def test_what_was_heard_is_cleared() -> None:
    one, heard = watch(TRADE_A), Heard()
    one.look(heard.of(TRADE, ("bbo", 1)), 0)
    assert not any(flags.any() for flags in heard.flags.values())


def test_a_stream_of_several_feeds_lives_by_any_of_them() -> None:
    one, heard = watch(BOTH_A), Heard()
    one.look(heard.of(), 0)
    assert told(one, heard, 9, ("derivative", 0)) == []
    assert told(one, heard, 18, ("derivative", 1)) == []
    assert told(one, heard, 19, ("derivative", 1)) == [BOTH_A]


def test_a_stream_of_the_whole_market_lives_by_any_ticker() -> None:
    one, heard = watch(MARKET), Heard()
    one.look(heard.of(), 0)
    assert told(one, heard, 9, ("bbo", 1)) == []
    assert told(one, heard, 19, TRADE) == [MARKET]


def test_who_stays_silent_is_told_at_growing_distances_until_heard_again() -> None:
    one, heard = watch(TRADE_A), Heard()
    one.look(heard.of(), 0)
    times = [s for s in range(1, 1700) if told(one, heard, s)]
    assert times == [10, 20, 40, 80, 160, 320, 640, 960, 1280, 1600]
    one.look(heard.of(TRADE), 1700)
    assert [s for s in range(1701, 1715) if told(one, heard, s)] == [1710]


def test_feeds_that_may_be_silent_for_hours_are_not_watched() -> None:
    one, heard = watch(FORCED), Heard()
    one.look(heard.of(), 0)
    assert one.look(heard.of(), 1e6) == []


def test_the_silence_of_a_stream_that_nobody_carries_begins_when_it_is_carried() -> None:
    one, heard, carried = watch(TRADE_A), Heard(), [True, False, False, False, True]
    one.look(heard.of(), 0)
    found = [
        one.look(heard.of(), 10.0 * second, lambda _, now=now: now)  # type: ignore[misc]  # a default binds the loop's value
        for second, now in enumerate(carried)
    ]
    assert found == [[]] * 4 + [found[4]]
    assert [each.stream for each in found[4]] == [TRADE_A]


# ------------------------------------------------------------ by its own activity


def played(gaps_s: list[float], until_s: float = 0.0) -> list[tuple[float, float, Step]]:
    """A stream that speaks after each of these gaps, looked at each second and then silent.

    (when, how long silent, step) of everything that was told.
    """
    one, heard = watch(TRADE_A, silence_s=FIRST_S), Heard()
    speaks, at_s = [], 0.0
    for gap_s in gaps_s:
        at_s += gap_s
        speaks.append(at_s)
    found: list[tuple[float, float, Step]] = []
    now_s = 0.0
    one.look(heard.of(), 0.0)
    while speaks or now_s < at_s + until_s:
        now_s += 1.0
        spoke = bool(speaks and speaks[0] <= now_s)
        while speaks and speaks[0] <= now_s:
            speaks.pop(0)
        looked = one.look(heard.of(*([TRADE] if spoke else [])), now_s)
        found += [(now_s, silent.silent_s, silent.step) for silent in looked]
    return found


def test_a_stream_that_speaks_each_second_is_asked_for_after_half_a_minute_and_then_moved() -> None:
    found = played([1.0] * 600, 200.0)
    assert found == [(630, 30, ASK), (660, 60, MOVE), (720, 120, ASK)]


def test_an_option_that_speaks_every_ten_minutes_may_be_silent_for_an_hour() -> None:
    found = played([250.0] * 3 + [600.0] * 60, 5000.0)
    early = [at_s for at_s, _, _ in found if at_s < 750 + 600 * 60]
    # While nothing is known of it, it is asked for as the settings say; then it is left alone.
    assert all(at_s < 750 + 600 * 25 for at_s in early)
    assert next(silent_s for at_s, silent_s, _ in found if at_s > 750 + 600 * 60) > 1800


def test_some_trades_in_a_row_do_not_make_a_liquid_ticker() -> None:
    found = played([1.0] * 20, 1000.0)
    assert [silent_s for _, silent_s, _ in found] == [300, 600]


@few
@given(st.lists(st.floats(1.0, 250.0), min_size=1, max_size=60), st.integers(1, 40))
def test_the_limit_has_its_bounds_whatever_the_past_was(gaps_s: list[float], busy: int) -> None:
    found = played([1.0] * busy + gaps_s, MOST_S + 2)
    assert all(silent_s >= LEAST_S for _, silent_s, _ in found)
    last_s = busy + sum(gaps_s)
    first_s = next(silent_s for at_s, silent_s, _ in found if at_s > last_s + 1)
    assert first_s <= MOST_S + 1


@few
@given(st.floats(1.0, 140.0), st.lists(st.floats(0.5, 1.0), min_size=9, max_size=80))
def test_a_steady_stream_is_never_told_while_it_goes_on(
    period_s: float, shares: list[float]
) -> None:
    """Each gap is at most twice the shortest: nothing of it is strange."""
    assert played([period_s * share for share in shares]) == []


@few
@given(st.integers(1, 25), st.integers(400, 700))
def test_a_steady_stream_that_stops_is_told_after_some_of_its_periods(
    period_s: int, length_s: int
) -> None:
    times = max(length_s // period_s, 40)
    found = played([float(period_s)] * times, 1000.0)
    stopped_s = period_s * times
    at_s, silent_s, step = found[0]
    assert step is ASK
    assert at_s == stopped_s + silent_s
    assert silent_s <= max(10 * period_s + 2, LEAST_S)


def test_a_silence_that_asking_again_ended_is_no_habit() -> None:
    one, heard = watch(TRADE_A, silence_s=FIRST_S), Heard()
    for second in range(600):
        one.look(heard.of(TRADE), second)
    silences = []
    for _ in range(3):
        start = second
        while not one.look(heard.of(), second := second + 1):
            pass
        silences.append(second - start)
        for _ in range(5):  # asked for again, it speaks
            one.look(heard.of(TRADE), second := second + 1)
    assert silences == [30, 30, 30]


def test_streams_come_and_go_and_those_that_stay_are_known_as_before() -> None:
    one, heard = watch(TRADE_A, BOTH_A, silence_s=FIRST_S), Heard()
    for second in range(600):
        one.look(heard.of(TRADE, ("bbo", 0)), second)
    other = one.of([TRADE_B, TRADE_A], plain("A", "B", feeds=FEEDS))
    found = []
    for second in range(600, 1000):
        found += [(second, silent.stream) for silent in other.look(heard.of(), second)]
    assert found[:2] == [(629, TRADE_A), (659, TRADE_A)]
    assert other.mute == ["ta"]
    assert [second for second, stream in found if stream == TRADE_B] == [899]


def test_a_watch_that_never_looked_may_change_its_streams() -> None:
    other = watch(TRADE_A).of([TRADE_B], plain("A", "B", feeds=FEEDS))
    assert told(other, Heard(), 5) == []
    assert told(other, Heard(), 15) == [TRADE_B]


# ------------------------------------------------------------------------ mute


def test_a_known_stream_is_mute_when_it_was_asked_for_again_in_vain() -> None:
    one, heard = watch(TRADE_A, silence_s=FIRST_S), Heard()
    for second in range(600):
        one.look(heard.of(TRADE), second)
    mute = []
    for second in range(600, 700):
        one.look(heard.of(), second)
        mute.append(one.mute)
    assert mute.index(["ta"]) == 659 - 600
    one.look(heard.of(TRADE), 700)
    assert one.mute == []


def test_a_stream_that_never_spoke_is_mute_after_the_longest_limit() -> None:
    one, heard = watch(TRADE_A, silence_s=FIRST_S), Heard()
    times = []
    for second in range(0, 20_000, 10):
        one.look(heard.of(), second)
        if one.mute:
            times.append(second)
    assert MOST_S <= times[0] <= 2 * MOST_S


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 400)), max_size=120),
    st.integers(0, 300),
)
def test_who_was_just_heard_is_never_mute_nor_told(
    looks: list[tuple[bool, int]], busy: int
) -> None:
    one, heard, now_s = watch(TRADE_A, silence_s=FIRST_S), Heard(), 0
    for spoke, passed_s in [(True, 1)] * busy + looks:
        now_s += passed_s
        found = one.look(heard.of(*([TRADE] if spoke else [])), now_s)
        if spoke:
            assert found == []
            assert one.mute == []


@pytest.mark.parametrize("passed_s", [0.0, MOVE_EVERY_S - 1])
def test_a_connection_is_replaced_for_its_streams_now_and_then_only(passed_s: float) -> None:
    moves = Moves()
    assert moves.allows(1, 5.0)
    assert moves.allows(2, 5.0)
    assert not moves.allows(1, 5.0 + passed_s)
    assert moves.allows(1, 5.0 + MOVE_EVERY_S)
