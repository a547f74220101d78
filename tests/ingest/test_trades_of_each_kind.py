"""Trades of venues whose ids prove different things. Told as transcripts."""

from __future__ import annotations

import numpy as np
import pytest
from tickbus_ingest.session.kernels.trades import content_numbers
from tickbus_ingest.venue.contract import TradeIds, Venue
from tickbus_schemas.messages import ABSENT, StatusKind

from tests.ingest.made import T0_MS, Event, frame, frames, made, play, quote, trade
from tests.ingest.venues.playing import Player

DENSE = made(trade_ids=TradeIds.DENSE)
SEQUENCED = made(trade_ids=TradeIds.SEQUENCED)
UNIQUE = made(trade_ids=TradeIds.UNIQUE)
NONE = made(trade_ids=TradeIds.NONE)
HUGE = 2**63 - 1

every_kind = pytest.mark.parametrize(
    "kind", [DENSE, SEQUENCED, UNIQUE, NONE], ids=["dense", "sequenced", "unique", "none"]
)


def nth(kind: type[Venue], number: int, ms: int, price: float = 100.0) -> Event:
    """The trade with this number as a venue of this kind sends it."""
    if kind.trade_ids is TradeIds.DENSE:
        return trade(number, ms, price)
    if kind.trade_ids is TradeIds.SEQUENCED:
        return trade(f"id-{number}", ms, price, number=number)
    return trade(f"id-{number}" if kind.trade_ids is TradeIds.UNIQUE else "", ms, price)


def ids(player: Player) -> list[str]:
    return [row["trade_id"] for row in player.published.get("trade", ())]


def prices(player: Player) -> list[float]:
    return [row["price"] for row in player.published.get("trade", ())]


@every_kind
def test_several_trades_of_one_frame_keep_their_order(kind: type[Venue]) -> None:
    player = play(kind)
    player.say([frame(nth(kind, 1, 1, 3.0), nth(kind, 2, 1, 1.0), nth(kind, 3, 2, 2.0))])
    assert prices(player) == [3.0, 1.0, 2.0]
    assert len({row["packet_id"] for row in player.published["trade"]}) == 1
    assert player.fates == {("published", ""): 1}


@pytest.mark.parametrize("kind", [DENSE, SEQUENCED, UNIQUE], ids=["dense", "sequenced", "unique"])
def test_a_trade_that_two_lines_bring_is_stored_once(kind: type[Venue]) -> None:
    player = play(kind, lines=2)
    player.say(
        frames(nth(kind, 1, 1), nth(kind, 2, 2), nth(kind, 1, 1), nth(kind, 2, 2)), [0, 0, 1, 1]
    )
    player.say(frames(nth(kind, 2, 2), nth(kind, 3, 3)), [0, 1])
    assert len(ids(player)) == 3
    assert player.counts["duplicates", "trade"] == 3
    assert player.gaps("trade") == []
    assert player.accounted() == player.frames


def test_trades_without_ids_are_all_different() -> None:
    player = play(NONE)
    player.say(frames(trade("", 1), trade("", 1)))
    assert len(prices(player)) == 2


@pytest.mark.parametrize("kind", [DENSE, SEQUENCED], ids=["dense", "sequenced"])
def test_missing_numbers_are_a_gap(kind: type[Venue]) -> None:
    player = play(kind)
    player.say(frames(nth(kind, 7, 1), nth(kind, 8, 2), nth(kind, 11, 5)))
    (gap,) = player.statuses(StatusKind.GAP, "trade")
    assert (gap["from_id"], gap["to_id"]) == (8, 11)
    assert gap["to_timestamp"] - gap["from_timestamp"] == 3000


@pytest.mark.parametrize("kind", [UNIQUE, NONE], ids=["unique", "none"])
def test_ids_that_do_not_count_have_no_holes(kind: type[Venue]) -> None:
    player = play(kind)
    player.say(frames(nth(kind, 7, 1), nth(kind, 1234, 2), nth(kind, 5, 3)))
    assert len(prices(player)) == 3
    assert player.gaps("trade") == []


