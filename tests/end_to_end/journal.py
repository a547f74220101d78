"""What the simulated venue wrote down of a run: events, frames, faults, books. Decimal text."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.end_to_end.oracle import text

Line = dict[str, Any]
Side = dict[str, str]
BID, ASK = 1, -1
ON_THE_WAY = 250
"""Frames that may be on their way when a connection breaks."""


class Journal:
    """What happened, by ticker, and what became of each frame."""

    def __init__(self, path: Path) -> None:
        self.faults: defaultdict[str, list[Line]] = defaultdict(list)
        """by kind, in order"""
        self.of_clients: defaultdict[tuple[str, str], list[Line]] = defaultdict(list)
        """those that befell the connections of one address alone, by address and kind"""
        self.touched: defaultdict[int, set[str]] = defaultdict(set)
        """by frame, the kinds of faults that touched it"""
        self.events: defaultdict[tuple[str, str], list[Line]] = defaultdict(list)
        """by kind and ticker, in order"""
        self.kind_of: dict[int, str] = {}
        """by frame, the kind of event that it tells of"""
        self.unheard: set[int] = set()
        """frames that went to nobody, or were on their way when the connections broke"""
        for text_line in path.read_bytes().splitlines():
            line = json.loads(text_line)
            if "client" in line:
                self.of_clients[line["client"], line["kind"]].append(line)
                continue
            if line["event"] == "fault":
                self.faults[line["kind"]].append(line)
                self.touched[line["frame"]].add(line["kind"])
                continue
            if line["event"] == "unheard":
                self.unheard.update(line["frames"])
                continue
            self.events[line["event"], line["ticker"]].append(line)
            self.kind_of |= dict.fromkeys(line.get("frames", ()), line["event"])

        for cut in self.faults["disconnect"]:
            self.unheard.update(range(cut["frame"] - ON_THE_WAY, cut["frame"]))

    def was_heard(self, event: Line) -> bool:
        """Whether a frame of the event was sent to somebody who was there to receive it."""
        return any(frame not in self.unheard for frame in event["frames"])

    def was(self, event: Line, kinds: frozenset[str]) -> bool:
        """Whether a fault of these kinds touched a frame of the event."""
        return any(self.touched[frame] & kinds for frame in event["frames"])


class TrueBook:
    """The venue's book of a ticker at each of its changes: folded from the journal."""

    def __init__(self, journal: Journal, ticker: str, place: Callable[[Line], int]) -> None:
        """`place`: where a change stands in the order of them all."""
        opening, closing = journal.events["book", ticker]
        self._opening, self._depth = opening, opening["depth"]
        self._changes = journal.events["change", ticker]
        self._places = [place(change) for change in self._changes]
        self._done = 0
        self._book = _sides(opening)
        self.final = _sides(closing)
        assert self.at(self._places[-1]) == self.final, "the journal contradicts itself"

    def has(self, place: int) -> bool:
        """Whether there is a change at this place."""
        at = bisect_right(self._places, place)
        return at > 0 and self._places[at - 1] == place

    def at(self, place: int) -> dict[int, Side]:
        """The book after the last change up to `place`, until the next call."""
        end = bisect_right(self._places, place)
        if end < self._done:
            self._done, self._book = 0, _sides(self._opening)
        for change in self._changes[self._done : end]:
            self._set(BID, change["bids"])
            self._set(ASK, change["asks"])
        self._done = end
        return self._book

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


def _sides(book: Line) -> dict[int, Side]:
    return {
        side: {text(price): text(qty) for price, qty in book[name]}
        for side, name in ((BID, "bids"), (ASK, "asks"))
    }
