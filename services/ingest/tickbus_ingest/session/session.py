"""One venue's session without I/O: frames and notices in; rows, statuses and wishes out.

Packets are numbered from 1 here. The epoch, which makes a `packet_id` of the number, belongs to
whoever publishes: a standby has a session and no epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import ABSENT, DerivativeField, L2Flag, StatusKind

from tickbus_ingest.session.arbiter import Arbiter
from tickbus_ingest.session.book_rules import BookRules, SnapshotRule, State
from tickbus_ingest.session.books import TickerBook
from tickbus_ingest.session.decoding import Decoded, FrameDecoder, l2_table_of, table_of
from tickbus_ingest.session.kernels import by_ticker, gather_levels, observe
from tickbus_ingest.session.latest import LatestPolicy
from tickbus_ingest.session.quotes import QuotePolicy
from tickbus_ingest.session.tables import (
    Flush,
    InstrumentRow,
    L2Table,
    Refused,
    StatusRow,
    Table,
)
from tickbus_ingest.session.trades import TradePolicy, content_numbers
from tickbus_ingest.venue.contract import (
    Line,
    Route,
    Snapshots,
    TradeIds,
    UpdateIds,
    Venue,
)
from tickbus_ingest.venue.instruments import Instrument
from tickbus_ingest.venue.rows import TICKER_VALUES, Control, Rows
from tickbus_ingest.wire import buffer
from tickbus_ingest.wire.buffer import Frames

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
Bool = npt.NDArray[np.bool_]

CLOCK_AHEAD_US = 60_000_000  # a venue time further ahead than this does not move the shard's clock
HELD_MAX_US = 10_000_000  # updates that wait for a snapshot hold the clock back for so long
WAIT_US = 200_000
HURRY_MAX_S = 1.0
"""Venue time that passes between two ticks counts for so much at most: one wrong time is no hour"""
ERRORS_MAX = 20
"""Texts of refusals that one flush keeps."""


class Policy(Protocol):
    """What every feed's policy does besides taking rows."""

    def interrupt(self, tickers: list[int]) -> None:
        """What was sent of these tickers meanwhile is lost."""


