"""Books of many tickers: groups of a shard's log in, closed rows out."""

from __future__ import annotations

import msgspec
import numpy as np
from tickbus.book.kernels import levels
from tickbus.columns.group import Group
from tickbus.columns.table import Table

from tickbus_book.closed_rows import Closed, Space
from tickbus_book.inputs import (
    Arrays,
    Gap,
    Ticker,
    clocks_of,
    gaps_by_ticker,
    gaps_of,
    packets_of,
    tables_of,
)
from tickbus_book.kernels.grid import MORE_ROWS, fold_ticker
from tickbus_book.kernels.grid_layout import COUNTS, CURSOR, Packets, new_state


class Saved(msgspec.Struct, array_like=True, frozen=True):
    """A ticker in a checkpoint: the bytes of its records, and its book level by level."""

    exchange: int
    ticker: str
    records: tuple[bytes, bytes, bytes]
    book: bytes


class TickerState:
    """One ticker's grids and book."""

    def __init__(self, intervals_ms: list[int], depth: int) -> None:
        self.kept = new_state(intervals_ms, depth)
        self.book = levels.new()

    def save(self, exchange: int, ticker: str) -> Saved:
        """The state as bytes."""
        ticker_record, grids, tops = (part.tobytes() for part in self.kept)
        return Saved(exchange, ticker, (ticker_record, grids, tops), levels.dump(self.book))

    def load(self, saved: Saved) -> None:
        """Take over what `save` gave; ValueError when it does not fit."""
        for part, data in zip(self.kept, saved.records, strict=True):
            if len(data) != part.nbytes:
                raise ValueError(f"{saved.ticker}: {len(data)} bytes where {part.nbytes} belong")
            part[...] = np.frombuffer(data, part.dtype).reshape(part.shape)
        self.book = levels.load(saved.book)


class Tickers:
    """All books of a shard; interval 0 ms: a row whenever the best levels change."""

    def __init__(self, intervals_ms: list[int], depth: int) -> None:
        self.intervals_ms = intervals_ms
        self.depth = depth
        self.counts = np.zeros(1, COUNTS)
        """what the kernel counts, since this object was made"""
        self._states: dict[Ticker, TickerState] = {}
        self._space = Space(intervals_ms, depth)

    def fold(self, group: Group) -> list[Closed]:
        """The rows that a group closes, in publishing order."""
        clocks = clocks_of(group)
        tables, gaps = tables_of(group), gaps_by_ticker(group)
        tickers = tables.keys() | gaps.keys()
        if len(clocks[0]):
            tickers |= self._states.keys()
        closed: list[Closed] = []
        for ticker in tickers:
            closed += self._fold_ticker(ticker, tables.get(ticker), gaps.get(ticker, []), clocks)
        closed.sort()
        self._space.shrink()
        return closed

    def _fold_ticker(
        self, ticker: Ticker, table: Table | None, gaps: list[Gap], clocks: Arrays
    ) -> list[Closed]:
        state = self._states.get(ticker) or self._begin(ticker)
        messages, packets = packets_of(table)
        lost = gaps_of(gaps)
        cursors = np.zeros(1, CURSOR)
        while True:
            closed = fold_ticker(
                *state.kept,
                state.book,
                lost,
                messages,
                packets,
                clocks,
                cursors,
                self.counts,
                self._space.rows,
            )
            if closed >= 0:
                return self._space.take(*ticker, closed) if closed else []
            if closed == MORE_ROWS:
                self._space.grow()
            else:
                columns = Packets(*packets)
                start, row = int(cursors["level"][0]), int(cursors["row"][0])
                stop = start + int(columns.levels[row])
                state.book = levels.reserve(state.book, columns.side, columns.price, start, stop)

    def _begin(self, ticker: Ticker) -> TickerState:
        state = self._states[ticker] = TickerState(self.intervals_ms, self.depth)
        return state

    def save(self) -> list[Saved]:
        """All states."""
        return [state.save(*ticker) for ticker, state in self._states.items()]

    def load(self, saved: list[Saved]) -> None:
        """Take over what `save` gave; ValueError when it does not fit, and nothing is changed."""
        states: dict[Ticker, TickerState] = {}
        for one in saved:
            state = states[one.exchange, one.ticker] = TickerState(self.intervals_ms, self.depth)
            state.load(one)
        self._states = states
