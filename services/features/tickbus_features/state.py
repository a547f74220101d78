"""One ticker's state: its open buckets, its book, and both in a checkpoint."""

from __future__ import annotations

import msgspec
import numpy as np
from tickbus.book.kernels import levels

from tickbus_features import layout
from tickbus_features.catalogue import LAYER_1, Catalogue


def scratch_of(catalogue: Catalogue) -> layout.Scratch:
    """Space for the kernels; one for all tickers of a fold."""
    program = catalogue.program
    return layout.Scratch(
        steps=program.steps,
        constants=program.constants,
        tracked=program.tracked,
        published=np.array(catalogue.published, np.int64),
        values=np.zeros(len(LAYER_1) + len(catalogue.entries)),
        stack=np.zeros(program.stack),
        best=np.zeros(4),
    )


class Saved(msgspec.Struct, array_like=True, frozen=True):
    """A ticker in a checkpoint: the bytes of its records, and its book level by level."""

    exchange: int
    ticker: str
    records: tuple[bytes, bytes, bytes, bytes]
    book: bytes


class TickerState:
    """One ticker's buckets and book."""

    def __init__(self, intervals_us: list[int], grace_us: int, catalogue: Catalogue) -> None:
        program = catalogue.program
        columns = int(program.tracked.max()) + 1
        self.kept = layout.new_state(intervals_us, grace_us, (program.rows, columns))
        self.book = levels.new()

    @property
    def late_trades(self) -> int:
        """Trades that found their bucket closed, counted once an interval."""
        return int(self.kept.ticker["late_trades"][0])

    def save(self, exchange: int, ticker: str) -> Saved:
        """The state as bytes."""
        ticker_record, grids, slots, history = (part.tobytes() for part in self.kept)
        records = (ticker_record, grids, slots, history)
        return Saved(exchange, ticker, records, levels.dump(self.book))

    def load(self, saved: Saved) -> None:
        """Take over what `save` gave; ValueError when it does not fit."""
        for part, data in zip(self.kept, saved.records, strict=True):
            if len(data) != part.nbytes:
                raise ValueError(f"{saved.ticker}: {len(data)} bytes where {part.nbytes} belong")
            part[...] = np.frombuffer(data, part.dtype).reshape(part.shape)
        self.book = levels.load(saved.book)
