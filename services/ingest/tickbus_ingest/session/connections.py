"""What each connection carries, and what is lost when one breaks: said, and told to the feeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from tickbus_schemas.messages import StatusKind

from tickbus_ingest.session.arbiter import Arbiter
from tickbus_ingest.session.arrived import Arrived
from tickbus_ingest.session.books import TickerBook
from tickbus_ingest.session.clock import VenueClock
from tickbus_ingest.session.decoding import Decoded
from tickbus_ingest.session.feeds import Feeds, Policy
from tickbus_ingest.session.places import Places
from tickbus_ingest.session.race import LineReport, Race
from tickbus_ingest.session.tables import Flush, Refused, StatusRow
from tickbus_ingest.venue.contract import BEHIND_MAX_US, Line, Route, Snapshots, Venue
from tickbus_ingest.venue.rows import Control
from tickbus_ingest.wire import buffer

TOLD_MAX = 10
"""Kinds of refusals that are rows: what a venue sends must not fill the log."""


class Connections:
    """The connections of one session that are open."""

    def __init__(
        self,
        venue: Venue,
        books: Sequence[TickerBook],
        feeds: Feeds,
        arbiter: Arbiter,
        clock: VenueClock,
    ) -> None:
        self._venue = venue
        self._books = books
        self._feeds = feeds
        self._policies = feeds.policies
        self.places = Places()
        self.race = Race(venue)
        self._arbiter = arbiter
        self._clock = clock
        self._lines: dict[int, Line] = {}
        self._heard_us: dict[int, int] = {}
        """connections that brought rows, and when they did last"""
        self._told: set[str] = set()

    def line(self, number: int) -> Line:
        """The connection of a frame; what a closed one still brought has an empty memory."""
        return self._lines.get(number) or Line(number, Route("", ()))

    def connected(self, notice: buffer.Connected, packet: int, out: Flush) -> None:
        """A connection is open. `packet`: the last one received, here and below."""
        line = notice.line
        self._venue.connected(line)
        self._lines[line.number] = line
        self.race.enter(line, *self.places.open(line))
        received_us = notice.received_ns // 1000
        tickers = self._tickers_of(line)
        self._announce(tickers, StatusKind.CONNECTED, "", received_us, packet, line.number, out)

    def heard(self, decoded: Decoded, arrived: Arrived, out: Flush) -> None:
        """Which connections brought rows."""
        heard: set[int] = set()
        for columns in decoded.tables.values():
            lines = arrived.line[columns["frame"]]
            # Mostly one connection brings all rows of a batch.
            same = len(lines) and (lines == lines[0]).all()
            heard.update([int(lines[0])] if same else np.unique(lines).tolist())
        out.heard_lines |= heard
        last_us = int(arrived.received_us[-1])
        self._heard_us |= {number: last_us for number in heard if number in self._lines}

    def replaced(self, notice: buffer.Replaced, packet: int, out: Flush) -> None:
        """A connection was closed after another had taken its place, or broke beside another."""
        line, behind = self._gone(notice.line)
        for feed, tickers in behind.items():
            self._interrupt(self._policies[feed], tickers, notice.received_ns // 1000)
        self._follow_nobody(self._arbiter.replace(notice.line, notice.by), out)
        if line is not None and notice.reason:
            reason = f"{notice.reason}; connection {notice.by} goes on"
            kind, received_us = StatusKind.DISCONNECTED, notice.received_ns // 1000
            tickers = self._tickers_of(line)
            self._announce(tickers, kind, reason, received_us, packet, line.number, out)

    def disconnected(self, notice: buffer.Disconnected, packet: int, out: Flush) -> None:
        """A connection is gone, and no other one delivers what it did."""
        line, _ = self._gone(notice.line)
        if line is None:
            return
        received_us = notice.received_ns // 1000
        self._lose(line, self._tickers_of, received_us, out)
        kind, tickers = StatusKind.DISCONNECTED, self._tickers_of(line)
        self._announce(tickers, kind, notice.reason, received_us, packet, line.number, out)

    def hole(self, number: int, reason: str, received_us: int, packet: int, out: Flush) -> None:
        """What a connection carried had a hole before this packet: it is open, but lost some."""
        line = self.line(number)
        self._lose(line, self._carried_by, received_us, out)
        tickers = self._tickers_of(line)
        self._announce(tickers, StatusKind.NOTICE, reason, received_us, packet, number, out)
        out.broken_lines.add(number)

    def refused(
        self, one: Refused | Control, frame: int, decoded: Decoded, arrived: Arrived, out: Flush
    ) -> None:
        """The log is told that we refuse a frame, or the venue a stream for good, or what it says.

        The batch has not moved the clock yet, so the time does not depend on the flush.
        """
        line = self.line(int(arrived.line[frame]))
        tickers: Sequence[int]
        if isinstance(one, Control) and one.notice:
            tickers, reason = self._tickers_of(line), f"the venue says: {one.text}"
        elif isinstance(one, Control):
            tickers, reason = self._lose_stream(one, line, out)
        else:
            tickers, reason = self._not_understood(one, line)
        if not tickers:
            return
        seen_us = self._clock.before(decoded, arrived, frame)
        packet, received_us = int(arrived.packet_id[frame]), int(arrived.received_us[frame])
        for ticker in tickers:
            time_us = int(seen_us[ticker]) or received_us
            kind = StatusKind.NOTICE
            out.statuses.append(
                StatusRow(ticker, kind, time_us, received_us, packet, "", reason, line=line.number)
            )

    def say_reports(
        self, reports: Iterable[LineReport], now_us: int, packet: int, out: Flush
    ) -> None:
        """A row for each line, of the first ticker that it carries."""
        for report in reports:
            line = self._lines.get(report.line)
            tickers = self._tickers_of(line)[:1] if line is not None else []
            kind = StatusKind.LINE
            self._announce(tickers, kind, report.text, now_us, packet, report.line, out)

    def _lose_stream(self, one: Control, line: Line, out: Flush) -> tuple[Sequence[int], str]:
        """Whoever waits for the tickers of the stream is told."""
        for stream in line.route.streams:
            if stream.name == one.stream:
                out.refused_streams.append((line.number, stream.name))
                ticker = self._venue.index.get(stream.ticker)
                everyone = range(len(self._books))
                tickers = everyone if ticker is None else [ticker]
                return tickers, f"the venue refuses {stream.name}: {one.text}"
        return [], ""

    def _not_understood(self, one: Refused, line: Line) -> tuple[Sequence[int], str]:
        """Nobody knows of which ticker a frame is: all of its line are told, once for each kind."""
        if one.kind in self._told or len(self._told) == TOLD_MAX:
            return [], ""
        self._told.add(one.kind)
        return self._tickers_of(line), f"a frame is refused: {one.reason}"

    def leave(
        self, tickers: Sequence[int], reason: str, received_us: int, packet: int, out: Flush
    ) -> None:
        """No connection carries these tickers from now on, because nobody wants them."""
        for policy in self._policies.values():
            self._interrupt(policy, list(tickers), received_us)
        self._arbiter.lose(list(tickers))
        for ticker in tickers:
            self._books[ticker].interrupt(out, resubscribed=True)
        self._announce(tickers, StatusKind.NOTICE, reason, received_us, packet, 0, out)

    def overflow(self, notice: buffer.Overflow, packet: int, out: Flush) -> None:
        """Frames of any connection were dropped: what they said of any ticker is lost."""
        out.counts["buffer_overflows", ""] += 1
        out.fates["dropped", ""] += notice.frames
        everyone = list(range(len(self._books)))
        received_us = notice.received_ns // 1000
        for policy in self._policies.values():
            self._interrupt(policy, everyone, received_us)
        for book in self._books:
            if self._venue.snapshots is not Snapshots.PULLED:
                book.interrupt(out, resubscribed=False)
        reason = f"buffer full: {notice.frames} frames of the shard dropped"
        self._announce(everyone, StatusKind.NOTICE, reason, received_us, packet, 0, out)

    def _lose(
        self, line: Line, lost: Callable[[Line, str], list[int]], received_us: int, out: Flush
    ) -> None:
        """What only this line carried is interrupted. `lost`: its tickers of a feed."""
        for feed, policy in self._policies.items():
            self._interrupt(policy, lost(line, feed), received_us)
        books = lost(line, "l2")
        self._arbiter.lose(books)
        for ticker in books:
            self._books[ticker].interrupt(out, resubscribed=True)
        self._follow_nobody(self._arbiter.leave(line.number), out)

    def _gone(self, number: int) -> tuple[Line | None, dict[str, list[int]]]:
        """A connection that was open until now; by feed, tickers of which it was behind."""
        self._heard_us.pop(number, None)
        place = self.places.close(number)
        self.race.leave(*place)
        return self._lines.pop(number, None), self._feeds.leave(*place)

    def _interrupt(self, policy: Policy, tickers: list[int], received_us: int) -> None:
        policy.interrupt(tickers, [self._clock.time_us(one, received_us) for one in tickers])

    def _follow_nobody(self, tickers: Iterable[int], out: Flush) -> None:
        """These books followed a connection that is closed or had a hole; another carries them."""
        if self._venue.snapshots is Snapshots.PUSHED:
            for ticker in tickers:
                self._books[ticker].interrupt(out, resubscribed=False)
                self._books[ticker].ask(out)

    def _carried_by(self, line: Line, feed: str) -> list[int]:
        """Tickers whose feed this line carries, and no other one that brings rows does.

        One that fell silent long before this line brings none.
        """
        others: set[int] = set()
        since_us = self._heard_us.get(line.number, 0) - BEHIND_MAX_US
        for other in self._lines.values():
            heard_us = self._heard_us.get(other.number)
            if other is line or heard_us is None or heard_us < since_us:
                continue
            others.update(self._tickers_of(other, feed))
        return [ticker for ticker in self._tickers_of(line, feed) if ticker not in others]

    def _tickers_of(self, line: Line, feed: str = "") -> list[int]:
        """Tickers that a line carries (a feed of); every one for a stream of the whole market."""
        index = self._venue.index
        streams = line.route.streams
        names = {stream.ticker for stream in streams if not feed or feed in stream.feeds}
        if "" in names:
            return list(range(len(self._books)))
        return sorted(index[name] for name in names if name in index)

    def _announce(
        self,
        tickers: Iterable[int],
        kind: StatusKind,
        reason: str,
        received_us: int,
        packet: int,
        line: int,
        out: Flush,
    ) -> None:
        for ticker in tickers:
            time_us = self._clock.time_us(ticker, received_us)
            out.statuses.append(
                StatusRow(ticker, kind, time_us, received_us, packet, "", reason, line=line)
            )
