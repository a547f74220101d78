"""The dataset against the journal of a venue that went wrong: plain Python over plain Parquet.

A row is right if it happened. What happened is right if it is a row once, or if the dataset says
that it is missing. What a venue does not number can be missing without a word, but only where its
very frame was lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tickbus_ingest import exchanges
from tickbus_ingest.venue.contract import TradeIds, UpdateIds
from tickbus_sim.dialect import Books, Dialect

from tests.end_to_end.journal import ASK, BID, Journal, Line, Side, TrueBook
from tests.end_to_end.oracle import SNAPSHOT_FIRST, text

Row = dict[str, Any]
Key = tuple[Any, ...]
Level = tuple[int, str]
"""side and price"""

DISCONNECTED, GAP = 2, 3
TIME_INFERRED, L2_TIME_INFERRED, L2_GAP_BEFORE = 1, 16, 8
LOST = frozenset({"drop", "silence", "corrupt", "nan"})
"""Faults after which the content of a frame never came."""
REORDERED = frozenset({"reorder"})


class Comparison:
    """A dataset beside the journal of its venue, one ticker at a time."""

    def __init__(self, dialect: Dialect, root: Path, journal: Journal) -> None:
        venue = exchanges.load(dialect.exchange.token)
        self.journal = journal
        self.counts_trades = venue.trade_ids is TradeIds.DENSE
        self.numbers_changes = venue.update_ids in (UpdateIds.LINKED, UpdateIds.COUNTED)
        self.proves_changes = venue.update_ids is not UpdateIds.KEYED
        self.dialect = dialect
        self._root = root
        self.rows = cache(self._rows)
        """(feed, ticker) -> its rows in the order of the log"""

    def _rows(self, feed: str, ticker: str) -> list[Row]:
        return sorted(
            (
                row
                for path in self._root.glob(f"feed={feed}/**/*.parquet")
                for row in pq.ParquetFile(path).read().to_pylist()
                if row["ticker"] == ticker
            ),
            key=lambda row: row["seq_id"],
        )

    def gaps(self, feed: str, ticker: str) -> list[Row]:
        """What is said to be missing of a feed."""
        statuses = self.rows("status", ticker)
        return [row for row in statuses if row["kind"] == GAP and row["about_feed"] in (feed, "")]

    @cached_property
    def feeds(self) -> list[str]:
        """Feeds of single events that the venue has."""
        known = " ".join(self.dialect.feeds.values()).split()
        return [feed for feed in ("trade", "bbo", "liquidation") if feed in known]

    @property
    def gap_count(self) -> int:
        """Gap rows of all feeds and tickers."""
        rows = (row for ticker in self.dialect.demo for row in self.rows("status", ticker))
        return sum(row["kind"] == GAP for row in rows)

    # ------------------------------------------------------------ single events

    def happened(self, feed: str, ticker: str) -> list[tuple[Key, Line]]:
        """What the venue told of a feed, in order, in the form that rows have."""
        events = self.journal.events
        if feed != "bbo":
            told = [one for one in events[feed, ticker] if one["frames"]]
            if feed == "liquidation" and self._family(feed) == self._family("trade"):
                told = [one for one in events["trade", ticker] if one["is_liquidation"]]
            has_time = any(key[0] is not None for key in self.stored(feed, ticker))
            return [(_order(one, has_time=has_time), one) for one in told]
        quotes = [*events["quote", ticker]]
        if self._family("ticker") == self._family("bbo"):
            quotes += events["statistics", ticker]
        quotes = sorted((one for one in quotes if one["frames"]), key=lambda one: one["frames"])
        has_id, has_time = (
            any(key[place] is not None for key in self.stored("bbo", ticker)) for place in (0, 1)
        )
        return [(_quote(one, has_id=has_id, has_time=has_time), one) for one in quotes]

    def _family(self, feed: str) -> str:
        """What carries a feed: of one channel several feeds are read."""
        return self.dialect.family_of(feed)

    def stored(self, feed: str, ticker: str) -> list[Key]:
        """The rows of a feed in the same form."""
        show = _quote_row if feed == "bbo" else _order_row
        return [show(row) for row in self.rows(feed, ticker)]

    def wrong_rows(self, feed: str, ticker: str) -> list[str]:
        """One line for each row that did not happen, or that is there more often than it did."""
        happened = Counter(key for key, _ in self.happened(feed, ticker))
        surplus = Counter(self.stored(feed, ticker)) - happened
        unclear = self._unclear_times(happened) if feed == "bbo" else set()
        wrong = [
            f"{key}: {n} too many of {happened[key]}"
            for key, n in surplus.items()
            if not happened[key] or key[:2] not in unclear
        ]
        if feed == "trade":
            ids = Counter(row["trade_id"] for row in self.rows(feed, ticker))
            wrong += [f"id {one}: {n} times" for one, n in ids.items() if n > 1]
        return wrong

    @staticmethod
    def _unclear_times(quotes: Iterable[Key]) -> set[Key]:
        """Where quotes without an id differ at the same time.

        Of two connections that bring them nobody can tell whether a later one is the same again.
        """
        several = Counter(key[:2] for key in quotes if key[0] is None)
        return {key for key, n in several.items() if n > 1}

    def missing(self, feed: str, ticker: str) -> list[Line]:
        """What happened and is no row."""
        left = Counter(self.stored(feed, ticker))
        found = []
        for key, event in self.happened(feed, ticker):
            if not left[key]:
                found.append(event)
            elif feed == "trade":
                left[key] -= 1  # of the rest, the same twice in a millisecond may be said once
        return found

    def lost_in_silence(self, feed: str, ticker: str) -> list[str]:
        """One line for each event that is no row though nothing says so and something could."""
        return [
            self._shown(event)
            for event in self.missing(feed, ticker)
            if not self.is_told(feed, ticker, event)
            and not self._is_open(feed, ticker, event)
            and not self._cannot_be_told(feed, event)
        ]

    def _shown(self, event: Line) -> str:
        kinds = {kind for frame in event["frames"] for kind in self.journal.touched[frame]}
        return f"{event} {sorted(kinds)}"

    def is_told(self, feed: str, ticker: str, event: Line) -> bool:
        """Whether a gap row says that the event is missing."""
        number = event.get("update_id")
        if feed == "trade" and self.counts_trades:
            number = event["number"]
        for gap in self.gaps(feed, ticker):
            if None not in (number, gap["from_id"], gap["to_id"]):
                if gap["from_id"] < number < gap["to_id"]:
                    return True
            elif gap["from_timestamp"] <= event["time_ms"] * 1000 <= gap["to_timestamp"]:
                return True
        return False

    def _is_open(self, feed: str, ticker: str, event: Line) -> bool:
        """A connection broke and nothing of the feed has come since: its gap has no end yet."""
        rows = self.rows(feed, ticker)
        last = rows[-1]["seq_id"] if rows else 0
        broke = any(
            row["kind"] == DISCONNECTED and row["seq_id"] > last
            for row in self.rows("status", ticker)
        )
        return broke and not self.journal.was_heard(event)

    def _cannot_be_told(self, feed: str, event: Line) -> bool:
        """Its frame is gone and no number could tell, or it came behind a later quote."""
        if feed == "bbo" and self.journal.was(event, REORDERED):
            return True  # of quotes only the latest counts
        counted = feed == "trade" and self.counts_trades
        return not counted and self.journal.was(event, LOST)

    def lost_without_a_fault(self, feed: str, ticker: str) -> list[str]:
        """One line for each event that is no row, though its frame came as it was."""
        return [
            self._shown(event)
            for event in self.missing(feed, ticker)
            if self.journal.was_heard(event) and not self.journal.was(event, LOST | REORDERED)
        ]

    def needless_gaps(self, ticker: str) -> list[Row]:
        """Gaps of counted trades in which nothing is missing and nothing came late."""
        if not self.counts_trades:
            return []
        events = [event for _, event in self.happened("trade", ticker)]
        late = [event for event in events if self.journal.was(event, REORDERED)]
        numbers = [event["number"] for event in [*self.missing("trade", ticker), *late]]
        return [
            gap
            for gap in self.gaps("trade", ticker)
            if not any(gap["from_id"] < number < gap["to_id"] for number in numbers)
        ]

    # ------------------------------------------------------------------- books

    def _place(self, event: Line) -> int:
        return int(event["last_id"] if self.numbers_changes else event["time_ms"] * 1000)

    def packets(self, ticker: str) -> Iterator[tuple[int, list[Row]]]:
        """The book's packets in the order of the log, each with its place among the changes."""
        place = "update_id" if self.numbers_changes else "timestamp"
        rows = self.rows("l2", ticker)
        grouped = groupby(
            rows, lambda row: (row["packet_id"], row["update_id"], row["is_snapshot"])
        )
        packets = (list(packet) for _, packet in grouped)
        if self._tells_place(ticker):
            yield from ((int(packet[0][place]), packet) for packet in packets)
        else:
            yield from self._placed_by_levels(ticker, packets)

    def _tells_place(self, ticker: str) -> bool:
        """Whether books have numbers or times of the venue."""
        inferred = (row["flags"] & L2_TIME_INFERRED for row in self.rows("l2", ticker))
        return self.numbers_changes or not all(inferred)

    def _flagged_gaps(self, ticker: str) -> list[list[int]]:
        """Places before and of each packet that says that something before it is missing."""
        told = [(place, packet[0]["flags"]) for place, packet in self.packets(ticker)]
        found = [
            [before, place]
            for (before, _), (place, flags) in pairwise(told)
            if flags & L2_GAP_BEFORE
        ]
        assert len(found) == len(self.gaps("l2", ticker)), "a flag for each row of the status feed"
        return found

    def _placed_by_levels(
        self, ticker: str, packets: Iterable[list[Row]]
    ) -> Iterator[tuple[int, list[Row]]]:
        """The same for a venue whose books have neither numbers nor times.

        A packet has the place of the first change, of those that have not been met, that says what
        it says; a whole book that of the first change that leaves it. -1: there is none.
        """
        truth = TrueBook(self.journal, ticker, self._place)
        changes = self.journal.events["change", ticker]
        places = [0, *(self._place(change) for change in changes)]
        met = 0
        for packet in packets:
            said = sorted((row["side"], text(row["price"]), text(row["qty"])) for row in packet)
            if packet[0]["is_snapshot"]:
                book: dict[int, Side] = {BID: {}, ASK: {}}
                _fold(book, packet)
                found = [n for n in range(met, len(places)) if truth.at(places[n]) == book][:1]
            else:
                known = range(met, len(changes))
                found = [n + 1 for n in known if _levels(changes[n]) == said][:1]
            met = found[0] if found else met
            yield (places[met] if found else -1), packet

    def _is_change(self, packet: Sequence[Row]) -> bool:
        """Whether a change of the venue made this packet; else it is a book for a beginning."""
        return not packet[0]["is_snapshot"] or self.dialect.books is Books.WHOLE

    def wrong_books(self, ticker: str) -> list[str]:
        """One line for each packet that is no change, or after which the book is not the venue's.

        The last one must leave the book that the journal ends with.
        """
        truth = TrueBook(self.journal, ticker, self._place)
        unclear = self._unclear_levels(ticker)
        book: dict[int, Side] = {BID: {}, ASK: {}}
        edges: dict[int, float] = {}
        wrong, changes = [], Counter[int]()
        for place, packet in self.packets(ticker):
            if packet[0]["is_snapshot"]:
                assert packet[0]["flags"] & SNAPSHOT_FIRST, "a book without its beginning"
                book = {BID: {}, ASK: {}}
            _fold(book, packet)
            if self._is_change(packet):
                changes[place] += 1
                if not truth.has(place):
                    wrong.append(f"{place}: no such change")
            elif self.dialect.books is Books.PULLED:
                edges = _edges(book)
                continue  # it lies between two changes: judged after the next one
            wrong += [
                f"{place}: {one}" for one in _differ(book, truth.at(place), edges, unclear)[:3]
            ]
        wrong += [f"{place}: {n} times" for place, n in changes.items() if n > 1]
        final = _differ(book, truth.final, edges, unclear)[:3]
        return wrong + [f"the final book: {one}" for one in final]

    def _unclear_levels(self, ticker: str) -> set[Level]:
        """Levels of lost or late changes, at a venue where nothing tells that one is missing."""
        if self.proves_changes:
            return set()
        return {
            (side, text(price))
            for event in self.journal.events["change", ticker]
            if self.journal.was(event, LOST | REORDERED) or not self.journal.was_heard(event)
            for side, levels in ((BID, event["bids"]), (ASK, event["asks"]))
            for price, _ in levels
        }

    def changes_missing(self, ticker: str) -> list[Line]:
        """Changes since the first book that are no packet."""
        packets = list(self.packets(ticker))
        first = packets[0][0]
        stored = {place for place, packet in packets if self._is_change(packet)}
        return [
            event
            for event in self.journal.events["change", ticker]
            if self._place(event) > first
            and self._place(event) not in stored
            and (event["bids"] or event["asks"])
        ]

    def changes_lost_in_silence(self, ticker: str) -> list[str]:
        """One line for each of them that is in no gap."""
        names = ("from_id", "to_id") if self.numbers_changes else ("from_timestamp", "to_timestamp")
        gaps = [[gap[name] for name in names] for gap in self.gaps("l2", ticker)]
        if not self._tells_place(ticker):
            gaps = self._flagged_gaps(ticker)
        # Of whole books only the latest counts: one that comes behind a later one may be left out.
        told_by_nothing = LOST | REORDERED if self.dialect.books is Books.WHOLE else LOST
        return [
            self._shown(event)
            for event in self.changes_missing(ticker)
            if not any(start <= self._place(event) <= end for start, end in gaps)
            and (self.numbers_changes or not self.journal.was(event, told_by_nothing))
        ]


