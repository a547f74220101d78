"""A made venue that knows the truth: its books and trades, and what each connection will deliver.

What is delivered, lost, repeated or late is up to the test; `arrivals` remembers it, so that the
same can arrive again in other flushes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tickbus_ingest.session.book_rules import State
from tickbus_ingest.venue.contract import Snapshots, TradeIds, UpdateIds, Venue
from tickbus_schemas.messages import L2Flag

from tests.ingest.made import Event, book, count, crc, frame, play, trade, update
from tests.ingest.venues.playing import Player

Side = dict[float, float]
Change = tuple[int, int, int]
"""side, steps away from the middle, size"""


@dataclass(frozen=True)
class Moment:
    """The book at one time, as the venue shows it."""

    number: int
    ms: int
    bids: Side
    asks: Side

    def levels(self) -> list[tuple[int, float, float]]:
        bids = [(1, price, self.bids[price]) for price in sorted(self.bids, reverse=True)]
        return bids + [(-1, price, self.asks[price]) for price in sorted(self.asks)]


@dataclass
class Market:
    """One ticker, A, of a venue of some kind, heard over some connections."""

    kind: type[Venue]
    lines: int = 1
    wait_us: int = 0
    moments: list[Moment] = field(default_factory=list)
    trades: int = 0
    delivered_trades: set[int] = field(default_factory=set)
    arrivals: list[Callable[[Player], object] | tuple[bytes, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.player = self.new_player()
        self._full: tuple[Side, Side] = ({99.0: 1.0, 98.0: 2.0}, {101.0: 1.0})
        self._queues: list[deque[tuple[bytes, list[int]]]] = [deque() for _ in range(self.lines)]
        self._counts = [0] * self.lines
        self._answered = 0
        self.moments.append(self._shown(100, 1))
        if self.kind.snapshots is Snapshots.PUSHED:
            for line in range(self.lines):
                self._push_book(line)

    def new_player(self) -> Player:
        """A session that has heard nothing yet."""
        return play(self.kind, tickers=["A"], lines=self.lines, wait_us=self.wait_us)

    # ------------------------------------------------------------- the venue

    def move(self, ms: int, step: int, changes: list[Change], trades: int) -> None:
        """Time goes on; levels change, trades happen; each connection gets a frame of it."""
        last = self.moments[-1]
        for side, steps, size in changes:
            own = self._full[0 if side > 0 else 1]
            price = 100.0 - side * (1 + steps)
            own.pop(price, None)
            if size:
                own[price] = float(size)
        counted = self.kind.update_ids is not UpdateIds.LINKED
        now = self._shown(last.number + (1 if counted else step), last.ms + ms)
        self.moments.append(now)
        ids = list(range(self.trades + 1, self.trades + trades + 1))
        self.trades += trades
        events = [self._update(last, now), *(self._trade(one, now.ms) for one in ids)]
        for line in range(self.lines):
            self._send(line, events, ids)

    def _shown(self, number: int, ms: int) -> Moment:
        depth = getattr(self.kind, "depth", 0) or 100
        bids, asks = self._full
        shown_bids = {price: bids[price] for price in sorted(bids, reverse=True)[:depth]}
        shown_asks = {price: asks[price] for price in sorted(asks)[:depth]}
        return Moment(number, ms, shown_bids, shown_asks)

    def _update(self, last: Moment, now: Moment) -> Event:
        if self.kind.snapshots is Snapshots.EVERY_FRAME:
            return self._book(now)
        sides = []
        for old, new, full in (
            (last.bids, now.bids, self._full[0]), (last.asks, now.asks, self._full[1]),
        ):  # fmt: skip
            changed = [(price, size) for price, size in new.items() if old.get(price) != size]
            # Of a level that is only pushed out of the depth the venue says nothing.
            gone = [(price, 0.0) for price in old if price not in full]
            sides.append([*gone, *changed])
        linked = self.kind.update_ids is UpdateIds.LINKED
        numbered = linked or self.kind.update_ids is UpdateIds.COUNTED
        return update(
            last.number if linked else None, now.number if numbered else None, now.ms, *sides,
            checksum=self._checksum(now),
        )  # fmt: skip

    def _book(self, moment: Moment) -> Event:
        numbered = self.kind.update_ids in (UpdateIds.LINKED, UpdateIds.COUNTED)
        return book(
            moment.number if numbered else None, moment.ms, list(moment.bids.items()),
            list(moment.asks.items()), checksum=self._checksum(moment),
        )  # fmt: skip

    def _checksum(self, moment: Moment) -> int | None:
        checked = self.kind.update_ids is UpdateIds.CHECKSUM
        return crc(moment.levels()) if checked else None

    def _trade(self, number: int, ms: int) -> Event:
        if self.kind.trade_ids is TradeIds.DENSE:
            return trade(number, ms, 100.0 + number)
        return trade(f"t{number}", ms, 100.0 + number, number=number)

    def _push_book(self, line: int) -> None:
        self._send(line, [self._book(self.moments[-1])], [])

    def _send(self, line: int, events: list[Event], trades: list[int]) -> None:
        if self.kind.update_ids is UpdateIds.PER_CONNECTION:
            self._counts[line] += 1
            events = [count(self._counts[line]), *events]
        self._queues[line].append((frame(*events), trades))

    # ------------------------------------------------------------ what arrives

    def deliver(self, line: int) -> None:
        """The next frame of a connection arrives."""
        if self._queues[line]:
            data, trades = self._queues[line].popleft()
            self.delivered_trades.update(trades)
            self._arrive(data, line)

    def repeat(self, line: int) -> None:
        """The next frame arrives, and will once more."""
        if self._queues[line]:
            self._queues[line].appendleft(self._queues[line][0])
            self.deliver(line)

    def lose(self, line: int) -> None:
        """The next frame never arrives."""
        if self._queues[line]:
            self._queues[line].popleft()

    def swap(self, line: int) -> None:
        """The next two frames will arrive the other way round."""
        queue = self._queues[line]
        if len(queue) > 1:
            queue[0], queue[1] = queue[1], queue[0]

    def reconnect(self, line: int) -> None:
        """A connection breaks with all that was on its way, and is open again."""
        self._queues[line].clear()
        self._counts[line] = 0
        self._do(lambda player: player.reconnect(line))
        if self.kind.snapshots is Snapshots.PUSHED:
            self._push_book(line)

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self._do(lambda player: player.wait(seconds))

    def answer(self, behind: int = 0) -> None:
        """What ingest asked for is on its way: the book as it is, or as it was a moment ago."""
        wishes = self.player.wishes[self._answered :]
        self._answered = len(self.player.wishes)
        moment = self.moments[max(len(self.moments) - 1 - behind, 0)]
        for wish, _ in wishes:
            if wish == "ask":
                self._pull(frame(self._book(moment)))
            else:
                self._push_book(0)

    def _pull(self, body: bytes) -> None:
        self._do(lambda player: player.pull(body))

    def settle(self) -> None:
        """Everything arrives and is answered, until nothing is missing any more."""
        for line in sorted(self.player.broken):
            self.reconnect(line)
        self.player.broken.clear()
        for _ in range(12):
            self.move(1, 1, [], 0)
            for line in range(self.lines):
                while self._queues[line]:
                    self.deliver(line)
            self.wait(10)
            if self.is_live and self._answered == len(self.player.wishes):
                break
            self.answer()

    def _arrive(self, data: bytes, line: int) -> None:
        self.arrivals.append((data, line))
        self.player.say([data], [line])

    def _do(self, act: Callable[[Player], object]) -> None:
        self.arrivals.append(act)
        act(self.player)

    # ------------------------------------------------------------------ truth

    def wrong_books(self) -> list[str]:
        """Every packet behind which a reader's book is not what the venue's was."""
        numbered = self.kind.update_ids in (UpdateIds.LINKED, UpdateIds.COUNTED)
        by_number = {one.number: one for one in self.moments}
        by_us = {(1_760_000_000_000 + one.ms) * 1000: one for one in self.moments}
        held: dict[tuple[int, float], float] = {}
        wrong = []
        for row in self.player.published.get("l2", ()):
            if row["flags"] & L2Flag.SNAPSHOT_FIRST:
                held.clear()
            for side, price, size, action in row["levels"]:
                before = held.get((side, price))
                expected = 3 if not size else 1 if before is None else 2
                if action != expected:
                    wrong.append(f"action {action} of {price} in {row}")
                held[side, price] = size
                if not size:
                    del held[side, price]
            found = by_number[row["update_id"]] if numbered else by_us[row["timestamp"]]
            truth = {(side, price): size for side, price, size in found.levels()}
            if held != truth:
                wrong.append(f"{row}: a reader has {held}, the venue had {truth}")
        return wrong

    def missing_trades(self) -> set[int]:
        """Trades that arrived and are not published."""
        return self.delivered_trades - {
            int(row["trade_id"].lstrip("t")) for row in self.player.published.get("trade", ())
        }

    @property
    def is_live(self) -> bool:
        """Whether updates are published."""
        return self.player.session.books[0].state is State.LIVE
