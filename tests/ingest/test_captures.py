"""Whole captures through the session, without sockets, against the independent answers.

Nothing but the recorded frames and bodies goes in; what comes out is read as any reader would.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tickbus.book.orderbook import OrderBook
from tickbus_schemas.messages import BboBatch, L2Batch, L2Flag, StatusKind, TradeBatch

from tests.ingest import wire
from tests.ingest.wire import Transcript, table, trade_ids

LARGE = {
    "binance_usdm/btcusdt_20240808": 443_262,
    "binance_usdm/btcusdt_20240718_19": 400_668,
    "binance_spot/btcusdt_20240808": 124_073,
}
SMALL = "binance_usdm/cryptofeed_20210722"
COINM = "binance_coinm/cryptofeed_20210722"
FEEDS = ["trade", "l2", "bbo"]
RECORDED = {
    **dict.fromkeys(LARGE, FEEDS),
    **{name: ["trade:aggregate", "l2", "bbo"] for name in (SMALL, COINM)},
}
"""Each with the feeds that it holds."""


def text(number: float) -> str:
    """Decimal text of a double without trailing zeros, as the answers have it."""
    plain = format(Decimal(repr(number)), "f")
    return (plain.rstrip("0").rstrip(".") or "0") if "." in plain else plain


def answers(captures: Path, name: str, kind: str) -> Iterator[dict[str, Any]]:
    with gzip.open(f"{captures}/expected/{name}.oracle.{kind}.jsonl.gz", "rt") as lines:
        for line in lines:
            yield json.loads(line)


def run(captures: Path, name: str, feeds: list[str], flush: int) -> Transcript:
    """The capture in flushes of so many frames, a body wherever it was recorded."""
    lines = list(wire.recorded(captures / "frames" / f"{name}.jsonl.gz"))
    incoming = [line for line in lines if line["dir"] == "in"]
    tickers = sorted({re.search(r'"s":"(\w+)"', line["data"])[1] for line in incoming})  # type: ignore[index]  # every event has one
    script = Transcript(name.partition("/")[0], tickers, feeds)
    waiting: list[bytes] = []
    for line in lines:
        if line["dir"] == "in":
            waiting.append(line["data"].encode())
        elif line["dir"] == "http":
            script.say(*waiting)
            waiting = []
            ticker = re.search(r"symbol=(\w+)", line["url"])
            assert ticker
            script.answer(line["data"].encode(), ticker[1])
        if len(waiting) >= flush:
            script.say(*waiting)
            waiting = []
    script.say(*waiting)
    assert not script.refused
    assert not script.statuses(StatusKind.GAP)
    return script


def rows(script: Transcript) -> dict[str, Any]:
    """All rows of all feeds in order, without what flushing may change."""
    found: dict[str, Any] = {"ids": {}}
    for ticker in script.venue.tickers:
        own = [one for one in script.messages if one.ticker == ticker]
        found["ids"][ticker] = trade_ids(own)
        for kind in (TradeBatch, L2Batch, BboBatch):
            found[f"{ticker} {kind.__name__}"] = table(own, kind)
    return found


@pytest.mark.parametrize("name", LARGE)
def test_trades_and_quotes_are_the_captures(captures: Path, name: str) -> None:
    script = run(captures, name, ["trade", "l2", "bbo"], 2048)
    trades = table(script.messages, TradeBatch)
    ours = list(
        zip(
            trade_ids(script.messages),
            trades["timestamp"],
            ("buy" if side > 0 else "sell" for side in trades["side"]),
            map(text, trades["price"]),
            map(text, trades["qty"]),
            strict=True,
        )
    )
    theirs = [
        (str(one["id"]), one["ts_us"], one["side"], one["price"], one["qty"])
        for one in answers(captures, name, "trades")
    ]
    assert ours == theirs

    quotes = table(script.messages, BboBatch)
    sent = [
        data
        for line in wire.recorded(captures / "frames" / f"{name}.jsonl.gz")
        if line["dir"] == "in" and "@bookTicker" in line["data"][:60]
        for data in [json.loads(line["data"])["data"]]
    ]
    assert quotes["update_id"] == [one["u"] for one in sent]
    for column, key in (("bid_px", "b"), ("bid_sz", "B"), ("ask_px", "a"), ("ask_sz", "A")):
        assert quotes[column] == [float(one[key]) for one in sent]
    if "E" in sent[0]:
        assert quotes["timestamp"] == [one["E"] * 1000 for one in sent]
        assert quotes["engine_timestamp"] == [one["T"] * 1000 for one in sent]


@pytest.mark.parametrize("name", LARGE)
def test_levels_are_the_captures_and_fold_to_its_final_book(captures: Path, name: str) -> None:
    level_rows = LARGE[name]
    script = run(captures, name, ["trade", "l2", "bbo"], 2048)
    assert _delta_levels(script) == level_rows
    (final,) = answers(captures, name, "book_final")
    reader = OrderBook()
    for message in script.messages:
        if isinstance(message, L2Batch):
            applied = reader.apply_batch(message)
            assert applied.broken == 0
            snapshot = bool(np.frombuffer(message.flags, np.uint16)[0] & L2Flag.SNAPSHOT)
            assert snapshot or applied.action.tobytes() == message.action
    _assert_book(reader, final)
    _assert_book(script.session.books[0].log.book, final)


@pytest.mark.parametrize("name", RECORDED)
def test_the_best_levels_are_right_every_100_ms(captures: Path, name: str) -> None:
    script = run(captures, name, RECORDED[name], 2048)
    points = list(answers(captures, name, "book_top10_100ms"))
    assert points
    books = {ticker: OrderBook() for ticker in script.venue.tickers}
    packets = {
        ticker: deque(wire.packets([one for one in script.messages if one.ticker == ticker]))
        for ticker in books
    }
    for point in points:
        book, waiting = books[point["ticker"]], packets[point["ticker"]]
        while waiting and waiting[0][2] <= point["u"]:
            flags, *_, levels = waiting.popleft()
            if flags & L2Flag.SNAPSHOT_FIRST:
                book.clear()
            side, price, qty, _ = zip(*levels, strict=True)
            book.apply(np.array(side, np.int8), np.array(price), np.array(qty))
        bid_px, bid_sz, ask_px, ask_sz = ([*map(text, one.tolist())] for one in book.top(10))
        bids, asks = zip(bid_px, bid_sz, strict=True), zip(ask_px, ask_sz, strict=True)
        assert [list(map(list, bids)), list(map(list, asks))] == [point["bids"], point["asks"]]
    for final in answers(captures, name, "book_final"):
        _assert_book(script.session.books[script.venue.index[final["ticker"]]].log.book, final)
    if name not in LARGE:
        expected = sorted(str(one["id"]) for one in answers(captures, name, "trades"))
        assert sorted(trade_ids(script.messages)) == expected


def test_four_tickers_fold_to_their_final_books(captures: Path) -> None:
    script = run(captures, SMALL, ["trade:aggregate", "l2", "bbo"], 100)
    assert _delta_levels(script) == 6252
    assert script.fates["ignored", "kline_1m"] == 67
    expected = sorted(str(one["id"]) for one in answers(captures, SMALL, "trades"))
    assert sorted(trade_ids(script.messages)) == expected
    for final in answers(captures, SMALL, "book_final"):
        ticker = script.venue.index[final["ticker"]]
        _assert_book(script.session.books[ticker].log.book, final)


@pytest.mark.parametrize("flush", [7, 2048])
def test_rows_do_not_depend_on_the_flushes_of_four_tickers(captures: Path, flush: int) -> None:
    feeds = ["trade:aggregate", "l2", "bbo"]
    assert rows(run(captures, SMALL, feeds, flush)) == rows(run(captures, SMALL, feeds, 1))


@pytest.mark.parametrize("name", LARGE)
def test_rows_do_not_depend_on_the_flushes(captures: Path, name: str) -> None:
    feeds = ["trade", "l2", "bbo"]
    small, large = run(captures, name, feeds, 7), run(captures, name, feeds, 2048)
    assert len(small.messages) > 10 * len(large.messages)
    assert rows(small) == rows(large)


def _delta_levels(script: Transcript) -> int:
    return sum(
        len(levels)
        for flags, _, _, levels in wire.packets(script.messages)
        if not flags & L2Flag.SNAPSHOT
    )


def _assert_book(book: OrderBook, final: dict[str, Any]) -> None:
    side, price, qty = book.levels()
    for number, name in ((1, "bids"), (-1, "asks")):
        own = side == number
        ours = zip(map(text, price[own].tolist()), map(text, qty[own].tolist()), strict=True)
        assert list(ours) == [tuple(level) for level in final[name]]
