"""Real frames of Kraken Spot v2 through the session, against the independent answers.

The venue's file knows no instrument here: depth and decimals are what the frames say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tickbus.book.orderbook import OrderBook
from tickbus_ingest.session.book_rules import State
from tickbus_ingest.venue.contract import BookForm
from tickbus_schemas.messages import BboBatch, L2Batch, L2Flag, StatusKind, TickerBatch, TradeBatch

from tests.ingest import wire
from tests.ingest.test_captures import answers, text
from tests.ingest.wire import Transcript, packets, table, trade_ids

HEAD = "kraken/v2_btcusd_book10_20260719_head"
WITH_GAP = "kraken/v2_btcusd_book10_20260720_with_gap"
OTHER = "kraken/v2_tickvault_20260824"
FEEDS = ("trade", "l2", "bbo", "ticker")
Book = tuple[list[list[str]], list[list[str]]]


def play(captures: Path, name: str, flush: int, script: Transcript | None = None) -> Transcript:
    """The frames of a capture in flushes of so many."""
    script = script or Transcript("kraken", ["BTC/USD"], FEEDS)
    waiting: list[bytes] = []
    for line in wire.recorded(captures / "frames" / f"{name}.jsonl.gz"):
        if line["dir"] != "in":
            continue
        script.received_ns = max(script.received_ns, line["ts"])
        waiting.append(line["data"].encode())
        if len(waiting) >= flush:
            script.say(*waiting)
            waiting = []
    if waiting:
        script.say(*waiting)
    return script


def books(script: Transcript) -> Iterator[tuple[int, Book]]:
    """What a reader of the log sees after each packet: time, the ten best bids and asks."""
    times = table(script.messages, L2Batch)["timestamp"]
    book = OrderBook()
    for time, (flags, _, _, levels) in zip(times, packets(script.messages), strict=True):
        if flags & L2Flag.SNAPSHOT_FIRST:
            book.clear()
        side, price, qty, _ = zip(*levels, strict=True) if levels else ((), (), (), ())
        book.apply(np.array(side, np.int8), np.array(price, float), np.array(qty, float))
        assert len(book) <= 20
        yield time, top(book)


def top(book: OrderBook) -> Book:
    bid_px, bid_sz, ask_px, ask_sz = ([*map(text, column.tolist())] for column in book.top(10))
    bids, asks = zip(bid_px, bid_sz, strict=True), zip(ask_px, ask_sz, strict=True)
    return [list(level) for level in bids], [list(level) for level in asks]


def expected(captures: Path, name: str) -> list[tuple[int, Book]]:
    return [
        (one["ts_us"], (one["bids"], one["asks"]))
        for one in answers(captures, name, "book_top10_per_event")
    ]


def summary(captures: Path, name: str) -> Any:
    return json.loads((captures / "expected" / f"{name}.oracle.summary.json").read_text())


@pytest.mark.parametrize("flush", [1, 7, 1000])
@pytest.mark.parametrize("name", [HEAD, OTHER])
def test_every_checksum_is_right_and_every_book_is_the_venues(
    captures: Path, name: str, flush: int
) -> None:
    script = play(captures, name, flush)
    right, of_all = summary(captures, name)["checksums_right_of_all"]
    assert right == of_all == len(list(packets(script.messages)))
    assert script.counts["unchecked_updates", ""] == 0
    assert not script.statuses(StatusKind.GAP)
    assert not script.refused
    assert list(books(script)) == expected(captures, name)
    (final,) = answers(captures, name, "book_final")
    log = script.session.books[0].log
    assert top(log.book) == (final["bids"], final["asks"])
    assert log.form == BookForm(10, 1, 8)


def test_the_published_levels_are_the_wires_and_what_fell_out(captures: Path) -> None:
    script = play(captures, HEAD, 100)
    found = summary(captures, HEAD)
    published = sum(
        len(levels) for flags, *_, levels in packets(script.messages) if not flags & L2Flag.SNAPSHOT
    )
    assert published == found["level_rows"] + found["books"]["book:BTC/USD"]["levels_truncated"]


@pytest.mark.parametrize("flush", [1, 7, 1000])
def test_a_hole_is_seen_at_the_first_wrong_checksum(captures: Path, flush: int) -> None:
    script = play(captures, WITH_GAP, flush)
    wrong = summary(captures, WITH_GAP)["first_wrong"]
    before = expected(captures, WITH_GAP)
    assert list(books(script)) == before
    (gap,) = script.statuses(StatusKind.GAP)
    assert (gap.feed, gap.from_timestamp, gap.to_timestamp) == ("l2", before[-1][0], wrong["ts_us"])
    assert (gap.from_id, gap.to_id) == (len(before), len(before) + 1)
    assert script.again == ["BTC/USD"]
    assert script.session.books[0].state is State.SYNCING

    # The same connection brings a new book, here the one of a month later.
    play(captures, OTHER, flush, script)
    after = expected(captures, OTHER)
    assert list(books(script)) == before + after
    assert script.again == ["BTC/USD"]
    assert [flags for flags, *_ in packets(script.messages)][len(before)] & L2Flag.GAP_BEFORE
    rest = script.statuses(StatusKind.GAP)[1:]
    assert [(gap.from_timestamp, gap.to_timestamp) for gap in rest] == [
        (wrong["ts_us"], after[0][0])
    ]


def test_single_frames_of_documents_are_rows_or_have_a_reason(captures: Path) -> None:
    script = play(captures, "kraken/inline_nautilus", 1)
    assert sum(script.fates.values()) + script.session.waiting_frames == 13
    assert trade_ids(script.messages) == ["10218208", "10218209"]
    assert table(script.messages, TradeBatch)["qty"] == [0.00027625, 0.0001246]
    assert table(script.messages, BboBatch)["ask_px"] == [105944.3]
    assert table(script.messages, TickerBatch)["volume"] == [163.28908096]
    assert script.fates["ignored", "ohlc"] == 1
    # The others are Kraken Futures: another venue, another dialect.
    assert script.refused == ["neither of a channel nor an answer"] * 6
    # Three levels a side are not the ten that the checksum of the example covers.
    assert [one.reason for one in script.statuses(StatusKind.RESYNC)] == [
        "the checksum of a snapshot is wrong"
    ]
    assert not table(script.messages, L2Batch)
