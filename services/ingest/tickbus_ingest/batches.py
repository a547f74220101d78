"""A flush becomes messages: one per ticker and feed, split by size, numbered, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from tickbus_schemas import codec, subjects
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import (
    MAX_MESSAGE_BYTES,
    PACKETS_PER_EPOCH,
    BboBatch,
    Clock,
    DeadLetter,
    L2Batch,
    Status,
    StatusKind,
    TradeBatch,
)

from tickbus_ingest.rows import Flush, L2Table, Notice, Piece, Refused

I64 = npt.NDArray[np.int64]

ROOM_BYTES = MAX_MESSAGE_BYTES - 4096  # the rest is for the header and the columns' framing
TRADE_ROWS_MAX = ROOM_BYTES // (3 * 8 + 1 + 2 * 8 + 2 + 4 + 20)  # an id has at most 20 digits
QUOTE_ROWS_MAX = ROOM_BYTES // (9 * 8 + 2)
PACKET_BYTES = 6 * 8 + 2 + 4
LEVEL_BYTES = 2 + 2 * 8
DEAD_LETTER_BYTES = 64 * 1024
TEXT_MAX = 200


class Draft(msgspec.Struct):
    """A message before it is numbered, and where it goes."""

    subject: str
    ticker: int
    build: Callable[..., Any]
    columns: dict[str, Any]
    packets: I64 | None = None
    """packet ids of its rows"""


class Numbered(msgspec.Struct):
    """A message ready to be published."""

    subject: str
    message_no: int
    msg_id: str
    payload: bytes
    ticker: int
    packets: I64 | None = None


class Batches:
    """Numbers the messages of one epoch of a shard."""

    def __init__(self, exchange: Exchange, shard: str, tickers: Sequence[str], epoch: int) -> None:
        self._exchange = exchange
        self._shard = shard
        self._tickers = list(tickers)
        self._epoch = epoch
        self.next_no = 1  # 0 is the fence
        self._dead_letters = 0
        self._subjects: dict[tuple[int, str], str] = {}

    def messages(self, flush: Flush) -> list[Numbered]:
        """All messages of a flush, ordered by ticker; `more` counts down over each ticker's."""
        drafts: dict[int, list[Draft]] = {}
        for notice in flush.statuses:
            drafts.setdefault(notice.ticker, []).append(self._status(notice))
        for feed, pieces, split in (
            ("trade", flush.trades, _split_trades),
            ("l2", flush.l2, _split_l2),
            ("bbo", flush.quotes, _split_quotes),
        ):
            for ticker, own in _by_ticker(pieces).items():
                place = drafts.setdefault(ticker, [])
                subject = self._subject(ticker, feed)
                for build, columns, packets in split(own):
                    place.append(Draft(subject, ticker, build, columns, packets))
        return [
            self._number(draft, more)
            for ticker in sorted(drafts)
            for more, draft in _counted_down(drafts[ticker])
        ]

    def clock(self, timestamp: int, now_us: int, packet_id: int, *, final: bool) -> Numbered:
        """The shard's clock message."""
        columns = {
            "timestamp": timestamp,
            "rcv_timestamp": now_us,
            "packet_id": packet_id,
            "final": final,
        }
        return self._number(Draft(subjects.clock(self._shard), -1, Clock, columns), 0)

    def instead_of(self, refused: Numbered, reason: str) -> Numbered:
        """What is published under the number of a message that the bus refused.

        Rows that were refused are never sent after later ones: a gap stands for them. Messages
        without rows are sent as they are.
        """
        message = codec.decode(refused.payload, values=False)
        if not isinstance(message, TradeBatch | L2Batch | BboBatch):
            return refused
        ids = _ids(message)
        times = np.frombuffer(message.timestamp, np.int64)
        feed = refused.subject.rpartition(".")[2]
        status = Status(
            exchange=self._exchange,
            ticker=message.ticker,
            epoch=self._epoch,
            message_no=refused.message_no,
            more=message.more,
            timestamp=int(times[-1]),
            rcv_timestamp=int(np.frombuffer(message.rcv_timestamp, np.int64)[-1]),
            packet_id=int(np.frombuffer(message.packet_id, np.int64)[-1]),
            kind=StatusKind.GAP,
            feed=feed,
            reason=f"refused by the bus: {reason}"[:TEXT_MAX],
            from_id=int(ids[0]),
            to_id=int(ids[-1]),
            from_timestamp=int(times[0]),
            to_timestamp=int(times[-1]),
        )
        return Numbered(
            self._subject(refused.ticker, "status"),
            refused.message_no,
            f"{refused.msg_id}.gap",  # not the refused id: that message may be stored after all
            codec.encode(status),
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
            packet_id=refused.packet_id,
            service="ingest",
            reason=refused.reason[:TEXT_MAX],
            data=refused.data[:DEAD_LETTER_BYTES],
            size=len(refused.data),
            source=self._shard,
        )
        packet_no = refused.packet_id % PACKETS_PER_EPOCH
        return Numbered(
            subjects.dead_letter("ingest", self._exchange),
            -1,
            f"dlq-ingest-{self._shard}.{self._epoch}.{packet_no}",
            codec.encode(message),
            -1,
        )

    def _status(self, notice: Notice) -> Draft:
        columns = {
            "timestamp": notice.timestamp,
            "rcv_timestamp": notice.rcv_timestamp,
            "packet_id": notice.packet_id,
            "kind": int(notice.kind),
            "feed": notice.feed,
            "reason": notice.reason[:TEXT_MAX],
            "from_id": notice.from_id,
            "to_id": notice.to_id,
            "from_timestamp": notice.from_timestamp,
            "to_timestamp": notice.to_timestamp,
            "line": notice.line,
        }
        return Draft(self._subject(notice.ticker, "status"), notice.ticker, Status, columns)

    def _number(self, draft: Draft, more: int) -> Numbered:
        message = draft.build(
            exchange=self._exchange,
            ticker=self._tickers[draft.ticker] if draft.ticker >= 0 else "",
            epoch=self._epoch,
            message_no=self.next_no,
            more=more,
            **draft.columns,
        )
        number = self.next_no
        self.next_no += 1
        return Numbered(
            draft.subject,
            number,
            f"{self._shard}.{self._epoch}.{number}",
            codec.encode(message),
            draft.ticker,
            draft.packets,
        )

    def _subject(self, ticker: int, feed: str) -> str:
        found = self._subjects.get((ticker, feed))
        if found is None:
            found = subjects.md(self._exchange, self._tickers[ticker], feed)
            self._subjects[ticker, feed] = found
        return found


