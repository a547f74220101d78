"""Books of many tickers: groups of a shard's log in, closed rows out."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
from tickbus.group import Group, Table
from tickbus.kernels import book as levels
from tickbus.kernels.grid import fold_ticker
from tickbus.kernels.grid_layout import CURSOR, Clocks, new_rows, new_state, with_more_space

from tickbus_book.inputs import (
    Gap,
    Ticker,
    clocks_of,
    gaps_by_ticker,
    gaps_of,
    packets_of,
    tables_of,
)
from tickbus_book.rows import Closed, closed_rows, rows_a_message

_KEPT_BYTES = 16 * 1024**2
"""Space for rows that is kept from one group to the next."""
_COUNTED = {"late": "late_events", "left_out": "left_out_events", "restarts": "grid_restarts"}


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

    def counts(self) -> Counter[str]:
        """What the kernel counts, under the names of the metrics, since the state was made."""
        record = self.kept.ticker[0]
        return Counter({name: int(record[field]) for field, name in _COUNTED.items()})

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
        self.counts: Counter[str] = Counter()
        """by metric, since this object was made"""
        self._states: dict[Ticker, TickerState] = {}
        self._rows = new_rows(len(intervals_ms), depth)
        self._rows_a_message = rows_a_message(depth)

    def fold(self, group: Group) -> list[Closed]:
        """The rows that a group closes, in publishing order."""
        clocks = clocks_of(group)
        tables, gaps = tables_of(group), gaps_by_ticker(group)
        tickers = tables.keys() | gaps.keys()
        if len(clocks.seq):
            tickers |= self._states.keys()
        closed: list[Closed] = []
        for ticker in tickers:
            closed += self._fold_ticker(ticker, tables.get(ticker), gaps.get(ticker, []), clocks)
        closed.sort()
        if self._rows.tops.nbytes > _KEPT_BYTES:
            self._rows = new_rows(len(self.intervals_ms), self.depth)
        return closed

    def _fold_ticker(
        self,
        ticker: Ticker,
        table: Table | None,
        gaps: list[Gap],
        clocks: Clocks,
    ) -> list[Closed]:
        state = self._states.get(ticker) or self._begin(ticker)
        before = state.counts() if table is not None else None
        messages, packets = packets_of(table)
        gap_messages, gap_columns = gaps_of(gaps)
        cursors = np.zeros(1, CURSOR)
        self._rows.filled[:] = 0
        while not fold_ticker(
            *state.kept,
            state.book,
            (tuple(gap_messages), tuple(messages)),
            tuple(gap_columns),
            tuple(packets),
            tuple(clocks),
            cursors,
            tuple(self._rows),
        ):
            start, short = cursors[["level", "short"]][0].tolist()
            if short:
                columns = packets.side, packets.price
                state.book = levels.reserve(state.book, *columns, start, start + short)
            else:
                self._rows = with_more_space(self._rows)
        if before is not None:
            self.counts += state.counts() - before
        return list(closed_rows(self._rows, *ticker, self.intervals_ms, self._rows_a_message))

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
