"""What a venue says of itself: those who read its tickers are told. Transcripts."""

from __future__ import annotations

from tickbus_schemas.messages import StatusKind

from tests.ingest.kinds import BIDS, LINKED
from tests.ingest.made import book, frames, notice, play, update


def test_each_ticker_of_the_connection_is_told_once_at_the_time_of_its_last_event() -> None:
    player = play(LINKED)
    player.say(frames(book(1, 1, BIDS)))
    player.say(frames(notice("maintenance begins")))
    told = player.statuses(StatusKind.NOTICE, "")
    assert [(row["ticker"], row["reason"]) for row in told] == [
        ("A", "the venue says: maintenance begins"),
        ("B", "the venue says: maintenance begins"),
    ]
    assert told[0]["timestamp"] == 1_760_000_000_001_000
    assert player.accounted() == player.frames


def test_a_notice_breaks_no_book_and_counts_as_no_error() -> None:
    player = play(LINKED)
    player.say(frames(book(1, 1, BIDS)))
    player.say(frames(notice("the service restarts", closing=True)))
    player.say(frames(update(1, 2, 2, [(100, 5)])))
    assert player.links()[-1] == (1, 2)
    assert player.gaps() == []
