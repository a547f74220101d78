"""The dataset against the journal of a venue that went wrong: plain Python over plain Parquet.

The journal says what happened, in which frames, and what the venue did to them. A row is right if
it happened. What happened is right if it is a row once, or if the dataset says that it is missing.
What a venue does not number can be missing without a word: only where its very frame was lost.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tickbus_ingest import exchanges
from tickbus_ingest.venue.contract import TradeIds, UpdateIds
from tickbus_sim.dialect import Books, Dialect

from tests.end_to_end.oracle import SNAPSHOT_FIRST, text

Row = dict[str, Any]
Line = dict[str, Any]
Key = tuple[Any, ...]
Side = dict[str, str]

GAP = 3
BID, ASK = 1, -1
TIME_INFERRED = 1
LOST = frozenset({"drop", "silence", "corrupt", "nan"})
"""Faults after which a frame's content never came."""
_ROWS_OF = {"trade": ("trade",), "bbo": ("quote",), "liquidation": ("liquidation",)}


class Journal:
    """What happened, by ticker, and what became of each frame."""

    def __init__(self, path: Path) -> None:
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        self.faults: defaultdict[str, list[Line]] = defaultdict(list)
        self.touched: defaultdict[int, set[str]] = defaultdict(set)
        """by frame, the kinds of faults that touched it"""
        self.events: defaultdict[tuple[str, str], list[Line]] = defaultdict(list)
        """by kind and ticker, in order"""
        self.kind_of: dict[int, str] = {}
        """by frame, the kind of event that it tells of"""
        for line in lines:
            if line["event"] == "fault":
                self.faults[line["kind"]].append(line)
                self.touched[line["frame"]].add(line["kind"])
                continue
            self.events[line["event"], line["ticker"]].append(line)
            for frame in line.get("frames", ()):
                self.kind_of[frame] = line["event"]

    def was(self, event: Line, kinds: frozenset[str] | set[str]) -> bool:
        """Whether a fault of these kinds touched a frame of the event."""
        return any(self.touched[frame] & kinds for frame in event["frames"])


def rows_of(root: Path, feed: str) -> list[Row]:
    """All rows of a feed in the order of the log."""
    found = [
        row
        for path in root.glob(f"feed={feed}/**/*.parquet")
        for row in pq.ParquetFile(path).read().to_pylist()
    ]
    return sorted(found, key=lambda row: row["seq_id"])


# ------------------------------------------------------------------ single events


def _trade(event: Line) -> Key:
    side = -1 if event["sells"] else 1
    return event["time_ms"] * 1000, side, text(event["price"]), text(event["qty"])


def _quote(event: Line, *, has_id: bool, has_time: bool) -> Key:
    sides = (*event["bid"], *event["ask"])
    mark = event.get("update_id") if has_id else None
    return (mark, event["time_ms"] * 1000 if has_time else None, *map(text, sides))


def _quote_row(row: Row) -> Key:
    time = None if row["flags"] & TIME_INFERRED else row["timestamp"]
    return (row["update_id"], time, *(text(row[n]) for n in ("bid_px", "bid_sz", "ask_px", "ask_sz")))


def _order_row(row: Row) -> Key:
    return row["timestamp"], row["side"], text(row["price"]), text(row["qty"])


