"""Trades, quotes, times and refusals of a session, told as transcripts."""

from __future__ import annotations

import pytest
from tickbus_ingest.venue.contract import Line
from tickbus_ingest.wire.buffer import Connected, Overflow
from tickbus_schemas.messages import (
    ABSENT,
    BboBatch,
    Header,
    StatusKind,
    TradeBatch,
    TradeFlag,
)

from tests.ingest import wire
from tests.ingest.wire import Transcript, depth, quote, table, trade, trade_ids

T0_US = wire.T0_MS * 1000


def connected(script: Transcript) -> Connected:
    """The first line is open (again)."""
    return Connected(Line(0, script.venue.routes()[0]), script.received_ns)


DAY_MS = 86_400_000


def test_a_trade_has_the_match_time_and_the_receive_time() -> None:
    script = Transcript().say(trade(7, 5, T=wire.T0_MS + 3))
    rows = table(script.messages, TradeBatch)
    assert (rows["timestamp"], rows["rcv_timestamp"]) == ([T0_US + 3000], [T0_US + 1000])
    assert (rows["price"], rows["qty"], rows["side"]) == ([100.5], [2.0], [1])
    assert trade_ids(script.messages) == ["7"]


def test_a_repeated_trade_is_dropped_and_counted() -> None:
    script = Transcript().say(trade(7, 5), trade(7, 5), trade(8, 6)).say(trade(8, 6), trade(7, 5))
    assert trade_ids(script.messages) == ["7", "8"]
    assert script.counts["duplicates", "trade"] == 3
    assert not script.statuses(StatusKind.GAP)


def test_missing_trade_ids_are_a_gap() -> None:
    script = Transcript().say(trade(7, 5)).say(trade(8, 6), trade(11, 9))
    (gap,) = script.statuses(StatusKind.GAP)
    assert (gap.feed, gap.from_id, gap.to_id) == ("trade", 8, 11)
    assert (gap.from_timestamp, gap.to_timestamp) == (T0_US + 6000, T0_US + 9000)


def test_a_late_trade_is_kept_and_counted() -> None:
    script = Transcript().say(trade(7, 5), trade(9, 7)).say(trade(8, 6), trade(10, 8))
    assert trade_ids(script.messages) == ["7", "9", "8", "10"]
    assert script.counts["late_trades", ""] == 1
    assert [(gap.from_id, gap.to_id) for gap in script.statuses(StatusKind.GAP)] == [(7, 9)]


def test_ids_that_begin_anew_are_new_trades() -> None:
    script = Transcript().say(trade(1_000_000, 5)).say(trade(1, 6), trade(2, 7))
    assert trade_ids(script.messages) == ["1000000", "1", "2"]


def test_trades_that_a_predecessor_stored_are_dropped() -> None:
    script = Transcript(epoch=2)
    script.session.feeds.trades["trade"].resume(0, 8, T0_US + 6000)
    script.say(trade(7, 5), trade(8, 6), trade(9, 7))
    assert trade_ids(script.messages) == ["9"]
    assert not script.statuses(StatusKind.GAP)


def test_trades_lost_between_two_runs_are_a_gap() -> None:
    script = Transcript(epoch=2)
    script.session.feeds.trades["trade"].resume(0, 8, T0_US + 6000)
    (gap,) = script.say(trade(12, 9)).statuses(StatusKind.GAP)
    assert (gap.from_id, gap.to_id) == (8, 12)


def test_off_book_trades_are_kept_and_flagged() -> None:
    script = Transcript().say(trade(7, 5), trade(8, 5, X="ADL"), trade(9, 6))
    assert table(script.messages, TradeBatch)["flags"] == [0, TradeFlag.OFF_BOOK, 0]


