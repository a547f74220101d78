"""What no venue can have meant: impossible times, numbers that are not finite, sizes below 0."""

from __future__ import annotations

import numpy as np

from tickbus_ingest.session.levels import LevelColumns
from tickbus_ingest.session.tables import Array
from tickbus_ingest.venue.feeds import Column, Kind

FIRST_SANE_US = 1_230_768_000_000_000  # 2009-01-01: before it there was no market of ours
AHEAD_MAX_US = 86_400_000_000  # a venue time further ahead of the receive time is a mistake


def why_insane(column: Column, value: float) -> str:
    """What is wrong with a value that `check_rows` found."""
    match column.kind:
        case Kind.TIME:
            return f"venue time {value} us is not between 2009 and tomorrow"
        case Kind.SIZE if value < 0 and value != -np.inf:
            return f"{column.name} is below 0"
        case Kind.VALUE | Kind.PRICE | Kind.SIZE:
            return f"{column.name} is not a finite number"
        case _:
            return f"{column.name} {value} is out of range"


def negative_levels(levels: LevelColumns, frames: Array) -> dict[int, str]:
    """Frames with a level whose size is below 0."""
    wrong = np.flatnonzero(levels.qty < 0)
    if not len(wrong):
        return {}
    updates = np.searchsorted(levels.ends, wrong, side="right") - 1
    return {int(frames[n]): "the size of a price level is below 0" for n in updates.tolist()}
