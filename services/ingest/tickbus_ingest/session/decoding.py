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
from tickbus_ingest.session.row_columns import columns_of
from tickbus_ingest.session.sanity import negative_levels
from tickbus_ingest.session.tables import I64, Array, Bool
from tickbus_ingest.session.texts import Texts
from tickbus_ingest.venue.contract import Line, TradeIds, Venue
from tickbus_ingest.venue.feeds import FEEDS, Treatment, name_of
from tickbus_ingest.venue.guard import FAILED, failure
from tickbus_ingest.venue.rows import Control, Rows

_LONG = re.compile(rb"[1-9][0-9]{15}|[1-9][0-9]*\.[0-9]{15}")
"""A number with more digits than a double gives back, or nearly: looked for in a sample."""
ID_LENGTH_MAX = 64
SAMPLE_FRAMES = 256
"""One frame of so many is searched for long numbers."""


@dataclass(slots=True)
class Decoded:
    """The events of some frames, by feed; rows in order of arrival."""

    tables: dict[str, dict[str, Array]] = field(default_factory=dict)
    ids: Texts | None = None
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
        self._until_sample = 0
        self._listed = {name_of(feed) for feed in venue.feeds}
        self._wanted = {name_of(feed) for feed in venue.wanted}

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
        self._until_sample -= len(data)
        if data and self._until_sample < 0:
            self._until_sample = SAMPLE_FRAMES
            decoded.long_decimals += _LONG.search(data[0]) is not None
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
                refused[n] = self._reason("read", error)
        return rows

    def _reason(self, function: str, error: Exception) -> str:
        """Why a frame is refused: the venue's file says so, or fails."""
        return str(error) if isinstance(error, Reject) else failure(self._venue, function, error)

    def body(self, function: str, parse: Callable[[Rows], None], received_us: int) -> Decoded:
        """What a REST body holds, which this function of the venue parses; refused as frame 0."""
        rows = Rows(self._venue.index)
        refused: dict[int, str] = {}
        try:
            parse(rows)
        except Exception as error:  # as above
            rows.undo()
            refused[0] = self._reason(function, error)
        return self._columns(rows, refused, np.array([received_us]))

    def _columns(self, rows: Rows, refused: dict[int, str], received_us: I64) -> Decoded:
        decoded = Decoded(
            controls=rows.controls,
            replies=rows.replies,
            losses=rows.losses,
            ignored=rows.ignored_frames,
            refused=refused,
        )
        found: dict[int, str] = {}
        seen = np.zeros(len(received_us), np.bool_)
        for feed in FEEDS:
            events = rows.events[feed.name]
            if not events:
                continue
            if feed.name not in self._wanted:
                self._leave_aside(feed.name, events, decoded, found)
                continue
            columns, stands, bad, behind = columns_of(feed, events, received_us, seen)
            found.update(bad)
            decoded.tables[feed.name], decoded.stands[feed.name] = columns, stands
            if feed.treatment is Treatment.TRADES:
                found.update(self._number_trades(decoded, columns, behind))
            elif feed.treatment is Treatment.BOOK:
                found.update(self._read_levels(decoded, columns, rows))
        if found:
            _leave_out(decoded, found)
        return decoded

    def _leave_aside(
        self,
        feed: str,
        events: list[tuple[Any, ...]],
        decoded: Decoded,
        found: dict[int, str],
    ) -> None:
        """Rows of a feed that nobody asked for, or that the venue's file does not name."""
        frames = dict.fromkeys(event[0] for event in events)
        if feed in self._listed:
            decoded.ignored += [(frame, feed) for frame in frames]
        else:
            token = self._venue.exchange.token
            why = f"{FAILED}: {token} gives a row of {feed}, which its feeds do not name"
            found.update(dict.fromkeys(frames, why))

    def _read_levels(
        self, decoded: Decoded, columns: dict[str, Array], rows: Rows
    ) -> dict[int, str]:
        _enter_forms(columns, rows)
        levels = decoded.levels = read_levels(rows.level_texts, self._venue.levels)
        decoded.long_decimals += levels.long_decimals
        frames = columns["frame"]
        bad = {int(frames[n]): why for n, why in levels.refused.items()}
        return bad | negative_levels(levels, frames)

    def _number_trades(
        self, decoded: Decoded, table: dict[str, Array], ids: tuple[Any, ...]
    ) -> dict[int, str]:
        """Make `number` of the ids where it is not given; frames whose ids cannot be."""
        kind = self._venue.trade_ids
        if kind is TradeIds.DENSE:
            try:
                table["number"] = np.array(ids, np.int64)
            except (OverflowError, TypeError, ValueError):
                table["number"], bad = _integers(ids, table["frame"].tolist())
                return bad
            return {}
        texts, bad = _id_texts(ids, table["frame"], may_be_empty=kind is TradeIds.NONE)
        decoded.ids = texts
        if kind is TradeIds.UNIQUE:
            table["number"] = texts.hashes()
        return bad


def _id_texts(
    ids: Sequence[Any], frames: I64, *, may_be_empty: bool
) -> tuple[Texts, dict[int, str]]:
    """The texts, empty where one cannot be an id, and the frames of those."""
    texts = [str(one) for one in ids]
    shortest, longest = min(map(len, texts)), max(map(len, texts))
    if longest <= ID_LENGTH_MAX and (shortest or may_be_empty) and "".join(texts).isascii():
        return Texts.of(texts), {}
    bad: dict[int, str] = {}
    for n, one in enumerate(texts):
        if not (one or may_be_empty) or len(one) > ID_LENGTH_MAX or not one.isascii():
            why = f"trade id {one[:40]!r} is not text of 1 to {ID_LENGTH_MAX} ASCII characters"
            bad[int(frames[n])] = why
            texts[n] = ""
    return Texts.of(texts), bad


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
        column = columns[name] = np.full(len(columns["frame"]), nothing, np.int64)
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
        decoded.ids = decoded.ids.take(np.flatnonzero(keep))
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