def _order(event: Line, *, has_time: bool) -> Key:
    side = -1 if event["sells"] else 1
    time_us = event["time_ms"] * 1000 if has_time else None
    return time_us, side, text(event["price"]), text(event["qty"])


def _order_row(row: Row) -> Key:
    return _time_us(row), row["side"], text(row["price"]), text(row["qty"])


def _quote(event: Line, *, has_id: bool, has_time: bool) -> Key:
    mark = event.get("update_id") if has_id else None
    time_us = event["time_ms"] * 1000 if has_time else None
    return mark, time_us, *map(text, (*event["bid"], *event["ask"]))


def _quote_row(row: Row) -> Key:
    values = (row[name] for name in ("bid_px", "bid_sz", "ask_px", "ask_sz"))
    return row["update_id"], _time_us(row), *map(text, values)


def _time_us(row: Row) -> int | None:
    """The venue's time; None: it gave none, and ingest put its own in."""
    return None if row["flags"] & TIME_INFERRED else row["timestamp"]


def _levels(change: Line) -> list[tuple[int, str, str]]:
    sides = ((BID, change["bids"]), (ASK, change["asks"]))
    return sorted((side, text(price), text(qty)) for side, levels in sides for price, qty in levels)


def _fold(book: dict[int, Side], packet: Sequence[Row]) -> None:
    for row in packet:
        if row["qty"]:
            book[row["side"]][text(row["price"])] = text(row["qty"])
        else:
            book[row["side"]].pop(text(row["price"]), None)


def _edges(book: dict[int, Side]) -> dict[int, float]:
    """The worst prices of a book that was pulled: the venue's is deeper than its answer."""
    return {BID: min(map(float, book[BID])), ASK: max(map(float, book[ASK]))}


def _differ(
    book: dict[int, Side], truth: dict[int, Side], edges: dict[int, float], unclear: set[Level]
) -> list[str]:
    """Levels of one book that the other one has not; what lies beyond the edges may be unknown."""
    found = []
    for side in (BID, ASK):
        for price, qty in truth[side].items() - book[side].items():
            is_beyond = side in edges and (edges[side] - float(price)) * side > 0
            if price in book[side] or not is_beyond:
                found.append((side, price, f"side {side}: no {qty} at {price}"))
        wrong = book[side].items() - truth[side].items()
        found += [(side, price, f"side {side}: {qty} at {price}") for price, qty in wrong]
    return [said for side, price, said in found if (side, price) not in unclear]
