"""One venue's session without I/O: frames and notices in; rows, statuses and wishes out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import (
    ABSENT,
    PACKETS_PER_EPOCH,
    BboFlag,
    StatusKind,
)

from tickbus_ingest import frames
from tickbus_ingest.books import SnapshotRule, State, TickerBook
from tickbus_ingest.exchanges.contract import (
    Control,
    Decoded,
    Ignored,
    Kind,
    Parsed,
    Venue,
)
from tickbus_ingest.frames import Frames
from tickbus_ingest.kernels import FEEDS, arrange, gather_levels, observe, refuse_insane
from tickbus_ingest.quotes import QuoteTape
from tickbus_ingest.rows import (
    Flush,
    L2Table,
    Notice,
    Piece,
    QuoteTable,
    Refused,
    TradeTable,
)
from tickbus_ingest.trades import TradeTape

I64 = npt.NDArray[np.int64]
I8 = npt.NDArray[np.int8]
F64 = npt.NDArray[np.float64]
Segments = list[tuple[int, int, int]]
"""(ticker, start, stop): whose the rows [start, stop) are"""

FIRST_SANE_US = 1_230_768_000_000_000  # 2009-01-01: before it there was no market of ours
AHEAD_MAX_US = 86_400_000_000  # a venue time further ahead of the receive time is a mistake
CLOCK_AHEAD_US = 60_000_000  # and one further ahead than this does not move the shard's clock
HELD_MAX_US = 10_000_000  # updates that wait for a snapshot hold the clock back for so long


class Session:
    """State of everything that one shard's ingest knows of its venue."""

    def __init__(
        self,
        venue: Venue,
        epoch: int,
        *,
        max_frame_bytes: int = 4 * 2**20,
        rule: SnapshotRule | None = None,
    ) -> None:
        self.venue = venue
        self.epoch = epoch
        self.packets = 0
        """frames and REST bodies received so far"""
        self._max_frame_bytes = max_frame_bytes
        count = len(venue.tickers)
        self.books = [
            TickerBook(n, name, drop_equal=venue.drop_equal, rule=rule)
            for n, name in enumerate(venue.tickers)
        ]
        self.trades = [TradeTape(n) for n in range(count)]
        self.quotes = QuoteTape(count)
        self._seen_us: I64 = np.zeros(count, np.int64)
        self._highest_us = 0
        self.heard = np.zeros((len(Kind), count), np.bool_)
        """[kinds, tickers] that were heard since somebody cleared it"""
        self._lines: dict[int, list[int]] = {}

    @property
    def packet_id(self) -> int:
        """Of the last packet received."""
        return self.epoch * PACKETS_PER_EPOCH + self.packets

    def set_lines(self, lines: dict[int, list[int]]) -> None:
        """Which tickers each line carries."""
        self._lines = lines

    # --------------------------------------------------------------- frames

    def receive(self, batch: Frames, out: Flush) -> None:
        """Take frames in order of arrival."""
        count = len(batch)
        if not count:
            return
        packet_id = self.packet_id + np.arange(1, count + 1, dtype=np.int64)
        self.packets += count
        received_us = np.array(batch.received_ns, np.int64) // 1000
        decoded = self.venue.decode(*self._without_oversized(batch))
        times = decoded.event_us, decoded.engine_us
        if refuse_insane(decoded.kind, *times, received_us, FIRST_SANE_US, AHEAD_MAX_US):
            self._decide_rest(decoded, batch, received_us, packet_id, out)
        seen, wire_us = np.empty(count, np.int64), np.empty(count, np.int64)
        highest, timed = observe(
            decoded.kind, decoded.ticker, decoded.event_us, received_us, CLOCK_AHEAD_US,
            self._seen_us, self.heard, seen, wire_us,
        )  # fmt: skip
        self._highest_us = max(self._highest_us, highest)
        out.wire_us.append(wire_us[:timed])
        if decoded.long_decimals:
            out.counts["long_decimals", ""] += decoded.long_decimals
        arrived = _Arrived(decoded, received_us, packet_id, seen)
        trades, updates, quotes = self._by_feed(decoded)
        self._take_trades(arrived, *trades, out)
        self._take_updates(arrived, *updates, out)
        self._take_quotes(arrived, *quotes, out)

    def _by_feed(self, decoded: Decoded) -> list[tuple[I64, Segments]]:
        """For trades, updates and quotes: their rows sorted by ticker, and where each begins."""
        tickers = len(self.books)
        starts = np.zeros(FEEDS * tickers + 1, np.int64)
        order = np.empty(len(decoded.kind), np.int64)
        arrange(decoded.kind, decoded.ticker, tickers, starts, order)
        segments: list[Segments] = [[] for _ in range(FEEDS)]
        feed_starts = starts[::tickers].tolist()
        for key in np.flatnonzero(starts[1:] != starts[:-1]).tolist():
            feed, ticker = divmod(key, tickers)
            first = feed_starts[feed]
            segments[feed].append((ticker, int(starts[key]) - first, int(starts[key + 1]) - first))
        return [
            (order[feed_starts[feed] : feed_starts[feed + 1]], segments[feed])
            for feed in range(FEEDS)
        ]

    def _without_oversized(self, batch: Frames) -> tuple[npt.NDArray[np.uint8], I64]:
        if batch.size <= self._max_frame_bytes:
            return batch.joined()
        most = self._max_frame_bytes
        return frames.join([data if len(data) <= most else b"" for data in batch.data])

    def _decide_rest(
        self, decoded: Decoded, batch: Frames, received_us: I64, packet_id: I64, out: Flush
    ) -> None:
        """Decode in full what the fast reader left over."""
        latest = received_us + AHEAD_MAX_US
        for n in np.flatnonzero(decoded.kind < 0).tolist():
            data = batch.data[n]
            try:
                parsed = self._parse(data, int(latest[n]))
            except Reject as error:
                out.refused.append(
                    Refused(int(packet_id[n]), int(received_us[n]), str(error), data)
                )
                continue
            if isinstance(parsed, Control):
                out.counts["control_frames", ""] += 1
                if parsed.closing:
                    out.closing_lines.add(batch.line[n])
                if parsed.error:
                    out.errors.append(parsed.text)
            elif isinstance(parsed, Ignored):
                out.counts["ignored_frames", parsed.channel] += 1
            else:
                decoded.put(n, self.venue.index[parsed.ticker], parsed)

    def _parse(self, data: bytes, latest_us: int) -> Parsed:
        if len(data) > self._max_frame_bytes:
            raise Reject(f"{len(data)} bytes in one frame: at most {self._max_frame_bytes}")
        parsed = self.venue.parse(data)
        if not isinstance(parsed, Control | Ignored):
            for time_us in (parsed.event_us, parsed.engine_us):
                if time_us and not FIRST_SANE_US <= time_us <= latest_us:
                    raise Reject(f"venue time {time_us} us is not between 2009 and tomorrow")
        return parsed

    def _take_trades(self, arrived: _Arrived, rows: I64, segments: Segments, out: Flush) -> None:
        if not segments:
            return
        decoded = arrived.decoded
        values = decoded.values[rows]
        table = TradeTable(
            decoded.engine_us[rows],
            arrived.received_us[rows],
            arrived.packet_id[rows],
            decoded.side[rows],
            values[:, 0],
            values[:, 1],
            decoded.flags[rows],
            decoded.update_id[rows],
        )
        for ticker, start, stop in segments:
            self.trades[ticker].add(table, start, stop, out)

    def _take_quotes(self, arrived: _Arrived, rows: I64, segments: Segments, out: Flush) -> None:
        if not segments:
            return
        decoded = arrived.decoded
        ticker = decoded.ticker[rows]
        fresh = self.quotes.fresh(
            ticker, decoded.update_id[rows], decoded.event_us[rows], decoded.values[rows], out
        )
        if not fresh.all():
            rows, ticker = rows[fresh], ticker[fresh]
            if not len(rows):
                return
            edges = [0, *(np.flatnonzero(np.diff(ticker)) + 1).tolist(), len(ticker)]
            segments = [(int(ticker[a]), a, b) for a, b in itertools.pairwise(edges)]
        rcv, values = arrived.received_us[rows], decoded.values[rows]
        timestamp, flags = decoded.event_us[rows], np.zeros(len(rows), np.uint16)
        if not timestamp.all():
            inferred, seen = timestamp == 0, arrived.seen_us[rows]
            timestamp[inferred] = np.where(seen > 0, seen, rcv)[inferred]
            flags[inferred] = BboFlag.TIME_INFERRED
            out.counts["inferred_times", "bbo"] += int(inferred.sum())
        table = QuoteTable(
            timestamp,
            decoded.engine_us[rows],
            rcv,
            arrived.packet_id[rows],
            decoded.update_id[rows],
            values[:, 0],
            values[:, 1],
            values[:, 2],
            values[:, 3],
            flags,
        )
        out.counts["published_frames", ""] += len(rows)
        self.quotes.published(ticker, table, out)
        out.quotes += [Piece(one, table, start, stop) for one, start, stop in segments]

    def _take_updates(self, arrived: _Arrived, rows: I64, segments: Segments, out: Flush) -> None:
        if not segments:
            return
        decoded = arrived.decoded
        ends, side, price, qty = _levels_of(decoded, rows)
        table = L2Table(
            decoded.event_us[rows],
            decoded.engine_us[rows],
            arrived.received_us[rows],
            arrived.packet_id[rows],
            decoded.prev_update_id[rows],
            decoded.update_id[rows],
            np.zeros(len(rows), np.uint16),
            ends,
            side,
            price,
            qty,
            np.empty(len(side), np.int8),
        )
        parts = table.in_parts()
        if parts is not table:
            out.counts["packet_parts", ""] += len(parts) - len(table)
            place = np.searchsorted(parts.level_ends, ends)
            segments = [(one, int(place[a]), int(place[b])) for one, a, b in segments]
        for ticker, start, stop in segments:
            self.books[ticker].update(parts, start, stop, out)

    # -------------------------------------------------------------- notices

    def notice(self, notice: frames.Notice, out: Flush) -> None:
        """Take what happened between two frames."""
        if isinstance(notice, frames.Body):
            self._take_body(notice, out)
        elif isinstance(notice, frames.Failed):
            self.books[self.venue.index[notice.ticker]].failed()
        elif isinstance(notice, frames.Overflow):
            out.counts["buffer_overflows", ""] += 1
            self.quotes.interrupt(list(range(len(self.books))))
            reason = f"buffer full: {notice.frames} frames of the shard dropped"
            self._announce(range(len(self.books)), StatusKind.NOTICE, reason, notice, out)
        elif isinstance(notice, frames.Connected):
            tickers = self._lines.get(notice.line, [])
            self._announce(tickers, StatusKind.CONNECTED, "", notice, out)
        else:
            tickers = self._lines.get(notice.line, [])
            self.quotes.interrupt(tickers)
            self._announce(tickers, StatusKind.DISCONNECTED, notice.reason, notice, out)

    def _announce(
        self,
        tickers: Iterable[int],
        kind: StatusKind,
        reason: str,
        notice: frames.Connected | frames.Disconnected | frames.Overflow,
        out: Flush,
    ) -> None:
        received_us = notice.received_ns // 1000
        line = 0 if isinstance(notice, frames.Overflow) else notice.line
        for ticker in tickers:
            time_us = int(self._seen_us[ticker]) or received_us
            out.statuses.append(
                Notice(ticker, kind, time_us, received_us, self.packet_id, "", reason, line=line)
            )

    def _take_body(self, body: frames.Body, out: Flush) -> None:
        self.packets += 1
        received_us = body.received_ns // 1000
        ticker = self.venue.index[body.ticker]
        try:
            snapshot = self.venue.parse_snapshot(body.data)
            time_us = snapshot.event_us
            if time_us != ABSENT and not FIRST_SANE_US <= time_us <= received_us + AHEAD_MAX_US:
                raise Reject(f"venue time {time_us} us is not between 2009 and tomorrow")
        except Reject as error:
            out.refused.append(
                Refused(self.packet_id, received_us, str(error), body.data, is_body=True)
            )
            self.books[ticker].failed()
            return
        if snapshot.long_decimals:
            out.counts["long_decimals", ""] += snapshot.long_decimals
        inferred_us = int(self._seen_us[ticker]) or received_us
        self.books[ticker].snapshot(snapshot, inferred_us, received_us, self.packet_id, out)

    # ----------------------------------------------------------------- time

    def tick(self, now_s: float, out: Flush, *, settle: bool = False) -> None:
        """Time has passed (monotonic seconds): snapshots that are due are asked for.

        `settle`: nothing more will come; snapshots that wait for an update are published now.
        """
        for book in self.books:
            if book.state is not State.LIVE:
                book.tick(now_s, self.packet_id, out, settle=settle)

    def clock_us(self) -> int:
        """Venue time that the whole shard has reached; 0 before there is any.

        Updates that wait for a snapshot hold it back for a while: they are still to be published.
        """
        highest = self._highest_us
        held = [
            book.held_since_us
            for book in self.books
            if book.waiting_packets and book.held_since_us > highest - HELD_MAX_US
        ]
        return min(held, default=highest)


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A batch of frames in columns, with what the session adds to each."""

    decoded: Decoded
    received_us: I64
    packet_id: I64
    seen_us: I64


def _levels_of(decoded: Decoded, rows: I64) -> tuple[I64, I8, F64, F64]:
    """Levels of the chosen frames behind one another: where each frame's end, side, price, qty."""
    starts, counts = decoded.level_start[rows], decoded.level_count[rows]
    ends = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(counts, out=ends[1:])
    side, price, qty = decoded.level_side, decoded.level_price, decoded.level_qty
    total = int(ends[-1])
    if total == len(side) and bool((starts == ends[:-1]).all()):
        return ends, side, price, qty
    gathered = np.empty(total, np.int8), np.empty(total), np.empty(total)
    gather_levels(starts, counts, side, price, qty, ends, *gathered)
    return ends, *gathered