@dataclass(frozen=True)
class Comparison:
    """A dataset beside the journal of its venue."""

    dialect: Dialect
    root: Path
    journal: Journal

    @cached_property
    def gaps(self) -> dict[tuple[str, str], list[Row]]:
        """Gap rows by feed and ticker."""
        found: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in rows_of(self.root, "status"):
            if row["kind"] == GAP:
                found[row["about_feed"], row["ticker"]].append(row)
        return found

    # -------------------------------------------- trades, liquidations, quotes

    def happened(self, feed: str, ticker: str) -> list[tuple[Key, Line]]:
        """What the venue told of a feed, in order, as `stored` shows it."""
        events = self.journal.events
        if feed != "bbo":
            return [(_trade(one), one) for one in events[feed, ticker] if one["frames"]]
        quotes = [*events["quote", ticker]]
        if self.dialect.family_of("ticker") == self.dialect.family_of("bbo"):
            quotes += events["statistics", ticker]
        marks = {(k[0] is not None, k[1] is not None) for k, _ in self.stored("bbo", ticker)}
        has_id, has_time = marks.pop() if len(marks) == 1 else (True, True)
        quotes.sort(key=lambda one: one["frames"])
        return [(_quote(one, has_id=has_id, has_time=has_time), one) for one in quotes]

    def stored(self, feed: str, ticker: str) -> list[tuple[Key, Row]]:
        """The rows of a feed."""
        show = _quote_row if feed == "bbo" else _order_row
        return [(show(row), row) for row in rows_of(self.root, feed) if row["ticker"] == ticker]

    def wrong_rows(self, feed: str, ticker: str) -> list[str]:
        """One line for each row that did not happen, or that is there more often than it did."""
        happened = Counter(key for key, _ in self.happened(feed, ticker))
        stored = Counter(key for key, _ in self.stored(feed, ticker))
        wrong = [f"{key}: {n} rows, happened {happened[key]} times" for key, n in (stored - happened).items()]
        if feed == "trade":
            ids = Counter(row["trade_id"] for _, row in self.stored(feed, ticker))
            wrong += [f"id {one} {n} times" for one, n in ids.items() if n > 1]
        return wrong

    def missing(self, feed: str, ticker: str) -> list[Line]:
        """What happened and is no row."""
        left = Counter(key for key, _ in self.stored(feed, ticker))
        found = []
        for key, event in self.happened(feed, ticker):
            if left[key]:
                # The venue's words can be the same twice in a millisecond: said once is enough.
                left[key] -= feed == "trade"
            else:
                found.append(event)
        return found

    def lost_in_silence(self, feed: str, ticker: str) -> list[str]:
        """One line for each event that is no row, where nothing says so and something could."""
        return [
            f"{event} {self.journal.touched[event['frames'][0]]}"
            for event in self.missing(feed, ticker)
            if not self._is_told(feed, ticker, event) and not self._cannot_be_told(feed, event)
        ]

    def _is_told(self, feed: str, ticker: str, event: Line) -> bool:
        time_us = event["time_ms"] * 1000
        for gap in self.gaps[feed, ticker]:
            if feed == "trade" and self._counts_trades:
                if gap["from_id"] < event["number"] < gap["to_id"]:
                    return True
            elif gap["from_timestamp"] <= time_us <= gap["to_timestamp"]:
                return True
        return False

    def _cannot_be_told(self, feed: str, event: Line) -> bool:
        """The frame is gone, and no number of the venue could tell; or it came behind a later one."""
        if feed == "bbo" and self.journal.was(event, {"reorder"}):
            return True  # of quotes only the latest counts
        counted = feed == "trade" and self._counts_trades
        return not counted and self.journal.was(event, LOST)

    @property
    def _counts_trades(self) -> bool:
        return exchanges.load(self.dialect.exchange.token).trade_ids is TradeIds.DENSE

    def needless_gaps(self, ticker: str) -> list[Row]:
        """Gaps of counted trades in which nothing is missing."""
        missing = [one["number"] for one in self.missing("trade", ticker)]
        return [
            gap
            for gap in self.gaps["trade", ticker]
            if self._counts_trades
            and not any(gap["from_id"] < number < gap["to_id"] for number in missing)
        ]

    # ------------------------------------------------------------------- books

    @property
    def _has_ids(self) -> bool:
        ids = exchanges.load(self.dialect.exchange.token).update_ids
        return ids in (UpdateIds.LINKED, UpdateIds.COUNTED)

    def _place(self, event: Line) -> int:
        return int(event["last_id"] if self._has_ids else event["time_ms"] * 1000)

    def packets(self, ticker: str) -> Iterator[tuple[int, list[Row]]]:
        """The book's packets in the order of the log, each with its place among the changes."""
        rows = [row for row in rows_of(self.root, "l2") if row["ticker"] == ticker]
        for _, packet in groupby(
            rows, lambda row: (row["packet_id"], row["update_id"], row["is_snapshot"])
        ):
            found = list(packet)
            yield int(found[0]["update_id" if self._has_ids else "timestamp"]), found

    def wrong_books(self, ticker: str) -> list[str]:
        """One line for each packet after which the book is not the venue's, or which is no change's.

        The last one must leave the book that the journal ends with.
        """
        truth = TrueBook(self.journal, ticker, self._place)
        book: dict[int, Side] = {BID: {}, ASK: {}}
        edges: dict[int, float] = {}
        wrong, seen = [], Counter[int]()
        is_pulled = self.dialect.books is Books.PULLED
        for place, packet in self.packets(ticker):
            is_book = packet[0]["is_snapshot"]
            if is_book:
                assert packet[0]["flags"] & SNAPSHOT_FIRST, "a book that does not begin"
                book = {BID: {}, ASK: {}}
            _fold(book, packet)
            if is_book and is_pulled:
                edges = _edges(book)  # it lies between two changes: judged after the next one
                continue
            if not is_book or self.dialect.books is Books.WHOLE:
                seen[place] += 1
                if not truth.changes_at(place):
                    wrong.append(f"{place}: no such change")
            differ = _differ(book, truth.at(place), edges)
            if differ:
                wrong.append(f"{place}: {differ[:2]} of {len(differ)} levels")
        wrong += [f"{place}: {n} times" for place, n in seen.items() if n > 1]
        final = _differ(book, truth.final, edges)
        return [*wrong, *([f"the final book: {final[:2]} of {len(final)} levels"] if final else ())]

    def changes_lost_in_silence(self, ticker: str) -> list[str]:
        """One line for each change since the first book that is no row and in no gap."""
        first, stored = None, set()
        for place, packet in self.packets(ticker):
            first = place if first is None else first
            if not packet[0]["is_snapshot"] or self.dialect.books is Books.WHOLE:
                stored.add(place)
        assert first is not None, "no book at all"
        numbers = ("from_id", "to_id") if self._has_ids else ("from_timestamp", "to_timestamp")
        gaps = [[gap[name] for name in numbers] for gap in self.gaps["l2", ticker]]
        found = []
        for event in self.journal.events["change", ticker]:
            place = self._place(event)
            if place <= first or place in stored or not (event["bids"] or event["asks"]):
                continue
            told = any(start <= place <= end for start, end in gaps)
            if told or (not self._has_ids and self.journal.was(event, LOST)):
                continue
            found.append(f"{place} {self.journal.touched[event['frames'][0]]}")
        return found


