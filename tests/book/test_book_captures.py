"""Whole captures against their independent answers: every point, to the last digit."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tickbus_book.fold import BookFold
from tickbus_runtime.service.fold import Output
from tickbus_schemas import codec
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import BookBatch

from tests.features import recorded

CAPTURES = [
    "binance_usdm/btcusdt_20240808",
    "binance_usdm/btcusdt_20240718_19",
    "binance_usdm/cryptofeed_20210722",
    "binance_spot/btcusdt_20240808",
]
DEPTH = 10
Sides = tuple[list[tuple[float, float]], list[tuple[float, float]]]


def folded(captures: Path, name: str, flush: int) -> tuple[list[Output], BookFold]:
    """Outputs over the whole capture with so many events in a flush."""
    events = [one for one in recorded.events(captures, name) if one.feed in ("l2", "clock")]
    log = recorded.log(events, Exchange.from_token(name.split("/")[0]), flush)
    fold = BookFold([100], DEPTH, stream="BOOK")
    groups = recorded.groups(log, range(500, len(log), 500))
    return [one for group in groups for one in fold.apply(group)], fold


def rows(outputs: list[Output]) -> Iterator[tuple[str, int, int, Sides]]:
    """Ticker, time, flags and levels of each row, as any reader decodes them."""
    for output in outputs:
        message = codec.decode(output.payload, output.subject)
        assert isinstance(message, BookBatch)
        counts = [
            np.frombuffer(column, "<i4") for column in (message.bid_levels, message.ask_levels)
        ]
        columns = [
            np.frombuffer(column, "<f8").reshape(-1, DEPTH)
            for column in (message.bid_px, message.bid_sz, message.ask_px, message.ask_sz)
        ]
        times = np.frombuffer(message.timestamp, "<i8").tolist()
        flags = np.frombuffer(message.flags, "<u2").tolist()
        for row, timestamp in enumerate(times):
            bids, asks = (
                list(
                    zip(
                        columns[side][row, : counts[side // 2][row]].tolist(),
                        columns[side + 1][row, : counts[side // 2][row]].tolist(),
                        strict=True,
                    )
                )
                for side in (0, 2)
            )
            yield message.ticker, timestamp, flags[row], (bids, asks)


def answers(captures: Path, name: str) -> dict[tuple[str, int], Sides]:
    path = captures / "expected" / f"{name}.oracle.book_top10_100ms.jsonl.gz"
    with gzip.open(path, "rt") as lines:
        points: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return {
        (point["ticker"], point["t_ms"] * 1_000): (_levels(point["bids"]), _levels(point["asks"]))
        for point in points
    }


def _levels(texts: list[list[str]]) -> list[tuple[float, float]]:
    return [(float(price), float(size)) for price, size in texts]


@pytest.mark.parametrize("name", CAPTURES)
def test_every_point_of_a_capture_is_there_and_equal(captures: Path, name: str) -> None:
    outputs, fold = folded(captures, name, flush=40)
    found: dict[tuple[str, int], Sides] = {}
    for ticker, timestamp, flags, sides in rows(outputs):
        assert (ticker, timestamp) not in found
        assert flags == 0
        found[ticker, timestamp] = sides
    expected = answers(captures, name)
    assert expected
    assert {key: found.get(key) for key in expected} == expected
    assert fold.tickers.counts.tolist() == [(0, 0, 0, 0)]
    tickers = {ticker for ticker, _ in expected}
    assert len(found) <= len(expected) + 10 * len(tickers)  # closed by the last clock


def test_a_capture_gives_the_same_rows_in_flushes_of_1_7_and_2048(captures: Path) -> None:
    name = CAPTURES[2]
    once = sorted(rows(folded(captures, name, 1)[0]))
    assert sorted(rows(folded(captures, name, 7)[0])) == once
    assert sorted(rows(folded(captures, name, 2_048)[0])) == once
