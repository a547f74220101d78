"""Books of venues that are unlike: how they begin, break and begin again. Told as transcripts.

The venues are made (`made.py`); each kind is one that a real venue has, named beside it.
"""

from __future__ import annotations

import pytest
from tickbus_ingest.session.book_rules import State
from tickbus_ingest.session.tables import Flush
from tickbus_ingest.venue.contract import Get, Line, Snapshots, UpdateIds, Venue
from tickbus_ingest.wire.buffer import Connected, Failed, Overflow, Replaced
from tickbus_schemas.messages import ABSENT, Action, L2Flag, StatusKind

from tests.ingest.made import Levels, book, count, crc, frame, frames, made, play, trade, update
from tests.ingest.venues.playing import Player

WHOLE = L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST
BIDS: Levels = [(100, 1), (99, 2)]
ASKS: Levels = [(101, 3)]

LINKED = made(Snapshots.PUSHED, UpdateIds.LINKED)  # OKX
COUNTED = made(Snapshots.PUSHED, UpdateIds.COUNTED)  # Bybit
COUNTED_ALONE = made(Snapshots.PUSHED, UpdateIds.COUNTED, numbering_is_global=False)
WHOLE_FRAMES = made(Snapshots.EVERY_FRAME, UpdateIds.NONE, numbering_is_global=False)  # Hyperliquid
CHECKED = made(Snapshots.PUSHED, UpdateIds.CHECKSUM, numbering_is_global=False, depth=2)  # Kraken
PER_CONNECTION = made(
    Snapshots.PUSHED, UpdateIds.PER_CONNECTION, numbering_is_global=False
)  # Coinbase
BOTH_WAYS = made(Snapshots.PUSHED, UpdateIds.LINKED, pulls=True)  # OKX without first snapshots
PULLED = made(Snapshots.PULLED, UpdateIds.LINKED)  # Binance


def flags(player: Player) -> list[int]:
    return [row["flags"] for row in player.published.get("l2", ())]


def state(player: Player) -> State:
    return player.session.books[0].state


def last_levels(player: Player) -> list[tuple[float, float, int]]:
    """(price, qty, action) of the last packet."""
    return [(price, qty, action) for _, price, qty, action in player.published["l2"][-1]["levels"]]


# ------------------------------------------------------- pushed, linked (OKX)


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


@pytest.mark.parametrize(
    ("again", "gaps"), [(book(11, 9, BIDS), []), (book(14, 9, BIDS), [(11, 14)])]
)
def test_a_new_connection_announces_a_gap_only_if_something_is_missing(
    again: list[object], gaps: list[tuple[int, int]]
) -> None:
    player = play(LINKED)
    player.say(frames(book(10, 1, BIDS), update(10, 11, 2)))
    player.reconnect()
    assert state(player) is not State.LIVE
    player.say([frame(again)])
    assert player.gaps() == gaps
    assert state(player) is State.LIVE
    assert player.wishes == []


def test_a_second_connection_begins_with_a_book_that_is_not_needed() -> None:
    player = play(LINKED, lines=2)
    player.say(frames(book(10, 1, BIDS), update(10, 11, 2)))
    player.say(frames(book(11, 3, BIDS), update(11, 12, 4)), [1, 1])
    player.say(frames(update(11, 12, 4), update(12, 13, 5)))
    player.notice(Replaced(0, by=1))
    player.say(frames(update(12, 13, 5), update(13, 14, 6)), [1, 1])
    assert player.links() == [(ABSENT, 10), (10, 11), (11, 12), (12, 13), (13, 14)]
    assert player.gaps() == []
    assert player.accounted() == player.frames


def test_frames_that_were_dropped_before_they_were_read_make_the_book_sync_anew() -> None:
    player = play(LINKED)
    player.say(frames(book(10, 1, BIDS), update(10, 11, 2)))
    player.notice(Overflow(3, player.received_ns))
    player.wait(3.5)
    assert ("resubscribe", "A") in player.wishes
    player.say(frames(book(20, 4, BIDS)))
    assert player.gaps() == [(11, 20)]


# ------------------------------------------------------ pushed, counted (Bybit)


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