def _ids(message: TradeBatch | L2Batch | BboBatch) -> list[int]:
    """First and last id in a message."""
    if isinstance(message, TradeBatch):
        ends = np.frombuffer(message.trade_id_offsets, np.int32).tolist()
        text = message.trade_id_bytes
        return [int(text[ends[0] : ends[1]]), int(text[ends[-2] : ends[-1]])]
    return np.frombuffer(message.update_id, np.int64)[[0, -1]].tolist()  # type: ignore[no-any-return]  # numpy's tolist


def _counted_down(drafts: list[Draft]) -> Iterator[tuple[int, Draft]]:
    return zip(range(len(drafts) - 1, -1, -1), drafts, strict=True)


def _by_ticker(pieces: list[Piece]) -> dict[int, list[Piece]]:
    own: dict[int, list[Piece]] = {}
    for piece in pieces:
        own.setdefault(piece.ticker, []).append(piece)
    return own


Split = tuple[type, dict[str, Any], I64]


def _by_rows(pieces: list[Piece], rows_max: int) -> Iterator[list[Piece]]:
    """Groups of pieces with at most `rows_max` rows together; large pieces are cut."""
    group: list[Piece] = []
    room = rows_max
    for piece in pieces:
        start = piece.start
        while piece.stop - start > room:
            group.append(Piece(piece.ticker, piece.table, start, start + room))
            yield group
            start += room
            group, room = [], rows_max
        if start < piece.stop:
            group.append(Piece(piece.ticker, piece.table, start, piece.stop))
            room -= piece.stop - start
    if group:
        yield group


