"""Books, bars and features of many tickers: the one use of the kernels, live and in batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tickbus.book.kernels import levels
from tickbus.columns.group import Group

from tickbus_features.catalogue import Catalogue
from tickbus_features.closed_rows import (
    Closed,
    closed_rows,
    new_rows,
    rows_a_message,
    with_more_space,
)
from tickbus_features.inputs import (
    Inputs,
    Ticker,
    clocks_of,
    inputs_of,
    statuses_by_ticker,
    tickers_of,
)
from tickbus_features.layout import CURSOR, Clocks, new_order
from tickbus_features.merge import fold_ticker
from tickbus_features.state import Saved, TickerState, scratch_of


class Tickers:
    """Groups of a shard's log in, closed rows out."""

    def __init__(self, intervals_ms: list[int], grace_ms: int) -> None:
        self.intervals_ms = intervals_ms
        self.grace_us = grace_ms * 1_000
        self.catalogue = Catalogue(grace_us=self.grace_us)
        self.states: dict[Ticker, TickerState] = {}
        self.late_trades = 0
        """that found their bucket closed, counted once an interval, since this object was made"""
        self._scratch = scratch_of(self.catalogue)
        self._order = new_order(0)
        self._rows = new_rows(len(intervals_ms), len(self.catalogue.names))
        self._rows_a_message = rows_a_message(len(self.catalogue.names))

    def fold(self, group: Group) -> list[Closed]:
        """The rows that a group closes, in publishing order."""
        clocks = clocks_of(group)
        statuses = statuses_by_ticker(group)
        tickers = tickers_of(group) | (statuses.keys() & self.states.keys())
        if len(clocks.seq):
            tickers |= self.states.keys()
        closed: list[Closed] = []
        for ticker in tickers:
            inputs = inputs_of(group, ticker, statuses.get(ticker, []))
            closed += self._fold_ticker(ticker, inputs, clocks)
        closed.sort()
        return closed

    def _fold_ticker(self, ticker: Ticker, inputs: Inputs, clocks: Clocks) -> Iterator[Closed]:
        state = self.states.get(ticker) or self._begin(ticker)
        late_before = state.late_trades
        cursors = np.zeros(1, CURSOR)
        if len(self._order.key) < inputs.rows:
            self._order = new_order(2 * inputs.rows)
        self._rows.counts[:] = 0
        while not fold_ticker(
            state.kept,
            state.book,
            self.grace_us,
            inputs.messages,
            inputs.losses,
            inputs.packets,
            inputs.quotes,
            inputs.trades,
            clocks,
            cursors,
            self._order,
            self._scratch,
            self._rows,
        ):
            start, short = cursors[["level", "short"]][0].tolist()
            if short:
                columns = inputs.packets.side, inputs.packets.price
                state.book = levels.reserve(state.book, *columns, start, start + short)
            else:
                self._rows = with_more_space(self._rows)
        self.late_trades += state.late_trades - late_before
        return closed_rows(self._rows, *ticker, self.intervals_ms, self._rows_a_message)

    def _begin(self, ticker: Ticker) -> TickerState:
        state = self.states[ticker] = self._new_state()
        return state

    def _new_state(self) -> TickerState:
        intervals_us = [length * 1_000 for length in self.intervals_ms]
        return TickerState(intervals_us, self.grace_us, self.catalogue)

    def save(self) -> list[Saved]:
        """All states."""
        return [state.save(*ticker) for ticker, state in self.states.items()]

    def load(self, saved: list[Saved]) -> None:
        """Take over what `save` gave; ValueError when it does not fit, and nothing is changed."""
        states: dict[Ticker, TickerState] = {}
        for one in saved:
            state = states[one.exchange, one.ticker] = self._new_state()
            state.load(one)
        self.states = states