def test_dropped_frames_are_said_for_every_ticker() -> None:
    script = Transcript(tickers=["BTCUSDT", "ETHUSDT"]).say(quote(1, 1))
    script.notice(Overflow(17, script.received_ns)).say(quote(2, 2))
    notices = script.statuses(StatusKind.NOTICE)
    assert [one.ticker for one in notices] == ["BTCUSDT", "ETHUSDT"]
    assert "17 frames" in notices[0].reason
    assert [gap.feed for gap in script.statuses(StatusKind.GAP)] == ["bbo"]


@pytest.mark.parametrize(
    "frame",
    [
        trade(7, 5, E=1),
        trade(7, 5, T=0),
        quote(5, -wire.T0_MS),
        depth(91, 99, 90, -wire.T0_MS),
        trade(7, 5, T=1_200_000_000_000),
        trade(7, 2 * DAY_MS),
        quote(5, 2 * DAY_MS),
        depth(91, 99, 90, 2 * DAY_MS),
    ],
)
def test_a_time_before_2009_or_after_tomorrow_is_refused(frame: bytes) -> None:
    script = Transcript().say(trade(6, 4), frame, trade(7, 6))
    assert trade_ids(script.messages) == ["6", "7"]
    assert len(script.refused) == 1
    assert "2009" in script.refused[0] or ">= 1" in script.refused[0]


@pytest.mark.parametrize(
    "frame",
    [
        trade(7, 5, qty="-1"),
        quote(5, 5).replace(b'"B":"1"', b'"B":"-1"'),
        depth(91, 99, 90, 5, [("100", "1")], [("101", "2"), ("102", "-1e-9")]),
    ],
)
def test_a_quantity_below_0_is_refused(frame: bytes) -> None:
    script = Transcript().say(trade(6, 4), frame, trade(7, 6))
    assert trade_ids(script.messages) == ["6", "7"]
    assert len(script.refused) == 1
    assert "below 0" in script.refused[0]


def test_bad_frames_among_good_ones_change_nothing() -> None:
    good = [trade(n, n) for n in range(1, 30)] + [quote(n, n) for n in range(1, 30)]
    bad = [b"", b"\xff" * 99, b'{"a":' * 5000, trade(99, 1, price="NaN"), trade(98, 1, qty="1e400")]
    mixed = [frame for n, one in enumerate(good) for frame in (one, bad[n % len(bad)])]
    clean, dirty = Transcript().say(*good), Transcript().say(*mixed)
    assert len(dirty.refused) == len(good)
    for kind in (TradeBatch, BboBatch):
        ours, theirs = table(dirty.messages, kind), table(clean.messages, kind)
        for name in ("timestamp", "price", "qty", "update_id", "bid_px"):
            assert ours.get(name) == theirs.get(name)


def test_an_oversized_frame_is_refused_and_a_large_one_is_not() -> None:
    levels = [(f"{n}", "1") for n in range(1, 5000)]
    script = Transcript(max_frame_bytes=100_000)
    script.say(
        trade(1, 1), b'{"x":"' + b"y" * 10_000_000 + b'"}', depth(1, 2, 0, 3, levels), trade(2, 2)
    )
    assert script.refused == ["10000008 bytes in one frame: at most 100000"]
    assert trade_ids(script.messages) == ["1", "2"]
    assert script.session.books[0].waiting_packets == 1


def test_the_clock_is_the_highest_time_but_not_one_from_the_future() -> None:
    script = Transcript().say(trade(1, 1), quote(1, 5), quote(2, 3))
    assert script.session.clock_us() == T0_US + 5000
    script.say(trade(2, 120_000))
    assert script.session.clock_us() == T0_US + 5000


def test_updates_that_wait_hold_the_clock_back_for_a_while() -> None:
    script = Transcript().say(depth(91, 99, 90, 10), trade(1, 500))
    assert script.session.clock_us() == T0_US + 10_000
    script.say(trade(2, 11_000))
    assert script.session.clock_us() == T0_US + 11_000_000


