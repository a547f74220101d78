"""One ticker of the seeded market: its orders, its book, and the events that they make.

Orders arrive in bursts that excite further ones (Hawkes: https://doi.org/10.1093/biomet/58.1.83);
the fair price walks with clustering volatility, trades take the best levels, makers follow.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from math import exp, log, sqrt

from tickbus_sim.book import Levels, NaiveBook, Side
from tickbus_sim.dialect import Dialect
from tickbus_sim.events import (
    ACTIONS,
    Change,
    Derivative,
    Event,
    Instrument,
    Liquidation,
    Quote,
    Statistics,
    Trade,
    decimal_text,
)
from tickbus_sim.ladder import Ladder, Rungs
from tickbus_sim.pace import SECOND

FUNDING_INTERVAL_MS = 8 * 3_600_000

_BRANCHING = 0.7  # further orders that each order excites, on average
_DECAY_PER_S = 6.0  # how fast the excitement fades
_VOLATILITY_MEMORY_S = 20.0
_VOLATILITY_SPREAD = 0.7  # standard deviation of log volatility
_FAIR_TICKS_PER_ORDER = 0.4  # standard deviation of the fair price's step from order to order
_ID_STEP_MAX = 7  # where the updates of all symbols are counted in one series
_LIQUIDATED = 0.01  # of trades


def _actions(levels: Levels, side: Side) -> list[str]:
    """What each level of a change does to a side; nothing, if it came and went."""
    return [
        ("update" if Decimal(qty) else "delete")
        if price in side
        else ("insert" if Decimal(qty) else "")
        for price, qty in levels
    ]


def _levels(change: Change, bids: list[str], asks: list[str]) -> Iterator[Change]:
    """One change for each level, at the same time; `bids`, `asks`: what is done to each."""
    number = change.prev_id
    for wanted in ACTIONS:
        for is_bid, levels, actions in ((True, change.bids, bids), (False, change.asks, asks)):
            for level, action in zip(levels, actions, strict=True):
                if action == wanted:
                    number += 1
                    yield replace(
                        change, first_id=number, last_id=number, prev_id=number - 1, action=action,
                        bids=[level] if is_bid else [], asks=[] if is_bid else [level],
                    )  # fmt: skip


def _parts(change: Change, bids: list[str], asks: list[str]) -> Iterator[Change]:
    """One change for each action, a millisecond apart; `bids`, `asks`: of each level."""
    told = 0
    for action in ACTIONS:
        own = [
            [level for level, does in zip(levels, actions, strict=True) if does == action]
            for levels, actions in ((change.bids, bids), (change.asks, asks))
        ]
        if any(own):
            time_ms = change.time_ms + told
            yield replace(change, bids=own[0], asks=own[1], time_ms=time_ms, action=action)
            told += 1


class Shared:
    """What the tickers of one exchange share: the opening time and, at some, the update ids."""

    def __init__(self, ids_are_shared: bool, first_id: int, start_ms: int) -> None:
        self.ids_are_shared = ids_are_shared
        self.last_id = first_id
        self.start_ms = start_ms

    def following(self, own_last: int, rng: random.Random) -> int:
        """The id after `own_last`: dense per ticker, or of one sparse series."""
        if not self.ids_are_shared:
            return own_last + 1
        self.last_id += 1 + int(rng.random() * _ID_STEP_MAX)
        return self.last_id


class _Arrivals:
    """Times of orders: self-exciting, by thinning (Ogata 1981)."""

    def __init__(self, rng: random.Random, orders_per_s: float) -> None:
        self._rng = rng
        self._calm_per_s = orders_per_s * (1 - _BRANCHING)
        self._excited_per_s = orders_per_s * _BRANCHING
        self._time_s = 0.0

    def next_s(self, activity: float) -> float:
        """The next order's time; `activity` scales the calm rate, 1 on average."""
        calm = self._calm_per_s * activity
        while True:
            bound = calm + self._excited_per_s
            wait_s = -log(1.0 - self._rng.random()) / bound
            self._time_s += wait_s
            self._excited_per_s *= exp(-_DECAY_PER_S * wait_s)
            if self._rng.random() * bound <= calm + self._excited_per_s:
                self._excited_per_s += _BRANCHING * _DECAY_PER_S
                return self._time_s


