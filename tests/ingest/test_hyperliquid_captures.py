"""Real frames of Hyperliquid through the session, against tardis and plain Python."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tickbus_schemas.messages import BboBatch, L2Batch, L2Flag, StatusKind, TradeBatch

from tests.ingest import wire
from tests.ingest.test_captures import answers, text
from tests.ingest.wire import Transcript, packets, table, trade_ids

NAME = "hyperliquid/btc_20250126"
TESTNET = "hyperliquid/inline_hft_fork_testnet"
FEEDS = ("trade", "l2", "bbo", "ticker", "derivative")
WHOLE = L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST
Side = list[list[Any]]


def play(captures: Path, name: str, flush: int) -> Transcript:
    script = Transcript("hyperliquid", ["BTC"], FEEDS)
    waiting: list[bytes] = []
    for line in wire.recorded(captures / "frames" / f"{name}.jsonl.gz"):
        script.received_ns = max(script.received_ns, line["ts"])
        waiting.append(line["data"].encode())
        if len(waiting) >= flush:
            script.say(*waiting)
            waiting = []
    if waiting:
        script.say(*waiting)
    return script


def tardis(captures: Path, kind: str) -> Iterator[dict[str, Any]]:
    with gzip.open(captures / "expected" / f"{NAME}.tardis.{kind}.jsonl.gz", "rt") as lines:
        for line in lines:
            yield json.loads(line)


def in_us(time: str) -> int:
    return round(datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() * 1e6)


def books(script: Transcript) -> list[tuple[int, Side, Side]]:
    """Time, bids and asks of each book in the log; every one is whole and follows the last."""
    found = []
    times = table(script.messages, L2Batch)["timestamp"]
    for number, (time, (flags, _, update_id, levels)) in enumerate(
        zip(times, packets(script.messages), strict=True), 1
    ):
        assert (flags, update_id) == (WHOLE, number)
        sides = [[[price, qty] for own, price, qty, _ in levels if own == side] for side in (1, -1)]
        found.append((time, sides[0], sides[1]))
    return found


@pytest.mark.parametrize("flush", [1, 7, 1000])
def test_every_book_is_the_venues(captures: Path, flush: int) -> None:
    script = play(captures, NAME, flush)
    theirs: list[tuple[int, Side, Side]] = []
    for one in tardis(captures, "book_change"):
        sides = [[[level["price"], level["amount"]] for level in one[s]] for s in ("bids", "asks")]
        theirs.append((in_us(one["timestamp"]), sides[0], sides[1]))
    once = [book for n, book in enumerate(theirs) if n == 0 or book != theirs[n - 1]]
    assert books(script) == once
    assert script.counts["duplicates", "l2"] == len(theirs) - len(once) == 1
    (final,) = tardis(captures, "book_final")
    assert books(script)[-1][1:] == (final["bids"], final["asks"])
    assert not script.refused
    assert not script.statuses(StatusKind.GAP)


@pytest.mark.parametrize("flush", [1, 7, 1000])
def test_every_trade_is_the_venues(captures: Path, flush: int) -> None:
    script = play(captures, NAME, flush)
    columns = table(script.messages, TradeBatch)
    names = ("timestamp", "side", "price", "qty")
    ours = list(zip(trade_ids(script.messages), *(columns[name] for name in names), strict=True))
    theirs = [
        (
            one["id"],
            in_us(one["timestamp"]),
            1 if one["side"] == "buy" else -1,
            one["price"],
            one["amount"],
        )
        for one in tardis(captures, "trade")
    ]
    # The first frame holds the 30 trades before the subscription, which tardis leaves out.
    assert ours[30:] == theirs
    assert len({one[0] for one in ours}) == len(ours)
    assert columns["timestamp"] == sorted(columns["timestamp"])


def test_single_frames_of_the_testnet_are_what_plain_python_makes_of_them(captures: Path) -> None:
    script = play(captures, TESTNET, 1)
    assert not script.refused
    assert [
        (time, [[*map(text, level)] for level in bids], [[*map(text, level)] for level in asks])
        for time, bids, asks in books(script)
    ] == [
        (one["ts_us"], one["bids"], one["asks"])
        for one in answers(captures, TESTNET, "book_top10_per_event")
    ]
    assert trade_ids(script.messages) == [one["id"] for one in answers(captures, TESTNET, "trades")]
    quotes = table(script.messages, BboBatch)
    assert (quotes["bid_px"], quotes["ask_sz"]) == ([63457.0], [0.01246])
    assert script.fates["control", ""] == 3
    assert script.counts["venue_errors", ""] == 1


def test_channels_that_are_no_feed_of_ours_are_counted(captures: Path) -> None:
    script = play(captures, "hyperliquid/inline_nautilus", 1)
    assert script.fates["ignored", "allDexsAssetCtxs"] == 1
    assert script.fates["ignored", "allMids"] == 1
    # A book without its envelope is a body of REST, not a frame.
    assert script.refused == ["a frame without a channel"]
    assert sum(script.fates.values()) == 3
    script = play(captures, "hyperliquid/nautilus_all_dexs_asset_ctxs", 1)
    assert script.fates["ignored", "allDexsAssetCtxs"] == sum(script.fates.values()) == 1
