"""Books of a venue that numbers nothing and proves each update by a checksum. Transcripts."""

from __future__ import annotations

from tickbus_ingest.session.book_rules import State
from tickbus_schemas.messages import ABSENT, Action, StatusKind

from tests.ingest.kinds import (
    ASKS,
    BIDS,
    CHECKED,
    last_levels,
    state,
)
from tests.ingest.made import book, crc, frames, play, update


def test_updates_without_numbers_get_ours_and_link() -> None:
    player = play(CHECKED)
    player.say(frames(book(None, 1, BIDS, ASKS), update(None, None, 2, [(100, 5)])))
    player.say(frames(update(None, None, 3, [(99, 7)])))
    assert player.links() == [(ABSENT, 1), (1, 2), (2, 3)]


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
    (status,) = player.statuses(StatusKind.RESYNC)
    assert status["reason"] == "the checksum of a snapshot is wrong"
    assert player.wishes == [("resubscribe", "A")]
    player.say(frames(book(None, 3, BIDS, checksum=crc([(1, 100, 1), (1, 99, 2)]))))
    assert len(player.links()) == 1
    assert player.gaps() == [], "nothing was published before"
    assert state(player) is State.LIVE
    assert player.accounted() == player.frames


def test_an_update_that_the_venue_sends_twice_is_published_once() -> None:
    player = play(CHECKED)
    once, other = update(None, None, 2, [(100, 5)]), update(None, None, 2, [(99, 6)])
    player.say(frames(book(None, 1, BIDS), once, once))
    player.say(frames(once, other, other, update(None, None, 3, [(99, 6)])))
    assert player.links() == [(ABSENT, 1), (1, 2), (2, 3), (3, 4)]
    assert player.gaps() == []
    assert player.fates["duplicate", "l2"] == 3
    assert player.accounted() == player.frames
