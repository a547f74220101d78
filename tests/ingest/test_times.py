"""Times of events to which the venue gives none."""

from __future__ import annotations

from tickbus_schemas.messages import LiquidationFlag

from tests.ingest.kinds import LINKED
from tests.ingest.made import T0_MS, forced, frames, play, trade

T0_US = T0_MS * 1000


def test_a_liquidation_without_a_time_takes_the_highest_seen_of_its_ticker() -> None:
    player = play(LINKED, feeds=("trade", "liquidation"))
    player.say(frames(trade(1, 5, ticker="B"), forced(None, 1.0), trade(1, 7)))
    player.say(frames(forced(None, 2.0), forced(9, 3.0)))
    rows = player.published["liquidation"]
    first, second, third = (row["timestamp"] for row in rows)
    assert first == rows[0]["rcv_timestamp"]
    assert (second, third) == (T0_US + 7000, T0_US + 9000)
    inferred = LiquidationFlag.TIME_INFERRED
    assert [row["flags"] for row in rows] == [inferred, inferred, 0]
