"""One venue's session without I/O: frames and notices in; rows, statuses and wishes out.

Packets are numbered from 1 here. The epoch, which makes a `packet_id` of the number, belongs to
whoever publishes: a standby has a session and no epoch.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from tickbus_schemas.messages import ABSENT, StatusKind

from tickbus_ingest.session.arbiter import Arbiter
from tickbus_ingest.session.arrived import Arrived, l2_table_of, placed, table_of
from tickbus_ingest.session.bodies import Bodies
from tickbus_ingest.session.book_rules import BookRules, SnapshotRule, State
from tickbus_ingest.session.books import TickerBook
from tickbus_ingest.session.clock import VenueClock
from tickbus_ingest.session.connections import Connections
from tickbus_ingest.session.control import take_control
from tickbus_ingest.session.decoding import Decoded, FrameDecoder
from tickbus_ingest.session.feeds import Feeds
from tickbus_ingest.session.kernels.batch import by_ticker
from tickbus_ingest.session.listed import Listed
from tickbus_ingest.session.race import LineReport
from tickbus_ingest.session.tables import I32, I64, Flush, L2Table, StatusRow, Table, grown
from tickbus_ingest.session.times import with_inferred
from tickbus_ingest.venue.contract import Snapshots, Stream, UpdateIds, Venue
from tickbus_ingest.venue.feeds import BY_NAME, FEEDS, Treatment
from tickbus_ingest.venue.instruments import Instrument
from tickbus_ingest.venue.rows import WHOLE_LINE
from tickbus_ingest.wire import buffer
from tickbus_ingest.wire.buffer import Frames

HELD_MAX_US = 10_000_000  # updates that wait for a snapshot hold the clock back for so long
WAIT_US = 200_000


class Session:
    """State of everything that one shard's ingest knows of its venue."""

    def __init__(
        self,
        venue: Venue,
        *,
        max_frame_bytes: int = 16 * 2**20,
        rule: SnapshotRule | None = None,
        wait_us: int = WAIT_US,
    ) -> None:
        """`wait_us`: how long what comes too early waits for what it follows, in venue time."""
        self.venue = venue
        self.packets = 0
        """frames and REST bodies received so far: the number of the last packet"""
        count = len(venue.tickers)
        decoder = self._decoder = FrameDecoder(venue, max_frame_bytes)
        rules = BookRules.of(venue, rule or SnapshotRule(), wait_us)
        arbiter = self._arbiter = Arbiter(count, is_global=rules.is_global)
        self._rules = rules
        self.books: list[TickerBook] = []
        self._open_books()
        self._has_books = "l2" in venue.wanted and venue.snapshots is not Snapshots.NONE
        feeds = self.feeds = Feeds(count, venue, wait_us=wait_us)
        clock = self._clock = VenueClock(count)
        self._connections = Connections(venue, self.books, feeds, arbiter, clock)
        self._bodies = Bodies(venue, decoder, self.books, clock)
        self._listed = Listed(venue)
        self.heard = {feed.name: np.zeros(count, np.bool_) for feed in FEEDS}
        """by feed: tickers that were heard since somebody cleared it"""

    def grow(self) -> None:
        """The venue has more tickers than before, behind the others: make room for them."""
        count = len(self.venue.tickers)
        self._arbiter.grow(count)
        self._clock.grow(count)
        self.feeds.grow(count)
        self._open_books()
        for feed, heard in self.heard.items():
            self.heard[feed] = grown(heard, count)

    def _open_books(self) -> None:
        for number in range(len(self.books), len(self.venue.tickers)):
            name = self.venue.tickers[number]
            self.books.append(TickerBook(number, name, self.venue, self._rules, self._arbiter))

    # --------------------------------------------------------------- frames

    def receive(self, batch: Frames, out: Flush) -> None:
        """Take frames in order of arrival."""
        count = len(batch)
        if not count:
            return
        first = self.packets + 1
        self.packets += count
        received_us = np.array(batch.received_ns, np.int64) // 1000
        known = {number: self._connections.line(number) for number in set(batch.line)}
        lines = [known[number] for number in batch.line]
        decoded = self._decoder.frames(batch.data, lines, received_us, batch.size)
        line = np.array(batch.line, np.int32)
        arrived = Arrived(
            received_us,
            np.arange(first, first + count, dtype=np.int64),
            line,
            *self._connections.places.of(line),
        )
        take_control(decoded, batch, arrived, self._connections, out)
        self._connections.heard(decoded, arrived, out)
        self._connections.race.run(decoded, arrived)
        if decoded.losses:
            self._take_around_losses(decoded, arrived, out)
        else:
            self._take_rows(decoded, arrived, out)

    def _take_around_losses(self, decoded: Decoded, arrived: Arrived, out: Flush) -> None:
        """Rows before a loss belong to books that were whole; those behind it do not."""
        start = 0
        for frame, reason, ticker in decoded.losses:
            self._take_rows(decoded.between(start, frame), arrived, out)
            received_us, packet = int(arrived.received_us[frame]), int(arrived.packet_id[frame])
            line = int(arrived.line[frame])
            if ticker == WHOLE_LINE:
                self._connections.hole(line, reason, received_us, packet, out)
            else:
                self.books[ticker].hole(line, reason, received_us, packet, out)
            start = frame
        self._take_rows(decoded.between(start, len(arrived.packet_id)), arrived, out)

    def _take_rows(self, decoded: Decoded, arrived: Arrived, out: Flush) -> None:
        seen = self._clock.observe(decoded, arrived, out)
        for feed in decoded.tables:
            columns = decoded.tables[feed]
            ticker = columns["ticker"]
            if not len(ticker):
                continue
            self.heard[feed][ticker] = True
            place: I64 | None = None
            if len(ticker) > 1:
                order = np.empty(len(ticker), np.int64)
                place = order if by_ticker(ticker, len(self.books), order) else None
            seen_us = placed(seen[feed], place)
            if BY_NAME[feed].treatment is Treatment.BOOK:
                updates = l2_table_of(decoded, place, arrived)
                self._take_updates(placed(ticker, place), updates, seen_us, out)
            else:
                self.feeds.take(feed, table_of(decoded, feed, place, arrived), seen_us, out)

    def _take_updates(self, ticker: I32, table: L2Table, seen_us: I64, out: Flush) -> None:
        if self.venue.update_ids is UpdateIds.COUNTED:
            linked = table.prev_update_id == ABSENT
            table.prev_update_id[linked] = table.update_id[linked] - 1
        table.timestamp = with_inferred(
            "l2", table.timestamp, table.flags, seen_us, table.rcv_timestamp, out
        )
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
                self.packets += 1
                rows = self._bodies.take(notice, self.packets, out)
                if rows is not None:
                    self._take_rows(*rows, out)
            case buffer.Failed():
                self._bodies.failed(notice, out)
            case buffer.Overflow():
                self._connections.overflow(notice, self.packets, out)
            case buffer.Connected():
                self._connections.connected(notice, self.packets, out)
            case buffer.Disconnected():
                self._connections.disconnected(notice, self.packets, out)
            case buffer.Replaced():
                self._connections.replaced(notice, self.packets, out)

    def leave(self, tickers: Iterable[str], reason: str, received_us: int, out: Flush) -> None:
        """Nothing more of these comes: if they come back, what was between is lost."""
        places = [self.venue.index[ticker] for ticker in tickers]
        self._connections.leave(places, reason, received_us, self.packets, out)

    def list_instruments(
        self, instruments: Iterable[Instrument], received_ns: int, out: Flush
    ) -> None:
        """The venue's list: a row for each of our tickers that is new in it or has changed."""
        self._listed.take(instruments, received_ns, self.packets, out)

    def resume_instrument(self, ticker: int, instrument: Instrument) -> None:
        """A predecessor stored this."""
        self._listed.resume(ticker, instrument)

    def resume_time(self, ticker: int, time_us: int) -> None:
        """A predecessor stored an event of this venue time."""
        self._clock.resume(ticker, time_us)

    def resume_connected(self, ticker: int, time_us: int, feeds: Iterable[str]) -> None:
        """A predecessor was connected at `time_us` and stored nothing of these feeds since.

        What was sent from then on until it comes here is a gap of each.
        """
        for feed in feeds:
            if BY_NAME[feed].treatment is Treatment.BOOK:
                self.books[ticker].resume(ABSENT, time_us)
            else:
                self.feeds.resume_connected(feed, ticker, time_us)

    def say_silent(self, stream: Stream, reason: str, now_us: int, out: Flush) -> None:
        """A stream says nothing: a row for each of its feeds and tickers."""
        place = self.venue.index.get(stream.ticker)
        for ticker in range(len(self.books)) if place is None else [place]:
            time_us = self._clock.time_us(ticker, now_us)
            out.statuses += [
                StatusRow(ticker, StatusKind.SILENT, time_us, now_us, self.packets, feed, reason)
                for feed in stream.feeds
            ]

    def report_lines(self, now_us: int, out: Flush) -> list[LineReport]:
        """How the lines did since the last report, where several carry the same: said as rows."""
        reports = self._connections.race.report(now_us)
        self._connections.say_reports(reports, now_us, self.packets, out)
        return reports

    # ----------------------------------------------------------------- time

    def tick(self, now_s: float, out: Flush, *, settle: bool = False) -> None:
        """Time has passed (monotonic seconds): snapshots that are due are asked for.

        `settle`: nothing more will come; what waits is published or said now.
        """
        self.feeds.tick(now_s, out, settle=settle)
        if not self._has_books:
            return
        passed_s = self._clock.passed_s(now_s)
        for book in self.books:
            if book.state is not State.LIVE or book.is_early:
                book.tick(passed_s, self.packets, out, settle=settle)

    def ask_last(self, out: Flush) -> None:
        """The input has ended: books that still wait for a snapshot ask for it once more."""
        if self._has_books:
            for book in self.books:
                book.ask_last(out)

    @property
    def waiting_frames(self) -> int:
        """Frames whose events wait: for a snapshot, or for what they follow."""
        return self.feeds.waiting + sum(book.waiting_frames for book in self.books)

    def clock_us(self) -> int:
        """Venue time that the whole shard has reached; 0 before there is any.

        Updates that wait for a snapshot, and early trades, hold it back for a while: they are still
        to be published.
        """
        highest = self._clock.highest_us
        waiting = [book.held_since_us for book in self.books] + self.feeds.held_since_us
        held = [one for one in waiting if one > highest - HELD_MAX_US]
        return min([highest, *held]) if highest else 0
