"""Feeds without ids over several connections: one leads, and another one knows all when it does."""

from __future__ import annotations

from tickbus_ingest.wire.buffer import Replaced
from tickbus_schemas.messages import StatusKind

from tests.ingest.made import forced, frames, made, play, state
from tests.ingest.venues.playing import Player

FEEDS = ("derivative", "liquidation")


def test_a_state_that_two_connections_bring_is_stored_once_and_never_goes_back() -> None:
    player = play(made(), lines=2, feeds=FEEDS)
    told = frames(*(state(ms, mark_price=100.0 + ms) for ms in (1, 2, 3)))
    player.say(told)
    player.say(told, [1] * 3)
    assert marks(player) == [101.0, 102.0, 103.0]
    assert player.counts["duplicates", "derivative"] == 3
    untimed = frames(*(state(None, mark_price=200.0 + n) for n in (1, 2)))
    player.say([untimed[0], untimed[1], *untimed], [0, 0, 1, 1])
    assert marks(player)[3:] == [201.0, 202.0]
    assert player.accounted() == player.frames


def test_a_new_leader_says_what_it_had_said_while_another_one_led() -> None:
    """A venue that sends what has changed only says it once on each connection."""
    player = play(made(), lines=2, feeds=FEEDS)
    player.say(frames(*[state(1, mark_price=1.0, index_price=1.0)] * 2), [0, 1])
    player.say(frames(state(2, mark_price=2.0)), [1])  # the leader never says it
    player.notice(Replaced(0, by=1))
    player.say(frames(state(3, index_price=3.0)), [1])
    rows = player.published["derivative"]
    assert [(row["mark_price"], row["index_price"]) for row in rows] == [(1.0, 1.0), (2.0, 3.0)]


def test_a_new_leader_that_lags_behind_brings_no_older_state() -> None:
    player = play(made(), lines=2, feeds=FEEDS)
    player.say(frames(*(state(ms, mark_price=100.0 + ms) for ms in (1, 2, 3))))
    player.notice(Replaced(0, by=1))
    player.say(frames(*(state(ms, mark_price=100.0 + ms) for ms in (2, 3, 4))), [1] * 3)
    assert marks(player) == [101.0, 102.0, 103.0, 104.0]


def test_a_leader_that_is_silent_gives_way_to_one_that_is_not() -> None:
    player = play(made(), lines=2, feeds=FEEDS)
    player.say(frames(*[state(1, mark_price=1.0)] * 2), [0, 1])
    player.say(frames(state(2, mark_price=2.0)), [1])
    player.received_ns += 10**9
    player.say(frames(state(3, mark_price=3.0)), [1])
    assert marks(player) == [1.0, 3.0]


def test_liquidations_without_a_time_are_stored_once() -> None:
    player = play(made(), lines=2, feeds=FEEDS)
    told = frames(*(forced(None, 100.0 + n) for n in range(3)))
    player.say(told)
    player.say(told, [1] * 3)
    assert prices(player) == [100.0, 101.0, 102.0]
    player.say(frames(forced(None, 103.0)), [1])
    player.notice(Replaced(0, by=1))
    player.say(frames(forced(None, 104.0)), [1])
    assert prices(player)[3:] == [104.0]
    assert len(player.statuses(StatusKind.GAP, "liquidation")) == 1, "103 is missing"


def marks(player: Player) -> list[float]:
    return [row["mark_price"] for row in player.published["derivative"]]


def prices(player: Player) -> list[float]:
    return [row["price"] for row in player.published["liquidation"]]
