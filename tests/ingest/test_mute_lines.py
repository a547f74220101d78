"""A connection that is mute covers for no other one: what nobody delivered is a gap."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tickbus_ingest.lines.answers import Answers
from tickbus_ingest.lines.connection import Connection
from tickbus_ingest.lines.silence import Silence
from tickbus_ingest.session.asking import Asking
from tickbus_ingest.session.book_rules import BookRules, SnapshotRule
from tickbus_ingest.session.tables import Flush
from tickbus_ingest.venue.contract import BEHIND_MAX_US, Line, Route, Snapshots, TradeIds, UpdateIds
from tickbus_ingest.venue.instruments import Instrument
from tickbus_schemas.messages import StatusKind

from tests.ingest.made import count, frame, made, play, trade

UNPROVEN = made(
    Snapshots.PUSHED, UpdateIds.PER_CONNECTION, TradeIds.UNIQUE, numbering_is_global=False
)


def connection(subscribed_s: float, rows_s: float, heard_s: float) -> Connection:
    """One that has sent and heard all that it was to; its socket is not asked for anything."""
    nothing: Any = None
    silence = Silence(10.0, heard_s=heard_s)
    return Connection(
        Line(0, Route("", ())), cast(Any, nothing), cast(Any, nothing), Answers(), silence, 0.0,
        rows_s=rows_s, subscribed_s=subscribed_s,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("other", "covers"),
    [
        (connection(1.0, 100.0, 100.0), True),
        (connection(1.0, 100.0 - BEHIND_MAX_US / 1e6, 100.0), True),
        (connection(1.0, 90.0, 100.0), False),  # mute since
        (connection(101.0, 102.0, 102.0), False),  # came when the lost one was silent already
    ],
)
def test_only_a_connection_that_delivered_all_the_while_covers_for_a_lost_one(
    other: Connection, covers: bool
) -> None:
    lost = connection(1.0, 100.0, 100.0)
    assert other.covers(lost, 103.0) is covers


@pytest.mark.parametrize("mute", [False, True])
def test_a_hole_beside_a_mute_connection_is_a_gap_of_trades_that_nobody_counts(mute: bool) -> None:
    player = play(UNPROVEN, lines=2)
    player.say([frame(count(1), trade("a", 1))], [0])
    player.say([frame(count(1), trade("a", 1))], [1])
    for n in range(2, 6):
        player.received_ns += 5_000_000_000
        own = frame(count(n), trade(f"t{n}", 5000 * n))
        player.say([own] if mute else [own, own], [0] if mute else [0, 1])
    player.say([frame(count(9), trade("z", 30_000))], [0])
    assert bool(player.statuses(StatusKind.GAP, "trade")) is mute


def test_a_book_that_never_comes_is_asked_for_for_ever() -> None:
    venue = UNPROVEN([Instrument(ticker="A")], ("l2",))
    asking, out = Asking(0, BookRules.of(venue, SnapshotRule(), 0)), Flush()
    now_s = 0.0
    for _ in range(3000):
        asking.anew()
        asking.ask_due(now_s, 1, out)
        now_s += 60.0
        asking.ask_due(now_s, 1, out)
    assert asking.is_asked
