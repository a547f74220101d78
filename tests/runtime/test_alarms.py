"""Which alerts are raised, renewed and resolved: as a state machine, and by example."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tickbus.log.alerts import RENEW_S
from tickbus_runtime.alerts.alarms import OPEN_MAX, Alarms, Change, Place
from tickbus_runtime.alerts.conditions import CONDITIONS, OF_NAME
from tickbus_runtime.alerts.disk import nearly_full
from tickbus_runtime.alerts.lag import StreamState, full, lag
from tickbus_schemas.messages import AlertState

RAISED, RENEWED, RESOLVED = AlertState.RAISED, AlertState.RENEWED, AlertState.RESOLVED
PLACES = [Place(one.name, about) for one in CONDITIONS for about in ("", "x")]
NO_DATA, SKEW = Place("no_data"), Place("clock_skew")
HOLD_S = OF_NAME["no_data"].hold_s


class Conditions(RuleBasedStateMachine):
    """Conditions come and go; a plain record of what was true and told is the judge."""

    def __init__(self) -> None:
        super().__init__()
        self.alarms = Alarms()
        self.now_s = 100.0
        self.true_since: dict[Place, float] = {}
        self.last_true: dict[Place, float] = {}
        self.open: dict[Place, Change] = {}
        self.raised_at: dict[Place, float] = {}
        self.resolved_at: dict[Place, float] = {}

    @rule(
        places=st.sets(st.sampled_from(PLACES), max_size=6),
        passed_s=st.sampled_from([0.0, 0.5, 1.0, 14.0, 31.0, 61.0, 299.0, 700.0, 4000.0]),
    )
    def look(self, places: set[Place], passed_s: float) -> None:
        self.now_s += passed_s
        for place in PLACES:
            if place in places:
                self.true_since.setdefault(place, self.now_s)
                self.last_true[place] = self.now_s
            else:
                self.true_since.pop(place, None)
        holding = dict.fromkeys(places, f"seen at {self.now_s}")
        now_us = int(self.now_s * 1e6)
        changes = self.alarms.look(holding, self.now_s, now_us)
        assert len({change.place for change in changes}) == len(changes)
        for change in changes:
            self.take(change, holding, now_us)

    def take(self, change: Change, holding: dict[Place, str], now_us: int) -> None:
        place, condition = change.place, OF_NAME[change.place.condition]
        if change.state is RAISED:
            assert place not in self.open
            assert self.now_s - self.true_since[place] >= condition.after_s
            assert (change.cause, change.raised_us) == (holding[place], now_us)
            self.open[place], self.raised_at[place] = change, self.now_s
        elif change.state is RENEWED:
            assert change.raised_us == self.open[place].raised_us
            assert place in holding
        else:
            assert change.raised_us == self.open.pop(place).raised_us
            assert place not in holding
            assert self.now_s - self.last_true[place] >= condition.hold_s
            # It is no flapping: it was open for its hold time at least.
            assert self.now_s - self.raised_at[place] >= condition.hold_s

    @invariant()
    def every_raised_alert_is_resolved_or_was_true_within_its_hold_time(self) -> None:
        assert set(self.alarms.open) == set(self.open)
        for place in self.open:
            since_s = self.now_s - self.last_true[place]
            assert since_s < OF_NAME[place.condition].hold_s or not since_s

    @invariant()
    def what_holds_long_enough_is_raised(self) -> None:
        for place, since_s in self.true_since.items():
            late = self.now_s - since_s >= OF_NAME[place.condition].after_s
            assert place in self.open or not late


TestConditions = Conditions.TestCase


def states(changes: list[Change]) -> list[AlertState]:
    return [change.state for change in changes]


def test_a_condition_is_raised_once_renewed_each_hour_and_resolved_when_it_is_over() -> None:
    alarms, told = Alarms(), []
    for second in range(0, 9000, 10):
        holding = {NO_DATA: f"{second} s without a frame"} if second < 8000 else {}
        told += [
            (second, one.state, one.cause) for one in alarms.look(holding, second, second * 10**6)
        ]
    assert told == [
        (0, RAISED, "0 s without a frame"),
        (3600, RENEWED, "3600 s without a frame"),
        (7200, RENEWED, "7200 s without a frame"),
        (7990 + HOLD_S, RESOLVED, "7990 s without a frame"),
    ]


def test_what_comes_and_goes_is_one_alert() -> None:
    alarms, told = Alarms(), []
    for second in range(600):
        told += alarms.look({NO_DATA: "now"} if second % 20 == 0 else {}, second, second)
    assert states(told) == [RAISED]


def test_a_condition_that_needs_time_is_not_raised_by_a_moment() -> None:
    alarms, told = Alarms(), []
    for second in range(600):
        told += alarms.look({SKEW: "now"} if second % 25 < 20 else {}, second, second)
    assert told == []


def test_an_alert_of_the_process_before_goes_on_or_is_resolved() -> None:
    alarms = Alarms()
    alarms.adopt(NO_DATA, 7, "before", 0.0)
    alarms.adopt(Place("unknown_here"), 7, "of a newer version", 0.0)
    assert alarms.look({NO_DATA: "still"}, 1.0, 10) == []
    (over,) = alarms.look({}, 1.0 + HOLD_S, 20)
    assert over == Change(NO_DATA, RESOLVED, "still", 7)


def test_alerts_that_are_open_have_a_bound_and_none_is_forgotten() -> None:
    alarms = Alarms()
    many = {Place("no_data", str(n)): "x" for n in range(OPEN_MAX + 5)}
    assert len(alarms.look(many, 0.0, 0)) == OPEN_MAX
    assert alarms.look(many, 1.0, 1) == []
    first = [place for place in many if int(place.about) < 10]
    rest = {place: "x" for place in many if place not in first}
    told = sorted(states(alarms.look(rest, RENEW_S / 2, 2)))
    assert told == [RAISED] * 5 + [RESOLVED] * 10
    assert set(alarms.open) == set(rest)


# ------------------------------------------------------------------- rules

KEPT_S = 86_400.0
STREAM = StreamState("MD_X", 1_000, 10, 1_001, 2_000, 0.0, 80_000.0, 100, KEPT_S)


def test_a_reader_that_has_half_of_the_time_left_is_told() -> None:
    assert lag(STREAM, 2_000) == {}
    assert lag(STREAM, 1_500) == {}
    (told,) = lag(STREAM, 1_100).values()
    assert told.startswith("900 messages of MD_X are unread, about 72,000 s")


def test_a_reader_in_a_stream_that_is_nearly_full_is_told_by_the_share_that_it_has_not_read() -> (
    None
):
    short = STREAM._replace(last_s=60.0)
    assert lag(short, 1_100) == {}
    (told,) = lag(short._replace(bytes=80), 1_100).values()
    assert told.endswith("80% of max_bytes is taken")


def test_messages_that_are_gone_before_they_were_read_are_told_but_not_of_a_new_reader() -> None:
    (told,) = lag(STREAM, 400).values()
    assert told == "600 messages of MD_X are gone before they were read"
    assert lag(STREAM._replace(last_s=10.0), 0) == {}


def test_an_empty_stream_has_no_lag() -> None:
    assert lag(STREAM._replace(messages=0), 5) == {}


def test_a_stream_is_told_from_seventy_percent_on() -> None:
    assert full(STREAM._replace(bytes=69)) == {}
    assert [*full(STREAM._replace(bytes=70))] == [Place("stream_full", "MD_X")]
    assert full(STREAM._replace(bytes=10**9, max_bytes=0)) == {}


GB = 1024**3


@pytest.mark.parametrize(
    ("free", "total", "told"),
    [
        (GB - 1, 4 * GB, True),
        (GB, 4 * GB, False),
        (4 * GB, 100 * GB, True),
        (5 * GB, 100 * GB, False),
        (49 * GB, 10_000 * GB, True),
        (50 * GB, 10_000 * GB, False),
    ],
)
def test_a_disk_is_nearly_full_by_share_and_by_size(free: int, total: int, told: bool) -> None:
    assert bool(nearly_full(free, total, "/data")) is told


@given(st.integers(0, 2**60), st.integers(1, 2**60))
def test_more_free_space_is_never_worse(free: int, total: int) -> None:
    if not nearly_full(free, total, "x"):
        assert not nearly_full(free + 1, total, "x")
