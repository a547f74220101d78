"""What connections do to books: break, take each other's place, lose messages, overflow."""

from __future__ import annotations

import pytest
from tickbus_ingest.session.book_rules import State
from tickbus_ingest.venue.contract import Line, TradeIds
from tickbus_ingest.wire.buffer import Connected, Overflow, Replaced
from tickbus_schemas.messages import ABSENT, L2Flag, StatusKind

from tests.ingest.kinds import (
    ASKS,
    BIDS,
    BOTH_WAYS,
    CHECKED,
    COUNTED_ALONE,
    KEYED,
    LINKED,
    PER_CONNECTION,
    WHOLE,
    WHOLE_FRAMES,
    flags,
    state,
)
from tests.ingest.made import book, count, frame, frames, lost, made, play, quote, trade, update


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


def test_a_book_from_rest_that_comes_between_two_connections_ends_in_a_gap() -> None:
    player = play(BOTH_WAYS, tickers=["A"])
    player.say(frames(book(10, 1, BIDS), update(12, 13, 2)))
    player.disconnect()
    player.pull(frame(book(15, 3, BIDS)))
    player.wait(2)
    assert state(player) is State.LIVE
    player.reconnect()
    player.say(frames(book(20, 9, BIDS), update(20, 21, 10)))
    assert player.links() == [(ABSENT, 10), (ABSENT, 15), (ABSENT, 20), (20, 21)]
    assert player.gaps() == [(10, 13), (13, 15), (15, 20)]
    assert flags(player)[2] == WHOLE | L2Flag.GAP_BEFORE


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


def test_another_connection_may_be_opened_while_one_is_there() -> None:
    player = play(LINKED, tickers=["A"])
    (route,) = player.venue.routes()
    player.say(frames(book(10, 1, BIDS)))
    player.notice(Connected(Line(1, route), player.received_ns))
    player.say(frames(update(10, 11, 2)), [1])
    player.notice(Replaced(0, by=1, reason="broken", received_ns=player.received_ns))
    player.say(frames(update(11, 12, 3)), [1])
    assert player.links() == [(ABSENT, 10), (10, 11), (11, 12)]
    assert player.gaps() == []


def test_what_a_connection_carried_alone_is_a_gap_though_another_one_is_being_subscribed() -> None:
    player = play(made(trade_ids=TradeIds.UNIQUE), tickers=["A"])
    (route,) = player.venue.routes()
    player.say(frames(trade("x", 1), quote(1, 1)))
    player.notice(Connected(Line(1, route), player.received_ns))
    player.disconnect(0)
    player.say(frames(trade("z", 9), quote(5, 9)), [1, 1])
    assert [len(player.gaps(feed)) for feed in ("trade", "bbo")] == [1, 1]


def test_of_two_connections_that_count_for_themselves_one_leads() -> None:
    player = play(COUNTED_ALONE, lines=2)
    player.say(frames(book(50, 1, BIDS), update(None, 51, 2)))
    player.say(frames(update(None, 901, 3), update(None, 902, 4)), [1, 1])
    player.say(frames(update(None, 52, 5)))
    assert player.links() == [(ABSENT, 50), (50, 51), (51, 52)]
    player.say(frames(book(903, 6, ASKS), update(None, 904, 7)), [1, 1])
    player.say(frames(update(None, 53, 8)))
    assert player.links()[3:] == [(ABSENT, 903), (903, 904)]
    assert player.gaps() == [(52, 903)], "what lies between was not published one by one"
    assert player.accounted() == player.frames


def test_another_connection_that_begins_with_the_very_book_goes_on_without_a_gap() -> None:
    player = play(KEYED, lines=2)
    player.say(frames(book(None, 1, BIDS), update(None, None, 2, [(100, 5)])))
    player.say(frames(book(None, 3, [(100, 5), (99, 2)])), [1])
    player.say(frames(update(None, None, 4, [(100, 6)])), [1])
    assert player.links() == [(ABSENT, 1), (1, 2), (2, 3)]
    player.say(frames(book(None, 6, ASKS)))
    assert player.links()[3:] == [(ABSENT, 4)]
    (gap,) = player.statuses(StatusKind.GAP)
    assert gap["reason"] == "another connection begins with a book of its own"
    assert player.accounted() == player.frames


