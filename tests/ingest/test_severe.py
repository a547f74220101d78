"""Which severe conditions hold, from what ingest counts."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given
from tickbus_ingest.publish.severe import Facts, Severe, Unlisted
from tickbus_runtime.alerts.alarms import Place
from tickbus_runtime.alerts.conditions import OF_NAME

STREAMS = 4


def severe(**more: bool) -> Severe:
    return Severe("okx", STREAMS, 60.0, **more)


def test_nothing_is_severe_while_all_is_well() -> None:
    one = severe()
    for second in range(1000):
        one.note_delays(20_000, 30_000, second)
        facts = Facts(frames=second, stored=second, waiting=3, held_s={"request": 0.0})
        assert one.look(facts, second) == {}


def test_no_frame_for_a_minute_is_no_data_and_the_next_frame_ends_it() -> None:
    one = severe()
    one.look(Facts(frames=5), 0.0)
    assert one.look(Facts(frames=5), 59.0) == {}
    assert one.look(Facts(frames=5), 60.0) == {Place("no_data"): "okx: no frame for more than 60 s"}
    assert one.look(Facts(frames=6), 61.0) == {}


def test_a_venue_that_never_sends_is_no_data_too() -> None:
    one = severe()
    one.look(Facts(), 1000.0)
    assert [*one.look(Facts(), 1060.0)] == [Place("no_data")]


def test_a_list_of_instruments_that_does_not_come_is_no_data() -> None:
    one = Unlisted("okx", 60.0, 5.0)
    assert one.look(64.0) == {}
    assert [*one.look(65.0)] == [Place("no_data")]
    one.has_come = True
    assert one.look(66.0) == {}


def test_frames_that_wait_while_nothing_is_stored_are_a_stalled_publisher() -> None:
    one = severe()
    one.look(Facts(frames=1, stored=7, waiting=1), 0.0)
    assert one.look(Facts(frames=2, stored=7, waiting=2_000), 14.0) == {}
    (told,) = one.look(Facts(frames=3, stored=7, waiting=2_000), 15.0).values()
    assert told == "okx: 2,000 frames wait, and NATS has stored nothing for 15 s"
    assert one.look(Facts(frames=4, stored=8, waiting=2_000), 16.0) == {}


def test_a_quiet_bus_is_not_stalled() -> None:
    one = severe()
    for second in range(0, 100, 10):
        assert one.look(Facts(frames=second, stored=7), second) == {}


@pytest.mark.parametrize(("every_s", "storm"), [(1000, False), (60, False), (20, True)])
def test_a_reconnect_now_and_then_is_no_storm_and_three_a_minute_are(
    every_s: int, storm: bool
) -> None:
    one = severe()
    told: list[Place] = []
    for second in range(900):
        facts = Facts(frames=second, gaps=(second // every_s) * STREAMS)
        told += one.look(facts, second)
    assert set(told) == ({Place("gap_storm")} if storm else set())


def test_many_gaps_at_once_are_a_storm() -> None:
    one = severe()
    one.look(Facts(frames=1), 0.0)
    assert one.look(Facts(frames=2, gaps=10 + 3 * STREAMS - 1), 1.0) == {}
    (told,) = one.look(Facts(frames=3, gaps=10 + 3 * STREAMS), 2.0).values()
    assert told == "okx: 22 gaps within 5 minutes"


@pytest.mark.parametrize(
    ("delay_us", "told"),
    [
        (4_000_000, ""),
        (6_000_000, "okx: even the fastest event of a minute seems 6.0 s old"),
        (-900_000, ""),
        (-2_500_000, "okx: events come 2.5 s before their time at the venue"),
        (86_400_000_000, ""),
    ],
)
def test_clocks_that_differ_are_told_but_not_of_a_recording(delay_us: int, told: str) -> None:
    one, recording = severe(), severe(of_recording=True)
    for each in (one, recording):
        each.note_delays(delay_us, delay_us, 1.0)
    assert [*one.look(Facts(frames=1), 2.0).values()] == ([told] if told else [])
    assert recording.look(Facts(frames=1), 2.0) == {}
    assert one.look(Facts(frames=2), 62.0) == {}


def test_one_event_of_the_future_is_no_clock_that_is_wrong() -> None:
    one = severe()
    one.note_delays(-30_000_000, 40_000, 0.0)
    assert one.look(Facts(frames=1), 1.0) == {}


def test_one_fast_event_within_a_minute_shows_that_the_clock_is_right() -> None:
    one = severe()
    one.note_delays(9_000_000, 9_500_000, 0.0)
    one.note_delays(50_000, 9_000_000, 10.0)
    one.note_delays(9_000_000, 9_000_000, 20.0)
    assert one.look(Facts(frames=1), 60.0) == {}
    assert [*one.look(Facts(frames=2), 71.0)] == [Place("clock_skew")]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-(10**7), 10**7)), min_size=1))
def test_clocks_differ_if_all_of_the_last_minute_says_so(steps: list[tuple[int, int]]) -> None:
    one, now_s, noted = severe(), 0, []
    for passed_s, delay_us in steps:
        now_s += passed_s
        noted.append((now_s, delay_us))
        one.note_delays(delay_us, delay_us, now_s)
        found = one.look(Facts(frames=now_s), now_s).get(Place("clock_skew"), "")
        recent = [us for at_s, us in noted if at_s > now_s - 60]
        assert bool(found) == (min(recent) > 5_000_000 or max(recent) < -1_000_000)


def test_holds_wrong_checksums_and_what_is_gone_are_told_with_names() -> None:
    one = severe()
    facts = Facts(
        frames=1,
        checksums=3,
        held_s={"request": 30.2, "connection": 0.0},
        gone=["A"],
        silent=[f"s{n}" for n in range(12)],
    )
    found = one.look(facts, 1.0)
    assert found == {
        Place("checksum"): "okx: 3 books had a wrong checksum within 10 minutes",
        Place("venue_limit"): "okx: the venue holds us off: no request for 30 s",
        Place("instrument_gone"): "okx: no longer traded at the venue: A",
        Place("stream_silent"): "okx: silent, though asked for again: "
        "s0, s1, s2, s3, s4, s5, s6, s7, s8, s9 and 2 more",
    }
    assert all(place.condition in OF_NAME for place in found)
