"""cryptofeed: its own BinanceFutures handler, parse and book, callbacks that do nothing.

Trades are given to it under the name it knows (aggTrade). It publishes and stores nothing.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from cryptofeed.defines import L2_BOOK, TICKER, TRADES
from cryptofeed.exchanges.binance_futures import BinanceFutures
from cryptofeed.symbols import Symbols
from recorded import Recorded

SYMBOL = "BTC-USDT-PERP"


async def _nothing(*_: Any) -> None:
    return


def frames_a_second(recorded: Recorded, runs: int) -> list[float]:
    """Mixed frames a CPU second of each run."""
    Symbols.set(BinanceFutures.id, {SYMBOL: "BTCUSDT"}, {"instrument_type": {SYMBOL: "perpetual"}})
    frames = [
        frame.replace('"e":"trade"', '"e":"aggTrade"').replace('"t":', '"a":')
        for frame in recorded.frames
    ]
    callbacks = {L2_BOOK: _nothing, TICKER: _nothing, TRADES: _nothing}
    found = []
    for _ in range(runs):
        feed = BinanceFutures(symbols=[SYMBOL], channels=list(callbacks), callbacks=callbacks)

        async def read(*_: Any) -> str:
            return recorded.body

        feed.http_conn.read = read
        found.append(len(frames) / asyncio.run(_seconds(feed, frames)))
    return found


async def _seconds(feed: Any, frames: list[str]) -> float:
    start = time.process_time()
    for frame in frames:
        await feed.message_handler(frame, None, 1.0)
    return time.process_time() - start
