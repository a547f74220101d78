"""Books that a venue pushes, with numbers that link or count. Told as transcripts."""

from __future__ import annotations

from tickbus_schemas.messages import ABSENT, Action, L2Flag, StatusKind

from tests.ingest.kinds import (
    ASKS,
    BIDS,
    BOTH_WAYS,
    COUNTED,
    COUNTED_ALONE,
    LINKED,
    WHOLE,
    flags,
    last_levels,
)
from tests.ingest.made import book, frame, frames, play, update


def test_a_pushed_book_is_live_at_once_and_nothing_is_asked_for() -> None:
    player = play(LINKED)
    player.say(frames(book(10, 1, BIDS, ASKS), update(10, 15, 2, [(100, 0)])))
    assert player.links() == [(ABSENT, 10), (10, 15)]
    assert flags(player) == [WHOLE, 0]
    assert last_levels(player) == [(100.0, 0.0, Action.DELETE)]
    (status,) = player.statuses(StatusKind.SNAPSHOT)
    assert status["reason"] == "pushed"
    assert player.wishes == []


def test_an_update_without_levels_moves_the_id_and_one_may_follow_itself() -> None:
    player = play(LINKED)
    player.say(frames(book(10, 1, BIDS), update(10, 15, 2), update(15, 15, 3), update(15, 16, 4)))
    assert player.links() == [(ABSENT, 10), (10, 15), (15, 15), (15, 16)]
    assert player.gaps() == []


def test_numbers_that_go_back_but_link_are_a_restart_without_a_gap() -> None:
    player = play(LINKED)
    player.say(frames(book(10, 1, BIDS), update(10, 15, 2), update(15, 3, 3), update(3, 5, 4)))
    assert player.links()[1:] == [(10, 15), (15, 3), (3, 5)]
    assert player.gaps() == []


def test_a_gap_asks_for_one_subscription_and_what_comes_meanwhile_is_not_published() -> None:
    player = play(LINKED)
    player.say(frames(book(5, 1, BIDS), update(5, 9, 2), update(12, 13, 3)))
    assert player.gaps() == [(9, 13)]
    assert [one["feed"] for one in player.statuses(StatusKind.RESYNC)] == ["l2"]
    assert player.wishes == [("resubscribe", "A")]
    player.say(frames(update(13, 14, 4), update(14, 15, 5)))
    player.say(frames(update(15, 16, 6)))
    assert player.wishes == [("resubscribe", "A")]
    assert len(player.links()) == 2
    player.say(frames(book(20, 7, [(98, 1)]), update(20, 21, 8)))
    assert player.links()[2:] == [(ABSENT, 20), (20, 21)]
    assert flags(player)[2] == WHOLE | L2Flag.GAP_BEFORE
    assert player.gaps() == [(9, 13), (13, 20)]
    assert player.fates["stale", "l2"] == 4
    assert player.accounted() == player.frames


def test_a_subscription_that_brings_no_book_is_renewed_later_each_time() -> None:
    player = play(LINKED)
    player.say(frames(book(5, 1, BIDS), update(12, 13, 3)))
    for _ in range(40):
        player.wait(1)
    renewed = len(player.wishes)
    assert 6 <= renewed <= 12
    assert set(player.wishes) == {("resubscribe", "A"), ("resubscribe", "B")}


def test_a_venue_with_both_ways_is_asked_over_rest_when_no_book_is_pushed() -> None:
    player = play(BOTH_WAYS, tickers=["A"])
    player.say(frames(update(9, 10, 1), update(10, 11, 2)))
    assert player.wishes == []
    for _ in range(12):
        player.wait(1)
    assert player.wishes[:2] == [("resubscribe", "A"), ("ask", "A")]


def test_a_second_book_replaces_the_first_without_a_gap() -> None:
    player = play(LINKED)
    player.say(frames(book(10, 1, BIDS, ASKS), update(10, 11, 2), book(7, 3, [(50, 1)], [(51, 1)])))
    player.say(frames(update(7, 8, 4, [(50, 2)])))
    assert player.links() == [(ABSENT, 10), (10, 11), (ABSENT, 7), (7, 8)]
    assert flags(player) == [WHOLE, 0, WHOLE, 0]
    assert player.gaps() == []
    assert last_levels(player) == [(50.0, 2.0, Action.UPDATE)]