def test_of_two_connections_that_count_for_themselves_one_leads() -> None:
    player = play(COUNTED_ALONE, lines=2)
    player.say(frames(book(50, 1, BIDS), update(None, 51, 2)))
    player.say(frames(update(None, 901, 3), update(None, 902, 4)), [1, 1])
    player.say(frames(update(None, 52, 5)))
    assert player.links() == [(ABSENT, 50), (50, 51), (51, 52)]
    player.say(frames(book(903, 6, ASKS), update(None, 904, 7)), [1, 1])
    player.say(frames(update(None, 53, 8)))
    assert player.links()[3:] == [(ABSENT, 903), (903, 904)]
    assert player.gaps() == []
    assert player.accounted() == player.frames


# -------------------------------------------- every frame whole (Hyperliquid)


def test_every_frame_is_a_book_and_no_pause_is_a_gap() -> None:
    player = play(WHOLE_FRAMES)
    player.say(frames(book(None, 1, BIDS, ASKS)))
    player.wait(10)
    player.say(frames(book(None, 9000, [(99, 2)], ASKS)))
    assert flags(player) == [WHOLE, WHOLE]
    assert player.links() == [(ABSENT, 1), (ABSENT, 2)]
    assert player.gaps() == []
    assert player.wishes == []
    assert len(player.statuses(StatusKind.SNAPSHOT)) == 1


def test_a_book_that_was_sent_twice_is_stored_once() -> None:
    player = play(WHOLE_FRAMES, lines=2)
    player.say(frames(book(None, 1, BIDS, ASKS), book(None, 1, BIDS, ASKS)), [0, 1])
    assert player.links() == [(ABSENT, 1)]
    assert player.fates["duplicate", "l2"] == 1
    player.say(frames(book(None, 1, BIDS)))  # same time, another book
    player.say(frames(book(None, 2, BIDS)))  # same book, another time
    assert player.links() == [(ABSENT, 1), (ABSENT, 2), (ABSENT, 3)]


