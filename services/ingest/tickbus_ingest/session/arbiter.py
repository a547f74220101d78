"""Which of several connections counts, ticker by ticker, where they carry the same books.

Where the venue's numbers are the same on every connection, the first arrival of each update wins:
the numbers themselves tell which one is new, and a whole book that another connection pushes when
it begins is not needed. Where each connection counts for itself (or nobody counts), one leads; the
rows of the others are dropped until one of them pushes a whole book, which it leads from then on.
Trades need no arbiter: their policy keeps each id once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

NOBODY = -1


class Arbiter:
    """The leading connection of every ticker's book."""

    def __init__(self, tickers: int, *, is_global: bool) -> None:
        self._is_global = is_global
        self._leader: npt.NDArray[np.int32] = np.full(tickers, NOBODY, np.int32)

    def grow(self, tickers: int) -> None:
        """Make room for so many tickers."""
        more = np.full(tickers - len(self._leader), NOBODY, np.int32)
        self._leader = np.concatenate((self._leader, more))

    def others(self, ticker: int, lines: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_] | None:
        """Which updates came over a connection that does not count; None: all count."""
        if self._is_global or self._leader[ticker] == NOBODY:
            return None
        others = lines != self._leader[ticker]
        return others if others.any() else None

    def takes(self, ticker: int, line: int) -> bool:
        """Whether a whole book that `line` pushes replaces the one that is followed."""
        return not self._is_global or self._leader[ticker] in (NOBODY, line)

    def leads(self, ticker: int, line: int) -> bool:
        """Whether the book of `ticker` is what `line` brought."""
        return bool(self._leader[ticker] == line)

    def lead(self, ticker: int, line: int) -> None:
        """The book of `ticker` begins anew with what `line` brought."""
        self._leader[ticker] = line

    def lose(self, tickers: list[int]) -> None:
        """No connection carries these tickers any more."""
        self._leader[tickers] = NOBODY

    def replace(self, old: int, new: int) -> list[int]:
        """Connection `old` was closed after `new` had taken its place: tickers without a leader.

        Where each connection counts for itself, `new` leads those that it pushed a book of.
        """
        if self._is_global:
            self._leader[self._leader == old] = new
            return []
        return self.leave(old)

    def leave(self, line: int) -> list[int]:
        """Connection `line` is closed: tickers that it led, where the others cannot go on."""
        led = np.flatnonzero(self._leader == line)
        self._leader[led] = NOBODY
        return [] if self._is_global else led.tolist()
