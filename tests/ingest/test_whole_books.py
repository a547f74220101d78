"""Books of a venue whose every frame is a whole one. Told as transcripts."""

from __future__ import annotations

from tickbus_ingest.wire.buffer import Replaced
from tickbus_schemas.messages import ABSENT, Action, StatusKind

from tests.ingest.kinds import (
    ASKS,
    BIDS,
    WHOLE,
    WHOLE_FRAMES,
    flags,
    last_levels,
)
from tests.ingest.made import T0_MS, book, frames, play
from tests.ingest.venues.playing import Player


def test_every_frame_is_a_book_and_no_pause_is_a_gap() -> None:
    player = play(WHOLE_FRAMES)
    player.say(frames(book(None, 1, BIDS, ASKS)))
    player.wait(10)
    player.say(frames(book(None, 9000, [(99, 2)], ASKS)))
    assert flags(player) == [WHOLE, WHOLE]
    assert last_levels(player) == [(99.0, 2.0, Action.NEW), (101.0, 3.0, Action.NEW)]
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


def test_a_connection_that_lags_behind_brings_no_book_back() -> None:
    player = play(WHOLE_FRAMES, lines=2)
    player.say(frames(*(book(None, ms, [(90 + ms, 1)]) for ms in range(1, 4))))
    player.say(frames(*(book(None, ms, [(90 + ms, 1)]) for ms in range(1, 5))), [1] * 4)
    assert times_ms(player) == [1, 2, 3, 4]
    assert player.counts["duplicates", "l2"] == 1
    assert player.counts["stale_events", "l2"] == 2
    player.notice(Replaced(0, by=1))
    player.say(frames(book(None, 5, BIDS)), [1])
    assert times_ms(player)[4:] == [5]
    assert player.gaps() == []


def test_a_venue_that_sets_its_clock_back_is_believed() -> None:
    player = play(WHOLE_FRAMES, lines=2)
    player.say(frames(book(None, 5000, BIDS), book(None, 1, ASKS)))
    assert times_ms(player) == [5000, 1]
    player.say(frames(book(None, 100_000, BIDS)))
    player.notice(Replaced(0, by=1))
    player.say(frames(book(None, 99_000, ASKS), book(None, 1, ASKS)), [1, 1])
    assert times_ms(player)[2:] == [100_000, 1]


def test_books_of_one_time_that_two_connections_bring_are_stored_once() -> None:
    player = play(WHOLE_FRAMES, lines=2)
    same_time = [book(None, 5, [(price, 1)]) for price in (90, 91, 90)]
    player.say(frames(*same_time, *same_time), [0] * 3 + [1] * 3)
    assert player.links() == [(ABSENT, 1), (ABSENT, 2), (ABSENT, 3)]
    assert player.counts["duplicates", "l2"] == 3
    player.say(frames(book(None, 6, BIDS), book(None, 6, BIDS)), [1, 0])
    assert times_ms(player) == [5, 5, 5, 6]


def test_an_older_book_of_the_leading_connection_is_stale_while_another_one_delivers() -> None:
    player = play(WHOLE_FRAMES, lines=2)
    player.say(frames(book(None, 1, BIDS), book(None, 1, BIDS)), [0, 1])
    player.say(frames(book(None, 3, ASKS), book(None, 2, BIDS), book(None, 4, BIDS)))
    assert times_ms(player) == [1, 3, 4]
    player.received_ns += 10 * 10**9
    player.say(frames(book(None, 2, ASKS)))
    assert times_ms(player) == [1, 3, 4, 2], "nothing newer has come for long"


def test_whole_books_are_not_asked_for() -> None:
    player = play(WHOLE_FRAMES)
    player.wait(60)
    player.say(frames(book(None, 1, BIDS)))
    player.wait(60)
    player.disconnect()
    player.wait(60)
    assert player.wishes == []


def times_ms(player: Player) -> list[int]:
    return [row["timestamp"] // 1000 - T0_MS for row in player.published["l2"]]