@every_kind
def test_an_interruption_is_a_gap_unless_numbers_say_that_nothing_is_missing(
    kind: type[Venue],
) -> None:
    player = play(kind)
    player.say(frames(nth(kind, 1, 1)))
    player.reconnect()
    player.say(frames(nth(kind, 2, 50)))
    counts = kind.trade_ids in (TradeIds.DENSE, TradeIds.SEQUENCED)
    assert len(player.gaps("trade")) == (0 if counts else 1)
    player.reconnect()
    player.say(frames(nth(kind, 9, 90)))
    assert len(player.gaps("trade")) == (1 if counts else 2)
    gap = player.statuses(StatusKind.GAP, "trade")[-1]
    assert gap["to_timestamp"] - gap["from_timestamp"] == 40_000


@every_kind
def test_a_connection_that_breaks_before_the_first_trade_is_a_gap_from_what_was_seen_last(
    kind: type[Venue],
) -> None:
    player = play(kind)
    player.say(frames(quote(7, 10)))
    player.reconnect()
    player.say(frames(nth(kind, 5, 50)))
    (gap,) = player.statuses(StatusKind.GAP, "trade")
    assert gap["from_id"] == ABSENT
    assert gap["to_timestamp"] - gap["from_timestamp"] == 40_000
    player.say(frames(nth(kind, 6, 60)))
    assert len(player.gaps("trade")) == 1


