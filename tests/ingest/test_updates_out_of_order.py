"""Updates that come too early, too late, or with numbers that cannot be followed."""

from __future__ import annotations

import pytest
from tickbus_ingest.session.book_rules import State
from tickbus_ingest.session.tables import Flush
from tickbus_ingest.venue.contract import Venue
from tickbus_schemas.messages import ABSENT

from tests.ingest.kinds import (
    BIDS,
    LINKED,
    PULLED,
    begin,
    state,
)
from tests.ingest.made import book, frame, frames, play, update


def test_updates_that_another_line_still_brings_are_waited_for() -> None:
    player = play(LINKED, lines=2, wait_us=200_000)
    player.say(frames(book(20, 0, BIDS), update(20, 30, 1)))
    player.say(frames(update(40, 50, 3)), [1])
    player.say(frames(update(30, 40, 2), update(40, 50, 3)), [0, 0])
    assert player.links() == [(ABSENT, 20), (20, 30), (30, 40), (40, 50)]
    assert player.gaps() == []
    assert player.wishes == []
    assert player.accounted() == player.frames


def test_the_wait_ends_in_venue_time_or_by_the_clock() -> None:
    for end_by_clock in (False, True):
        player = play(LINKED, wait_us=200_000)
        player.say(frames(book(20, 0, BIDS), update(20, 30, 1), update(40, 50, 3)))
        assert player.gaps() == []
        assert player.session.waiting_frames == 1
        if end_by_clock:
            player.wait(0.5)
        else:
            player.say(frames(update(50, 60, 204)))
        assert player.gaps() == [(30, 50)]
        assert player.wishes == [("resubscribe", "A")]
        assert player.accounted() == player.frames


def test_packets_that_waited_carry_the_packet_that_released_them() -> None:
    player = play(LINKED, lines=2, wait_us=200_000)
    player.say(frames(book(20, 0, BIDS), update(30, 40, 2), update(20, 30, 1)), [0, 1, 0])
    assert [row["packet_id"] & 0xFF for row in player.published["l2"]] == [1, 3, 3]


def test_after_an_interruption_nobody_could_fill_the_hole() -> None:
    player = play(PULLED, tickers=["A"], wait_us=200_000)
    begin(player, 10)
    player.reconnect()
    player.say(frames(update(14, 15, 5)))
    assert player.gaps() == [(11, 15)]


def test_at_the_end_what_waits_is_a_gap_with_a_reason() -> None:
    player = play(LINKED, tickers=["A"], wait_us=200_000)
    player.say(frames(book(20, 0, BIDS), update(30, 40, 2)))
    player.wait(0, settle=True)
    assert player.gaps()[0] == (20, 40)


def test_early_updates_wait_for_the_next_book_when_the_log_refused_what_they_follow() -> None:
    player = play(PULLED, tickers=["A"], wait_us=200_000)
    begin(player, 10)
    player.say(frames(update(12, 13, 3)))
    player.session.books[0].lose("refused", player.received_ns // 1000, 4, Flush())
    assert player.session.waiting_frames == 1
    player.say(frames(update(13, 14, 4)))
    player.pull(frame(book(12, 2, BIDS)))
    assert player.links()[-2:] == [(12, 13), (13, 14)]
    assert player.accounted() == player.frames


HUGE = 2**63 - 1


@pytest.mark.parametrize("kind", [LINKED, PULLED], ids=["pushed", "pulled"])
def test_numbers_that_begin_lower_at_a_later_time_are_a_gap(kind: type[Venue]) -> None:
    player = play(kind, tickers=["A"])
    begin(player, 1000)
    player.say(frames(update(3, 4, 500, [(100, 7)])))
    player.say(frames(update(4, 5, 600, [(100, 8)])))
    assert player.gaps() == [(1001, 4)]
    assert player.wishes[-1][1] == "A"
    begin(player, 5, ms=700)
    assert player.links()[-1][1] == 6
    assert state(player) is State.LIVE


@pytest.mark.parametrize("kind", [LINKED, PULLED], ids=["pushed", "pulled"])
def test_one_absurd_number_does_not_end_the_book_in_silence(kind: type[Venue]) -> None:
    player = play(kind, tickers=["A"])
    begin(player, 1000)
    player.say(frames(update(1001, HUGE, 500, [(100, 7)])))  # it links: it is taken
    player.say(frames(update(1001, 1002, 600, [(100, 8)]), update(1002, 1003, 700, [(100, 9)])))
    assert player.gaps() == [(HUGE, 1002)]
    assert player.wishes[-1][1] == "A"
    begin(player, 1003, ms=800)
    assert player.links()[-1][1] == 1004
    assert state(player) is State.LIVE


def test_a_number_that_is_used_again_for_something_else_is_a_gap() -> None:
    player = play(LINKED)
    player.say(frames(book(10, 1, BIDS), update(10, 11, 2, [(100, 7), (99, 0)])))
    player.say(frames(update(10, 11, 3, [(100, 7), (99, 0)])))  # the same, sent again
    assert player.gaps() == []
    player.say(frames(update(10, 11, 4, [(100, 8)])))
    assert player.gaps() == [(11, 11)]
    assert player.wishes == [("resubscribe", "A")]


def test_an_older_update_of_an_older_time_is_only_late() -> None:
    player = play(LINKED, lines=2)
    player.say(frames(book(10, 10, BIDS), update(10, 11, 20), update(11, 12, 30)))
    player.say(frames(update(10, 11, 20), update(9, 10, 10)), [1, 1])
    assert player.gaps() == []
    assert player.fates["stale", "l2"] == 2
    assert player.wishes == []
