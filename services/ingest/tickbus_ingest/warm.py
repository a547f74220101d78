"""Compiles or loads every kernel of ingest, so that the first frame does not pay for it."""

from __future__ import annotations

import numpy as np
from tickbus.orderbook import OrderBook

from tickbus_ingest import exchanges
from tickbus_ingest.exchanges.contract import Venue
from tickbus_ingest.frames import Frames, join
from tickbus_ingest.kernels import gather_levels, judge_quotes, observe
from tickbus_ingest.raw_lines import encode_frames


def warm(venue: Venue) -> None:
    """Run each kernel once with the types that it gets."""
    frame = b'{"stream":"","data":{}}'
    decoded = venue.decode(*join([frame]))
    venue.parse_snapshot(b'{"lastUpdateId":1,"bids":[["1","1"]],"asks":[]}')
    times = np.zeros(1, np.int64)
    # A frame that is none of ours leaves its columns as they were: not to be used as places.
    ticker, count = np.zeros_like(decoded.ticker), np.zeros_like(decoded.level_count)
    observe(decoded.kind, ticker, decoded.event_us, times, 0, times.copy(), times.copy())
    one, values = times.copy(), np.zeros((1, 4))
    verdict = np.zeros(1, np.int8)
    judge_quotes(
        ticker,
        times,
        times,
        values,
        one,
        times.copy(),
        values.copy(),
        times.copy(),
        verdict,
    )
    none = np.zeros(0, np.int8), np.zeros(0), np.zeros(0)
    gather_levels(times, count, *none, np.zeros(2, np.int64), *none)
    encode_frames(Frames([frame], [1], [1], [0], len(frame)))
    book = OrderBook()
    book.apply(np.ones(1, np.int8), np.ones(1), np.ones(1))
    book.levels()


def main() -> None:
    """Fill the kernel cache; called by `make setup`."""
    for name in exchanges.names():
        warm(exchanges.load(name)(["BTCUSDT"], ["bookTicker"]))
