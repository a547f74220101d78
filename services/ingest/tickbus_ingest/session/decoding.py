"""Frames to columns: `Venue.read` frame by frame, then one array a column for the whole flush.

What breaks a rule that holds for every venue (a time that cannot be, a number that is not finite)
is refused here, with everything else of its frame.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT

from tickbus_ingest.session.levels import LevelColumns, read_levels
from tickbus_ingest.session.sanity import insane, negative_levels
from tickbus_ingest.session.tables import I64, Array, Bool
from tickbus_ingest.venue.contract import Line, TradeIds, Venue
from tickbus_ingest.venue.rows import DERIVATIVE_VALUES, TICKER_VALUES, Control, Rows
from tickbus_ingest.venue.wire_types import MS_MAX

_LONG = re.compile(rb"[1-9][0-9]{15}|[1-9][0-9]*\.[0-9]{15}")
"""A number with more digits than a double gives back, or nearly: looked for in a sample."""

_PLACE = (("frame", np.int64), ("ticker", np.int32), ("timestamp", np.int64))
_LAYOUTS: dict[str, tuple[tuple[str, Any], ...]] = {
    "trade": (
        *_PLACE, ("event_us", np.int64), ("number", np.int64), ("side", np.int8),
        ("price", np.float64), ("qty", np.float64), ("flags", np.uint16),
    ),
    "l2": (
        *_PLACE, ("engine_timestamp", np.int64), ("prev_update_id", np.int64),
        ("update_id", np.int64), ("whole", np.bool_), ("checksum", np.int64),
    ),
    "bbo": (
        *_PLACE, ("engine_timestamp", np.int64), ("update_id", np.int64), ("bid_px", np.float64),
        ("bid_sz", np.float64), ("ask_px", np.float64), ("ask_sz", np.float64),
    ),
    "ticker": (
        *_PLACE, ("engine_timestamp", np.int64), ("trade_count", np.int64),
        *((name, np.float64) for name in TICKER_VALUES),
    ),
    "derivative": (
        *_PLACE, ("engine_timestamp", np.int64), ("next_funding_timestamp", np.int64),
        ("funding_interval_ms", np.int64), *((name, np.float64) for name in DERIVATIVE_VALUES),
    ),
    "liquidation": (
        *_PLACE, ("engine_timestamp", np.int64), ("side", np.int8), ("price", np.float64),
        ("average_price", np.float64), ("qty", np.float64), ("filled_qty", np.float64),
        ("flags", np.uint16),
    ),
}  # fmt: skip
"""The tuples of `Rows` by feed, value by value; a trade's id comes last."""


@dataclass(slots=True)
class Decoded:
    """The events of some frames, by feed; rows in order of arrival."""

    tables: dict[str, dict[str, Array]] = field(default_factory=dict)
    ids: list[str] | None = None
    """of the trades, where ids are texts"""
    levels: LevelColumns | None = None
    controls: list[Control] = field(default_factory=list)
    replies: list[tuple[int, bytes]] = field(default_factory=list)
    losses: list[tuple[int, str, int]] = field(default_factory=list)
    """frame, why, place of the ticker or WHOLE_LINE"""
    ignored: list[tuple[int, str]] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    """frame -> why"""
    long_decimals: int = 0
    stands: dict[str, Bool] = field(default_factory=dict)

    def between(self, start: int, stop: int) -> Decoded:
        """The rows of frames `start` to `stop` (not included)."""
        part = Decoded(ids=self.ids, levels=self.levels, stands=dict(self.stands))
        for feed, columns in self.tables.items():
            _keep(part, feed, columns, (columns["frame"] >= start) & (columns["frame"] < stop))
        return part