def test_frames_that_were_dropped_before_they_were_read_make_the_book_sync_anew() -> None:
    player = play(LINKED)
    player.say(frames(book(10, 1, BIDS), update(10, 11, 2)))
    player.notice(Overflow(3, player.received_ns))
    player.wait(3.5)
    assert ("resubscribe", "A") in player.wishes
    player.say(frames(book(20, 4, BIDS)))
    assert player.gaps() == [(11, 20)]


def test_a_connection_that_was_away_is_a_gap_where_nothing_counts() -> None:
    player = play(CHECKED)
    player.say(frames(book(None, 1, BIDS), update(None, None, 2, [(100, 5)])))
    player.reconnect()
    player.say(frames(update(None, None, 3, [(100, 6)]), book(None, 4, BIDS)))
    (gap,) = player.statuses(StatusKind.GAP)
    assert gap["to_timestamp"] - gap["from_timestamp"] == 2000
    assert player.accounted() == player.frames


def test_a_connection_that_was_away_is_a_gap_of_whole_frames_too() -> None:
    player = play(WHOLE_FRAMES)
    player.say(frames(book(None, 1, BIDS)))
    player.reconnect()
    player.say(frames(book(None, 50, BIDS)))
    (gap,) = player.statuses(StatusKind.GAP)
    assert gap["to_timestamp"] - gap["from_timestamp"] == 49_000
    assert flags(player) == [WHOLE, WHOLE | L2Flag.GAP_BEFORE]


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
    assert {one["reason"] for one in player.statuses(StatusKind.NOTICE, "")} == {"messages 3 to 3"}
    assert player.statuses(StatusKind.DISCONNECTED, "") == [], "it is open"
    assert [row["trade_id"] for row in player.published["trade"]] == ["1"]
    player.reconnect()
    player.say([frame(count(1), book(None, 9, BIDS), book(None, 9, BIDS, ticker="B"))])
    assert {gap["ticker"] for gap in player.statuses(StatusKind.GAP)} == {"A", "B"}
    assert len(player.statuses(StatusKind.GAP)) == 2
    assert player.accounted() == player.frames


@pytest.mark.parametrize("together", [True, False])
def test_a_message_that_is_refused_is_a_hole_in_the_connections_count(together: bool) -> None:
    player = play(PER_CONNECTION)
    player.say([frame(count(1), book(None, 1, BIDS))])
    refused = frame(count(2), update(None, None, 2, [(100, -5)]))
    following = frame(count(3), update(None, None, 3, [(101, 6)]))
    for frames_ in [[refused, following]] if together else [[refused], [following]]:
        player.say(frames_)
    assert player.refused == ["the size of a price level is below 0"]
    assert player.links("A") == [(ABSENT, 1)], "the book lacks what was refused"
    assert player.broken == {0}


def test_a_new_connection_counts_from_anywhere() -> None:
    player = play(PER_CONNECTION)
    player.say([frame(count(900), book(None, 1, BIDS))])
    player.reconnect()
    player.say([frame(count(5), book(None, 2, BIDS)), frame(count(6), update(None, None, 3))])
    assert player.broken == set()
    assert state(player) is State.LIVE


def test_a_loss_of_one_book_breaks_no_other_and_no_connection() -> None:
    player = play(KEYED)
    player.say(frames(book(None, 1, BIDS), book(None, 1, BIDS, ticker="B")))
    player.say([frame(lost("A"), update(None, None, 3, [(100, 5)], ticker="B"), trade(1, 3))])
    assert state(player) is not State.LIVE
    assert player.wishes == [("resubscribe", "A")]
    assert player.broken == set()
    assert player.links("B") == [(ABSENT, 1), (1, 2)]
    assert [row["trade_id"] for row in player.published["trade"]] == ["1"]
    player.say([frame(book(None, 9, ASKS))])
    (gap,) = player.statuses(StatusKind.GAP)
    assert (gap["ticker"], gap["reason"]) == ("A", "an id that is not known")
    assert gap["to_timestamp"] - gap["from_timestamp"] == 8000
    assert flags(player)[-1] == WHOLE | L2Flag.GAP_BEFORE
    assert player.accounted() == player.frames


def test_a_loss_on_a_connection_that_does_not_lead_costs_nothing() -> None:
    player = play(KEYED, lines=2)
    player.say(frames(book(None, 1, BIDS)))
    player.say([frame(lost("A"))], [1])
    player.say(frames(update(None, None, 2, [(100, 5)])))
    assert player.links() == [(ABSENT, 1), (1, 2)]
    assert player.wishes == []
    assert player.statuses(StatusKind.GAP) == []
