"""Books on a time grid: which events are in a row, what closes it, and what it says of itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_book.kernels.grid import CLOCK_GRACE_US
from tickbus_book.kernels.grid_layout import DAY_US, FILLED_BYTES_MAX, row_bytes
from tickbus_schemas.messages import BookFlag, L2Flag

from tests.book.grid_by_hand import (
    FIRST,
    LAST,
    PART,
    SECOND,
    Kernel,
    Level,
    Row,
    Step,
    by_hand,
    flushes,
)

T0 = 1_700_006_400 * SECOND  # midnight
MS = 1_000
ONE = FIRST | PART | LAST
BID, ASK = (1, 99.0, 1.0), (-1, 101.0, 1.0)


def snapshot(packet: int, at_ms: int, update: int = 0, *levels: Level) -> Step:
    return Step("l2", packet, T0 + at_ms * MS, levels or (BID, ASK), update=update, flags=ONE)


def delta(packet: int, at_ms: int, update: int, *levels: Level, prev: int | None = None) -> Step:
    follows = update - 1 if prev is None else prev
    return Step("l2", packet, T0 + at_ms * MS, levels, prev=follows, update=update)


def clock(packet: int, at_ms: int) -> Step:
    return Step("clock", packet, T0 + at_ms * MS)


def run(steps: list[Step], *, interval_ms: int = 100, depth: int = 2) -> tuple[list[Row], Kernel]:
    """Rows of a log whose every step is a flush and a group; times in ms since T0 in `points`."""
    kernel = Kernel([interval_ms], depth)
    for flush in flushes(steps, [1]):
        kernel.take([flush])
    return kernel.rows[interval_ms], kernel


def points(rows: list[Row]) -> list[int]:
    return [(row.timestamp - T0) // MS for row in rows]


# --------------------------------------------------------------- what closes


def test_a_point_holds_every_event_up_to_it_and_closes_at_the_first_one_after_it() -> None:
    rows, _ = run(
        [
            snapshot(1, 0),
            delta(2, 100, 1, (1, 99.0, 2.0)),
            delta(3, 100, 2, (1, 99.0, 3.0)),
            delta(4, 101, 3, (1, 99.0, 4.0)),
        ]
    )
    assert points(rows) == [0, 100]
    assert [row.bids for row in rows] == [[(99.0, 1.0)], [(99.0, 3.0)]]
    assert [row.update_id for row in rows] == [0, 2]
    assert [row.in_seq for row in rows] == [2, 4]


def test_the_first_point_is_the_first_whole_one_at_or_after_the_first_book() -> None:
    assert points(run([snapshot(1, 100), delta(2, 250, 1)])[0]) == [100, 200]
    assert points(run([snapshot(1, 101), delta(2, 250, 1)])[0]) == [200]
    assert points(run([delta(1, 0, 1), delta(2, 150, 2), snapshot(3, 160), clock(4, 9_999)])[0])[
        :2
    ] == [200, 300]


def test_a_clock_closes_the_points_that_lie_a_second_before_it() -> None:
    rows, kernel = run([snapshot(1, 0), clock(1, 999)])
    assert rows == []
    kernel.take(flushes([clock(1, 1_000)], [1]))
    kernel.take(flushes([clock(1, 1_199)], [1]))
    kernel.take(flushes([clock(1, 1_200)], [1]))
    assert points(kernel.rows[100]) == [0, 100, 200]
    assert CLOCK_GRACE_US == SECOND


def test_a_quiet_ticker_goes_on_by_the_clock_and_says_when_it_is_stale() -> None:
    rows, _ = run([snapshot(1, 0), *(clock(1, n * 1_000) for n in range(1, 64))], interval_ms=1_000)
    assert points(rows) == [n * 1_000 for n in range(63)]
    assert [row.flags for row in rows] == [0] * 61 + [BookFlag.STALE] * 2


def test_a_late_event_is_in_the_next_row_and_is_counted() -> None:
    rows, kernel = run(
        [
            snapshot(1, 0),
            delta(2, 150, 1),
            delta(3, 100, 2, (1, 99.0, 5.0)),  # point 100 is closed
            delta(4, 120, 3),  # not late: 200 is open
            delta(5, 210, 4),
        ]
    )
    assert points(rows) == [0, 100, 200]
    assert [row.bids[0][1] for row in rows] == [1.0, 1.0, 5.0]
    assert kernel.count("late") == 1


def test_an_own_snapshot_with_the_time_of_the_last_event_closes_nothing_and_changes_nothing() -> (
    None
):
    with_snapshot = [snapshot(1, 0), delta(2, 150, 1), snapshot(2, 150, 1), delta(3, 250, 2)]
    without = [snapshot(1, 0), delta(2, 150, 1), delta(3, 250, 2)]
    rows, kernel = run(with_snapshot)
    assert [row[:7] for row in rows] == [row[:7] for row in run(without)[0]]
    assert [row.flags for row in rows] == [0, 0, 0]
    assert kernel.count("gaps") == 0


def test_points_that_close_while_a_snapshot_is_read_show_the_book_before_it() -> None:
    rows, kernel = run(
        [
            snapshot(1, 0),
            Step("l2", 2, T0 + 50 * MS, ((1, 98.0, 9.0),), update=1, flags=FIRST | PART),
            clock(2, 1_000),
            Step("l2", 2, T0 + 50 * MS, (ASK,), update=1, flags=PART | LAST),
            clock(2, 1_100),
        ]
    )
    assert [(row.bids, row.flags) for row in rows] == [([(99.0, 1.0)], 0), ([(98.0, 9.0)], 0)]
    assert kernel.count("left_out") == 0


# ------------------------------------------------------------------- quality


def test_after_a_gap_the_last_book_goes_on_and_says_so_until_a_snapshot_is_whole() -> None:
    rows, kernel = run(
        [
            snapshot(1, 0),
            delta(2, 150, 1, (1, 99.0, 2.0)),
            Step("gap", 3),
            delta(4, 250, 2, (1, 99.0, 7.0)),
            Step("l2", 5, T0 + 350 * MS, (BID,), update=9, flags=FIRST | PART),
            clock(5, 1_400),
            Step("l2", 5, T0 + 350 * MS, (ASK,), update=9, flags=PART | LAST),
            delta(6, 550, 10),
        ]
    )
    assert points(rows) == [0, 100, 200, 300, 400, 500]
    assert [row.flags for row in rows] == [0, 0, *[BookFlag.GAP] * 3, 0]
    assert [row.bids[0][1] for row in rows] == [1.0, 1.0, 2.0, 2.0, 2.0, 1.0]
    assert kernel.count("gaps") == 1
    assert kernel.count("left_out") == 1


def test_a_packet_that_does_not_follow_breaks_the_book_from_the_last_event_on() -> None:
    rows, kernel = run(
        [snapshot(1, 0), delta(2, 50, 1), delta(3, 250, 9), delta(4, 350, 10), snapshot(5, 360, 20)]
    )
    assert [row.flags for row in rows] == [0, *[BookFlag.GAP] * 3]
    assert kernel.count("left_out") == 2
    assert kernel.count("gaps") == 1


def test_a_new_epoch_is_a_gap_until_its_snapshot() -> None:
    second = [
        Step("clock", 1, T0 + 1_150 * MS, epoch=2),
        Step("l2", 2, T0 + 250 * MS, (BID, ASK), flags=ONE, epoch=2),
        Step("l2", 3, T0 + 350 * MS, (), prev=0, update=1, epoch=2),
    ]
    rows, _ = run([snapshot(1, 0), delta(2, 50, 1), *second])
    assert points(rows) == [0, 100, 200, 300]
    assert [row.flags for row in rows] == [0, BookFlag.GAP, BookFlag.GAP, 0]
    assert [row.epoch for row in rows] == [1, 2, 2, 2]


def test_the_flag_gap_before_breaks_the_book_at_that_packet() -> None:
    broken = Step("l2", 2, T0 + 150 * MS, (), prev=0, update=1, flags=int(L2Flag.GAP_BEFORE))
    rows, _ = run([snapshot(1, 0), broken])
    assert [row.flags for row in rows] == [BookFlag.GAP] * 2


def test_a_crossed_book_is_shown_and_says_so() -> None:
    rows, _ = run([snapshot(1, 0), delta(2, 50, 1, (1, 101.0, 1.0)), delta(3, 150, 2)])
    assert [row.flags for row in rows] == [0, BookFlag.CROSSED]


def test_a_packet_without_a_time_breaks_the_book_and_closes_nothing() -> None:
    for timestamp in (-1, 2**62):
        untimed = Step("l2", 2, timestamp, ((1, 99.0, 9.0),), prev=0, update=1)
        rows, kernel = run([snapshot(1, 0), untimed, clock(2, 1_000)])
        assert [(row.flags, row.bids) for row in rows] == [(BookFlag.GAP, [(99.0, 1.0)])]
        assert kernel.count("left_out") == 1


# --------------------------------------------------------------- time jumps


@pytest.mark.parametrize("by_clock", [True, False])
@pytest.mark.parametrize("interval_ms", [60_000, 3_600_000])
def test_a_silence_of_a_day_is_filled_and_a_longer_one_begins_the_grid_anew(
    by_clock: bool, interval_ms: int
) -> None:
    def ends(at_ms: int) -> Step:
        return clock(1, at_ms + 1_000) if by_clock else delta(2, at_ms, 1)

    day_ms = DAY_US // MS
    last = day_ms - interval_ms
    rows, kernel = run([snapshot(1, 0), ends(last)], interval_ms=interval_ms, depth=1)
    assert len(rows) == last // interval_ms + by_clock
    assert kernel.count("restarts") == 0
    later = 2 * day_ms
    rows, kernel = run(
        [snapshot(1, 0), ends(later), clock(3, later + interval_ms + 1_000)],
        interval_ms=interval_ms,
        depth=1,
    )
    assert points(rows) == [later + interval_ms] if by_clock else [later, later + interval_ms]
    assert kernel.count("restarts") == 1


def test_a_silence_is_not_filled_with_more_bytes_than_a_group_should_hold() -> None:
    depth = 1_000
    filled_max = FILLED_BYTES_MAX // row_bytes(depth)
    rows, kernel = run([snapshot(1, 0), delta(2, 100 * filled_max + 200, 1)], depth=depth)
    assert rows == []
    assert kernel.count("restarts") == 1


def test_a_wrong_time_far_ahead_does_not_stop_the_grid() -> None:
    ahead = 2 * DAY_US // MS
    rows, kernel = run(
        [snapshot(1, 0), delta(2, 50, 1), delta(3, ahead, 2), delta(4, 250, 3), delta(5, 350, 4)]
    )
    assert points(rows) == [0, 300]
    assert kernel.count("restarts") == 2
    assert rows[1].flags == 0


def test_midnight_is_a_point_like_any_other() -> None:
    midnight_ms = DAY_US // MS
    rows, _ = run([snapshot(1, midnight_ms - 100), delta(2, midnight_ms + 101, 1)])
    assert points(rows) == [midnight_ms - 100, midnight_ms, midnight_ms + 100]
    assert rows[1].timestamp % DAY_US == 0


# ----------------------------------------------------------------- on change


def test_on_change_tells_each_packet_that_changed_the_best_levels() -> None:
    rows, _ = run(
        [
            snapshot(1, 0),
            delta(2, 10, 1, (1, 98.0, 1.0)),  # now second
            delta(3, 20, 2, (1, 97.0, 1.0)),  # third: not among the best two
            delta(4, 30, 3, (1, 98.0, 5.0)),  # a size
            delta(5, 40, 4, (1, 98.0, 5.0)),  # nothing
            snapshot(5, 40, 4, BID, ASK, (1, 98.0, 5.0)),  # own: the same book
            delta(6, 50, 5, (1, 99.0, 0.0), (1, 96.0, 1.0)),
        ],
        interval_ms=0,
    )
    assert points(rows) == [0, 10, 30, 50]
    assert [len(row.bids) for row in rows] == [1, 2, 2, 2]
    assert rows[3].bids == [(98.0, 5.0), (96.0, 1.0)]


def test_on_change_tells_a_broken_book_and_a_mended_one_once() -> None:
    rows, _ = run(
        [
            snapshot(1, 0),
            delta(2, 10, 7, (1, 50.0, 1.0)),
            delta(3, 20, 8, (1, 51.0, 1.0)),
            snapshot(4, 30, 9),
        ],
        interval_ms=0,
    )
    assert points(rows) == [0, 10, 30]
    assert [row.flags for row in rows] == [0, BookFlag.GAP, 0]


def test_a_depth_beyond_the_book_is_filled_with_nothing() -> None:
    rows, _ = run([snapshot(1, 0), delta(2, 1, 1)], depth=1_000)
    assert (len(rows[0].bids), len(rows[0].asks)) == (1, 1)


# ----------------------------------------------------------------- any log

PRICES = st.integers(95, 105).map(float)
LEVELS = st.lists(
    st.tuples(st.sampled_from([1, -1]), PRICES, st.sampled_from([0.0, 1.0, 2.0])), max_size=4
).map(tuple)


@st.composite
def logs(draw: st.DrawFn) -> list[Step]:
    """A log of one ticker in which everything happens: gaps, epochs, late and unlinked packets."""
    steps: list[Step] = []
    packet = update = 0
    epoch, now, latest = 1, T0, T0
    for _ in range(draw(st.integers(1, 40))):
        packet += 1
        now += draw(st.sampled_from([0, 10, 70, 100, 400, 1_500, 30_000, -30, -200])) * MS
        latest = max(latest, now)
        kind = draw(
            st.sampled_from(["delta"] * 12 + ["snapshot", "parts", "clock", "clock", "gap"])
        )
        if draw(st.integers(0, 30)) == 0:
            epoch, packet = epoch + 1, 1
        if kind == "clock":
            steps.append(Step("clock", packet - 1, latest, epoch=epoch))
        elif kind == "gap":
            steps.append(Step("gap", packet, epoch=epoch))
        else:
            parts = {"snapshot": (ONE,), "parts": (FIRST | PART, PART, PART | LAST)}.get(kind, (0,))
            lost = draw(st.integers(0, 9)) == 0 if kind == "delta" else False
            before, update = update + lost, update + 1 + lost
            steps += [
                Step("l2", packet, now, draw(LEVELS), before, update, int(flags), epoch)
                for flags in parts
            ]
    return steps


@given(logs(), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 2**16))
def test_any_log_in_any_cut_gives_the_rows_of_the_rule_worked_by_hand(
    steps: list[Step], sizes: list[int], cuts: int
) -> None:
    intervals_ms = [0, 100, 1_000]
    log = flushes([snapshot(0, 0), *steps], sizes)
    kernel = Kernel(intervals_ms, depth=3)
    first = 0
    for place in range(1, len(log) + 1):
        if place == len(log) or cuts >> (place % 16) & 1:
            kernel.take(log[first:place])
            first = place
    for interval_ms in intervals_ms:
        assert kernel.rows[interval_ms] == by_hand(log, interval_ms, 3).rows
