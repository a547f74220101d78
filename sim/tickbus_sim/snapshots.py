"""Decides which depth answer a request gets and when: a recorded body, or the venue's own book.

A recorded body belongs to its place between two frames. It is answered when the play-out has
reached that place, and holds up the play-out until it was fetched, as far as somebody needs it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TypeAlias

from tickbus_sim.book import CaptureBooks
from tickbus_sim.capture import Body, Capture
from tickbus_sim.dialect import Topic
from tickbus_sim.pace import SECOND, Wait

FETCH_WAIT_NS = 30 * SECOND  # for a body that a subscriber cannot do without
FETCH_WAIT_SHORT_NS = SECOND  # for one that it may not want, or not yet
JOIN_EVENTS = 2  # a client may want to see so many depth events before it asks
RESYNC_AHEAD_NS = 5 * SECOND  # a body recorded later than this is no answer to a resync
_position = attrgetter("position")


@dataclass(frozen=True)
class Answer:
    """The request `ticket` gets this recorded body."""

    ticket: int
    body: Body


@dataclass(frozen=True)
class AnswerBook:
    """The request `ticket` gets the venue's own book as it stands before frame `position`."""

    ticket: int
    ticker: str
    position: int


Reply: TypeAlias = Answer | AnswerBook


@dataclass
class Counts:
    """What became of depth requests and recorded bodies."""

    fetched: int = 0
    own_books: int = 0
    unsubscribed: int = 0  # bodies of tickers whose depth nobody follows
    not_fetched: int = 0  # bodies that nobody asked for in time


@dataclass
class _Due:
    """A body that was reached and not fetched yet."""

    body: Body
    hold_ns: int | None = None  # how long it may hold up the play-out; decided when it does
    since_ns: int | None = None