class Session:
    """State of everything that one shard's ingest knows of its venue."""

    def __init__(
        self,
        venue: Venue,
        *,
        max_frame_bytes: int = 4 * 2**20,
        rule: SnapshotRule | None = None,
        wait_us: int = WAIT_US,
    ) -> None:
        """`wait_us`: how long what comes too early waits for what it follows, in venue time."""
        self.venue = venue
        self.packets = 0
        """frames and REST bodies received so far: the number of the last packet"""
        count = len(venue.tickers)
        self._decoder = FrameDecoder(venue, max_frame_bytes)
        rules = BookRules.of(venue, rule or SnapshotRule(), wait_us)
        is_global = venue.numbering_is_global and rules.has_numbers
        self._arbiter = Arbiter(count, is_global=is_global)
        self.books = [
            TickerBook(n, name, venue, rules, self._arbiter) for n, name in enumerate(venue.tickers)
        ]
        self._has_books = "l2" in venue.wanted and venue.snapshots is not Snapshots.NONE
        self.trades = TradePolicy(count, venue.trade_ids, wait_us=wait_us)
        self.liquidations = TradePolicy(count, TradeIds.UNIQUE, wait_us=0, feed="liquidation")
        self.quotes = QuotePolicy(count)
        self.latest = {
            "ticker": LatestPolicy(
                "ticker", count, ("trade_count", *TICKER_VALUES), tells_fields=False
            ),
            "derivative": LatestPolicy(
                "derivative",
                count,
                tuple(str(field.name).lower() for field in DerivativeField),
                tells_fields=True,
            ),
        }
        self._policies: dict[str, Policy] = {
            "trade": self.trades, "liquidation": self.liquidations, "bbo": self.quotes,
            **self.latest,
        }  # fmt: skip
        self._seen_us: I64 = np.zeros(count, np.int64)
        self._highest_us = 0
        self._ticked_s, self._ticked_us, self._passed_s = 0.0, 0, 0.0
        self.heard = {feed: np.zeros(count, np.bool_) for feed in venue.feeds}
        """by feed: tickers that were heard since somebody cleared it"""
        self._lines: dict[int, Line] = {}
        self._listed: dict[int, Instrument] = {}

    # --------------------------------------------------------------- frames

    def receive(self, batch: Frames, out: Flush) -> None:
        """Take frames in order of arrival."""
        count = len(batch)
        if not count:
            return
        first = self.packets + 1
        self.packets += count
        received_us = np.array(batch.received_ns, np.int64) // 1000
        known = {number: self._line(number) for number in set(batch.line)}
        lines = [known[number] for number in batch.line]
        decoded = self._decoder.frames(batch.data, lines, received_us, batch.size)
        arrived = _Arrived(
            received_us,
            np.arange(first, first + count, dtype=np.int64),
            np.array(batch.line, np.int32),
        )
        self._take_rest(decoded, batch, arrived, out)
        if decoded.losses:
            self._take_around_losses(decoded, arrived, out)
        else:
            self._take_rows(decoded, arrived, out)

    def _line(self, number: int) -> Line:
        """The connection of a frame; what a closed one still brought has an empty memory."""
        line = self._lines.get(number)
        if line is None:
            line = self._lines[number] = Line(number, Route("", ()))
        return line

    def _take_rest(self, decoded: Decoded, batch: Frames, arrived: _Arrived, out: Flush) -> None:
        """What is no row: refusals, answers, notices."""
        if decoded.long_decimals:
            out.counts["long_decimals", ""] += decoded.long_decimals
        for frame, why in decoded.refused.items():
            packet, received = int(arrived.packet_id[frame]), int(arrived.received_us[frame])
            out.refused.append(Refused(packet, received, why, batch.data[frame]))
            out.fates["refused", ""] += 1
        out.replies += [(batch.line[frame], reply) for frame, reply in decoded.replies]
        for control in decoded.controls:
            self._control(control, batch.line[control.frame], out)
        self._tell_fates(decoded, len(batch), out)

    def _tell_fates(self, decoded: Decoded, count: int, out: Flush) -> None:
        """Of the frames without an event; the policies tell the others'."""
        has_rows = np.zeros(count, np.bool_)
        for columns in decoded.tables.values():
            has_rows[columns["frame"]] = True
        without = count - int(np.count_nonzero(has_rows)) - len(decoded.refused)
        if not without:
            return
        for frame, channel in dict(decoded.ignored).items():
            if not has_rows[frame] and frame not in decoded.refused:
                out.fates["ignored", channel] += 1
                without -= 1
        if without:
            out.fates["control", ""] += without

    def _control(self, control: Control, line: int, out: Flush) -> None:
        if control.closing:
            out.closing_lines.add(line)
        if control.error:
            if len(out.errors) < ERRORS_MAX:
                out.errors.append(control.text)
            out.counts["venue_errors", ""] += 1
        if control.answer:
            out.answers.append((line, control.error, control.stream))

    def _take_around_losses(self, decoded: Decoded, arrived: _Arrived, out: Flush) -> None:
        """Rows before a loss belong to books that were whole; those behind it do not."""
        start = 0
        for frame, reason in decoded.losses:
            self._take_rows(decoded.between(start, frame), arrived, out)
            number = int(arrived.line[frame])
            received_us, packet = int(arrived.received_us[frame]), int(arrived.packet_id[frame])
            self._lose_line(number, reason, received_us, out, hole_at=packet)
            out.broken_lines.add(number)
            start = frame
        self._take_rows(decoded.between(start, len(arrived.packet_id)), arrived, out)

    def _take_rows(self, decoded: Decoded, arrived: _Arrived, out: Flush) -> None:
        seen = self._observe(decoded, arrived, out)
        for feed in decoded.tables:
            columns = decoded.tables[feed]
            ticker = columns["ticker"]
            if not len(ticker):
                continue
            self.heard[feed][ticker] = True
            order = np.empty(len(ticker), np.int64)
            by_ticker(ticker, len(self.books), order)
            if feed == "l2":
                updates = l2_table_of(
                    decoded, order, arrived.received_us, arrived.packet_id, arrived.line,
                    gather_levels,
                )  # fmt: skip
                self._take_updates(ticker[order], updates, seen[feed][order], out)
            else:
                self._take(
                    feed,
                    table_of(decoded, feed, order, arrived.received_us, arrived.packet_id),
                    seen[feed][order],
                    out,
                )

    def _take(self, feed: str, table: Table, seen_us: I64, out: Flush) -> None:
        columns = table.columns
        if feed == "trade":
            self.trades.take(table, out)
        elif feed == "bbo":
            self.quotes.take(table, seen_us, out)
        elif feed == "liquidation":
            number = columns["number"] = np.empty(len(table), np.int64)
            content_numbers(
                table.ticker, columns["packet_id"], columns["timestamp"], columns["side"],
                columns["price"], columns["qty"], number,
            )  # fmt: skip
            columns["position_side"] = -columns["side"]  # a sell order closes a long position
            self.liquidations.take(table, out)
        else:
            self.latest[feed].take(table, seen_us, out)

    def _observe(self, decoded: Decoded, arrived: _Arrived, out: Flush) -> dict[str, I64]:
        """Move the clock; by feed: highest venue time seen of each row's ticker up to it.

        In order of frames over all feeds where a time must be inferred from it.
        """
        tables = decoded.tables
        times = {feed: _event_us(columns) for feed, columns in tables.items()}
        groups = [[feed] for feed in tables]
        if any(not time.all() for time in times.values()):
            groups = [list(tables)]
        seen: dict[str, I64] = {}
        for feeds in groups:
            frame = np.concatenate([tables[feed]["frame"] for feed in feeds])
            ticker = np.concatenate([tables[feed]["ticker"] for feed in feeds])
            time = np.concatenate([times[feed] for feed in feeds])
            order = np.argsort(frame, kind="stable") if len(feeds) > 1 else slice(None)
            before, wire_us = np.empty(len(frame), np.int64), np.empty(len(frame), np.int64)
            highest, timed = observe(
                frame[order], ticker[order], time[order], arrived.received_us, CLOCK_AHEAD_US,
                self._seen_us, before, wire_us,
            )  # fmt: skip
            self._highest_us = max(self._highest_us, highest)
            out.wire_us.append(wire_us[:timed])
            found = np.empty_like(before)
            found[order] = before
            ends = np.cumsum([0] + [len(times[feed]) for feed in feeds]).tolist()
            for n, feed in enumerate(feeds):
                seen[feed] = found[ends[n] : ends[n + 1]]
        return seen

    def _take_updates(self, ticker: I32, table: L2Table, seen_us: I64, out: Flush) -> None:
        if self.venue.update_ids is UpdateIds.COUNTED:
            linked = table.prev_update_id == ABSENT
            table.prev_update_id[linked] = table.update_id[linked] - 1
        inferred = table.timestamp == 0
        if inferred.any():
            times = np.where(seen_us > 0, seen_us, table.rcv_timestamp)
            table.timestamp = np.where(inferred, times, table.timestamp)
            table.flags[inferred] |= np.uint16(L2Flag.TIME_INFERRED)
            out.counts["inferred_times", "l2"] += int(inferred.sum())
        segments = Table(ticker, table.stands, {}).segments()
        parts = table.in_parts()
        if parts is not table:
            out.counts["packet_parts", ""] += len(parts) - len(table)
            place = np.searchsorted(parts.level_ends, table.level_ends)
            segments = [(one, int(place[a]), int(place[b])) for one, a, b in segments]
        books = self.books
        take_or_update = not parts.whole.any()
        for one, start, stop in segments:
            if take_or_update:
                books[one].update(parts, start, stop, out)
            else:
                books[one].take(parts, start, stop, out)

    # -------------------------------------------------------------- notices

    def notice(self, notice: buffer.BufferNotice, out: Flush) -> None:
        """Take what happened between two frames."""
        match notice:
            case buffer.Body():
                self._take_body(notice, out)
            case buffer.Failed():
                self._failed(notice, out)
            case buffer.Overflow():
                self._overflow(notice, out)
            case buffer.Connected():
                self._connected(notice, out)
            case buffer.Disconnected():
                received_us = notice.received_ns // 1000
                self._lose_line(notice.line, notice.reason, received_us, out)
            case buffer.Replaced():
                self._replaced(notice, out)

    def _connected(self, notice: buffer.Connected, out: Flush) -> None:
        line = notice.line
        self.venue.connected(line)
        self._lines[line.number] = line
        received_us = notice.received_ns // 1000
        tickers = self._tickers_of(line)
        self._announce(tickers, StatusKind.CONNECTED, "", received_us, line.number, out)

    def _replaced(self, notice: buffer.Replaced, out: Flush) -> None:
        self._lines.pop(notice.line, None)
        self._follow_nobody(self._arbiter.replace(notice.line, notice.by), out)

    def _follow_nobody(self, tickers: Iterable[int], out: Flush) -> None:
        """These books followed a connection that is closed or had a hole; another carries them."""
        if self.venue.snapshots is Snapshots.PUSHED:
            for ticker in tickers:
                self.books[ticker].interrupt(out, resubscribed=False)

    def _lose_line(
        self, number: int, reason: str, received_us: int, out: Flush, *, hole_at: int = 0
    ) -> None:
        """A line is gone, or what it carried had a hole before the packet `hole_at`."""
        line = self._lines.get(number)
        if line is None:
            return
        if not hole_at:
            del self._lines[number]
        for feed, policy in self._policies.items():
            policy.interrupt(self._carried_by(line, feed))
        lost = self._carried_by(line, "l2")
        self._arbiter.lose(lost)
        for ticker in lost:
            self.books[ticker].interrupt(out, resubscribed=True)
        self._follow_nobody(self._arbiter.leave(number), out)
        tickers = self._tickers_of(line)
        self._announce(tickers, StatusKind.DISCONNECTED, reason, received_us, number, out, hole_at)

    def _carried_by(self, line: Line, feed: str) -> list[int]:
        """Tickers whose feed this line carried, and no other one does."""
        others: set[int] = set()
        for other in self._lines.values():
            if other is line:
                continue
            others.update(self._tickers_of(other, feed))
        return [ticker for ticker in self._tickers_of(line, feed) if ticker not in others]

    def _tickers_of(self, line: Line, feed: str = "") -> list[int]:
        """Tickers that a line carries (a feed of); every one for a stream of the whole market."""
        index = self.venue.index
        streams = line.route.streams
        names = {stream.ticker for stream in streams if not feed or feed in stream.feeds}
        if "" in names:
            return list(range(len(self.books)))
        return sorted(index[name] for name in names if name in index)

    def _overflow(self, notice: buffer.Overflow, out: Flush) -> None:
        out.counts["buffer_overflows", ""] += 1
        out.fates["dropped", ""] += notice.frames
        everyone = list(range(len(self.books)))
        for policy in self._policies.values():
            policy.interrupt(everyone)
        for book in self.books:
            if self.venue.snapshots is not Snapshots.PULLED:
                book.interrupt(out, resubscribed=False)
        reason = f"buffer full: {notice.frames} frames of the shard dropped"
        self._announce(everyone, StatusKind.NOTICE, reason, notice.received_ns // 1000, 0, out)

    def _announce(
        self,
        tickers: Iterable[int],
        kind: StatusKind,
        reason: str,
        received_us: int,
        line: int,
        out: Flush,
        packet: int = 0,
    ) -> None:
        packet = packet or self.packets
        for ticker in tickers:
            time_us = int(self._seen_us[ticker]) or received_us
            out.statuses.append(
                StatusRow(ticker, kind, time_us, received_us, packet, "", reason, line=line)
            )

    def _failed(self, notice: buffer.Failed, out: Flush) -> None:
        ticker = self.venue.index.get(notice.get.ticker)
        if ticker is not None:
            self.books[ticker].failed(notice.reason, for_good=notice.for_good, out=out)

    def _take_body(self, body: buffer.Body, out: Flush) -> None:
        self.packets += 1
        received_us = body.received_ns // 1000
        ticker = self.venue.index.get(body.get.ticker)
        is_book = ticker is not None

        def parse(rows: Rows) -> None:
            if is_book:
                self.venue.parse_snapshot(body.data, body.get.ticker, rows)
            else:
                self.venue.parse_poll(body.data, body.get, rows)

        decoded = self._decoder.body(parse, received_us)
        if decoded.refused:
            why = decoded.refused[0]
            out.refused.append(Refused(self.packets, received_us, why, body.data, is_body=True))
            if ticker is not None:
                self.books[ticker].failed(why, for_good=False, out=out)
            return
        decoded.stands = {feed: np.zeros_like(own) for feed, own in decoded.stands.items()}
        if decoded.long_decimals:
            out.counts["long_decimals", ""] += decoded.long_decimals
        arrived = _Arrived(
            np.array([received_us]), np.array([self.packets]), np.full(1, -1, np.int32)
        )
        if ticker is not None:
            self._take_pulled(ticker, decoded, arrived, out)
        else:
            self._take_rows(decoded, arrived, out)

    def _take_pulled(self, ticker: int, decoded: Decoded, arrived: _Arrived, out: Flush) -> None:
        """A book from REST; where the venue sends no time, that of the last event stands for it."""
        if "l2" not in decoded.tables:
            self.books[ticker].failed("the body holds no book", for_good=False, out=out)
            return
        order = np.zeros(1, np.int64)
        table = l2_table_of(
            decoded, order, arrived.received_us, arrived.packet_id, arrived.line, gather_levels
        )
        if table.timestamp[0] == 0:
            inferred = int(self._seen_us[ticker]) or int(arrived.received_us[0])
            table.timestamp[0] = inferred
            table.flags[0] |= np.uint16(L2Flag.TIME_INFERRED)
        self.books[ticker].pulled(table, out)

    def list_instruments(
        self, instruments: Iterable[Instrument], received_ns: int, out: Flush
    ) -> None:
        """The venue's list: a row for each of our tickers that is new in it or has changed."""
        if "instrument" not in self.venue.wanted:
            return
        for one in instruments:
            ticker = self.venue.index.get(one.ticker)
            if ticker is None or _same(self._listed.get(ticker), one):
                continue
            self._listed[ticker] = one
            out.instruments.append(InstrumentRow(ticker, received_ns // 1000, self.packets, one))

    def resume_instrument(self, ticker: int, instrument: Instrument) -> None:
        """A predecessor stored this."""
        self._listed[ticker] = instrument

    def resume_connected(self, ticker: int, time_us: int, feeds: Iterable[str]) -> None:
        """A predecessor was connected at `time_us` and stored nothing of these feeds since.

        What was sent from then on until it comes here is a gap of each.
        """
        for feed in feeds:
            if feed == "l2":
                self.books[ticker].resume(ABSENT, time_us)
            elif feed == "bbo":
                self.quotes.resume(ticker, ABSENT, time_us, (0.0, 0.0, 0.0, 0.0))
            elif feed == "trade":
                self.trades.resume(ticker, ABSENT, time_us, stored=False)
            elif feed == "liquidation":
                self.liquidations.resume(ticker, ABSENT, time_us)

    # ----------------------------------------------------------------- time

    def tick(self, now_s: float, out: Flush, *, settle: bool = False) -> None:
        """Time has passed (monotonic seconds): snapshots that are due are asked for.

        `settle`: nothing more will come; what waits is published or said now.
        """
        self.trades.tick(now_s, out, settle=settle)
        if not self._has_books:
            return
        passed_s = self._passed(now_s)
        for book in self.books:
            if book.state is not State.LIVE or book.is_early:
                book.tick(passed_s, self.packets, out, settle=settle)

    def _passed(self, now_s: float) -> float:
        """Seconds of a clock that goes as fast as ours or the venue's: a capture may hurry."""
        venue_s = (self._highest_us - self._ticked_us) / 1e6 if self._ticked_us else 0.0
        self._passed_s += max(now_s - self._ticked_s, min(venue_s, HURRY_MAX_S))
        self._ticked_s, self._ticked_us = now_s, self._highest_us
        return self._passed_s

    def ask_last(self, out: Flush) -> None:
        """The input has ended: books that still wait for a snapshot ask for it once more."""
        if self._has_books:
            for book in self.books:
                book.ask_last(out)

    @property
    def waiting_frames(self) -> int:
        """Frames whose events wait: for a snapshot, or for what they follow."""
        return self.trades.waiting + sum(book.waiting_frames for book in self.books)

    def clock_us(self) -> int:
        """Venue time that the whole shard has reached; 0 before there is any.

        Updates that wait for a snapshot hold it back for a while: they are still to be published.
        """
        highest = self._highest_us
        held = [
            book.held_since_us for book in self.books if book.held_since_us > highest - HELD_MAX_US
        ]
        return min(held, default=highest)


class _Arrived:
    """What ingest knows of each frame of a batch."""

    __slots__ = ("line", "packet_id", "received_us")

    def __init__(self, received_us: I64, packet_id: I64, line: I32) -> None:
        self.received_us = received_us
        self.packet_id = packet_id
        self.line = line


def _event_us(columns: dict[str, npt.NDArray[np.int64]]) -> I64:
    """When the venue sent each event; 0 where it does not say."""
    if "event_us" not in columns:
        return columns["timestamp"]
    event_us = columns["event_us"]
    return event_us if event_us.all() else np.where(event_us, event_us, columns["timestamp"])


def _same(one: Instrument | None, other: Instrument) -> bool:
    """Equal, where a number that is not known equals itself."""
    return one is not None and msgspec.json.encode(one) == msgspec.json.encode(other)
