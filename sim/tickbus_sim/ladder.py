"""A synthetic instrument's order book in whole ticks and lots, and what orders do to it."""

from __future__ import annotations

import random
from heapq import nlargest, nsmallest
from math import exp, log
from typing import TypeAlias
from zlib import crc32

from tickbus_sim.events import Instrument

Rungs: TypeAlias = list[tuple[int, int]]
"""(price in ticks, lots)"""
LEVELS = 1_500  # a side at the open
LEVELS_MIN, LEVELS_MAX = 1_200, 3_000
_NEAR_DECAY = 0.7  # of orders near the touch, a tick further away
_TYPICAL_LOTS = 400.0

_KNOWN = {  # ticker's start: price, decimals of tick and lot
    "BTC": (60_000.0, 1, 3),
    "ETH": (3_000.0, 2, 3),
    "SOL": (150.0, 2, 2),
}


def instrument(ticker: str) -> Instrument:
    """A plausible instrument for any ticker: the known majors, else drawn from the name."""
    known = next((_KNOWN[start] for start in _KNOWN if ticker.startswith(start)), None)
    price, price_decimals, qty_decimals = known or _drawn(ticker)
    return Instrument(ticker, price_decimals, qty_decimals, round(price * 10**price_decimals))


def _drawn(ticker: str) -> tuple[float, int, int]:
    """Price between 0.3 and 300, with a tick fine enough for a deep book."""
    price = 10 ** (3 * crc32(ticker.encode()) / 2**32 - 0.5)
    return price, (5 if price < 1 else 4 if price < 10 else 3), 1


class Ladder:
    """Both sides of one book; never crossed, never empty."""

    def __init__(self, listed: Instrument, rng: random.Random) -> None:
        self._instrument = listed
        self._rng = rng
        self._sides: tuple[dict[int, int], dict[int, int]] = ({}, {})  # bids, asks: ticks to lots
        self._changes: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._best = [listed.price_ticks, listed.price_ticks + 1]
        self._far = [listed.price_ticks + 1, listed.price_ticks]
        for is_ask in (0, 1):
            for _ in range(LEVELS):
                self._extend(is_ask)
        self._best = [max(self._sides[0]), min(self._sides[1])]
        self._changes = ({}, {})

    def best(self) -> tuple[int, int, int, int]:
        """Bid ticks, bid lots, ask ticks, ask lots."""
        bid, ask = self._best
        return bid, self._sides[0][bid], ask, self._sides[1][ask]

    def mid(self) -> float:
        """The middle of the best prices, in ticks."""
        return (self._best[0] + self._best[1]) / 2

    def spread(self) -> int:
        """In ticks."""
        return self._best[1] - self._best[0]

    def take(self, taker_sells: bool) -> list[tuple[int, int, bool]]:
        """A market order: trades (price ticks, lots, taker sells) at one or more levels."""
        is_ask = 0 if taker_sells else 1
        side, left = self._sides[is_ask], self._lots(1.0)
        trades: list[tuple[int, int, bool]] = []
        while left > 0 and len(trades) < 8:
            price = self._best[is_ask]
            lots = min(left, side[price])
            trades.append((price, lots, taker_sells))
            self._set(is_ask, price, side[price] - lots)
            left -= lots
        return trades

    def add(self, *, is_bid: bool) -> None:
        """A limit order near the touch; inside the spread when there is room."""
        is_ask = 0 if is_bid else 1
        outward = -1 if is_bid else 1
        best = self._best[is_ask]
        if self.spread() > 1 and self._rng.random() < 0.85:
            price = best - outward * (1 + int(self._rng.random() * (self.spread() - 1)))
        else:
            price = best + outward * self._near()
        self._set(is_ask, price, self._sides[is_ask].get(price, 0) + self._lots(1.0))

    def cancel(self, *, is_bid: bool) -> None:
        """Part or all of a level near the touch is taken back."""
        is_ask = 0 if is_bid else 1
        price = self._best[is_ask] + (-1 if is_bid else 1) * self._near()
        lots = self._sides[is_ask].get(price, 0)
        keep = 0 if self._rng.random() < 0.5 else int(lots * self._rng.random())
        if lots:
            self._set(is_ask, price, keep)

    def deep(self) -> None:
        """A level far from the touch changes; the far edge is kept populated."""
        is_ask = int(self._rng.random() * 2)
        side, outward = self._sides[is_ask], (1 if is_ask else -1)
        if len(side) < LEVELS_MIN:
            self._extend(is_ask)
        elif len(side) > LEVELS_MAX:
            far = max(side) if is_ask else min(side)
            self._set(is_ask, far, 0)
            self._far[is_ask] = far
        price = self._best[is_ask] + outward * int(1 + 1_200 * self._rng.random() ** 2)
        gone = price in side and self._rng.random() < 0.4
        if price > 0:
            self._set(is_ask, price, 0 if gone else self._lots(3.0))

    def take_changes(self) -> tuple[Rungs, Rungs]:
        """Levels changed since the last call, bids and asks; 0 lots is a deletion."""
        changes, self._changes = self._changes, ({}, {})
        return list(changes[0].items()), list(changes[1].items())

    def top(self, limit: int) -> tuple[Rungs, Rungs]:
        """The best `limit` levels a side, best first."""
        bids, asks = self._sides
        return nlargest(limit, bids.items()), nsmallest(limit, asks.items())

    def has(self, is_ask: int, ticks: int) -> bool:
        """Whether the side has a level at this price."""
        return ticks in self._sides[is_ask]

    def _near(self) -> int:
        """Ticks from the touch, geometric."""
        return int(log(1.0 - self._rng.random()) / log(_NEAR_DECAY))

    def _lots(self, scale: float) -> int:
        return max(1, int(_TYPICAL_LOTS * scale * exp(self._rng.gauss(-0.5, 1.0))))

    def _extend(self, is_ask: int) -> None:
        """One more level beyond the furthest."""
        gap = 1 + int(self._rng.random() ** 4 * 6)
        price = self._far[is_ask] + (gap if is_ask else -gap)
        if price > 0:
            self._far[is_ask] = price
            self._set(is_ask, price, self._lots(2.0))

    def _set(self, is_ask: int, price: int, lots: int) -> None:
        side = self._sides[is_ask]
        self._changes[is_ask][price] = lots
        outward = 1 if is_ask else -1
        if lots:
            side[price] = lots
            if (price - self._best[is_ask]) * outward < 0:
                self._best[is_ask] = price
            return
        side.pop(price, None)
        if not side:
            self._far[is_ask] = price
            self._extend(is_ask)
        while self._best[is_ask] not in side:
            self._best[is_ask] += outward
