"""Best quotes: what is stale, repeated, without a time or interrupted."""

from __future__ import annotations

from tickbus_ingest.venue.contract import Line
from tickbus_ingest.wire.buffer import Connected, Disconnected, Replaced
from tickbus_schemas.messages import (
    ABSENT,
    BboBatch,
    BboFlag,
    Status,
    StatusKind,
)

from tests.ingest import wire
from tests.ingest.made import Event, frames, made, play
from tests.ingest.made import quote as made_quote
from tests.ingest.made import trade as made_trade
from tests.ingest.venues.playing import Player
from tests.ingest.wire import Transcript, depth, quote, table, trade

T0_US = wire.T0_MS * 1000


def connected(script: Transcript) -> Connected:
    """The first line is open (again)."""
    return Connected(Line(0, script.venue.routes()[0]), script.received_ns)


def test_stale_and_repeated_quotes_are_dropped_and_counted() -> None:
    script = Transcript().say(quote(5, 5), quote(5, 5), quote(4, 4), quote(6, 6), quote(6, 6, "99"))
    assert table(script.messages, BboBatch)["update_id"] == [5, 6, 6]
    assert script.counts["duplicates", "bbo"] == 1
    assert script.counts["stale_events", "bbo"] == 1


def test_quote_ids_that_begin_anew_are_followed() -> None:
    script = Transcript().say(quote(500, 5)).say(quote(3, 6), quote(4, 7))
    assert table(script.messages, BboBatch)["update_id"] == [500, 3, 4]


def test_without_a_time_ids_that_go_back_are_followed_once_nothing_else_comes_for_a_while() -> None:
    spot = Transcript("binance_spot").say(quote(500, None))
    spot.say(*(quote(n, None) for n in range(1, 171)))
    assert table(spot.messages, BboBatch)["update_id"] == [500], "a line may lag so far behind"
    spot.received_ns += 10 * 10**9
    spot.say(quote(171, None), quote(172, None))
    assert table(spot.messages, BboBatch)["update_id"] == [500, 171, 172]


def test_a_quote_without_time_takes_the_highest_seen_of_its_ticker() -> None:
    script = Transcript("binance_spot", ["BTCUSDT", "ETHUSDT"])
    other = trade(1, 9, s="ETHUSDT").replace(b"btcusdt", b"ethusdt")
    script.say(other, quote(1, None), trade(1, 5, T=wire.T0_MS + 4), quote(2, None))
    script.say(depth(1, 2, 0, 4), quote(3, None), depth(3, 4, 2, 8), quote(4, None))
    rows = table(script.messages, BboBatch)
    received_us = T0_US + 2000
    assert rows["timestamp"] == [received_us, T0_US + 5000, T0_US + 5000, T0_US + 8000]
    assert rows["flags"] == [BboFlag.TIME_INFERRED] * 4
    assert rows["engine_timestamp"] == [0] * 4


def test_an_interruption_makes_the_next_quote_announce_a_gap() -> None:
    script = Transcript()
    script.say(quote(1, 1)).notice(connected(script))
    script.notice(Disconnected(0, "1006 broken", script.received_ns)).notice(connected(script))
    script.say(quote(4, 4), quote(5, 5))
    (gap,) = script.statuses(StatusKind.GAP)
    assert (gap.feed, gap.from_id, gap.to_id, gap.packet_id) == ("bbo", 1, 4, 2**40 + 2)
    kinds = [one.kind for one in script.messages if isinstance(one, Status)]
    assert kinds == [
        StatusKind.CONNECTED, StatusKind.DISCONNECTED, StatusKind.CONNECTED, StatusKind.GAP,
    ]  # fmt: skip


def test_a_connection_that_breaks_before_the_first_quote_is_a_gap_from_what_was_seen_last() -> None:
    player = play(made())
    player.say(frames(made_trade(1, 10)))
    player.reconnect()
    player.say(frames(made_quote(7, 50), made_quote(8, 60)))
    (gap,) = player.statuses(StatusKind.GAP, "bbo")
    assert (gap["from_id"], gap["to_id"]) == (ABSENT, 7)
    assert gap["to_timestamp"] - gap["from_timestamp"] == 40_000


