"""When something may be done, decided without clock or socket."""

from __future__ import annotations

import itertools
from math import inf
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_ingest.exchanges import load, names
from tickbus_ingest.lines.answers import ANSWER_S, Answers, Asked
from tickbus_ingest.lines.limits import Bucket, Limits, NoLimits
from tickbus_ingest.lines.silence import SAY_FIRST_S, Silence, Troubles
from tickbus_ingest.venue.contract import Limit, Request, What

from tests.ingest.plain_venue import PlainVenue


def bucket(n: int, per_s: float) -> Bucket:
    return Bucket(Limit(What.WEIGHT, n, per_s))


def test_a_bucket_is_used_up_and_fills_again() -> None:
    attempts = bucket(2, 300)
    assert attempts.wait_s(0) == 0
    attempts.take(0)
    attempts.take(10)
    assert attempts.wait_s(20) == 280
    assert attempts.wait_s(300) == 0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=40))
def test_no_window_ever_sees_more_than_the_limit(requests: list[tuple[int, int]]) -> None:
    weights, now_s = Bucket(Limit(What.WEIGHT, 20, 60), Limit(What.WEIGHT, 50, 300)), 0.0
    taken: list[tuple[float, int]] = []
    for pause_s, units in requests:
        now_s += pause_s
        while wait_s := weights.wait_s(now_s, units):
            now_s += wait_s
        weights.take(now_s, units)
        taken.append((now_s, units))
        for n, per_s in ((20, 60), (50, 300)):
            assert sum(own for at_s, own in taken if at_s > now_s - per_s) <= n


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 30)), max_size=30))
def test_no_wait_is_longer_than_needed(requests: list[tuple[int, int]]) -> None:
    weights, now_s = bucket(20, 60), 0.0
    taken: list[tuple[float, int]] = []
    for pause_s, units in requests:
        now_s += pause_s
        wait_s = weights.wait_s(now_s, units)
        if wait_s:
            just_before = now_s + wait_s - 0.001
            used = sum(own for at_s, own in taken if at_s > just_before - 60)
            assert used + units > 20
        weights.take(now_s + wait_s, units)
        now_s += wait_s
        taken.append((now_s, units))


def test_more_than_the_limit_goes_when_nothing_else_counts() -> None:
    weights = bucket(10, 60)
    weights.take(0, 3)
    assert weights.wait_s(1, 15) == 59
    assert weights.wait_s(60, 15) == 0


def test_what_is_limited_at_once_is_given_back() -> None:
    connections = bucket(2, 0)
    connections.take(0)
    connections.take(0)
    assert connections.wait_s(1000) == inf
    connections.give_back()
    assert connections.wait_s(1000) == 0


def test_the_venues_own_count_is_believed_when_it_is_higher() -> None:
    weights = bucket(100, 60)
    weights.take(0, 10)
    weights.correct(1, 95)
    assert weights.wait_s(1, 5) == 0
    assert weights.wait_s(1, 6) > 0
    weights.correct(2, 3)
    assert weights.wait_s(2, 6) > 0


def test_a_held_bucket_waits_whatever_its_limits() -> None:
    for one in (bucket(10, 60), Bucket()):
        one.hold(50)
        assert one.wait_s(20) == 30
        one.hold(10)
        assert one.wait_s(20) == 30
        assert one.wait_s(50) == 0


class Limited(PlainVenue):
    limits: ClassVar[tuple[Limit, ...]] = (
        Limit(What.ATTEMPTS, 300, 300),
        Limit(What.CONNECTIONS, 3),
        Limit(What.MESSAGES, 5, 1),
        Limit(What.SUBSCRIPTIONS, 2, 60),
        Limit(What.WEIGHT, 100, 60),
    )


def used_up(one: Bucket) -> int:
    """How often one may be taken from a bucket at once."""
    for count in range(1000):
        if one.wait_s(0):
            return count
        one.take(0)
    return -1


def test_every_limit_of_a_venue_has_its_bucket() -> None:
    limits = Limits(Limited, Limit(What.ATTEMPTS, 7, 300))
    assert [used_up(one) for one in limits.attempts] == [7, 7]  # of each address
    assert used_up(limits.connections) == 3
    assert used_up(limits.messages()) == 4  # one is left for the pong of the library
    assert used_up(limits.messages()) == 4  # of each connection
    assert used_up(limits.subscriptions()) == 2
    assert used_up(limits.weight) == 100


def test_a_venue_of_ones_own_has_no_limits_but_holds_when_it_says_so() -> None:
    limits = NoLimits(Limited)
    assert used_up(limits.attempts[0]) == -1
    assert used_up(limits.messages()) == -1
    limits.weight.hold(10)
    assert limits.weight.wait_s(4) == 6


@pytest.mark.parametrize("token", names())
def test_every_venue_may_connect_and_send(token: str) -> None:
    limits = Limits(load(token))
    assert len(limits.attempts) == len(load(token).websocket_urls)
    for one in (*limits.attempts, limits.connections, limits.messages(), limits.weight):
        assert one.wait_s(0) == 0


# ------------------------------------------------------------------- answers


def asked(count: int = 1, about: str = "") -> Asked:
    return Asked(Request(b"", count), about)


def test_answers_belong_to_the_requests_in_their_order() -> None:
    answers = Answers()
    for one in (asked(2, "a"), asked(0, "none"), asked(1, "b")):
        answers.sent(one, 0)
    assert not answers.are_all_there
    assert (answers.waits_for("a"), answers.waits_for("none")) == (True, False)
    answers.came()
    assert answers.waits_for("a")
    answers.came()
    assert (answers.waits_for("a"), answers.waits_for("b")) == (False, True)
    answers.came()
    answers.came()  # one that nobody asked for
    assert answers.late(1e9) == []


def test_a_request_without_its_answers_is_late_once_and_later_the_next_time() -> None:
    answers, one = Answers(), asked(2, "a")
    answers.sent(one, 100)
    answers.came()
    assert answers.late(100 + ANSWER_S - 0.1) == []
    assert answers.late(100 + ANSWER_S) == [one]
    assert answers.late(1e9) == []
    answers.sent(one, 200)
    assert answers.late(200 + 2 * ANSWER_S - 0.1) == []
    assert answers.late(200 + 2 * ANSWER_S) == [one]


# ------------------------------------------------------------------- silence


def test_silence_is_told_once_each_time() -> None:
    silence = Silence(10)
    told = [
        silence.check(n, s)
        for n, s in ((0, 0), (0, 9), (0, 10), (0, 15), (1, 16), (1, 25), (1, 26))
    ]
    assert told == [False, False, True, False, False, False, True]


def test_a_trouble_is_said_at_once_and_then_at_growing_distances() -> None:
    troubles = Troubles()
    said = [s for s in range(0, 100_000, 10) if troubles.again("x", s) is not None]
    assert said[:4] == [0, SAY_FIRST_S, 3 * SAY_FIRST_S, 7 * SAY_FIRST_S]
    assert max(b - a for a, b in itertools.pairwise(said)) == 3600
    assert troubles.again("y", 5) == {}
    assert troubles.over("x")
    assert not troubles.over("x")
    assert troubles.again("x", 0) == {}


def test_a_trouble_says_how_often_and_for_how_long() -> None:
    troubles = Troubles()
    for second in range(60):
        troubles.again("x", second)
    assert troubles.again("x", 60) == {"times": 61, "for_s": 60}