def test_messages_are_numbered_without_holes_and_count_down_for_each_ticker() -> None:
    script = Transcript(tickers=["ETHUSDT", "BTCUSDT"])
    eth = trade(1, 1, s="ETHUSDT").replace(b"btcusdt", b"ethusdt")
    script.say(quote(1, 1), trade(1, 1), eth).say(trade(3, 3))
    numbered = [(one.message_no, one.ticker, one.more) for one in script.messages]
    assert numbered == [
        (1, "ETHUSDT", 0), (2, "BTCUSDT", 1), (3, "BTCUSDT", 0),
        (4, "BTCUSDT", 1), (5, "BTCUSDT", 0),
    ]  # fmt: skip
    assert all(isinstance(one, Header) and one.epoch == 1 for one in script.messages)


def test_every_frame_ends_somewhere() -> None:
    script = Transcript()
    frames = [
        trade(1, 1), trade(1, 1), quote(1, 1), quote(1, 1), depth(91, 99, 90, 0), b"nonsense",
        b'{"result":null,"id":1}', wire.envelope("btcusdt@kline_1m", {}), trade(2, 2),
        depth(100, 110, 99, 10),
    ]  # fmt: skip
    script.say(*frames).answer(wire.book(105, 5))
    assert +script.fates == {
        ("published", ""): 4,
        ("duplicate", "trade"): 1,
        ("duplicate", "bbo"): 1,
        ("stale", "l2"): 1,
        ("refused", ""): 1,
        ("control", ""): 1,
        ("ignored", "kline_1m"): 1,
    }
    assert sum(script.fates.values()) + script.session.waiting_frames == len(frames)


def test_a_status_never_lacks_a_time() -> None:
    script = Transcript()
    script.notice(connected(script))
    (status,) = script.statuses(StatusKind.CONNECTED)
    assert (status.timestamp, status.rcv_timestamp) == (T0_US, T0_US)
    assert status.from_id == ABSENT


def gaps_of(script: Transcript) -> dict[str, tuple[int, int, int]]:
    """By feed: ids and time before the gap."""
    found = script.statuses(StatusKind.GAP)
    assert len({gap.feed for gap in found}) == len(found)
    return {gap.feed: (gap.from_id, gap.to_id, gap.from_timestamp) for gap in found}


def test_who_was_connected_and_stored_nothing_leaves_a_gap_of_every_feed() -> None:
    script = Transcript(epoch=2)
    script.session.resume_connected(0, T0_US - 7, ["trade", "l2", "bbo"])
    script.say(trade(5, 1), quote(40, 2), trade(6, 3), quote(41, 4))
    script.say(depth(91, 99, 90, 0), depth(100, 110, 99, 10)).answer(wire.book(105, 5))
    assert gaps_of(script) == {
        "trade": (ABSENT, 5, T0_US - 7),
        "bbo": (ABSENT, 40, T0_US - 7),
        "l2": (ABSENT, 105, T0_US - 7),
    }
    assert sum(script.counts["gaps", feed] for feed in ("trade", "l2", "bbo")) == 3
    assert trade_ids(script.messages) == ["5", "6"]


def test_a_feed_that_was_stored_goes_on_behind_its_last_row() -> None:
    script = Transcript(epoch=2)
    script.session.feeds.trades["trade"].resume(0, 4, T0_US)
    script.session.resume_connected(0, T0_US - 7, ["bbo"])
    script.say(trade(5, 1), quote(40, 2))
    assert set(gaps_of(script)) == {"bbo"}


def test_a_refused_frame_is_said_of_every_ticker_of_its_line_once_for_each_kind_of_reason() -> None:
    script = Transcript(tickers=["BTCUSDT", "ETHUSDT"])
    script.say(trade(7, 5), trade(8, 6, p="x1"), trade(9, 7, p="x2"), b"{}", trade(10, 8))
    said = script.statuses(StatusKind.NOTICE)
    assert [one.ticker for one in said] == ["BTCUSDT"] * 2 + ["ETHUSDT"] * 2
    assert all(one.reason.startswith("a frame is refused: ") for one in said)
    assert len(script.refused) == 3