class TrueBook:
    """The venue's book of a ticker at each of its changes: folded from the journal."""

    def __init__(self, journal: Journal, ticker: str, place: Any) -> None:
        opening, closing = journal.events["book", ticker]
        self._opening, self._depth = opening, opening["depth"]
        self._changes = journal.events["change", ticker]
        self._places = [place(change) for change in self._changes]
        self.final = {BID: _texts(closing["bids"]), ASK: _texts(closing["asks"])}
        self._restart()
        assert self.at(self._places[-1]) == self.final, "the journal contradicts itself"

    def changes_at(self, place: int) -> bool:
        """Whether a change has this place."""
        at = bisect_right(self._places, place)
        return at > 0 and self._places[at - 1] == place

    def at(self, place: int) -> dict[int, Side]:
        """The book after the last change up to `place`."""
        end = bisect_right(self._places, place)
        if end < self._done:
            self._restart()
        for change in self._changes[self._done : end]:
            for side, name in ((BID, "bids"), (ASK, "asks")):
                self._set(side, change[name])
        self._done = end
        return self._book

    def _restart(self) -> None:
        self._done = 0
        self._book = {BID: _texts(self._opening["bids"]), ASK: _texts(self._opening["asks"])}

    def _set(self, side: int, levels: list[list[str]]) -> None:
        book = self._book[side]
        for price, qty in levels:
            if float(qty):
                book[text(price)] = text(qty)
            else:
                book.pop(text(price), None)
        if self._depth and len(book) > self._depth:
            best = sorted(book, key=float, reverse=side == BID)
            for price in best[self._depth :]:
                del book[price]


def _texts(levels: list[list[str]]) -> Side:
    return {text(price): text(qty) for price, qty in levels}


def _fold(book: dict[int, Side], packet: list[Row]) -> None:
    for row in packet:
        if row["qty"]:
            book[row["side"]][text(row["price"])] = text(row["qty"])
        else:
            book[row["side"]].pop(text(row["price"]), None)


def _edges(book: dict[int, Side]) -> dict[int, float]:
    """The worst prices of a book that was pulled: the venue's may be deeper."""
    return {BID: min(map(float, book[BID])), ASK: max(map(float, book[ASK]))}


def _differ(book: dict[int, Side], truth: dict[int, Side], edges: dict[int, float]) -> list[Any]:
    """Levels of one book that the other one has not; what lies beyond the edges may be unknown."""
    found: list[Any] = []
    for side in (BID, ASK):
        apart = truth[side].items() - book[side].items()
        unknown = [
            level
            for level in apart
            if level[0] not in book[side]
            and side in edges
            and (edges[side] - float(level[0])) * side > 0
        ]
        found += [("missing", side, *one) for one in apart - set(unknown)]
        found += [("wrong", side, *one) for one in book[side].items() - truth[side].items()]
    return found
