"""Books whose updates may cross them: the older levels go. Transcripts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tickbus_schemas.messages import ABSENT, Action

from tests.ingest.kinds import ASKS, BIDS, CROSSING, PER_CONNECTION, last_levels
from tests.ingest.made import book, frames, play, update

sizes = st.integers(0, 3)
crossing_updates = st.lists(
    st.tuples(st.booleans(), st.integers(95, 105), sizes), min_size=1, max_size=30
)


def test_an_update_removes_the_older_levels_that_it_crosses_and_there_is_no_gap() -> None:
    player = play(CROSSING)
    player.say(frames(book(None, 1, BIDS, [(101, 3), (102, 4), (103, 5)])))
    player.say(frames(update(None, None, 2, [(102, 7)])))
    assert last_levels(player) == [
        (102.0, 7.0, Action.NEW), (101.0, 0.0, Action.DELETE), (102.0, 0.0, Action.DELETE),
    ]  # fmt: skip
    player.say(frames(update(None, None, 3, [], [(99.5, 1)])))
    assert last_levels(player) == [
        (99.5, 1.0, Action.NEW), (102.0, 0.0, Action.DELETE), (100.0, 0.0, Action.DELETE),
    ]  # fmt: skip
    assert player.links() == [(ABSENT, 1), (1, 2), (2, 3)]
    assert player.gaps() == []
    assert player.accounted() == player.frames


def test_a_level_that_was_removed_comes_back_when_the_venue_says_it_again() -> None:
    player = play(CROSSING)
    player.say(
        frames(
            book(None, 1, BIDS, ASKS),
            update(None, None, 2, [(101, 7)]),
            update(None, None, 3, [(101, 0)]),
            update(None, None, 4, [], [(101, 2)]),
        )
    )
    assert last_levels(player) == [(101.0, 2.0, Action.NEW)]


def test_levels_that_one_update_says_across_each_other_are_of_one_age_and_stay() -> None:
    player = play(CROSSING)
    player.say(frames(book(None, 1, BIDS, ASKS), update(None, None, 2, [(101, 7)], [(100, 8)])))
    assert last_levels(player) == [
        (101.0, 7.0, Action.NEW), (100.0, 8.0, Action.NEW),
        (100.0, 0.0, Action.DELETE), (101.0, 0.0, Action.DELETE),
    ]  # fmt: skip
    assert player.session.books[0].log.book.crossed


def test_a_venue_that_does_not_cross_is_published_as_it_speaks() -> None:
    player = play(PER_CONNECTION)
    player.say(frames(book(None, 1, BIDS, ASKS), update(None, None, 2, [(101, 7)])))
    assert last_levels(player) == [(101.0, 7.0, Action.NEW)]


@given(crossing_updates)
def test_whatever_single_levels_come_the_published_book_is_what_is_newest(
    said: list[tuple[bool, int, int]],
) -> None:
    """Compared with a book that keeps the age of each level."""
    player = play(CROSSING)
    player.say(frames(book(None, 1, BIDS, ASKS)))
    bids, asks = ({price: float(qty) for price, qty in side} for side in (BIDS, ASKS))
    for n, (is_bid, price, qty) in enumerate(said):
        levels = [(price, qty)]
        bid_levels, ask_levels = (levels, []) if is_bid else ([], levels)
        player.say(frames(update(None, None, 2 + n, bid_levels, ask_levels)))
        own, other = (bids, asks) if is_bid else (asks, bids)
        own.pop(price, None)
        if qty:
            own[price] = float(qty)
            for across in [one for one in other if (price >= one if is_bid else price <= one)]:
                del other[across]
    side, price_column, qty_column = player.session.books[0].log.book.levels()
    found = zip(side.tolist(), price_column.tolist(), qty_column.tolist(), strict=True)
    right = [(1, float(price), bids[price]) for price in sorted(bids, reverse=True)]
    right += [(-1, float(price), asks[price]) for price in sorted(asks)]
    assert list(found) == right
    assert player.gaps() == []
