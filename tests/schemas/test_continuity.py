"""The one rule for book updates, with the numbering of every venue.

Cases follow the venues' own rules: Binance Spot and USD-M "How to manage a local order book
correctly", OKX "Order book channel" (seqId and prevSeqId), Bybit v5 "Orderbook", Deribit
"book.{instrument}" (change_id and prev_change_id).
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_schemas.continuity import Continuity, Verdict
from tickbus_schemas.messages import ABSENT

A, S, G = Verdict.APPLY, Verdict.STALE, Verdict.GAP

# Binance sends the range U..u. On Spot an update follows U - 1; USD-M says it itself as pu.
SPOT = [(98, 99), (100, 103), (104, 104), (106, 107)]
Update = tuple[int, int]


def judged(continuity: Continuity, updates: list[Update]) -> list[Verdict]:
    return [continuity.judge(prev, last) for prev, last in updates]


@pytest.mark.parametrize(
    ("drop_equal", "snapshot", "updates", "verdicts"),
    [
        pytest.param(
            True, 100, [(first - 1, last) for first, last in SPOT], [S, A, A, G], id="spot"
        ),
        pytest.param(
            True, 100, [(98, 100), (100, 101)], [S, A], id="spot: an update up to the snapshot"
        ),
        pytest.param(True, 100, [(100, 105)], [A], id="spot: the first follows directly"),
        pytest.param(True, 100, [(101, 105)], [G], id="spot: the first comes too late"),
        pytest.param(
            False,
            500,
            [(470, 490), (490, 505), (505, 520), (525, 540)],
            [S, A, A, G],
            id="usd-m: dropped, first contains the snapshot, linked, gap",
        ),
        pytest.param(
            False, 500, [(500, 506)], [A], id="usd-m: the first links to the snapshot itself"
        ),
        pytest.param(
            False, 500, [(490, 500), (500, 510)], [A, A], id="usd-m: the first ends at the snapshot"
        ),
        pytest.param(
            False,
            500,
            [(490, 505), (490, 505), (470, 490), (505, 520)],
            [A, S, S, A],
            id="usd-m: another line repeats what was applied",
        ),
        pytest.param(
            False, 500, [(490, 505), (500, 510)], [A, G], id="usd-m: only the first may overlap"
        ),
        pytest.param(False, 500, [(501, 510)], [G], id="usd-m: the first comes too late"),
        pytest.param(
            False,
            10,
            [(10, 15), (15, 15), (15, 3), (3, 5)],
            [A, A, A, A],
            id="okx: keep-alive without change, then renumbered from 3",
        ),
        pytest.param(False, 5, [(5, 9), (12, 13)], [A, G], id="okx: gap"),
        pytest.param(
            False, 10, [(10, 15), (15, 3), (15, 3), (3, 5)], [A, A, S, A], id="okx: reset repeated"
        ),
        pytest.param(
            True,
            12,
            [(9, 11), (11, 12), (11, 14), (14, 15)],
            [S, S, A, A],
            id="okx: buffered updates against a REST snapshot",
        ),
        pytest.param(False, 50, [(50, 51), (51, 52), (53, 54)], [A, A, G], id="bybit: u + 1"),
        pytest.param(False, 50, [(49, 50), (50, 51)], [A, A], id="bybit: same u as the snapshot"),
        pytest.param(False, 7, [(7, 9), (10, 11)], [A, G], id="deribit: change ids"),
        pytest.param(
            False,
            5,
            [(ABSENT, 6), (ABSENT, 9), (ABSENT, 9), (ABSENT, 8), (ABSENT, 10)],
            [A, A, S, S, A],
            id="no link: only what goes back is seen",
        ),
        pytest.param(False, 5, [(ABSENT, 5), (ABSENT, 6)], [A, A], id="no link: first equal"),
        pytest.param(True, 5, [(ABSENT, 5), (ABSENT, 6)], [S, A], id="no link: first equal drops"),
        pytest.param(
            False, 100, [(105, 110), (110, 111)], [G, G], id="a gap lasts until the next snapshot"
        ),
    ],
)
def test_cases_of_every_numbering_style(
    drop_equal: bool, snapshot: int, updates: list[Update], verdicts: list[Verdict]
) -> None:
    continuity = Continuity(drop_equal=drop_equal)
    continuity.snapshot(snapshot)
    assert judged(continuity, updates) == verdicts


def test_nothing_is_applied_before_a_snapshot() -> None:
    continuity = Continuity()
    assert judged(continuity, [(1, 2), (ABSENT, 3), (ABSENT, ABSENT)]) == [G, G, G]


def test_a_snapshot_replaces_all_that_went_before() -> None:
    """Bybit sends u = 1 after a restart of its service."""
    continuity = Continuity()
    continuity.snapshot(50)
    assert continuity.judge(50, 51) is A
    continuity.snapshot(1)
    assert judged(continuity, [(1, 2), (51, 52)]) == [A, G]


def test_a_snapshot_heals_a_gap_and_overlap_is_allowed_once_more() -> None:
    continuity = Continuity()
    continuity.snapshot(100)
    assert judged(continuity, [(100, 101), (105, 106)]) == [A, G]
    continuity.snapshot(110)
    assert judged(continuity, [(104, 109), (108, 112), (112, 113)]) == [S, A, A]


def test_a_gap_forgets_the_place_and_an_update_moves_it() -> None:
    continuity = Continuity()
    assert continuity.update_id == ABSENT
    continuity.snapshot(100)
    continuity.judge(100, 107)
    assert continuity.update_id == 107
    continuity.judge(110, 111)
    assert continuity.update_id == ABSENT
    continuity.snapshot(5)
    continuity.reset()
    assert continuity.update_id == ABSENT


def test_one_who_goes_on_from_a_checkpoint_takes_no_overlap() -> None:
    continuity = Continuity()
    continuity.resume(100)
    assert judged(continuity, [(95, 100), (100, 105), (103, 108)]) == [S, A, G]


@st.composite
def linked(draw: st.DrawFn) -> list[Update]:
    """Updates of growing ids, each linked to the one before."""
    ids = [draw(st.integers(-(2**40), 2**40))]
    for step in draw(st.lists(st.integers(1, 1_000), min_size=1, max_size=30)):
        ids.append(ids[-1] + step)
    return list(itertools.pairwise(ids))


@given(updates=linked(), data=st.data())
def test_repeats_change_nothing(updates: list[Update], data: st.DataObject) -> None:
    continuity = Continuity()
    continuity.snapshot(updates[0][0])
    for place, update in enumerate(updates):
        assert continuity.judge(*update) is A
        seen = st.sampled_from(updates[: place + 1])
        for repeated in data.draw(st.lists(seen, max_size=3)):
            assert continuity.judge(*repeated) is S
    assert continuity.update_id == updates[-1][1]


@given(updates=linked().filter(lambda updates: len(updates) > 1), data=st.data())
def test_an_update_that_is_missing_is_a_gap_at_the_next_one(
    updates: list[Update], data: st.DataObject
) -> None:
    missing = data.draw(st.integers(0, len(updates) - 2))
    continuity = Continuity()
    continuity.snapshot(updates[0][0])
    kept = updates[:missing] + updates[missing + 1 :]
    assert judged(continuity, kept) == [A] * missing + [G] * (len(kept) - missing)


@given(updates=linked(), data=st.data())
def test_a_snapshot_taken_anywhere_joins_the_stream_without_loss(
    updates: list[Update], data: st.DataObject
) -> None:
    """A snapshot may end inside an update: that one overlaps, the older are dropped."""
    snapshot = data.draw(st.integers(updates[0][0], updates[-1][1]))
    drop_equal = data.draw(st.booleans())
    continuity = Continuity(drop_equal=drop_equal)
    continuity.snapshot(snapshot)
    verdicts = judged(continuity, updates)
    applied = [update for update, verdict in zip(updates, verdicts, strict=True) if verdict is A]
    assert G not in verdicts
    assert continuity.update_id == updates[-1][1]
    assert applied == [
        (prev, last)
        for prev, last in updates
        if last > snapshot or (last, drop_equal) == (snapshot, False)
    ]


@given(updates=linked(), fresh=st.integers(-(2**40), 2**40))
def test_a_venue_may_renumber_as_long_as_it_links(updates: list[Update], fresh: int) -> None:
    last = updates[-1][1]
    continuity = Continuity()
    continuity.snapshot(updates[0][0])
    verdicts = judged(continuity, [*updates, (last, fresh), (fresh, fresh + 1)])
    assert verdicts == [A] * (len(updates) + 2)
