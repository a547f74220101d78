"""A flush becomes messages: one per ticker and feed, split by size, numbered, in their order.

Everything that belongs to the publisher's life is here: the epoch, the numbers of the messages,
the epoch's part of `packet_id`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from tickbus_schemas import codec, subjects
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.feeds import FEEDS
from tickbus_schemas.layout import ITEM_BYTES
from tickbus_schemas.messages import (
    ABSENT,
    MAX_MESSAGE_BYTES,
    PACKETS_PER_EPOCH,
    Clock,
    DeadLetter,
    Header,
    Instrument,
    L2Batch,
    Status,
    StatusKind,
)

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
    Refused,
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
DEAD_LETTER_BYTES = 64 * 1024
TEXT_MAX = 200
KIND_OF: dict[str, type[Header]] = {feed.name: feed.kind for feed in FEEDS if feed.stream == "md"}
ORDER = {feed: place for place, feed in enumerate(KIND_OF)}
"""Of a ticker's messages within a flush."""


class Numbered(msgspec.Struct):
    """A message ready to be published."""

    subject: str
    message_no: int
    msg_id: str
    payload: bytes
    ticker: int
    packets: tuple[I64, int, int] | None = None
    """packet numbers of its rows: a column and a range of it"""


class Draft(NamedTuple):
    """A message before it is numbered: the feed's columns as bytes, or one row."""

    feed: str
    columns: bytes
    packets: tuple[I64, int, int] | None = None
    row: StatusRow | InstrumentRow | None = None