class FrameDecoder:
    """Decodes the frames of one venue."""

    def __init__(self, venue: Venue, max_frame_bytes: int) -> None:
        self._venue = venue
        self._max_frame_bytes = max_frame_bytes

    def frames(
        self, data: Sequence[bytes], lines: Sequence[Line], received_us: I64, size: int
    ) -> Decoded:
        """What these frames hold; `lines`: which connection each came over.

        Of a refused frame nothing is kept, and what it left in its line's memory neither. The
        frames behind it were read with that, so all are read once more without it.
        """
        refused: dict[int, str] = {}
        before = [(line, dict(line.memory)) for line in set(lines)]
        while True:
            known = len(refused)
            rows = self._read(data, lines, size, refused)
            decoded = self._columns(rows, dict(refused), received_us)
            refused = decoded.refused
            if len(refused) == known or all(line.memory == memory for line, memory in before):
                break
            for line, memory in before:
                line.memory.clear()
                line.memory.update(memory)
        if data and _LONG.search(data[0]):
            decoded.long_decimals += 1
        return decoded

    def _read(
        self, data: Sequence[bytes], lines: Sequence[Line], size: int, refused: dict[int, str]
    ) -> Rows:
        """The rows of all frames but the refused ones, among which it enters others."""
        rows = Rows(self._venue.index)
        read = self._venue.read
        largest = self._max_frame_bytes
        check = size > largest
        for n, frame in enumerate(data):
            if n in refused:
                continue
            rows.frame = n
            try:
                if check and len(frame) > largest:
                    raise Reject(f"{len(frame)} bytes in one frame: at most {largest}")
                read(frame, lines[n], rows)
            except Exception as error:  # a venue's file must not end the service
                rows.undo()
                refused[n] = _reason(error)
        return rows

    def body(self, parse: Callable[[Rows], None], received_us: int) -> Decoded:
        """What a REST body holds; refused as frame 0."""
        rows = Rows(self._venue.index)
        refused: dict[int, str] = {}
        try:
            parse(rows)
        except Exception as error:  # as above
            rows.undo()
            refused[0] = _reason(error)
        return self._columns(rows, refused, np.array([received_us]))

    def _columns(self, rows: Rows, refused: dict[int, str], received_us: I64) -> Decoded:
        by_feed = {
            "trade": rows.trades, "l2": rows.updates, "bbo": rows.quotes, "ticker": rows.tickers,
            "derivative": rows.derivatives, "liquidation": rows.liquidations,
        }  # fmt: skip
        decoded = Decoded(
            controls=rows.controls,
            replies=rows.replies,
            losses=rows.losses,
            ignored=rows.ignored_frames,
            refused=refused,
        )
        found: dict[int, str] = {}
        texts: tuple[Any, ...] | None = None
        for feed, events in by_feed.items():
            if events:
                columns, bad, last = _arrays(feed, events)
                found.update(bad)
                found.update(insane(feed, columns, received_us))
                decoded.tables[feed] = columns
                if feed == "trade":
                    texts = last
        if "trade" in decoded.tables:
            found.update(self._number_trades(decoded, texts or ()))
        if "l2" in decoded.tables:
            _enter_forms(decoded.tables["l2"], rows)
            levels = decoded.levels = read_levels(rows.level_texts, self._venue.levels)
            decoded.long_decimals += levels.long_decimals
            frames = decoded.tables["l2"]["frame"]
            found.update({int(frames[n]): why for n, why in levels.refused.items()})
            found.update(negative_levels(levels, frames))
        if found:
            _leave_out(decoded, found)
        _mark_first(decoded, len(received_us))
        return decoded

    def _number_trades(self, decoded: Decoded, ids: tuple[Any, ...]) -> dict[int, str]:
        """Make `number` of the ids where it is not given; frames whose ids cannot be."""
        table = decoded.tables["trade"]
        kind = self._venue.trade_ids
        if kind is TradeIds.DENSE:
            try:
                table["number"] = np.array(ids, np.int64)
            except (OverflowError, TypeError, ValueError):
                numbers, bad = _integers(ids, table["frame"].tolist())
                table["number"] = numbers
                return bad
            return {}
        decoded.ids = [str(one) for one in ids]
        bad = {
            int(frame): f"trade id {one[:40]!r} is not text of 1 to 64 ASCII characters"
            for frame, one in zip(table["frame"].tolist(), decoded.ids, strict=True)
            if not (0 < len(one) <= 64 and one.isascii()) and kind is not TradeIds.NONE
        }
        if kind is TradeIds.UNIQUE:
            table["number"] = np.array([hash(one) for one in decoded.ids], np.int64)
        return bad


def _reason(error: Exception) -> str:
    """Why a frame is refused: the venue's file says so, or fails."""
    if isinstance(error, Reject):
        return str(error)
    return f"the venue's file failed: {type(error).__name__}: {error}"[:200]


