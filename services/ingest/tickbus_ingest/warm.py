"""Compiles or loads every kernel of ingest, so that the first frame does not pay for it."""

from __future__ import annotations

import numpy as np
from tickbus.book.orderbook import OrderBook

from tickbus_ingest import exchanges
from tickbus_ingest.wire.buffer import Frames, join
from tickbus_ingest.kernels import (
    FEEDS,
    arrange,
    gather_levels,
    judge_quotes,
    observe,
    refuse_insane,
)
from tickbus_ingest.wire.raw_lines import encode_frames
from tickbus_ingest.venue.contract import Kind, Venue


def warm(venue: Venue) -> None:
    """Run each kernel once with the types that it gets."""
    frame = b'{"stream":"","data":{}}'
    decoded = venue.decode(*join([frame]))
    venue.parse_snapshot(b'{"lastUpdateId":1,"bids":[["1","1"]],"asks":[]}')
    decoded.kind[0] = Kind.IGNORED  # never a place in what follows is out of range
    for column in (decoded.ticker, decoded.event_us, decoded.engine_us, decoded.level_count):
        column[:] = 0
    place, ids, count = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int32)
    values, heard = np.zeros((1, 4)), np.zeros((len(Kind), 1), np.bool_)
    times = decoded.event_us, decoded.engine_us
    refuse_insane(decoded.kind, *times, place.copy(), 0, 1)
    observe(
        decoded.kind,
        decoded.ticker,
        times[0],
        place.copy(),
        0,
        ids.copy(),
        heard,
        ids,
        place.copy(),
    )
    arrange(decoded.kind, decoded.ticker, 1, np.zeros(FEEDS + 1, np.int64), place.copy())
    judge_quotes(
        decoded.ticker, place.copy(), place.copy(), values, place.copy(), place.copy(),
        values.copy(), place.copy(), np.zeros(1, np.int8),
    )  # fmt: skip
    none = np.zeros(0, np.int8), np.zeros(0), np.zeros(0)
    gather_levels(place, count, *none, np.zeros(2, np.int64), *none)
    encode_frames(Frames([frame], [1], [1], [0], len(frame)))
    book = OrderBook()
    book.apply(np.ones(1, np.int8), np.ones(1), np.ones(1))
    book.levels()


def main() -> None:
    """Fill the kernel cache; called by `make setup`."""
    for name in exchanges.names():
        warm(exchanges.load(name)(["BTCUSDT"], ["bookTicker"]))
