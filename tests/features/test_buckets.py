"""What a bucket holds, when it closes, and what gaps, late trades and empty times do to it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tickbus_features.batch import compute
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import BookFlag, L2Flag, Side, TradeFlag

from tests.features.recorded import (
    Event,
    book,
    clock,
    gap,
    groups,
    log,
    quote,
    snapshot,
    trade,
)

USDM = Exchange.BINANCE_USDM
T0 = 1_700_000_000_000_000  # a whole second
MS = 1_000
DAY = 86_400_000 * MS
LEVELS = [(1, 100.0, 5.0), (1, 99.0, 4.0), (-1, 101.0, 7.0), (-1, 102.0, 6.0)]


def rows_of(
    events: list[Event], interval_ms: int = 100, *, also: list[int] | None = None
) -> list[dict[str, Any]]:
    """The closed rows of one interval, bar and features in one dictionary; null is None."""
    found = compute(groups(log(events, USDM, 7)), [interval_ms, *(also or [])])
    series = found.get(((int(USDM), "BTCUSDT"), interval_ms))
    if series is None:
        return []
    columns = series.bars | {
        name: values for name, values in series.features.items() if name != "flags"
    }
    columns["feature_flags"] = series.features["flags"]
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in zip(columns, row, strict=True)
        }
        for row in rows
    ]


def at(ms: float) -> int:
    return T0 + int(ms * MS)


def test_a_bar_has_the_trades_from_its_start_to_before_its_end() -> None:
    first, *_ = rows_of(
        [
            trade(at(0), 1, 100.0, 1.0),
            trade(at(50), 2, 103.0, 2.0, side=Side.SELL),
            trade(at(60), 3, 99.0, 0.5, side=Side.UNKNOWN),
            trade(at(99.999), 4, 101.0, 1.5),
            trade(at(100), 5, 200.0, 9.0),
            trade(at(300), 6, 200.0, 9.0),
        ]
    )
    assert (first["timestamp"], first["end_timestamp"]) == (at(0), at(100))
    assert [first[name] for name in ("open", "high", "low", "close")] == [100, 103, 99, 101]
    assert (first["volume"], first["trade_count"]) == (5.0, 4)
    assert (first["taker_buy_volume"], first["taker_sell_volume"]) == (2.5, 2.0)
    assert first["signed_volume"] == 0.5
    assert first["vwap"] == (100.0 + 206.0 + 49.5 + 151.5) / 5.0


def test_volumes_begin_anew_in_every_bar() -> None:
    events = [trade(at(100 * n), n + 1, 100.0, 1.0 + n) for n in range(6)]
    assert [row["taker_buy_volume"] for row in rows_of(events)] == [1.0, 2.0, 3.0, 4.0]


def test_a_bucket_waits_for_the_grace_time_and_no_longer() -> None:
    begin = [trade(at(0), 1, 100.0, 1.0)]
    assert rows_of([*begin, trade(at(199.999), 2, 100.0, 1.0)]) == []
    assert len(rows_of([*begin, trade(at(200), 2, 100.0, 1.0)])) == 1


@pytest.mark.parametrize(
    "closing",
    [
        quote(at(200), 9, 100.0, 1.0, 101.0, 1.0),
        snapshot(at(200), 9, LEVELS),
        trade(at(200), 9, 100.0, 1.0),
        clock(at(1_100), 9),
    ],
    ids=lambda event: event.feed,
)
def test_any_feed_of_the_ticker_or_a_clock_a_second_later_closes(closing: Event) -> None:
    assert len(rows_of([trade(at(0), 1, 100.0, 1.0), closing])) == 1


def test_a_clock_less_than_a_second_later_closes_nothing() -> None:
    assert rows_of([trade(at(0), 1, 100.0, 1.0), clock(at(1_099.999), 1)]) == []


def test_a_status_closes_nothing_however_late_it_is() -> None:
    assert rows_of([trade(at(0), 1, 100.0, 1.0), gap(at(9_000), 2, "trade")]) == []


def test_another_ticker_closes_nothing() -> None:
    other = Event("trade", "ETHUSDT", at(9_000), 2, trade(0, 0, 1.0, 1.0).fields)
    assert rows_of([trade(at(0), 1, 100.0, 1.0), other]) == []


def test_trades_out_of_order_within_the_grace_time_enter_their_own_bars() -> None:
    rows = rows_of(
        [
            trade(at(0), 1, 100.0, 1.0),
            trade(at(150), 2, 102.0, 2.0),
            trade(at(90), 3, 101.0, 4.0),
            trade(at(400), 4, 100.0, 1.0),
        ]
    )
    assert [row["volume"] for row in rows] == [5.0, 2.0, 0.0]
    assert rows[0]["close"] == 101.0
    assert all(row["late_count"] == 0 for row in rows)


def test_a_late_trade_enters_no_bar_and_is_counted_in_the_next_one() -> None:
    rows = rows_of(
        [
            trade(at(0), 1, 100.0, 1.0),
            trade(at(250), 2, 100.0, 2.0),
            trade(at(99), 3, 500.0, 8.0),
            trade(at(98), 4, 500.0, 8.0),
            trade(at(600), 5, 100.0, 1.0),
        ]
    )
    assert [row["volume"] for row in rows] == [1.0, 0.0, 2.0, 0.0, 0.0]
    assert [row["late_count"] for row in rows] == [0, 2, 0, 0, 0]
    assert rows[1]["late_volume"] == 16.0
    assert max(row["high"] for row in rows) == 100.0


def test_a_trade_late_for_a_short_bar_is_in_time_for_a_long_one() -> None:
    events = [
        trade(at(0), 1, 100.0, 1.0),
        trade(at(250), 2, 100.0, 2.0),
        trade(at(99), 3, 500.0, 8.0),
        trade(at(1_100), 4, 100.0, 1.0),
    ]
    (row,) = rows_of(events, 1_000, also=[100])
    assert (row["volume"], row["late_count"]) == (11.0, 0)


def test_an_empty_bar_stands_at_the_close_before_and_says_so() -> None:
    rows = rows_of([trade(at(0), 1, 100.0, 1.0), trade(at(500), 2, 90.0, 1.0)])
    assert len(rows) == 4
    for row in rows[1:]:
        assert [row[name] for name in ("open", "high", "low", "close")] == [100.0] * 4
        assert (row["volume"], row["trade_count"], row["vwap"]) == (0.0, 0, None)
        assert row["flags"] == BookFlag.FILLED
    assert not rows[0]["flags"] & BookFlag.FILLED


def test_there_is_no_price_before_the_first_trade() -> None:
    rows = rows_of([quote(at(0), 1, 1.0, 1.0, 2.0, 1.0), quote(at(500), 2, 1.0, 1.0, 2.0, 1.0)])
    assert {row["close"] for row in rows} == {None}
    assert all(row["flags"] & BookFlag.FILLED for row in rows)


def test_block_and_off_book_trades_are_in_no_bar() -> None:
    row, *_ = rows_of(
        [
            trade(at(0), 1, 100.0, 1.0),
            trade(at(1), 2, 50.0, 9.0, flags=int(TradeFlag.BLOCK)),
            trade(at(2), 3, 50.0, 9.0, flags=int(TradeFlag.OFF_BOOK)),
            trade(at(300), 4, 100.0, 1.0),
        ]
    )
    assert (row["low"], row["volume"]) == (100.0, 1.0)


def test_the_first_bar_is_partial_and_says_so() -> None:
    rows = rows_of([trade(at(100 * n + 30), n + 1, 100.0, 1.0) for n in range(5)])
    assert [bool(row["flags"] & BookFlag.GAP) for row in rows] == [True, False, False]


def test_rows_name_the_last_packet_in_them() -> None:
    rows = rows_of(
        [
            trade(at(0), 11, 100.0, 1.0),
            quote(at(90), 12, 1.0, 1.0, 2.0, 1.0),
            quote(at(110), 13, 1.0, 1.0, 2.0, 1.0),
            trade(at(95), 14, 100.0, 1.0),
            quote(at(500), 15, 1.0, 1.0, 2.0, 1.0),
        ]
    )
    assert [row["packet_id"] % 2**40 for row in rows] == [14, 13, 13, 13]
    assert rows[0]["rcv_timestamp"] == at(95) + 1_000


def test_midnight_is_a_boundary_like_any_other() -> None:
    midnight = T0 - T0 % DAY + DAY
    rows = rows_of(
        [
            trade(midnight - 50 * MS, 1, 100.0, 1.0),
            trade(midnight + 50 * MS, 2, 100.0, 2.0),
            trade(midnight + 350 * MS, 3, 100.0, 3.0),
        ]
    )
    assert [row["timestamp"] - midnight for row in rows] == [-100 * MS, 0, 100 * MS]
    assert [row["volume"] for row in rows] == [1.0, 2.0, 0.0]


@pytest.mark.parametrize("jump_us", [DAY + 120_000 * MS, 30 * DAY, -DAY - 120_000 * MS, -300 * DAY])
def test_a_jump_of_more_than_a_day_restarts_the_grid(jump_us: int) -> None:
    again = at(0) + jump_us
    events = [
        trade(at(0), 1, 100.0, 1.0),
        trade(at(120), 2, 100.0, 2.0),
        trade(again, 3, 50.0, 3.0),
        trade(again + 300 * MS, 4, 50.0, 1.0),
    ]
    rows = rows_of(events)
    assert [row["volume"] for row in rows] == [1.0, 2.0, 3.0, 0.0][: len(rows)]
    assert rows[2]["timestamp"] == again - again % (100 * MS)
    assert rows[2]["flags"] & BookFlag.GAP
    assert len(rows_of(events, 60_000)) == 1


def test_a_silence_is_filled_up_to_a_limit_and_never_a_flood() -> None:
    def rows_after(silence_ms: int) -> int:
        return len(rows_of([trade(at(0), 1, 1.0, 1.0), trade(at(silence_ms), 2, 1.0, 1.0)]))

    assert rows_after(300_000) == 2_999
    assert rows_after(3_600 * 100 + 100) == 3_600
    assert rows_after(3_600 * 100 + 101) == 1


def test_a_clock_a_day_ahead_closes_only_what_has_begun() -> None:
    assert len(rows_of([trade(at(0), 1, 1.0, 1.0), clock(at(0) + 2 * DAY, 1)])) == 1


def test_book_features_use_the_book_before_the_first_book_event_behind_the_end() -> None:
    rows = rows_of(
        [
            snapshot(at(0), 1, LEVELS, update=1),
            book(at(99), 2, [(1, 100.5, 1.0)], prev=1, update=2),
            trade(at(150), 3, 100.0, 1.0),
            book(at(100), 4, [(1, 100.9, 1.0)], prev=2, update=3),
            book(at(450), 5, [(1, 100.9, 0.0)], prev=3, update=4),
        ]
    )
    assert [row["mid"] for row in rows] == [100.75, 100.95, 100.95]


def test_a_bucket_closed_by_a_trade_has_the_book_as_it_is_then() -> None:
    rows = rows_of(
        [
            snapshot(at(0), 1, LEVELS, update=1),
            trade(at(200), 2, 100.0, 1.0),
            book(at(99), 3, [(1, 100.5, 1.0)], prev=1, update=2),
            trade(at(300), 4, 100.0, 1.0),
        ]
    )
    assert [row["mid"] for row in rows] == [100.5, 100.75]


def test_missing_levels_count_as_nothing_and_an_empty_side_has_no_mid() -> None:
    row, *_ = rows_of(
        [snapshot(at(0), 1, LEVELS), snapshot(at(250), 2, [(1, 100.0, 5.0)]), clock(at(9_000), 2)]
    )
    assert row["imbalance_10"] == row["imbalance_5"] == (9.0 - 13.0) / 22.0
    assert row["liquidity_1"] == 12.0
    assert row["queue_imb_2"] == (4.0 - 6.0) / 10.0
    assert row["queue_imb_3"] is None
    one_sided = rows_of(
        [snapshot(at(0), 1, [(1, 100.0, 5.0)]), snapshot(at(250), 2, LEVELS), clock(at(500), 2)]
    )[0]
    assert (one_sided["mid"], one_sided["spread_bps"], one_sided["imbalance_1"]) == (
        None,
        None,
        1.0,
    )


def test_a_crossed_book_is_flagged() -> None:
    row, *_ = rows_of(
        [snapshot(at(0), 1, [(1, 101.0, 1.0), (-1, 100.0, 1.0)]), clock(at(1_200), 1)]
    )
    assert row["feature_flags"] & BookFlag.CROSSED


def test_order_flow_is_the_sum_over_every_quote_change_of_the_bucket() -> None:
    rows = rows_of(
        [
            quote(at(0), 1, 100.0, 5.0, 101.0, 7.0),
            quote(at(110), 2, 100.0, 8.0, 101.0, 7.0),  # +3
            quote(at(120), 3, 100.5, 2.0, 101.0, 7.0),  # +2, not 2 - 8
            quote(at(130), 4, 100.5, 2.0, 101.0, 4.0),  # +3
            quote(at(199), 5, 100.0, 6.0, 100.8, 1.0),  # -2 - 1
            quote(at(450), 6, 100.0, 6.0, 100.8, 1.0),
        ]
    )
    assert [row["ofi"] for row in rows] == [None, 5.0, 0.0]


def test_order_flow_comes_from_the_book_where_there_is_no_bbo() -> None:
    rows = rows_of(
        [
            snapshot(at(0), 1, LEVELS, update=1),
            book(at(110), 2, [(1, 100.0, 8.0)], prev=1, update=2),  # +3
            book(at(120), 3, [(1, 98.0, 8.0)], prev=2, update=3),  # not the best: 0
            book(at(130), 4, [(-1, 101.0, 0.0)], prev=3, update=4),  # the ask rises: +7
            snapshot(at(140), 4, [*LEVELS[:2], (1, 100.0, 8.0), LEVELS[3]], update=4),  # the same
            book(at(350), 5, [(-1, 102.0, 7.0)], prev=4, update=5),  # -1
            clock(at(2_000), 5),
        ]
    )
    assert [row["ofi"] for row in rows[:4]] == [None, 10.0, 0.0, -1.0]


def test_the_first_bbo_takes_over_from_the_book() -> None:
    rows = rows_of(
        [
            snapshot(at(0), 1, LEVELS, update=1),
            book(at(110), 2, [(1, 100.0, 8.0)], prev=1, update=2),
            quote(at(120), 3, 100.0, 8.0, 101.0, 7.0),
            quote(at(210), 4, 100.0, 9.0, 101.0, 7.0),
            book(at(220), 5, [(1, 100.0, 9.0)], prev=2, update=3),
            clock(at(2_000), 5),
        ]
    )
    assert [row["ofi"] for row in rows[:3]] == [None, None, 1.0]
    assert rows[2]["returns"] == 0.0  # a new source of quotes is no gap


def steady(first: int, last: int, *, packet: int) -> list[Event]:
    """A quote and a book update each 100 ms, so that windows fill."""
    events: list[Event] = []
    for n in range(first, last):
        events.append(quote(at(100 * n + 10), packet, 100.0, 5.0 + n, 101.0, 7.0))
        size = 5.0 + n % 3
        events.append(book(at(100 * n + 20), packet + 1, [(1, 100.0, size)], update=packet + 1))
        packet += 2
    return events


def test_windows_are_null_until_they_are_full() -> None:
    rows = rows_of([snapshot(at(0), 1, LEVELS), *steady(0, 120, packet=2)])
    full = {"returns": 1, "ofi": 1, "ofi_10": 10, "volatility_20": 20, "volatility_100": 100}
    for name, first in full.items():
        assert [row[name] is None for row in rows] == [n < first for n in range(len(rows))], name


@pytest.mark.parametrize("feed", ["l2", "bbo", "trade", ""])
def test_a_gap_of_any_feed_resets_the_windows_and_is_flagged(feed: str) -> None:
    events = [snapshot(at(0), 1, LEVELS), *steady(0, 30, packet=2), gap(at(3_000), 62, feed)]
    events += [snapshot(at(3_050), 63, LEVELS), trade(at(3_060), 63, 100.0, 1.0)]
    events += steady(31, 60, packet=64)
    rows = rows_of(events)
    flagged = {n for n, row in enumerate(rows) if row["feature_flags"] & BookFlag.GAP}
    # Open when the gap came were 28 and 29; 30 is the one in which the feeds were found again.
    assert {28, 29, 30} <= flagged <= {0, 28, 29, 30, 31}
    for name, needed in (("returns", 2), ("ofi_10", 10), ("volatility_20", 21)):
        assert rows[27][name] is not None
        assert all(row[name] is None for row in rows[28 : 28 + needed]), name
        assert rows[31 + needed][name] is not None, name


def test_a_gap_in_the_trades_flags_the_bars_until_the_next_trade() -> None:
    rows = rows_of(
        [
            *(trade(at(100 * n), n + 1, 100.0, 1.0) for n in range(5)),
            gap(at(450), 6, "trade", from_timestamp=at(400)),
            trade(at(720), 7, 100.0, 1.0),
            *(trade(at(100 * n), n + 1, 100.0, 1.0) for n in range(8, 11)),
        ]
    )
    assert [n for n, row in enumerate(rows) if row["flags"] & BookFlag.GAP] == [0, 4, 5, 6, 7]


def test_book_features_are_null_while_the_book_is_not_valid() -> None:
    rows = rows_of(
        [
            snapshot(at(0), 1, LEVELS, update=1),
            gap(at(110), 2, "l2"),
            book(at(120), 3, [(1, 100.5, 1.0)], prev=7, update=8),
            book(at(220), 4, [(1, 100.6, 1.0)], prev=8, update=9),
            snapshot(at(320), 5, LEVELS, update=9),
            clock(at(2_000), 5),
        ]
    )
    # The first bucket had ended, but nothing proves that its last updates had come.
    assert [row["mid"] for row in rows[:4]] == [None, None, None, 100.5]
    assert [bool(row["feature_flags"] & BookFlag.GAP) for row in rows[1:5]] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("how", ["flag", "link", "epoch"])
def test_a_flag_a_broken_link_and_a_new_publisher_are_gaps_too(how: str) -> None:
    delta = book(
        at(150),
        3,
        [(1, 100.5, 1.0)],
        prev=5 if how == "link" else 1,
        update=6,
        flags=int(L2Flag.GAP_BEFORE) if how == "flag" else 0,
    )
    if how == "epoch":
        delta = Event("l2", "BTCUSDT", delta.timestamp, 3, delta.fields, epoch=2)
    last = Event("clock", "", at(1_500), 9, epoch=delta.epoch)
    rows = rows_of([snapshot(at(0), 1, LEVELS, update=1), delta, last])
    assert rows[0]["mid"] == 100.5 or how == "epoch"
    assert rows[1]["mid"] is None
    assert rows[1]["feature_flags"] & BookFlag.GAP


def test_a_snapshot_in_parts_is_shown_when_it_is_whole() -> None:
    first, last = (
        int(L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT),
        int(L2Flag.SNAPSHOT_LAST | L2Flag.SNAPSHOT),
    )
    rows = rows_of(
        [
            snapshot(at(0), 1, [(1, 90.0, 1.0), (-1, 91.0, 1.0)]),
            book(at(150), 2, LEVELS[:2], flags=first),
            book(at(150), 2, LEVELS[2:], flags=last),
            clock(at(1_200), 2),
        ]
    )
    assert [row["mid"] for row in rows[:2]] == [90.5, 100.5]


def test_an_event_without_a_time_moves_nothing() -> None:
    rows = rows_of(
        [
            trade(at(0), 1, 100.0, 1.0),
            trade(-1, 2, 7.0, 1.0),
            trade(2**62, 3, 7.0, 1.0),
            trade(at(250), 4, 100.0, 1.0),
        ]
    )
    assert [row["volume"] for row in rows] == [1.0]


def test_updates_that_waited_for_their_snapshot_are_applied_behind_it() -> None:
    """Their packets are older than the snapshot's, and so are the trades between them."""
    waited = book(at(20), 2, [(1, 100.5, 1.0)], prev=1, update=3)
    events = [trade(at(10), 1, 1.0, 1.0), trade(at(30), 3, 1.0, 1.0)]
    events += [snapshot(at(40), 4, LEVELS, update=2), waited, clock(at(1_200), 4)]
    assert rows_of(events)[0]["mid"] == 100.75