class Snapshots:
    """Requests and bodies of one capture."""

    def __init__(
        self, capture: Capture, release: Callable[[Body], int] = lambda body: body.position
    ) -> None:
        """`release`: the position at which a reached body may be answered (a late one: further)."""
        self.books = CaptureBooks(capture)
        self.counts = Counts()
        self.recorded: dict[tuple[str, str], Body] = {}
        """bodies other than books by kind and symbol: the last one reached, or the first"""
        self._received_ns = capture.received_ns
        self._book_family = capture.dialect.book_family
        self._release = release
        self._ahead: list[Body] = []
        for body in capture.bodies:
            if _is_depth(body):
                self._ahead.append(body)
            else:
                self.recorded.setdefault((body.kind, body.symbol), body)
        self._others = [body for body in capture.bodies if not _is_depth(body)]
        self._released: set[int] = set()
        self._due: list[_Due] = []
        self._overdue: dict[str, Body] = {}
        self._requests: dict[int, str] = {}
        self._fetching: dict[int, Body | None] = {}
        self._tickets = 0
        self._joined_at: dict[str, int] = {}
        self._synced: set[str] = set()
        self._passed: set[str] = set()

    # Inputs

    def request(self, ticker: str) -> int:
        """Somebody asks for a ticker's book; the ticket names the request from now on."""
        self._tickets += 1
        self._requests[self._tickets] = ticker
        return self._tickets

    def withdraw(self, ticket: int) -> None:
        """Whoever asked is gone without an answer."""
        self._requests.pop(ticket, None)
        self._fetching.pop(ticket, None)

    def fetched(self, ticket: int, ticker: str) -> None:
        """The answer reached whoever asked."""
        body = self._fetching.pop(ticket, None)
        self._synced.add(ticker)
        if body is None:
            self.counts.own_books += 1
            return
        self.counts.fetched += 1
        self._due = [due for due in self._due if due.body is not body]
        if self._overdue.get(ticker) is body:
            del self._overdue[ticker]
            self.counts.not_fetched -= 1

    def joined(self, ticker: str, position: int) -> None:
        """A connection has begun to follow this ticker's depth: it will need a book."""
        self._joined_at[ticker] = position
        self._synced.discard(ticker)
        self._overdue.pop(ticker, None)

    def paused(self) -> None:
        """Nobody is connected: what is held gets its full time anew."""
        for due in self._due:
            due.hold_ns = due.since_ns = None

    def reach(self, position: int) -> None:
        """The play-out has sent every frame before `position`."""
        while self._others and self._others[0].position <= position:
            other = self._others.pop(0)
            self.recorded[other.kind, other.symbol] = other
        while self._ahead and self._ahead[0].position <= position:
            body = self._ahead.pop(0)
            self._passed.add(body.symbol)
            release = body.position if id(body) in self._released else self._release(body)
            if release > position:
                later = replace(body, position=release)
                self._released.add(id(later))
                insort(self._ahead, later, key=_position)
            else:
                self._due.append(_Due(body))

    # Decisions

    def next_position(self) -> int | None:
        """The next body's place, where a run of frames must end."""
        return self._ahead[0].position if self._ahead else None

    def reply(self, position: int) -> Reply | None:
        """The next request that can be answered now."""
        for ticket, ticker in self._requests.items():
            reply = self._reply(ticket, ticker, position)
            if reply is not None:
                del self._requests[ticket]
                self._fetching[ticket] = reply.body if isinstance(reply, Answer) else None
                return reply
        return None

    def hold(self, now_ns: int, position: int, audience: frozenset[Topic]) -> Wait | None:
        """What the play-out waits for before it may pass `position`."""
        for due in list(self._due):
            ticker = due.body.symbol
            if any(body is due.body for body in self._fetching.values()):
                return Wait(None, f"the fetch of {ticker}'s snapshot")
            if Topic(ticker, self._book_family) not in audience:
                self.counts.unsubscribed += 1
                self._due.remove(due)
                continue
            if due.hold_ns is None or due.since_ns is None:
                due.hold_ns, due.since_ns = self._hold_ns(ticker, position), now_ns
            until_ns = due.since_ns + due.hold_ns
            if now_ns < until_ns:
                return Wait(until_ns, f"a request for {ticker}'s snapshot")
            self._give_up(due)
        return None

    def _reply(self, ticket: int, ticker: str, position: int) -> Reply | None:
        due = next((due.body for due in self._due if due.body.symbol == ticker), None)
        body = due or self._overdue.get(ticker)
        if body is not None:
            taken = any(fetching is body for fetching in self._fetching.values())
            return None if taken else Answer(ticket, body)
        ahead = next((body for body in self._ahead if body.symbol == ticker), None)
        if ahead is None or self._is_resync(ticker, position, ahead):
            return AnswerBook(ticket, ticker, position)
        return None

    def _is_resync(self, ticker: str, position: int, ahead: Body) -> bool:
        """Whether a client lost its book where the recorder did not: our own book serves it."""
        if ticker not in self._passed or position == 0:
            return False
        far = ahead.received_ns - self._received_ns[position - 1] > RESYNC_AHEAD_NS
        return far and self.books.at(ticker, position).whole

    def _hold_ns(self, ticker: str, position: int) -> int:
        if ticker in self._synced and self.books.at(ticker, position).whole:
            return FETCH_WAIT_SHORT_NS  # the recorder fetched it for reasons of its own
        places = self.books.positions.get(ticker, [])
        seen = bisect_left(places, position) - bisect_left(
            places, self._joined_at.get(ticker, position)
        )
        return FETCH_WAIT_NS if seen >= JOIN_EVENTS else FETCH_WAIT_SHORT_NS

    def _give_up(self, due: _Due) -> None:
        self._due.remove(due)
        self.counts.not_fetched += 1
        if due.body.symbol not in self._synced:
            # It still joins what a new subscriber has buffered, so a later request may have it.
            self._overdue[due.body.symbol] = due.body


def _is_depth(body: Body) -> bool:
    return body.kind == "book" and bool(body.symbol)
