"""Whatever arrives in whatever order: what is published is true, and what is missing is said.

A market that knows the truth (`market.py`) is heard over connections that lose, repeat and swap
frames and break; each kind of venue is asked the same questions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickbus_ingest.venue.contract import Snapshots, TradeIds, UpdateIds, Venue
from tickbus_schemas.continuity import Continuity, Verdict
from tickbus_schemas.messages import ABSENT, L2Flag, StatusKind

from tests.ingest.made import made
from tests.ingest.market import Market
from tests.ingest.venues.playing import Player

ALONE = {"numbering_is_global": False}
KINDS: dict[str, type[Venue]] = {
    "pulled linked": made(Snapshots.PULLED, UpdateIds.LINKED, TradeIds.DENSE),
    "pulled counted": made(Snapshots.PULLED, UpdateIds.COUNTED, TradeIds.UNIQUE, drops_equal=True),
    "pushed linked": made(Snapshots.PUSHED, UpdateIds.LINKED, TradeIds.DENSE),
    "pushed counted": made(Snapshots.PUSHED, UpdateIds.COUNTED, TradeIds.UNIQUE),
    "pushed counted alone": made(Snapshots.PUSHED, UpdateIds.COUNTED, TradeIds.SEQUENCED, **ALONE),
    "pushed or pulled": made(Snapshots.PUSHED, UpdateIds.LINKED, TradeIds.SEQUENCED, pulls=True),
    "per connection": made(Snapshots.PUSHED, UpdateIds.PER_CONNECTION, TradeIds.UNIQUE, **ALONE),
    "checksum": made(Snapshots.PUSHED, UpdateIds.CHECKSUM, TradeIds.DENSE, depth=2, **ALONE),
    "every frame": made(Snapshots.EVERY_FRAME, UpdateIds.NONE, TradeIds.UNIQUE, **ALONE),
}
each_kind = pytest.mark.parametrize("name", KINDS)
MANY = settings(max_examples=100)

CHANGES = st.lists(
    st.tuples(st.sampled_from((1, -1)), st.integers(0, 4), st.integers(0, 3)), max_size=3
)
MOVES = st.tuples(
    st.just("move"), st.integers(1, 60), st.integers(1, 5), CHANGES, st.integers(0, 2)
)


def actions(lines: int, *faults: str) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """What the market and its connections do; `faults` besides delivering."""
    line = st.integers(0, lines - 1)
    ways = [st.tuples(st.just(name), line) for name in ("deliver", "deliver", *faults)]
    others = [
        st.tuples(st.just("answer"), st.integers(0, 2)),
        st.tuples(st.just("wait"), st.sampled_from((0.1, 0.5, 4.0))),
    ]
    return st.lists(st.one_of(MOVES, MOVES, *ways, *others), max_size=30)


def acted(market: Market, script: list[tuple[Any, ...]]) -> Market:
    for name, *values in script:
        act: Callable[..., None] = getattr(market, name)
        act(*values)
    return market


FAULTS = ("lose", "repeat", "swap", "reconnect")


LINES, WAIT_US = st.integers(1, 2), st.sampled_from((0, 100_000))


@each_kind
@MANY
@given(lines=LINES, wait_us=WAIT_US, data=st.data())
def test_no_reader_ever_has_a_book_that_the_venue_did_not_have(
    name: str, lines: int, wait_us: int, data: st.DataObject
) -> None:
    market = acted(Market(KINDS[name], lines, wait_us), data.draw(actions(lines, *FAULTS)))
    assert market.wrong_books() == []
    assert_links(market.player)
    assert market.player.accounted() == market.player.frames
    market.settle()
    assert market.wrong_books() == []
    assert_links(market.player)
    assert market.player.accounted() == market.player.frames
    assert market.is_live, "the book came back"


def assert_links(player: Player) -> None:
    """The rule of every reader finds no gap that a snapshot does not mend, none unsaid."""
    continuity = Continuity()
    last, packet = ABSENT, 0
    from_ids = {one["from_id"] for one in player.statuses(StatusKind.GAP)}
    for row in player.published.get("l2", ()):
        assert row["packet_id"] >= packet, "packet_id never goes back"
        packet = row["packet_id"]
        if row["flags"] & L2Flag.SNAPSHOT_FIRST:
            continuity.snapshot(row["update_id"])
            if row["flags"] & L2Flag.GAP_BEFORE:
                assert last in from_ids or from_ids, row
        elif not row["flags"] & L2Flag.SNAPSHOT:
            verdict = continuity.judge(row["prev_update_id"], row["update_id"])
            assert verdict is Verdict.APPLY, row
        last = row["update_id"]


@each_kind
@MANY
@given(lines=LINES, data=st.data())
def test_what_is_published_does_not_depend_on_how_it_was_flushed(
    name: str, lines: int, data: st.DataObject
) -> None:
    market = acted(Market(KINDS[name], lines, 100_000), data.draw(actions(lines, *FAULTS)))
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    assert rows(replayed(market, sizes)) == rows(market.player)


def replayed(market: Market, sizes: list[int]) -> Player:
    """The same arrivals, frames flushed so many at once."""
    player, waiting, flush = market.new_player(), list[tuple[bytes, int]](), 0

    def say() -> None:
        if waiting:
            player.say([data for data, _ in waiting], [line for _, line in waiting])
            waiting.clear()

    for arrival in market.arrivals:
        if isinstance(arrival, tuple):
            waiting.append(arrival)
            if len(waiting) >= sizes[flush % len(sizes)]:
                say()
                flush += 1
        else:
            say()
            arrival(player)
    say()
    return player


def rows(player: Player) -> dict[tuple[str, str], list[str]]:
    """By feed, those of a status by the one that it is about: their order in a flush is free."""
    found: dict[tuple[str, str], list[str]] = {}
    for feed, own in player.published.items():
        for row in own:
            found.setdefault((feed, row["feed"] if feed == "status" else ""), []).append(repr(row))
    return found


@each_kind
@MANY
@given(data=st.data())
def test_repeats_and_a_second_connection_alone_make_no_gap(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    lines = 1 if kind.update_ids is UpdateIds.PER_CONNECTION else 2
    faults = () if kind.update_ids is UpdateIds.PER_CONNECTION else ("repeat",)
    if not kind.numbering_is_global and kind.update_ids is UpdateIds.COUNTED:
        lines, faults = 2, ("repeat",)
    market = acted(Market(kind, lines, 10**9), data.draw(actions(lines, *faults)))
    market.settle()
    reasons = {gap["reason"] for gap in market.player.statuses(StatusKind.GAP, "l2")}
    if kind.numbering_is_global:
        assert reasons == set()
    # Who counts alone begins with a book that is not the one followed: a few updates further.
    assert reasons <= {"another connection begins with a book of its own"}
    assert market.player.gaps("trade") == []
    assert market.missing_trades() == set()
    assert market.wrong_books() == []


@each_kind
@MANY
@given(lines=LINES, data=st.data())
def test_every_trade_that_arrived_is_stored_once_and_every_other_one_is_in_a_gap(
    name: str, lines: int, data: st.DataObject
) -> None:
    market = acted(Market(KINDS[name], lines, 50_000), data.draw(actions(lines, *FAULTS)))
    market.settle()
    player, counts = market.player, KINDS[name].trade_ids is not TradeIds.UNIQUE
    published = [int(row["trade_id"].lstrip("t")) for row in player.published.get("trade", ())]
    assert len(set(published)) == len(published)
    assert market.missing_trades() == set()
    if counts and published:
        inside = range(min(published), max(published))
        missing = set(inside) - set(published)
        assert all(any(a < one < b for a, b in player.gaps("trade")) for one in missing)