class Messages:
    """Numbers the messages of one epoch of a shard."""

    def __init__(self, exchange: Exchange, shard: str, tickers: Sequence[str], epoch: int) -> None:
        self._exchange = exchange
        self._shard = shard
        self._tickers = list(tickers)
        self._epoch = epoch
        self._first_packet = epoch * PACKETS_PER_EPOCH
        self.next_no = 1  # 0 is the fence
        self._dead_letters = 0
        self._subjects: dict[tuple[int, str], str] = {}
        self._heads: dict[tuple[int, str, int], tuple[bytes, bytes]] = {}

    def of(self, flush: Flush) -> list[Numbered]:
        """All messages of a flush, ordered by ticker; `more` counts down over each ticker's."""
        drafts: dict[int, list[Draft]] = {}
        for listed in flush.instruments:
            drafts.setdefault(listed.ticker, []).append(Draft("instrument", b"", None, listed))
        for status in flush.statuses:
            drafts.setdefault(status.ticker, []).append(Draft("status", b"", None, status))
        by_feed: dict[str, list[Table]] = {}
        for feed, table in flush.tables:
            by_feed.setdefault(feed, []).append(table)
        for feed in sorted([*by_feed, *(["l2"] if flush.l2 else [])], key=ORDER.__getitem__):
            if feed == "l2":
                self._draft_l2(flush.l2, drafts)
            else:
                self._draft(feed, _sorted(by_feed[feed]), drafts)
        numbered: list[Numbered] = []
        for ticker in sorted(drafts):
            own = drafts[ticker]
            more = len(own)
            for draft in own:
                more -= 1
                numbered.append(self._number(draft, ticker, more))
        return numbered

    # ---------------------------------------------------------------- drafts

    def _draft(self, feed: str, table: Table, drafts: dict[int, list[Draft]]) -> None:
        kind = KIND_OF[feed]
        most = _rows_max(kind)
        places: list[int] = []
        bounds: list[tuple[int, int, int, int]] = []
        for ticker, start, stop in table.segments():
            for first in range(start, stop, most):
                places.append(ticker)
                bounds.append((first, min(first + most, stop), 0, 0))
        packets = table.columns["packet_id"]
        columns = {**table.columns, "packet_id": packets + self._first_packet}
        if "trade_id_offsets" in kind.columns:
            columns["trade_id_offsets"], columns["trade_id_bytes"] = _ids(table)
        data, ends = cut(
            columns_of([columns[name] for name in kind.columns], _layout(kind)),
            np.array(bounds, np.int64),
        )
        for n, (ticker, (first, last, _, _)) in enumerate(zip(places, bounds, strict=True)):
            draft = Draft(feed, data[ends[n] : ends[n + 1]], (packets, first, last))
            drafts.setdefault(ticker, []).append(draft)

    def _draft_l2(self, pieces: list[Piece], drafts: dict[int, list[Draft]]) -> None:
        by_table: dict[int, tuple[L2Table, list[Piece]]] = {}
        order: list[tuple[int, int, int]] = []
        for piece in _one_each(pieces):
            own = by_table.setdefault(id(piece.table), (piece.table, []))[1]
            for part in _by_bytes(piece):
                order.append((piece.ticker, id(piece.table), len(own)))
                own.append(part)
        cuts = {key: self._cut_l2(table, parts) for key, (table, parts) in by_table.items()}
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

    def _cut_l2(self, table: L2Table, parts: list[Piece]) -> tuple[bytes, list[int]]:
        columns = [self._l2_column(table, name) for name in L2Batch.columns]
        rows = np.array([(part.start, part.stop) for part in parts], np.int64)
        bounds = np.concatenate((rows, table.level_ends[rows]), axis=1)
        return cut(columns_of(columns, _layout(L2Batch)), bounds)

    def _l2_column(self, table: L2Table, name: str) -> npt.NDArray[Any]:
        if name == "levels":
            return np.diff(table.level_ends).astype(np.int32)
        if name == "packet_id":
            return table.packet_id + self._first_packet
        column: npt.NDArray[Any] = getattr(table, name)
        return column

    # --------------------------------------------------------------- numbers

    def _number(self, draft: Draft, ticker: int, more: int) -> Numbered:
        number = self.next_no
        self.next_no += 1
        if isinstance(draft.row, StatusRow):
            payload = codec.encode(self._status(draft.row, number, more))
        elif draft.row is not None:
            payload = codec.encode(self._instrument(draft.row, number, more))
        else:
            before, behind = self._head(ticker, draft.feed, more)
            payload = b"".join((before, codec.number(number), behind, draft.columns))
        return Numbered(
            self._subject(ticker, draft.feed),
            number,
            f"{self._shard}.{self._epoch}.{number}",
            payload,
            ticker,
            draft.packets,
        )

    def _head(self, ticker: int, feed: str, more: int) -> tuple[bytes, bytes]:
        """The bytes of a message before and behind its number, up to its columns."""
        key = (ticker, feed, more)
        found = self._heads.get(key)
        if found is None:
            kind: Any = KIND_OF[feed]
            empty: dict[str, Any] = dict.fromkeys(kind.columns, b"")
            message = kind(
                exchange=self._exchange,
                ticker=self._tickers[ticker],
                epoch=self._epoch,
                message_no=0,
                more=more,
                **empty,
            )
            found = self._heads[key] = codec.frame(message)
        return found

    def _subject(self, ticker: int, feed: str) -> str:
        found = self._subjects.get((ticker, feed))
        if found is None:
            found = subjects.md(self._exchange, self._tickers[ticker], feed)
            self._subjects[ticker, feed] = found
        return found

    def _status(self, row: StatusRow, number: int, more: int) -> Status:
        return Status(
            exchange=self._exchange,
            ticker=self._tickers[row.ticker],
            epoch=self._epoch,
            message_no=number,
            more=more,
            timestamp=row.timestamp,
            rcv_timestamp=row.rcv_timestamp,
            packet_id=row.packet_id + self._first_packet,
            kind=int(row.kind),
            feed=row.feed,
            reason=row.reason[:TEXT_MAX],
            from_id=row.from_id,
            to_id=row.to_id,
            from_timestamp=row.from_timestamp,
            to_timestamp=row.to_timestamp,
            line=row.line,
        )

    def _instrument(self, row: InstrumentRow, number: int, more: int) -> Instrument:
        fields = msgspec.structs.asdict(row.instrument)
        return Instrument(
            exchange=self._exchange,
            epoch=self._epoch,
            message_no=number,
            more=more,
            timestamp=row.timestamp,
            rcv_timestamp=row.timestamp,
            packet_id=row.packet_id + self._first_packet,
            **fields,
        )

    # ---------------------------------------------------------------- others

    def clock(self, timestamp: int, now_us: int, packets: int, *, final: bool) -> Numbered:
        """The shard's clock message."""
        number = self.next_no
        self.next_no += 1
        message = Clock(
            exchange=self._exchange,
            ticker="",
            epoch=self._epoch,
            message_no=number,
            timestamp=timestamp,
            rcv_timestamp=now_us,
            packet_id=packets + self._first_packet,
            final=final,
        )
        msg_id = f"{self._shard}.{self._epoch}.{number}"
        return Numbered(subjects.clock(self._shard), number, msg_id, codec.encode(message), -1)

    def instead_of(self, refused: Numbered, reason: str) -> Numbered:
        """What is published under the number of a message that the bus refused.

        Rows that were refused are never sent after later ones: a gap stands for them. Messages
        without rows are sent as they are.
        """
        message: Any = codec.decode(refused.payload, values=False)
        if not message.columns:
            return refused
        times = np.frombuffer(message.timestamp, np.int64)
        from_id, to_id = _first_and_last_id(message)
        status = StatusRow(
            refused.ticker,
            StatusKind.GAP,
            int(times[-1]),
            int(np.frombuffer(message.rcv_timestamp, np.int64)[-1]),
            int(np.frombuffer(message.packet_id, np.int64)[-1]) - self._first_packet,
            feed=refused.subject.rpartition(".")[2],
            reason=f"refused by the bus: {reason}",
            from_id=from_id,
            to_id=to_id,
            from_timestamp=int(times[0]),
            to_timestamp=int(times[-1]),
        )
        return Numbered(
            self._subject(refused.ticker, "status"),
            refused.message_no,
            f"{refused.msg_id}.gap",  # not the refused id: that message may be stored after all
            codec.encode(self._status(status, refused.message_no, message.more)),
            refused.ticker,
        )

    def dead_letter(self, refused: Refused) -> Numbered:
        """A frame that nobody understands, for later eyes; not numbered in the shard."""
        self._dead_letters += 1
        message = DeadLetter(
            exchange=self._exchange,
            ticker="",
            epoch=self._epoch,
            message_no=self._dead_letters,
            timestamp=refused.rcv_timestamp,
            packet_id=refused.packet_id + self._first_packet,
            service="ingest",
            reason=refused.reason[:TEXT_MAX],
            data=refused.data[:DEAD_LETTER_BYTES],
            size=len(refused.data),
            source=self._shard,
        )
        return Numbered(
            subjects.dead_letter("ingest", self._exchange),
            -1,
            f"dlq-ingest-{self._shard}.{self._epoch}.{refused.packet_id}",
            codec.encode(message),
            -1,
        )


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


def _first_and_last_id(message: Any) -> tuple[int, int]:
    """Of the rows of a message; ABSENT where ids are no numbers."""
    if hasattr(message, "trade_id_bytes"):
        ends = np.frombuffer(message.trade_id_offsets, np.int32).tolist()
        text = message.trade_id_bytes
        ids = [text[ends[0] : ends[1]], text[ends[-2] : ends[-1]]]
        if all(one.isdigit() and len(one) < 19 for one in ids):
            return int(ids[0]), int(ids[1])
        return ABSENT, ABSENT
    if hasattr(message, "update_id"):
        first, last = np.frombuffer(message.update_id, np.int64)[[0, -1]].tolist()
        return first, last
    return ABSENT, ABSENT


__all__ = ["Messages", "Numbered"]
