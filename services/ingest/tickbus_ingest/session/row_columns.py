"""The rows of one feed as columns: two arrays are made, of all whole numbers and of all doubles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from tickbus_ingest.session.kernels.rows import check_rows
from tickbus_ingest.session.sanity import AHEAD_MAX_US, FIRST_SANE_US, why_insane
from tickbus_ingest.session.tables import I8, I64, Array, Bool
from tickbus_ingest.venue.feeds import Column, Feed, Kind

_NARROW: dict[Kind, Any] = {Kind.SIDE: np.int8, Kind.MARKS: np.uint16, Kind.TRUTH: np.bool_}


class _Layout(NamedTuple):
    """Where the values of a feed's tuples go."""

    whole: tuple[int, ...]
    """places of whole numbers in a tuple"""
    real: tuple[int, ...]
    columns: tuple[Column, ...]
    """the former, then the latter"""
    whole_kinds: I8
    real_kinds: I8
    narrow: tuple[tuple[int, str, Any], ...]
    """place, name and type of the columns that are not of 64 bits"""
    length: int
    """of a tuple without what stands behind it"""


@cache
def _layout(feed: Feed) -> _Layout:
    layout = feed.layout
    whole = tuple(n for n, one in enumerate(layout) if one.kind < Kind.VALUE)
    real = tuple(n for n, one in enumerate(layout) if one.kind >= Kind.VALUE)
    columns = tuple(layout[n] for n in (*whole, *real))
    kinds = np.array([one.kind for one in columns], np.int8)
    narrow = [
        (n, one.name, _NARROW[one.kind]) for n, one in enumerate(columns) if one.kind in _NARROW
    ]
    narrow.append((1, "ticker", np.int32))
    return _Layout(
        whole, real, columns, kinds[: len(whole)], kinds[len(whole) :], tuple(narrow), len(layout)
    )


def columns_of(
    feed: Feed, events: list[tuple[Any, ...]], received_us: I64, seen: Bool
) -> tuple[dict[str, Array], Bool, dict[int, str], tuple[Any, ...]]:
    """Columns of a feed's tuples, which row stands for its frame, frames with a value that cannot
    be and why, and the values behind the columns.

    received_us [frames]; seen [frames] are those that gave a row already.
    """
    layout = _layout(feed)
    values = list(zip(*events, strict=True))
    bad: dict[int, str] = {}
    ints = _matrix(values, layout.whole, np.int64, feed, bad)
    floats = _matrix(values, layout.real, np.float64, feed, bad)
    stands, wrong = np.empty(len(events), np.bool_), np.empty(len(events), np.int8)
    if check_rows(
        ints, floats, layout.whole_kinds, layout.real_kinds, received_us, FIRST_SANE_US,
        AHEAD_MAX_US, seen, stands, wrong,
    ):  # fmt: skip
        matrix: list[Array] = [*ints, *floats]
        for n in np.flatnonzero(wrong >= 0).tolist():
            place = int(wrong[n])
            bad[int(ints[0, n])] = why_insane(layout.columns[place], matrix[place][n].item())
    columns: dict[str, Array] = {
        one.name: own for one, own in zip(layout.columns, (*ints, *floats), strict=True)
    }
    for place, name, kind in layout.narrow:
        columns[name] = ints[place].astype(kind)
    return columns, stands, bad, values[layout.length] if len(values) > layout.length else ()


def _matrix(
    values: Sequence[Sequence[Any]],
    places: Sequence[int],
    kind: Any,
    feed: Feed,
    bad: dict[int, str],
) -> Array:
    """Some columns [columns, rows]; values that fit no number of 64 bits are 0, and in `bad`."""
    try:
        found = np.array([values[n] for n in places], kind)
        return found if len(places) else found.reshape(0, len(values[0]))
    except (OverflowError, TypeError, ValueError):
        found = np.zeros((len(places), len(values[0])), kind)
    for own, place in zip(found, places, strict=True):
        for n, value in enumerate(values[place]):
            try:
                own[n] = value
            except (OverflowError, TypeError, ValueError):
                name = feed.layout[place].name
                bad[values[0][n]] = f"{name} {str(value)[:40]!r} is out of range"
    return found
