"""Updates that never get a book leave a trace."""

from __future__ import annotations

from tickbus_ingest.venue.contract import Get
from tickbus_ingest.wire.buffer import Failed
from tickbus_schemas.messages import StatusKind

from tests.ingest.kinds import (
    CHECKED,
    LINKED,
    PULLED,
)
from tests.ingest.made import frames, play, trade, update


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
    player.notice(Failed(Get("", book_of="A"), "HTTP 451", for_good=True))
    player.notice(Failed(Get("", book_of="A"), "HTTP 451", for_good=True))
    player.say(frames(update(3, 4, 3), trade(2, 3)))
    (gap,) = player.statuses(StatusKind.GAP)
    assert "451" in gap["reason"]
    assert len(player.published["trade"]) == 2