def test_a_connection_that_lags_behind_brings_no_quote_back() -> None:
    player = play(made(), lines=2)
    player.say(frames(*(made_quote(None, ms, 90.0 + ms) for ms in range(1, 4))))
    player.say(frames(*(made_quote(None, ms, 90.0 + ms) for ms in range(1, 5))), [1] * 4)
    assert [row["bid_px"] for row in player.published["bbo"]] == [91.0, 92.0, 93.0, 94.0]


def test_quotes_of_a_venue_that_sets_its_clock_back_come_through_in_the_end() -> None:
    player = play(made())
    player.say(frames(made_quote(None, 100_000)))
    player.say(frames(*(made_quote(None, ms) for ms in range(100))))
    assert len(player.published["bbo"]) == 1
    player.received_ns += 10 * 10**9
    player.say(frames(*(made_quote(None, ms) for ms in range(100, 140))))
    assert len(player.published["bbo"]) == 41


def test_quotes_without_ids_that_two_connections_bring_are_stored_once() -> None:
    player = play(made(), lines=2)
    same_time = [made_quote(None, 5, price) for price in (90.0, 91.0, 90.0)]
    player.say(frames(*same_time, *same_time), [0] * 3 + [1] * 3)
    assert bids(player) == [90.0, 91.0, 90.0]
    player.say(frames(made_quote(None, 5, 92.0), made_quote(None, 5, 92.0)), [1, 0])
    assert bids(player) == [90.0, 91.0, 90.0, 92.0], "whichever connection is first"
    assert player.accounted() == player.frames


def test_ids_that_each_connection_counts_for_itself_tell_nothing() -> None:
    player = play(made(numbering_is_global=False), lines=2)
    player.say(frames(made_quote(900, 1, 91.0), made_quote(7, 1, 91.0)), [0, 1])
    player.say(frames(made_quote(8, 2, 92.0), made_quote(901, 2, 92.0)), [1, 0])
    player.say(frames(made_quote(902, 3, 93.0), made_quote(9, 3, 93.0)), [0, 1])
    assert bids(player) == [91.0, 92.0, 93.0]


def test_without_ids_and_times_one_connection_leads_until_it_is_gone_or_silent() -> None:
    player = play(made(), lines=2)
    player.say(frames(untimed(91.0), untimed(91.0), untimed(92.0), untimed(92.0)), [0, 1, 0, 1])
    player.say(frames(untimed(93.0), untimed(93.0), untimed(91.0), untimed(91.0)), [1, 0, 1, 0])
    assert bids(player) == [91.0, 92.0, 93.0, 91.0]
    assert player.statuses(StatusKind.GAP, "bbo") == []
    player.say(frames(untimed(94.0)), [1])
    player.received_ns += 10**9
    player.say(frames(untimed(95.0), untimed(96.0), untimed(95.0)), [1, 1, 0])
    assert bids(player)[4:] == [95.0, 96.0], "the leader is silent: another one takes over"
    assert len(player.statuses(StatusKind.GAP, "bbo")) == 1, "94 is missing"
    player.notice(Replaced(1, by=0))
    player.say(frames(untimed(97.0)))
    assert bids(player)[6:] == [97.0]
    assert len(player.statuses(StatusKind.GAP, "bbo")) == 1, "nobody was ahead of the leader"
    assert player.accounted() == player.frames


def test_a_leader_that_is_gone_while_another_one_is_ahead_leaves_a_gap() -> None:
    player = play(made(), lines=2)
    player.say(frames(untimed(91.0), untimed(91.0), untimed(92.0)), [0, 1, 1])
    player.notice(Replaced(0, by=1))
    player.say(frames(untimed(93.0)), [1])
    assert bids(player) == [91.0, 93.0]
    assert len(player.statuses(StatusKind.GAP, "bbo")) == 1


def untimed(bid: float) -> Event:
    kind, ticker, _, *values = made_quote(None, 0, bid)
    return [kind, ticker, 0, *values]


def bids(player: Player) -> list[float]:
    return [row["bid_px"] for row in player.published["bbo"]]