def test_a_book_and_updates_of_two_tickers_in_one_frame() -> None:
    player = play(LINKED)
    player.say(
        [
            frame(
                book(10, 1, BIDS), update(10, 11, 1), book(4, 1, ASKS, ticker="B"),
                update(11, 12, 1), update(4, 5, 1, ticker="B"),
            )
        ]
    )  # fmt: skip
    assert player.links("A") == [(ABSENT, 10), (10, 11), (11, 12)]
    assert player.links("B") == [(ABSENT, 4), (4, 5)]
    assert player.fates == {("published", ""): 1}


def test_a_gap_of_one_ticker_leaves_the_others_alone() -> None:
    player = play(LINKED)
    player.say(frames(book(1, 1, BIDS), book(1, 1, BIDS, ticker="B")))
    player.say(frames(update(5, 6, 2), update(1, 2, 2, ticker="B")))
    assert player.wishes == [("resubscribe", "A")]
    assert player.links("B") == [(ABSENT, 1), (1, 2)]


def test_numbers_that_count_by_one_link_themselves() -> None:
    player = play(COUNTED)
    player.say(frames(book(50, 1, BIDS), update(None, 51, 2), update(None, 52, 3)))
    assert player.links() == [(ABSENT, 50), (50, 51), (51, 52)]
    player.say(frames(update(None, 54, 4)))
    assert player.gaps() == [(52, 54)]
    assert player.wishes == [("resubscribe", "A")]


def test_a_venue_that_starts_again_pushes_a_book_with_number_1() -> None:
    player = play(COUNTED)
    player.say(frames(book(50, 1, BIDS), update(None, 51, 2), book(1, 3, ASKS), update(None, 2, 4)))
    assert player.links()[2:] == [(ABSENT, 1), (1, 2)]
    assert player.gaps() == []


def test_updates_that_overtook_a_pushed_book_follow_it() -> None:
    """A book that is asked for over the same connection may be older than what came before it."""
    player = play(LINKED)
    player.say(frames(update(3, 5, 1, [(90, 1)]), update(5, 9, 2, [(91, 1)])))
    player.say(frames(update(9, 12, 3, [(92, 1)]), book(5, 9, BIDS, ASKS), update(12, 14, 10)))
    assert player.links() == [(ABSENT, 5), (5, 9), (9, 12), (12, 14)]
    assert player.gaps() == []
    assert player.fates["stale", "l2"] == 1
    assert player.accounted() == player.frames
    times = [row["timestamp"] for row in player.published["l2"]]
    assert times == sorted(times), "the book begins at the time of the first update behind it"
    packets = [row["packet_id"] for row in player.published["l2"]]
    assert packets == sorted(packets)


def test_an_update_that_overlaps_a_pushed_book_is_the_first_behind_it() -> None:
    player = play(LINKED)
    player.say(frames(update(3, 8, 1, [(90, 1)]), update(8, 9, 2), book(6, 3, BIDS)))
    assert player.links() == [(ABSENT, 6), (3, 8), (8, 9)]
    assert player.gaps() == []


def test_updates_behind_a_hole_do_not_follow_a_pushed_book() -> None:
    player = play(LINKED)
    player.say(frames(update(8, 9, 1), update(9, 10, 2), book(6, 3, BIDS), update(6, 7, 4)))
    assert player.links() == [(ABSENT, 6), (6, 7)]
    assert player.fates["stale", "l2"] == 2
    assert player.accounted() == player.frames


def test_where_connections_count_alone_only_those_of_the_book_s_own_follow_it() -> None:
    player = play(COUNTED_ALONE, lines=2)
    player.say(frames(update(None, 7, 1), update(None, 8, 2)), [0, 0])
    player.say(frames(update(None, 7, 1), update(None, 8, 2)), [1, 1])
    player.say(frames(book(7, 3, BIDS), update(None, 9, 4)), [1, 1])
    assert player.links() == [(ABSENT, 7), (7, 8), (8, 9)]
    assert player.fates["stale", "l2"] == 3
    assert player.accounted() == player.frames
