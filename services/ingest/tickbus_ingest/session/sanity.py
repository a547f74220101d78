"""What no venue can have meant: impossible times, numbers that are not finite, sizes below 0."""

from __future__ import annotations

import numpy as np
from tickbus_schemas.messages import ABSENT

from tickbus_ingest.session.levels import LevelColumns
from tickbus_ingest.session.tables import I64, Array

FIRST_SANE_US = 1_230_768_000_000_000  # 2009-01-01: before it there was no market of ours
AHEAD_MAX_US = 86_400_000_000  # a venue time further ahead of the receive time is a mistake

_FINITE = {
    "trade": ("price", "qty"),
    "bbo": ("bid_px", "bid_sz", "ask_px", "ask_sz"),
    "liquidation": ("price", "qty"),
}
"""The values without which the event is none."""
_WHOLE = ("trade_count", "next_funding_timestamp", "funding_interval_ms")
WHOLE_MAX = 2**53
"""Whole numbers of the feeds whose latest state counts are kept as doubles between messages."""
_QUANTITIES = {"trade": ("qty",), "bbo": ("bid_sz", "ask_sz"), "liquidation": ("qty",)}


def insane(feed: str, columns: dict[str, Array], received_us: I64) -> dict[int, str]:
    """Frames with an impossible time or number. A time of 0 was not sent."""
    frames = columns["frame"]
    latest = received_us[frames] + AHEAD_MAX_US
    bad: dict[int, str] = {}
    for name in ("timestamp", "event_us", "engine_timestamp"):
        if name in columns:
            time = columns[name]
            wrong = ((time < FIRST_SANE_US) & (time != 0)) | (time > latest)
            if wrong.any():
                for n in np.flatnonzero(wrong).tolist():
                    why = f"venue time {time[n]} us is not between 2009 and tomorrow"
                    bad[int(frames[n])] = why
    for name, column in columns.items():
        if column.dtype == np.float64:
            # NaN stands for a value that the venue did not send, where the event goes without it.
            wrong = ~np.isfinite(column) if name in _FINITE.get(feed, ()) else np.isinf(column)
            if wrong.any():
                for n in np.flatnonzero(wrong).tolist():
                    bad[int(frames[n])] = f"{name} is not a finite number"
        elif name in _WHOLE:
            wrong = (np.abs(column) > WHOLE_MAX) & (column != ABSENT)
            if wrong.any():
                for n in np.flatnonzero(wrong).tolist():
                    bad[int(frames[n])] = f"{name} {column[n]} is out of range"
    for name in _QUANTITIES.get(feed, ()):
        negative = columns[name] < 0
        if negative.any():
            for n in np.flatnonzero(negative).tolist():
                bad[int(frames[n])] = f"{name} is below 0"
    return bad


def negative_levels(levels: LevelColumns, frames: Array) -> dict[int, str]:
    """Frames with a level whose size is below 0."""
    wrong = np.flatnonzero(levels.qty < 0)
    updates = np.searchsorted(levels.ends, wrong, side="right") - 1
    return {int(frames[n]): "the size of a price level is below 0" for n in updates.tolist()}