def _arrays(
    feed: str, events: list[tuple[Any, ...]]
) -> tuple[dict[str, Array], dict[int, str], tuple[Any, ...]]:
    """Columns of a feed's tuples, frames whose values fit no column, and the values behind."""
    layout = _LAYOUTS[feed]
    values = list(zip(*events, strict=True))
    bad: dict[int, str] = {}
    columns: dict[str, Array] = {}
    for (name, dtype), column in zip(layout, values, strict=False):
        try:
            columns[name] = np.array(column, dtype)
        except (OverflowError, TypeError, ValueError):
            columns[name], wrong = _fitting(column, dtype)
            for n in wrong:
                bad[events[n][0]] = f"{name} {str(column[n])[:40]!r} is out of range"
        if name in _TIMES:
            columns[name] = _in_us(columns[name])
    return columns, bad, values[len(layout)] if len(values) > len(layout) else ()


_TIMES = ("timestamp", "event_us", "engine_timestamp", "next_funding_timestamp")


def _in_us(time: I64) -> I64:
    """Times in microseconds, of which some are in milliseconds; 0 and ABSENT stay."""
    in_ms = (time > 0) & (time < MS_MAX)
    return np.where(in_ms, time * 1000, time) if in_ms.any() else time


def _fitting(column: Sequence[Any], dtype: Any) -> tuple[Array, list[int]]:
    """The column with 0 where a value does not fit, and where those are."""
    found = np.zeros(len(column), dtype)
    wrong = []
    for n, value in enumerate(column):
        try:
            found[n] = value
        except (OverflowError, TypeError, ValueError):
            wrong.append(n)
    return found, wrong


def _integers(ids: Sequence[Any], frames: Sequence[int]) -> tuple[I64, dict[int, str]]:
    numbers = np.zeros(len(ids), np.int64)
    bad: dict[int, str] = {}
    for n, one in enumerate(ids):
        try:
            numbers[n] = int(one)
        except (OverflowError, TypeError, ValueError):
            bad[frames[n]] = f"trade id {str(one)[:40]!r} is not a whole number of 64 bits"
    return numbers, bad


def _enter_forms(columns: dict[str, Array], rows: Rows) -> None:
    """What the books are like that begin here, as columns beside the updates."""
    for name, nothing in (("depth", 0), ("price_decimals", ABSENT), ("qty_decimals", ABSENT)):
        column = columns[name] = np.full(len(rows.updates), nothing, np.int64)
        for place, form in rows.forms.items():
            column[place] = getattr(form, name)


def _leave_out(decoded: Decoded, found: dict[int, str]) -> None:
    """Refuse these frames: nothing of them is kept."""
    decoded.refused |= found
    frames = np.array(sorted(found), np.int64)
    for feed, columns in list(decoded.tables.items()):
        keep = ~np.isin(columns["frame"], frames)
        if not keep.all():
            del decoded.tables[feed]
            _keep(decoded, feed, columns, keep)
    decoded.controls = [one for one in decoded.controls if one.frame not in found]
    decoded.replies = [one for one in decoded.replies if one[0] not in found]
    decoded.losses = [one for one in decoded.losses if one[0] not in found]
    decoded.ignored = [one for one in decoded.ignored if one[0] not in found]


def _keep(decoded: Decoded, feed: str, columns: dict[str, Array], keep: Bool) -> None:
    """Enter some rows of a feed."""
    if feed == "trade" and decoded.ids is not None:
        decoded.ids = [decoded.ids[n] for n in np.flatnonzero(keep).tolist()]
    if feed == "l2" and decoded.levels is not None:
        decoded.levels = _some_levels(decoded.levels, keep)
    if feed in decoded.stands:
        decoded.stands[feed] = decoded.stands[feed][keep]
    if keep.any():
        decoded.tables[feed] = {name: column[keep] for name, column in columns.items()}


def _some_levels(levels: LevelColumns, keep: Bool) -> LevelColumns:
    counts = np.diff(levels.ends)
    of_levels = np.repeat(keep, counts)
    ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts[keep])))
    return LevelColumns(
        ends,
        levels.side[of_levels],
        levels.price[of_levels],
        levels.qty[of_levels],
        levels.long_decimals,
        levels.refused,
    )


def _mark_first(decoded: Decoded, frames: int) -> None:
    """Which row is the first event of its frame: it stands for the frame in the accounts."""
    seen = np.zeros(frames, np.bool_)
    for feed, columns in decoded.tables.items():
        own = columns["frame"]
        first = ~seen[own]
        first[1:] &= own[1:] != own[:-1]
        seen[own] = True
        decoded.stands[feed] = first