class TickerMarket:
    """One ticker's book, price process and events."""

    def __init__(
        self,
        listed: Instrument,
        rng: random.Random,
        orders_per_s: float,
        shared: Shared,
        dialect: Dialect,
    ) -> None:
        self.instrument = listed
        self._rng = rng
        self._shared = shared
        self._dialect = dialect
        self._arrivals = _Arrivals(rng, orders_per_s)
        self._fair_ticks_per_sqrt_s = _FAIR_TICKS_PER_ORDER * sqrt(orders_per_s)
        self._ladder = Ladder(listed, rng)
        self._fair = listed.price_ticks + 0.5
        self._log_volatility = 0.0
        self._last_s = 0.0
        self._trade_id = rng.randrange(10**8, 10**9)
        self._update_id = self._prev_book_id = shared.last_id
        self._first_id = 0  # of the coming book update; 0: nothing changed yet
        self._changes = 0
        self._change_ns = 0
        self._day = _Day(listed)
        self.shown = self.now()
        """the book as the last update left it, as deep as the venue shows it"""
        self._shown_ticks = self._ladder.top(dialect.depth)
        self.derivative: Derivative
        """as told last; a REST request may come before anything is told"""
        self.statistics(0)

    def next_order_ns(self, factor: float = 1.0) -> int:
        activity = factor * exp(self._log_volatility - _VOLATILITY_SPREAD**2 / 2)
        return int(self._arrivals.next_s(activity) * SECOND)

    def order(self, time_ns: int) -> list[Event]:
        """One order arrives: its trades, and the quote if it changed."""
        self._walk(time_ns / SECOND)
        ladder = self._ladder
        before = ladder.best()
        trades = self._act()
        self._change_ns = time_ns
        self._update_id = self._shared.following(self._update_id, self._rng)
        self._first_id = self._first_id or self._update_id
        events: list[Event] = [self._trade(*trade) for trade in trades]
        if trades and self._rng.random() < _LIQUIDATED:
            last = events[-1]
            assert isinstance(last, Trade)
            events[-1] = replace(last, is_liquidation=True)
            events.append(Liquidation(last.ticker, last.price, last.qty, last.sells, last.time_ms))
        if ladder.best() != before:
            events.append(self._quote(time_ns))
        return events

    def change(self, time_ns: int) -> list[Event]:
        """The coming 100 ms' book update; none when nothing changed."""
        bids, asks = self._ladder.take_changes()
        if not self._first_id:
            return []
        if self._dialect.depth:
            bids, asks = self._visible_changes()
        self._changes += 1
        first, last, prev = self._first_id, self._update_id, self._prev_book_id
        if self._dialect.counts_updates:
            first = last = prev + 1
        self._prev_book_id, self._first_id = last, 0
        ms = self._venue_ms(time_ns)
        bid_texts, ask_texts = self._texts(bids), self._texts(asks)
        actions = [
            _actions(texts, side)
            for texts, side in ((bid_texts, self.shown.bids), (ask_texts, self.shown.asks))
            if self._dialect.one_action or self._dialect.one_level
        ]
        if self._dialect.depth:
            self.shown = self.now()
        else:
            self._show(self.shown.bids, bids, bid_texts)
            self._show(self.shown.asks, asks, ask_texts)
        self.shown.event_ms, self.shown.last_id = ms, last
        self.shown.engine_ms = self._venue_ms(self._change_ns)
        change = Change(
            self.instrument.ticker, bid_texts, ask_texts, first, last, prev, self._changes, ms,
            self._venue_ms(self._change_ns), self.shown,
        )  # fmt: skip
        if not actions:
            return [change]
        split = _levels if self._dialect.one_level else _parts
        parts = list(split(change, *actions))
        if self._dialect.one_level:
            self._prev_book_id = self.shown.last_id = prev + len(parts)
        self.shown.event_ms = max([ms, *(part.time_ms for part in parts)])
        return [*parts]

    @staticmethod
    def _show(side: Side, rungs: Rungs, texts: Levels) -> None:
        """Bring a side of a book without limit up to date: far cheaper than to write it anew."""
        for (_, lots), (price, qty) in zip(rungs, texts, strict=True):
            if lots:
                side[price] = qty
            else:
                side.pop(price, None)

    def _visible_changes(self) -> tuple[Rungs, Rungs]:
        """What changed in the part of the book that the venue shows."""
        top = self._ladder.top(self._dialect.depth)
        found: list[Rungs] = []
        for is_ask in (0, 1):
            before, after = dict(self._shown_ticks[is_ask]), dict(top[is_ask])
            changed = [(ticks, lots) for ticks, lots in top[is_ask] if before.get(ticks) != lots]
            gone = [
                (ticks, 0)
                for ticks in before
                if ticks not in after
                and not (self._dialect.drops_silently and self._ladder.has(is_ask, ticks))
            ]
            found.append(gone + changed)
        self._shown_ticks = top
        return found[0], found[1]

    def now(self) -> NaiveBook:
        """The book as it is, as deep as the venue shows it."""
        bids, asks = self._ladder.top(self._dialect.depth or 10_000)
        return NaiveBook(
            self._side(bids), self._side(asks), self._update_id,
            self._venue_ms(self._change_ns), self._venue_ms(self._change_ns),
            self._dialect.depth, whole=True,
        )  # fmt: skip

    def _side(self, rungs: Rungs) -> Side:
        return dict(self._texts(rungs))

    def _texts(self, rungs: Rungs) -> Levels:
        listed = self.instrument
        return [(listed.price_text(ticks), listed.qty_text(lots)) for ticks, lots in rungs]

    def statistics(self, time_ns: int) -> list[Event]:
        """What the venue tells once a second."""
        ms, listed, day = self._venue_ms(time_ns), self.instrument, self._statistics(time_ns)
        mark_ticks, open_lots = round(self._fair), 1_000_000 + day.trades
        decimals = listed.price_decimals + listed.qty_decimals
        self.derivative = Derivative(
            listed.ticker, listed.price_text(mark_ticks), listed.price_text(mark_ticks + 1),
            day.last, "0.0001", (ms // FUNDING_INTERVAL_MS + 1) * FUNDING_INTERVAL_MS,
            listed.qty_text(open_lots), decimal_text(mark_ticks * open_lots, decimals), ms,
            day if self._dialect.marks_tell_day else None,
        )  # fmt: skip
        return [day, self.derivative]

    def _statistics(self, time_ns: int) -> Statistics:
        listed, day = self.instrument, self._day
        last, best = listed.price_text(day.last_ticks), self._best()
        return Statistics(listed.ticker, last, *day.texts(), *best, self._venue_ms(time_ns))

    def _best(self) -> tuple[tuple[str, str], tuple[str, str]]:
        listed = self.instrument
        bid, bid_lots, ask, ask_lots = self._ladder.best()
        return (
            (listed.price_text(bid), listed.qty_text(bid_lots)),
            (listed.price_text(ask), listed.qty_text(ask_lots)),
        )

    def _venue_ms(self, time_ns: int) -> int:
        return self._shared.start_ms + time_ns // 1_000_000

    def _walk(self, now_s: float) -> None:
        """The fair price moves by its volatility, which itself is drawn back to its mean."""
        step_s, self._last_s = now_s - self._last_s, now_s
        keep = exp(-step_s / _VOLATILITY_MEMORY_S)
        shock = self._rng.gauss(0.0, 1.0) * sqrt(1 - keep * keep)
        self._log_volatility = keep * self._log_volatility + _VOLATILITY_SPREAD * shock
        sigma = self._fair_ticks_per_sqrt_s * exp(self._log_volatility)
        self._fair += sigma * sqrt(step_s) * self._rng.gauss(0.0, 1.0)
        self._fair = max(self._fair, self.instrument.price_ticks * 0.1)

    def _act(self) -> list[tuple[int, int, bool]]:
        """What the order does; its trades as (price ticks, lots, taker sells)."""
        ladder, draw = self._ladder, self._rng.random()
        lean = self._fair - ladder.mid()
        eager = abs(lean) > ladder.spread()
        if draw < (0.45 if eager else 0.12):
            sells = lean < 0 if eager else self._rng.random() < 0.5
            return ladder.take(sells)
        if draw < 0.7:
            # Makers fill in behind the price and leave the side that is about to be hit.
            ladder.add(is_bid=self._rng.random() < (0.8 if lean > 0 else 0.2))
        elif draw < 0.92:
            ladder.cancel(is_bid=self._rng.random() < (0.2 if lean > 0 else 0.8))
        else:
            ladder.deep()
        return []

    def _trade(self, price_ticks: int, lots: int, taker_sells: bool) -> Trade:
        self._trade_id += 1
        listed, ms = self.instrument, self._venue_ms(self._change_ns)
        self._day.add(price_ticks, lots)
        price, qty = listed.price_text(price_ticks), listed.qty_text(lots)
        return Trade(listed.ticker, self._trade_id, price, qty, taker_sells, ms)

    def _quote(self, time_ns: int) -> Quote:
        day = self._statistics(time_ns) if self._dialect.quotes_tell_day else None
        ms = self._venue_ms(self._change_ns)
        return Quote(self.instrument.ticker, self._update_id, *self._best(), ms, day)


class _Day:
    """Statistics since the open."""

    def __init__(self, listed: Instrument) -> None:
        self._listed = listed
        self.last_ticks = self._open = self._high = self._low = listed.price_ticks
        self._last_lots = self._lots = self._turnover = 0
        self.trades = 0

    def add(self, ticks: int, lots: int) -> None:
        """A trade."""
        self.last_ticks, self._last_lots = ticks, lots
        self._high, self._low = max(self._high, ticks), min(self._low, ticks)
        self._lots += lots
        self._turnover += ticks * lots
        self.trades += 1

    def texts(self) -> tuple[str, str, str, str, str, str, int, str]:
        """Last quantity, open, high, low, volume, turnover, trades, change."""
        listed = self._listed
        change = self.last_ticks - self._open
        decimals = listed.price_decimals + listed.qty_decimals
        return (
            listed.qty_text(self._last_lots),
            listed.price_text(self._open),
            listed.price_text(self._high),
            listed.price_text(self._low),
            listed.qty_text(self._lots),
            decimal_text(self._turnover, decimals),
            self.trades,
            ("-" if change < 0 else "") + listed.price_text(abs(change)),
        )