class _Columns:
    """Takes some columns of pieces as the bytes of the message."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._get = attrgetter(*names)

    def of(self, pieces: list[Piece]) -> dict[str, Any]:
        """Column name -> bytes, all pieces behind one another."""
        parts = [
            [column[piece.start : piece.stop].tobytes() for column in self._get(piece.table)]
            for piece in pieces
        ]
        if len(parts) == 1:
            return dict(zip(self._names, parts[0], strict=True))
        return dict(zip(self._names, map(b"".join, zip(*parts, strict=True)), strict=True))


def _packets(pieces: list[Piece]) -> I64:
    columns = [piece.table.packet_id[piece.start : piece.stop] for piece in pieces]
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


_TRADE = _Columns(
    "timestamp", "rcv_timestamp", "packet_id", "side", "price", "qty", "flags", "trade_id"
)
_QUOTE = _Columns(
    "timestamp", "engine_timestamp", "rcv_timestamp", "packet_id", "update_id", "bid_px", "bid_sz",
    "ask_px", "ask_sz", "flags",
)  # fmt: skip
_PACKET = _Columns(
    "timestamp", "engine_timestamp", "rcv_timestamp", "packet_id", "prev_update_id", "update_id",
    "flags",
)  # fmt: skip
_LEVEL = _Columns("side", "action", "price", "qty")


def _split_trades(pieces: list[Piece]) -> Iterator[Split]:
    for group in _by_rows(pieces, TRADE_ROWS_MAX):
        columns = _TRADE.of(group)
        texts = list(map(str, np.frombuffer(columns.pop("trade_id"), np.int64).tolist()))
        offsets = np.zeros(len(texts) + 1, np.int32)
        np.cumsum(list(map(len, texts)), out=offsets[1:])
        columns["trade_id_offsets"] = offsets.tobytes()
        columns["trade_id_bytes"] = "".join(texts).encode()
        yield TradeBatch, columns, _packets(group)


def _split_quotes(pieces: list[Piece]) -> Iterator[Split]:
    for group in _by_rows(pieces, QUOTE_ROWS_MAX):
        yield BboBatch, _QUOTE.of(group), _packets(group)


def _split_l2(pieces: list[Piece]) -> Iterator[Split]:
    for group in _by_bytes(pieces):
        columns = _PACKET.of(group)
        counts, levels = [], []
        for piece in group:
            table = piece.table
            assert isinstance(table, L2Table)
            ends = table.level_ends[piece.start : piece.stop + 1]
            counts.append((ends[1:] - ends[:-1]).astype(np.int32).tobytes())
            levels.append(Piece(piece.ticker, table, int(ends[0]), int(ends[-1])))
        columns["levels"] = b"".join(counts)
        columns.update(_LEVEL.of(levels))
        yield L2Batch, columns, _packets(group)


def _by_bytes(pieces: list[Piece]) -> Iterator[list[Piece]]:
    """Groups of pieces that fit into a message together; no packet is larger than one."""
    group: list[Piece] = []
    room = ROOM_BYTES
    for piece in pieces:
        table, start = piece.table, piece.start
        assert isinstance(table, L2Table)
        if piece.stop - start == 1 and not group:  # it fits: see rows.PACKET_LEVELS_MAX
            levels = int(table.level_ends[piece.stop] - table.level_ends[start])
            group, room = [piece], ROOM_BYTES - levels * LEVEL_BYTES - PACKET_BYTES
            continue
        while start < piece.stop:
            ends = table.level_ends[start : piece.stop + 1]
            size = (ends[1:] - ends[0]) * LEVEL_BYTES
            size += np.arange(1, len(ends), dtype=np.int64) * PACKET_BYTES
            fit = int(np.searchsorted(size, room, side="right"))
            if fit == 0:
                yield group  # not empty: a packet alone fits (see rows.PACKET_LEVELS_MAX)
                group, room = [], ROOM_BYTES
                continue
            group.append(Piece(piece.ticker, table, start, start + fit))
            room -= int(size[fit - 1])
            start += fit
    if group:
        yield group


__all__ = ["Batches", "Numbered"]
