"""A flush cut into what will be messages: a draft per ticker and feed, several if it is large."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from tickbus_schemas.feeds import FEEDS
from tickbus_schemas.layout import ITEM_BYTES
from tickbus_schemas.messages import MAX_MESSAGE_BYTES, Header, L2Batch

from tickbus_ingest.publish.kernels.cutting import (
    LEVELS,
    OFFSETS,
    ROWS,
    TEXT,
    Layout,
    columns_of,
    cut,
    number_texts,
)
from tickbus_ingest.session.tables import (
    Flush,
    InstrumentRow,
    L2Table,
    Piece,
    StatusRow,
    Table,
    joined,
    joined_l2,
)

I64 = npt.NDArray[np.int64]

ROOM_BYTES = MAX_MESSAGE_BYTES - 4096  # the rest is for the header and the columns' framing
PACKET_BYTES = 6 * 8 + 2 + 4
LEVEL_BYTES = 2 + 2 * 8
ID_BYTES = 4 + 64
"""Of a trade's id at most: its offset and its characters."""
KIND_OF: dict[str, type[Header]] = {feed.name: feed.kind for feed in FEEDS if feed.stream == "md"}
ORDER = {feed: place for place, feed in enumerate(KIND_OF)}
"""Of a ticker's messages within a flush."""


class Draft(NamedTuple):
    """A message before it is numbered: the feed's columns as bytes, or one row."""

    feed: str
    columns: bytes
    packets: tuple[I64, int, int] | None = None
    row: StatusRow | InstrumentRow | None = None


Drafts: TypeAlias = dict[int, list[Draft]]
"""By ticker."""


def drafts_of(flush: Flush, first_packet: int) -> Drafts:
    """Everything that a flush says, each ticker's in order; packets count from `first_packet`."""
    drafts: Drafts = {}
    for listed in flush.instruments:
        drafts.setdefault(listed.ticker, []).append(Draft("instrument", b"", None, listed))
    for status in flush.statuses:
        drafts.setdefault(status.ticker, []).append(Draft("status", b"", None, status))
    by_feed: dict[str, list[Table]] = {}
    for feed, table in flush.tables:
        by_feed.setdefault(feed, []).append(table)
    for feed in sorted([*by_feed, *(["l2"] if flush.l2 else [])], key=ORDER.__getitem__):
        if feed == "l2":
            _draft_l2(flush.l2, first_packet, drafts)
        else:
            _draft(feed, _sorted(by_feed[feed]), first_packet, drafts)
    return drafts


def _draft(feed: str, table: Table, first_packet: int, drafts: Drafts) -> None:
    """The messages of a feed but l2."""
    kind = KIND_OF[feed]
    most = _rows_max(kind)
    places: list[int] = []
    bounds: list[tuple[int, int, int, int]] = []
    for ticker, start, stop in table.segments():
        for first in range(start, stop, most):
            places.append(ticker)
            bounds.append((first, min(first + most, stop), 0, 0))
    packets = table.columns["packet_id"]
    columns = {**table.columns, "packet_id": packets + first_packet}
    if "trade_id_offsets" in kind.columns:
        columns["trade_id_offsets"], columns["trade_id_bytes"] = _ids(table)
    data, ends = cut(
        columns_of([columns[name] for name in kind.columns], _layout(kind)),
        np.array(bounds, np.int64),
    )
    for n, (ticker, (first, last, _, _)) in enumerate(zip(places, bounds, strict=True)):
        draft = Draft(feed, data[ends[n] : ends[n + 1]], (packets, first, last))
        drafts.setdefault(ticker, []).append(draft)