@pytest.mark.parametrize("kind", [DENSE, SEQUENCED], ids=["dense", "sequenced"])
def test_trades_that_overtake_each_other_are_put_in_order(kind: type[Venue]) -> None:
    player = play(kind, lines=2, wait_us=200_000)
    player.say(frames(nth(kind, 101, 1)))
    player.say(frames(nth(kind, 104, 4)), [1])
    assert player.session.waiting_frames == 1
    player.say(frames(nth(kind, 102, 2), nth(kind, 103, 3)))
    assert [row["timestamp"] // 1000 % 1000 for row in player.published["trade"]] == [1, 2, 3, 4]
    assert player.gaps("trade") == []
    assert player.accounted() == player.frames
    packets = [row["packet_id"] for row in player.published["trade"]]
    assert packets == sorted(packets)


def test_the_wait_for_a_missing_trade_ends_in_venue_time_or_by_the_clock() -> None:
    for end_by_clock in (False, True):
        player = play(DENSE, wait_us=200_000)
        player.say(frames(trade(1, 1), trade(4, 4), trade(5, 5)))
        assert ids(player) == ["1"]
        if end_by_clock:
            player.wait(0.5)
        else:
            player.say(frames(trade(6, 300)))
        assert ids(player)[:3] == ["1", "4", "5"]
        assert player.gaps("trade") == [(1, 4)]
        assert player.accounted() == player.frames


def test_after_an_interruption_a_hole_is_a_gap_at_once() -> None:
    player = play(DENSE, wait_us=200_000)
    player.say(frames(trade(1, 1)))
    player.reconnect()
    player.say(frames(trade(5, 5), trade(7, 7)))
    assert player.gaps("trade") == [(1, 5)]
    assert ids(player) == ["1", "5"]


def test_a_waiting_trade_goes_out_at_the_end() -> None:
    player = play(DENSE, wait_us=200_000)
    player.say(frames(trade(1, 1), trade(3, 3)))
    player.wait(0, settle=True)
    assert ids(player) == ["1", "3"]
    assert player.gaps("trade") == [(1, 3)]


def test_an_id_that_stood_for_another_trade_is_kept_and_said() -> None:
    player = play(UNIQUE)
    player.say(frames(trade("x", 1, 100.0), trade("x", 2, 101.0), trade("x", 2, 101.0)))
    assert prices(player) == [100.0, 101.0]
    assert len(player.statuses(StatusKind.NOTICE, "trade")) == 1
    assert player.counts["reused_ids", "trade"] == 1


def test_numbers_that_begin_anew_at_a_later_time_are_new_trades_behind_a_gap() -> None:
    player = play(DENSE)
    player.say(frames(trade(1_000_000, 5), trade(1, 6), trade(2, 7)))
    assert ids(player) == ["1000000", "1", "2"]
    assert player.gaps("trade") == [(1_000_000, 1)]


def test_numbers_repeated_with_other_content_are_kept_and_said() -> None:
    player = play(DENSE)
    player.say(frames(trade(1, 1), trade(2, 2), trade(1, 3, 50.0), trade(2, 4, 51.0)))
    assert prices(player) == [100.0, 100.0, 50.0, 51.0]
    said = [*player.statuses(StatusKind.NOTICE, "trade"), *player.statuses(StatusKind.GAP, "trade")]
    assert said


@pytest.mark.parametrize("wait_us", [0, 200_000])
def test_one_absurd_number_does_not_end_the_trades(wait_us: int) -> None:
    player = play(DENSE, wait_us=wait_us)
    player.say(frames(trade(10, 1), trade(HUGE, 2)))
    player.say(frames(trade(11, 300), trade(12, 600), trade(13, 900), trade(14, 1200)))
    player.wait(1, settle=True)
    assert sorted(ids(player)) == sorted(["10", str(HUGE), "11", "12", "13", "14"])
    assert player.gaps("trade")
    assert player.accounted() == player.frames


def test_the_earliest_numbers_are_numbers() -> None:
    player = play(DENSE)
    player.say(frames(trade(0, 1), trade(1, 2)))
    assert ids(player) == ["0", "1"]
    assert player.gaps("trade") == []


@pytest.mark.parametrize("trade_id", ["", "x" * 65, "ü", "a\u0000"])
def test_a_text_id_that_no_reader_takes_is_refused(trade_id: str) -> None:
    player = play(UNIQUE)
    player.say(frames(trade(trade_id, 1), trade("good", 2)))
    assert ids(player)[-1] == "good"
    assert player.accounted() == player.frames
    if trade_id != "a\u0000":
        assert player.fates["refused", ""] == 1
        assert "trade id" in player.refused[0]


def test_a_trade_from_before_the_first_one_that_came_is_kept() -> None:
    player = play(DENSE, lines=2)
    player.say(frames(trade(8, 8), trade(7, 7), trade(7, 7)), [0, 1, 0])
    assert ids(player) == ["8", "7"]
    assert player.counts["late_trades", ""] == 1


def test_what_a_predecessor_stored_is_not_stored_again() -> None:
    player = play(DENSE)
    player.session.feeds.trades["trade"].resume(0, 8, 1_760_000_000_006_000)
    player.say(frames(trade(7, 5), trade(8, 6), trade(9, 7)))
    assert ids(player) == ["9"]
    assert player.gaps("trade") == []


def test_trades_told_again_say_no_gap_and_the_first_new_one_does() -> None:
    player = play(UNIQUE)
    told = frames(trade("70", 1), trade("30", 6))
    player.say(told)
    player.reconnect()
    player.say(told)
    assert player.gaps("trade") == []
    player.say(frames(trade("30", 6), trade("50", 900), trade("10", 901)))
    assert ids(player) == ["70", "30", "50", "10"]
    (gap,) = player.statuses(StatusKind.GAP, "trade")
    assert gap["to_timestamp"] - gap["from_timestamp"] == 894_000


def test_of_ids_that_do_not_count_the_time_tells_what_a_predecessor_stored() -> None:
    player = play(UNIQUE)
    player.session.feeds.trades["trade"].resume(0, ABSENT, (T0_MS + 6) * 1000)
    player.say(frames(trade("70", 1), trade("30", 6), trade("50", 900)))
    assert ids(player) == ["50"]
    (gap,) = player.statuses(StatusKind.GAP, "trade")
    assert gap["to_timestamp"] - gap["from_timestamp"] == 894_000


def test_a_predecessor_that_stored_no_trade_leaves_them_all_to_us() -> None:
    player = play(UNIQUE)
    player.session.resume_connected(0, (T0_MS + 6) * 1000, ["trade"])
    player.say(frames(trade("70", 1), trade("30", 6)))
    assert ids(player) == ["70", "30"]


def test_equal_events_of_a_packet_are_told_apart_however_many_there_are() -> None:
    same = np.zeros(5, np.int64)
    number = np.empty(5, np.int64)
    content_numbers(
        np.zeros(5, np.int32), same, same + 9, np.ones(5, np.int8), np.ones(5), np.ones(5), number
    )
    assert len(set(number.tolist())) == 5


def test_early_trades_that_wait_hold_the_clock_back() -> None:
    player = play(DENSE, wait_us=200_000)
    player.say(frames(trade(1, 10), trade(3, 60), quote(1, 90)))
    assert player.session.clock_us() == (T0_MS + 60) * 1000
    player.say(frames(trade(2, 30)))
    assert player.session.clock_us() == (T0_MS + 90) * 1000
