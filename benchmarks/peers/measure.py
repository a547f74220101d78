"""What other programs need for the same frames; runs in an environment of its own.

    .venv-peers/bin/python benchmarks/peers/measure.py CAPTURE.jsonl.gz

Prints one JSON object. order-book: level updates of decoded depth frames into its C extension.
cryptofeed: its own BinanceFutures handler, parse and book, callbacks that do nothing; trades are
given to it under the name it knows (aggTrade). Neither publishes, stores or keeps anything.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from statistics import median
from typing import Any

RUNS = 3


def recorded(path: str) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") as lines:
        for line in lines:
            yield json.loads(line)


def order_book_ns(path: str) -> list[float]:
    """ns a level of updates in the sides of order_book.OrderBook, keys and sizes as doubles."""
    from order_book import OrderBook

    book = OrderBook()
    packets = []
    for line in recorded(path):
        data = json.loads(line["data"]) if line["data"] else {}
        if line["dir"] == "http" and "lastUpdateId" in data:
            book.bids = {float(price): float(size) for price, size in data["bids"]}
            book.asks = {float(price): float(size) for price, size in data["asks"]}
        elif "@depth" in line["data"][:60]:
            event = data["data"]
            sides = [[(float(p), float(q)) for p, q in event[key]] for key in ("b", "a")]
            packets.append(sides)
    levels = sum(len(side) for sides in packets for side in sides)
    found = []
    for _ in range(RUNS):
        start = time.perf_counter()
        for sides in packets:
            for side, updates in zip((book.bids, book.asks), sides, strict=True):
                for price, size in updates:
                    if size:
                        side[price] = size
                    elif price in side:
                        del side[price]
        found.append((time.perf_counter() - start) / levels * 1e9)
    return found


def cryptofeed_frames(path: str) -> list[float]:
    """Mixed frames a second through cryptofeed's own handler."""
    from cryptofeed.defines import L2_BOOK, TICKER, TRADES
    from cryptofeed.exchanges.binance_futures import BinanceFutures
    from cryptofeed.symbols import Symbols

    symbol = "BTC-USDT-PERP"
    Symbols.set(BinanceFutures.id, {symbol: "BTCUSDT"}, {"instrument_type": {symbol: "perpetual"}})

    async def nothing(*_: Any) -> None:
        return

    lines = list(recorded(path))
    body = next(line["data"] for line in lines if line["dir"] == "http")
    frames = [
        line["data"].replace('"e":"trade"', '"e":"aggTrade"').replace('"t":', '"a":')
        for line in lines
        if line["dir"] == "in"
    ]
    callbacks = {L2_BOOK: nothing, TICKER: nothing, TRADES: nothing}
    found = []
    for _ in range(RUNS):
        feed = BinanceFutures(symbols=[symbol], channels=list(callbacks), callbacks=callbacks)

        async def read(*_: Any) -> str:
            return body

        feed.http_conn.read = read

        async def run(feed: Any = feed) -> float:
            start = time.perf_counter()
            for frame in frames:
                await feed.message_handler(frame, None, 1.0)
            return time.perf_counter() - start

        found.append(len(frames) / asyncio.run(run()))
    return found


def main() -> None:
    path = sys.argv[1]
    figures: dict[str, Any] = {}
    for name, measure in (("order-book", order_book_ns), ("cryptofeed", cryptofeed_frames)):
        try:
            figures[name] = {"median": median(measure(path)), "version": version(name)}
        except Exception as error:  # a peer that does not run here is said, not fatal
            figures[name] = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
