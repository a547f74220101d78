"""The book kernel folds real captures to the oracle's books, exactly, at every point of its grid.

Only what the wire says is used here: REST body, joined updates (binance: protocols of the venue).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tickbus.book.orderbook import OrderBook

CAPTURES = [
    "binance_usdm/btcusdt_20240808",
    "binance_usdm/btcusdt_20240718_19",
    "binance_usdm/cryptofeed_20210722",
    "binance_spot/btcusdt_20240808",
]

Columns = tuple[Any, Any, Any]
"""side i8, price f64, qty f64"""


def lines(file: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(file) as text:
        yield from map(msgspec.json.decode, text)


def columns(bids: list[list[str]], asks: list[list[str]]) -> Columns:
    side = np.repeat(np.array((1, -1), np.int8), (len(bids), len(asks)))
    price = np.array([level[0] for level in bids + asks], dtype=np.float64)
    qty = np.array([level[1] for level in bids + asks], dtype=np.float64)
    return side, price, qty


class Recorded:
    """Depth events of one ticker that apply to its REST body."""

    def __init__(self) -> None:
        self.updates: list[dict[str, Any]] = []
        self.snapshot: dict[str, Any] = {}

    def joined(self) -> list[dict[str, Any]]:
        # Spot drops u <= lastUpdateId, USD-M u < lastUpdateId; only USD-M sends pu.
        last = self.snapshot["lastUpdateId"]
        return [one for one in self.updates if one["u"] >= last + ("pu" not in one)]


def recorded(file: Path) -> dict[str, Recorded]:
    tickers: dict[str, Recorded] = {}
    for line in lines(file):
        if line["dir"] == "http" and "lastUpdateId" in line["data"]:
            ticker = line["url"].split("symbol=")[1].split("&")[0]
            tickers.setdefault(ticker, Recorded()).snapshot = msgspec.json.decode(line["data"])
        elif line["dir"] == "in" and "depthUpdate" in line["data"]:
            update = msgspec.json.decode(line["data"])["data"]
            tickers.setdefault(update["s"], Recorded()).updates.append(update)
    return tickers


def as_levels(price: Any, size: Any) -> list[tuple[float, float]]:
    return list(zip(price.tolist(), size.tolist(), strict=True))


def as_numbers(rows: list[list[str]]) -> list[tuple[float, float]]:
    return [(float(price), float(size)) for price, size in rows]


def assert_top(book: OrderBook, expected: dict[str, Any]) -> None:
    bid_px, bid_sz, ask_px, ask_sz = book.top(10)
    assert as_levels(bid_px, bid_sz) == as_numbers(expected["bids"]), expected["t_ms"]
    assert as_levels(ask_px, ask_sz) == as_numbers(expected["asks"]), expected["t_ms"]


@pytest.mark.parametrize("capture", CAPTURES)
def test_book_agrees_with_the_oracle(captures: Path, capture: str) -> None:
    answers = captures / "expected" / f"{capture}.oracle"
    summary = msgspec.json.decode(answers.with_name(answers.name + ".summary.json").read_bytes())
    grid = list(lines(answers.with_name(answers.name + ".book_top10_100ms.jsonl.gz")))
    final = {
        row["ticker"]: row
        for row in lines(answers.with_name(answers.name + ".book_final.jsonl.gz"))
    }
    level_rows = points = 0
    for ticker, one in recorded(captures / "frames" / f"{capture}.jsonl.gz").items():
        book = OrderBook()
        book.apply(*columns(one.snapshot["bids"], one.snapshot["asks"]))
        waiting = [row for row in grid if row["ticker"] == ticker][::-1]
        for update in one.joined():
            while waiting and waiting[-1]["t_ms"] < update["E"]:
                assert_top(book, waiting.pop())
                points += 1
            level_rows += len(book.apply(*columns(update["b"], update["a"])))
        points += len(waiting)
        for row in waiting[::-1]:
            assert_top(book, row)
        side, price, qty = book.levels()
        assert as_levels(price[side > 0], qty[side > 0]) == as_numbers(final[ticker]["bids"])
        assert as_levels(price[side < 0], qty[side < 0]) == as_numbers(final[ticker]["asks"])
        assert not book.crossed
    assert (level_rows, points) == (summary["level_rows"], len(grid))