def test_books_of_an_older_time_never_go_back_to_it() -> None:
    player = play(WHOLE_FRAMES, lines=2)
    player.say(frames(book(None, 10, BIDS), book(None, 20, ASKS), book(None, 10, BIDS)), [0, 0, 1])
    assert [row["timestamp"] // 1000 % 1000 for row in player.published["l2"]] == [10, 20]


def test_a_connection_that_was_away_is_a_gap_of_whole_frames_too() -> None:
    player = play(WHOLE_FRAMES)
    player.say(frames(book(None, 1, BIDS)))
    player.reconnect()
    player.say(frames(book(None, 50, BIDS)))
    (gap,) = player.statuses(StatusKind.GAP)
    assert gap["to_timestamp"] - gap["from_timestamp"] == 49_000
    assert flags(player) == [WHOLE, WHOLE | L2Flag.GAP_BEFORE]


# ------------------------------------------------------------- checksum (Kraken)


def test_updates_without_numbers_get_ours_and_link() -> None:
    player = play(CHECKED)
    player.say(frames(book(None, 1, BIDS, ASKS), update(None, None, 2, [(100, 5)])))
    player.say(frames(update(None, None, 3, [(99, 7)])))
    assert player.links() == [(ABSENT, 1), (1, 2), (2, 3)]


def test_a_level_that_falls_out_of_the_depth_is_removed_by_the_packet_that_pushed_it() -> None:
    player = play(CHECKED)
    after = crc([(1, 100.5, 9), (1, 100, 1), (-1, 101, 3)])
    player.say(
        frames(book(None, 1, BIDS, ASKS), update(None, None, 2, [(100.5, 9)], checksum=after))
    )
    assert last_levels(player) == [(100.5, 9.0, Action.NEW), (99.0, 0.0, Action.DELETE)]
    assert player.gaps() == []


def test_both_sides_are_truncated_and_a_level_comes_back() -> None:
    player = play(CHECKED)
    player.say(
        frames(
            book(None, 1, BIDS, [(101, 3), (102, 4)]),
            update(None, None, 2, [(100.5, 9), (100.4, 8)], [(100.9, 7)]),
            update(None, None, 3, [(100.4, 0), (99, 2)]),
        )
    )
    assert last_levels(player) == [(100.4, 0.0, Action.DELETE), (99.0, 2.0, Action.NEW)]
    side, price, qty = player.session.books[0].log.book.levels()
    assert list(zip(side.tolist(), price.tolist(), qty.tolist(), strict=True)) == [
        (1, 100.5, 9.0), (1, 99.0, 2.0), (-1, 100.9, 7.0), (-1, 101.0, 3.0),
    ]  # fmt: skip


def test_the_first_wrong_checksum_is_a_gap_at_that_update_and_of_that_ticker_only() -> None:
    player = play(CHECKED)
    player.say(frames(book(None, 1, BIDS), book(None, 1, BIDS, ticker="B")))
    right = crc([(1, 100, 5), (1, 99, 2)])
    player.say(
        frames(
            update(None, None, 2, [(100, 5)], checksum=right),
            update(None, None, 3, [(100, 6)], checksum=right),
            update(None, None, 4, [(100, 5)], checksum=right),
            update(None, None, 4, [(100, 5)], checksum=right, ticker="B"),
        )
    )
    assert player.links("A") == [(ABSENT, 1), (1, 2)]
    assert player.links("B") == [(ABSENT, 1), (1, 2)]
    (gap,) = player.statuses(StatusKind.GAP)
    assert (gap["ticker"], gap["from_id"]) == ("A", 2)
    assert "checksum" in gap["reason"]
    assert gap["to_timestamp"] - gap["from_timestamp"] == 1000
    assert player.wishes == [("resubscribe", "A")]
    whole = book(None, 9, [(100, 8)], checksum=crc([(1, 100, 8)]))
    player.say(frames(whole, update(None, None, 10, [(99, 1)])))
    links = player.links("A")[2:]
    assert links[0][0] == ABSENT
    assert links[1] == (links[0][1], links[0][1] + 1)
    assert links[0][1] > gap["to_id"] or links[0][1] > 2
    assert player.accounted() == player.frames


def test_a_book_whose_own_checksum_is_wrong_is_not_taken() -> None:
    player = play(CHECKED)
    player.say(frames(book(None, 1, BIDS, checksum=1), update(None, None, 2, [(100, 5)])))
    assert player.links() == []
    assert player.wishes == [("resubscribe", "A")]
    player.say(frames(book(None, 3, BIDS, checksum=crc([(1, 100, 1), (1, 99, 2)]))))
    assert len(player.links()) == 1
    assert state(player) is State.LIVE
    assert player.accounted() == player.frames


def test_a_connection_that_was_away_is_a_gap_where_nothing_counts() -> None:
    player = play(CHECKED)
    player.say(frames(book(None, 1, BIDS), update(None, None, 2, [(100, 5)])))
    player.reconnect()
    player.say(frames(update(None, None, 3, [(100, 6)]), book(None, 4, BIDS)))
    (gap,) = player.statuses(StatusKind.GAP)
    assert gap["to_timestamp"] - gap["from_timestamp"] == 2000
    assert player.accounted() == player.frames


# ------------------------------------------- counted over the connection (Coinbase)


def test_a_hole_in_the_connections_count_breaks_all_that_it_carries() -> None:
    player = play(PER_CONNECTION)
    player.say(
        [
            frame(count(1), book(None, 1, BIDS), book(None, 1, BIDS, ticker="B")),
            frame(count(2), update(None, None, 2, [(100, 5)])),
            frame(count(4), update(None, None, 3, [(100, 6)], ticker="B"), trade(1, 3)),
        ]
    )
    assert player.links("A") == [(ABSENT, 1), (1, 2)]
    assert player.links("B") == [(ABSENT, 1)]
    assert player.broken == {0}
    assert [row["trade_id"] for row in player.published["trade"]] == ["1"]
    player.reconnect()
    player.say([frame(count(1), book(None, 9, BIDS), book(None, 9, BIDS, ticker="B"))])
    assert {gap["ticker"] for gap in player.statuses(StatusKind.GAP)} == {"A", "B"}
    assert len(player.statuses(StatusKind.GAP)) == 2
    assert player.accounted() == player.frames


def test_a_new_connection_counts_from_anywhere() -> None:
    player = play(PER_CONNECTION)
    player.say([frame(count(900), book(None, 1, BIDS))])
    player.reconnect()
    player.say([frame(count(5), book(None, 2, BIDS)), frame(count(6), update(None, None, 3))])
    assert player.broken == set()
    assert state(player) is State.LIVE


# ------------------------------------------------------------------ own numbers


def test_own_numbers_go_on_behind_those_that_a_predecessor_gave() -> None:
    player = play(CHECKED)
    player.session.books[0].resume(41, 1_760_000_000_000_000)
    player.say(frames(book(None, 1, BIDS), update(None, None, 2, [(100, 5)])))
    first, second = player.links()
    assert first[0] == ABSENT
    assert first[1] > 41
    assert second == (first[1], first[1] + 1)
    (gap,) = player.statuses(StatusKind.GAP)
    assert gap["from_id"] == 41


# ------------------------------------------------- numbers that cannot be followed


HUGE = 2**63 - 1


@pytest.mark.parametrize("kind", [LINKED, PULLED], ids=["pushed", "pulled"])
def test_numbers_that_begin_lower_at_a_later_time_are_a_gap(kind: type[Venue]) -> None:
    player = play(kind, tickers=["A"])
    _begin(player, 1000)
    player.say(frames(update(3, 4, 500, [(100, 7)])))
    player.say(frames(update(4, 5, 600, [(100, 8)])))
    assert player.gaps() == [(1001, 4)]
    assert player.wishes[-1][1] == "A"
    _begin(player, 5, ms=700)
    assert player.links()[-1][1] == 6
    assert state(player) is State.LIVE


@pytest.mark.parametrize("kind", [LINKED, PULLED], ids=["pushed", "pulled"])
def test_one_absurd_number_does_not_end_the_book_in_silence(kind: type[Venue]) -> None:
    player = play(kind, tickers=["A"])
    _begin(player, 1000)
    player.say(frames(update(1001, HUGE, 500, [(100, 7)])))  # it links: it is taken
    player.say(frames(update(1001, 1002, 600, [(100, 8)]), update(1002, 1003, 700, [(100, 9)])))
    assert player.gaps() == [(HUGE, 1002)]
    assert player.wishes[-1][1] == "A"
    _begin(player, 1003, ms=800)
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


def _begin(player: Player, own: int, ms: int = 1) -> None:
    """The book is LIVE at `own + 1`, however it comes."""
    if type(player.venue).snapshots is Snapshots.PUSHED:
        player.say(frames(book(own, ms, BIDS), update(own, own + 1, ms + 1)))
        return
    player.say(frames(update(own - 1, own, ms), update(own, own + 1, ms + 1)))
    player.pull(frame(book(own, ms, BIDS)))


# ----------------------------------------------------------- two lines at once


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
    _begin(player, 10)
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
    _begin(player, 10)
    player.say(frames(update(12, 13, 3)))
    player.session.books[0].lose("refused", player.received_ns // 1000, 4, Flush())
    assert player.session.waiting_frames == 1
    player.say(frames(update(13, 14, 4)))
    player.pull(frame(book(12, 2, BIDS)))
    assert player.links()[-2:] == [(12, 13), (13, 14)]
    assert player.accounted() == player.frames


# ------------------------------------------------------ nothing is left without trace


def test_updates_that_never_get_a_book_are_a_gap_at_the_end() -> None:
    for kind in (PULLED, LINKED, CHECKED):
        player = play(kind)
        player.say(frames(*(update(n, n + 1, n + 1) for n in range(600))))
        player.wait(1, settle=True)
        (gap,) = player.statuses(StatusKind.GAP)
        assert "600 updates of A" in gap["reason"]
        assert player.counts["gaps", "l2"] == 1
        assert len(player.errors) == 1
        assert player.accounted() == player.frames


def test_a_venue_that_refuses_the_book_for_good_is_a_gap_and_trades_go_on() -> None:
    player = play(PULLED, tickers=["A"])
    player.say(frames(update(1, 2, 1), update(2, 3, 2), trade(1, 2)))
    player.notice(Failed(Get("", ticker="A"), "HTTP 451", for_good=True))
    player.notice(Failed(Get("", ticker="A"), "HTTP 451", for_good=True))
    player.say(frames(update(3, 4, 3), trade(2, 3)))
    (gap,) = player.statuses(StatusKind.GAP)
    assert "451" in gap["reason"]
    assert len(player.published["trade"]) == 2


def test_another_connection_may_be_opened_while_one_is_there() -> None:
    player = play(LINKED, tickers=["A"])
    (route,) = player.venue.routes()
    player.say(frames(book(10, 1, BIDS)))
    player.notice(Connected(Line(1, route), player.received_ns))
    player.say(frames(update(10, 11, 2)), [1])
    player.disconnect(0)
    player.say(frames(update(11, 12, 3)), [1])
    assert player.links() == [(ABSENT, 10), (10, 11), (11, 12)]
    assert player.gaps() == []
