"""The drafts of a flush become messages: numbered, in their order.

Everything that belongs to the publisher's life is here: the epoch, the numbers of the messages,
the epoch's part of `packet_id`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from tickbus_schemas import codec, subjects
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import (
    PACKETS_PER_EPOCH,
    Clock,
    DeadLetter,
    Instrument,
    Status,
)

from tickbus_ingest.publish.drafts import KIND_OF, Draft, drafts_of
from tickbus_ingest.publish.refused_rows import gap_of
from tickbus_ingest.session.tables import (
    Flush,
    InstrumentRow,
    Refused,
    StatusRow,
)

I64 = npt.NDArray[np.int64]

DEAD_LETTER_BYTES = 64 * 1024
TEXT_MAX = 200


class Numbered(msgspec.Struct):
    """A message ready to be published."""

    subject: str
    message_no: int
    msg_id: str
    payload: bytes
    ticker: int
    packets: tuple[I64, int, int] | None = None
    """packet numbers of its rows: a column and a range of it"""


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

    def grow(self, tickers: Sequence[str]) -> None:
        """The tickers are these now: the ones known before, and others behind them."""
        self._tickers = list(tickers)

    def of(self, flush: Flush) -> list[Numbered]:
        """All messages of a flush, ordered by ticker; `more` counts down over each ticker's."""
        drafts = drafts_of(flush, self._first_packet)
        numbered: list[Numbered] = []
        for ticker in sorted(drafts):
            own = drafts[ticker]
            more = len(own)
            for draft in own:
                more -= 1
                numbered.append(self._number(draft, ticker, more))
        return numbered

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
        feed = refused.subject.rpartition(".")[2]
        status = gap_of(message, refused.ticker, feed, f"refused by the bus: {reason}")
        status.packet_id -= self._first_packet
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