def _draft_l2(pieces: list[Piece], first_packet: int, drafts: Drafts) -> None:
    """The messages of books."""
    by_table: dict[int, tuple[L2Table, list[Piece]]] = {}
    order: list[tuple[int, int, int]] = []
    for piece in _one_each(pieces):
        own = by_table.setdefault(id(piece.table), (piece.table, []))[1]
        for part in _by_bytes(piece):
            order.append((piece.ticker, id(piece.table), len(own)))
            own.append(part)
    cuts = {key: _cut_l2(table, parts, first_packet) for key, (table, parts) in by_table.items()}
    for ticker, key, place in order:
        table, parts = by_table[key]
        data, ends = cuts[key]
        piece = parts[place]
        draft = Draft(
            "l2",
            data[ends[place] : ends[place + 1]],
            (table.packet_id, piece.start, piece.stop),
        )
        drafts.setdefault(ticker, []).append(draft)


def _cut_l2(table: L2Table, parts: list[Piece], first_packet: int) -> tuple[bytes, list[int]]:
    columns = [_l2_column(table, name, first_packet) for name in L2Batch.columns]
    rows = np.array([(part.start, part.stop) for part in parts], np.int64)
    bounds = np.concatenate((rows, table.level_ends[rows]), axis=1)
    return cut(columns_of(columns, _layout(L2Batch)), bounds)


def _l2_column(table: L2Table, name: str, first_packet: int) -> npt.NDArray[Any]:
    if name == "levels":
        return np.diff(table.level_ends).astype(np.int32)
    if name == "packet_id":
        return table.packet_id + first_packet
    column: npt.NDArray[Any] = getattr(table, name)
    return column


_PER = {"rows": ROWS, "levels": LEVELS, "rows+1": OFFSETS, "text": TEXT}


@cache
def _layout(kind: type[Header]) -> Layout:
    columns = kind.columns.values()
    return Layout(
        np.array([ITEM_BYTES[width.code] for width in columns], np.int64),
        np.array([_PER[width.per] for width in columns], np.int64),
    )


@cache
def _rows_max(kind: type[Header]) -> int:
    """Rows that surely fit into a message."""
    size = sum(ITEM_BYTES[width.code] for width in kind.columns.values() if width.per == "rows")
    if "trade_id_offsets" in kind.columns:
        size += ID_BYTES
    return ROOM_BYTES // size


def _ids(table: Table) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """Texts of the trades' ids as a message has them."""
    if table.ids is None:
        return number_texts(table.columns["number"])
    return table.ids.ends.astype(np.int32), table.ids.data


def _sorted(tables: list[Table]) -> Table:
    """One table, by ticker."""
    table = joined(tables)
    if len(tables) > 1:
        table = table.take(np.argsort(table.ticker, kind="stable"))
    return table


def _one_each(pieces: list[Piece]) -> Iterator[Piece]:
    """One piece a ticker: those of several are joined."""
    own: dict[int, list[Piece]] = {}
    for piece in pieces:
        own.setdefault(piece.ticker, []).append(piece)
    for ticker, several in own.items():
        if len(several) == 1:
            yield several[0]
        elif all(a.table is b.table and a.stop == b.start for a, b in pairwise(several)):
            yield Piece(ticker, several[0].table, several[0].start, several[-1].stop)
        else:
            table = joined_l2([one.table.cut(one.start, one.stop) for one in several])
            yield Piece(ticker, table, 0, len(table))


def _by_bytes(piece: Piece) -> Iterator[Piece]:
    """Parts of a piece that each fit into a message; no packet is larger than one."""
    ends, start = piece.table.level_ends, piece.start
    while start < piece.stop:
        levels = int(ends[piece.stop] - ends[start])
        if levels * LEVEL_BYTES + (piece.stop - start) * PACKET_BYTES <= ROOM_BYTES:
            yield Piece(piece.ticker, piece.table, start, piece.stop)
            return
        size = (ends[start + 1 : piece.stop + 1] - ends[start]) * LEVEL_BYTES
        size += np.arange(1, len(size) + 1) * PACKET_BYTES
        fit = max(int(np.searchsorted(size, ROOM_BYTES, side="right")), 1)
        yield Piece(piece.ticker, piece.table, start, start + fit)
        start += fit
