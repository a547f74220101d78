"""Captures of the venues with pushed books through the session, against the independent answers.

What each holds stands in `venues/<token>/captures.json`: a venue is added by rows, not by code.
Frames come in the order and at the times of the recording. What Binance sent is in `test_captures`.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tickbus.book.orderbook import OrderBook
from tickbus_ingest.exchanges import load
from tickbus_ingest.session.book_rules import State
from tickbus_ingest.session.tables import Flush
from tickbus_ingest.venue.contract import Get, UpdateIds
from tickbus_ingest.venue.instruments import Instrument, understood
from tickbus_ingest.wire.buffer import Body, Frames
from tickbus_schemas.messages import (
    ABSENT,
    BboBatch,
    DerivativeBatch,
    InstrumentKind,
    L2Batch,
    L2Flag,
    LiquidationBatch,
    Message,
    StatusKind,
    TickerBatch,
    TradeBatch,
)

from tests.ingest import wire
from tests.ingest.test_captures import answers, text
from tests.ingest.venues import vectors
from tests.ingest.venues.vectors import Capture
from tests.ingest.wire import Transcript, table, trade_ids

KINDS: dict[str, type[Message]] = {
    "trade": TradeBatch,
    "l2": L2Batch,
    "bbo": BboBatch,
    "ticker": TickerBatch,
    "derivative": DerivativeBatch,
    "liquidation": LiquidationBatch,
}


FEEDS = tuple(KINDS)


CAPTURES = [one for held in vectors.captures_of_venues().values() for one in held.captures]
each_capture = pytest.mark.parametrize("capture", CAPTURES, ids=str)
with_books = pytest.mark.parametrize("capture", [one for one in CAPTURES if one.books], ids=str)


def instrument(ticker: str) -> Instrument:
    """What the venue lists, as far as its file needs it; OKX spells the kind in the name."""
    parts = ticker.split("-")
    if len(parts) == 1:
        return Instrument(ticker=ticker, kind=InstrumentKind.PERPETUAL)
    kinds = {2: InstrumentKind.SPOT, 3: InstrumentKind.FUTURE}
    kind = kinds.get(len(parts), InstrumentKind.OPTION)
    if parts[-1] == "SWAP":
        kind = InstrumentKind.PERPETUAL
    return Instrument(ticker=ticker, kind=kind, base=parts[0], quote=parts[1])


BOOK_OF = re.compile(r"[?&](?:symbol|currency_pair)=([^&]+)")
"""The ticker in the URL of a book over REST."""


def frames(captures: Path, name: str) -> list[dict[str, Any]]:
    """The frames that came in, and the books that were asked for between them."""
    lines = wire.recorded(captures / "frames" / f"{name}.jsonl.gz")
    return [line for line in lines if line["dir"] == "in" or BOOK_OF.search(line.get("url", ""))]


def receive(script: Transcript, lines: Sequence[dict[str, Any]]) -> None:
    """These frames arrive at their times and are flushed together; a book ends a flush."""
    batch = Frames()
    for place, line in enumerate(lines):
        if line["dir"] == "http":
            _flush(script, batch)
            named = BOOK_OF.search(line["url"])
            assert named is not None
            get = Get("", book_of=named[1])
            script.notice(Body(get, line["data"].encode(), line["ts"], 0))
            receive(script, lines[place + 1 :])
            return
        batch.data.append(line["data"].encode())
        batch.received_ns.append(line["ts"])
        batch.line.append(0)
        batch.size += len(batch.data[-1])
    _flush(script, batch)


def _flush(script: Transcript, batch: Frames) -> None:
    if len(batch):
        out = Flush()
        script.session.receive(batch, out)
        script._take(out)


def opened(capture: Capture) -> Transcript:
    listed = [instrument(ticker) for ticker in capture.tickers]
    return Transcript(capture.venue, feeds=capture.feeds, instruments=listed)


def run(captures: Path, capture: Capture, flush: int = 1) -> Transcript:
    """The capture in flushes of so many frames."""
    script, lines = opened(capture), frames(captures, capture.name)
    for start in range(0, len(lines), flush):
        receive(script, lines[start : start + flush])
    return script


def rows(script: Transcript) -> dict[str, Any]:
    """All rows of all tickers and feeds."""
    found: dict[str, Any] = {}
    for ticker in script.venue.tickers:
        own = [one for one in script.messages if one.ticker == ticker]
        found[ticker] = [trade_ids(own), *(repr(table(own, kind)) for kind in KINDS.values())]
    return found


# --------------------------------------------------------------------- frames


@each_capture
def test_every_frame_has_its_fate(captures: Path, capture: Capture) -> None:
    script = run(captures, capture)
    fates = Counter[str]()
    for (fate, _), count in script.fates.items():
        fates["rows" if fate in ("published", "duplicate") else fate] += count
    fates["waiting"] = script.session.waiting_frames
    assert {fate: count for fate, count in fates.items() if count} == capture.fates
    assert all(capture.refused in why for why in script.refused)
    assert not script.statuses(StatusKind.GAP)
    assert not script.statuses(StatusKind.RESYNC)


@each_capture
@pytest.mark.parametrize("flush", [3, 2048])
def test_rows_do_not_depend_on_the_flush(captures: Path, capture: Capture, flush: int) -> None:
    assert rows(run(captures, capture, flush)) == rows(run(captures, capture))


# ---------------------------------------------------------------------- books


@with_books
def test_the_book_is_right_after_every_frame(captures: Path, capture: Capture) -> None:
    expected: dict[str, list[dict[str, Any]]] = {ticker: [] for ticker in capture.books}
    for event in answers(captures, capture.name, "book_top10_per_event"):
        if event["channel"] in capture.books.values():
            expected[event["ticker"]].append(event)
    script, seen = opened(capture), Counter[str]()
    for line in frames(captures, capture.name):
        first = len(script.messages)
        receive(script, [line])
        published = [one for one in script.messages[first:] if isinstance(one, L2Batch)]
        if not published:
            continue
        # A pulled book is published with the update that joins it.
        columns, due = table(published, L2Batch), expected[published[0].ticker]
        # Where the venue numbers no update of a book, ingest counts them.
        own = script.venue.update_ids in (UpdateIds.LINKED, UpdateIds.COUNTED)
        for n, (flags, _, update_id, _) in enumerate(wire.packets(published)):
            if flags & L2Flag.SNAPSHOT and not flags & L2Flag.SNAPSHOT_FIRST:
                continue  # a further part of a book with very many levels
            event = due.pop(0)
            seen[event["ticker"]] += 1
            assert update_id == (event["seq"] if own else seen[event["ticker"]])
            assert bool(flags & L2Flag.SNAPSHOT) == event["snapshot"]
            if not flags & L2Flag.TIME_INFERRED:
                assert columns["timestamp"][n] == event["ts_us"]
            if event.get("cts_us"):
                assert columns["engine_timestamp"][n] == event["cts_us"]
        book = script.session.books[script.venue.index[event["ticker"]]].log.book
        side, *_ = book.levels()
        assert [np.count_nonzero(side == 1), np.count_nonzero(side == -1)] == event["levels"]
        assert best(book) == [event["bids"], event["asks"]]
    assert not any(expected.values())


@with_books
def test_a_reader_ends_with_the_whole_book(captures: Path, capture: Capture) -> None:
    script = run(captures, capture, 4)
    finals = {one["channel"]: one for one in answers(captures, capture.name, "book_final")}
    for ticker, channel in capture.books.items():
        reader, links = OrderBook(), []
        for message in script.messages:
            if isinstance(message, L2Batch) and message.ticker == ticker:
                assert reader.apply_batch(message).broken == 0
                links += list(wire.packets([message]))
        assert sides(reader) == [finals[channel]["bids"], finals[channel]["asks"]]
        (first, *updates) = links
        last = first[2]
        for flags, prev_update_id, update_id, _ in updates:
            assert prev_update_id == (ABSENT if flags & L2Flag.SNAPSHOT else last)
            last = update_id


def best(book: OrderBook) -> list[list[list[str]]]:
    """The ten best bids and asks, as decimal texts."""
    bid_px, bid_sz, ask_px, ask_sz = ([*map(text, column.tolist())] for column in book.top(10))
    pairs = zip(bid_px, bid_sz, strict=True), zip(ask_px, ask_sz, strict=True)
    return [[[*level] for level in levels] for levels in pairs]


def sides(book: OrderBook) -> list[list[list[str]]]:
    """Bids and asks from the best on, as decimal texts."""
    side, price, qty = book.levels()
    found = []
    for number in (1, -1):
        own = side == number
        levels = zip(price[own].tolist(), qty[own].tolist(), strict=True)
        found.append([[text(one), text(size)] for one, size in levels])
    return found


@pytest.mark.parametrize("capture", [one for one in CAPTURES if not one.books], ids=str)
def test_without_a_snapshot_that_can_be_followed_no_book_is_built(
    captures: Path, capture: Capture
) -> None:
    script = run(captures, capture)
    assert not table(script.messages, L2Batch)
    assert all(book.state is State.SYNCING for book in script.session.books)


# ------------------------------------------------------------ trades and quotes


@each_capture
def test_trades_are_the_captures(captures: Path, capture: Capture) -> None:
    name = f"{captures}/expected/{capture.name}.oracle.trades.jsonl.gz"
    if not Path(name).exists():
        pytest.skip("the answers have no trades")
    script = run(captures, capture, 16)
    for ticker in capture.tickers:
        own = [one for one in script.messages if one.ticker == ticker]
        trades = table(own, TradeBatch)
        ours = zip(
            trade_ids(own),
            trades.get("timestamp", ()),
            ("buy" if side > 0 else "sell" for side in trades.get("side", ())),
            map(text, trades.get("price", ())),
            map(text, trades.get("qty", ())),
            strict=True,
        )
        told = [one for one in answers(captures, capture.name, "trades") if one["ticker"] == ticker]
        if capture.newest_first:
            told.reverse()
            told.sort(key=itemgetter("recv_ns"))  # stable: only the order within a frame has turned
        theirs = [
            (str(one["id"]), one["ts_us"], one["side"], one["price"], one["qty"]) for one in told
        ]
        assert list(ours) == theirs


@pytest.mark.parametrize("capture", [one for one in CAPTURES if one.quotes], ids=str)
def test_quotes_are_the_captures_and_each_comes_once(captures: Path, capture: Capture) -> None:
    quotes = table(run(captures, capture, 16).messages, BboBatch)
    sent = {
        event["seq"]: event
        for event in reversed(list(answers(captures, capture.name, "book_top10_per_event")))
        if event["channel"] == capture.quotes
    }
    assert quotes["update_id"] == sorted(sent)
    for n, update_id in enumerate(quotes["update_id"]):
        ours = [text(quotes[name][n]) for name in ("bid_px", "bid_sz", "ask_px", "ask_sz")]
        assert ours == [*sent[update_id]["bids"][0], *sent[update_id]["asks"][0]]
        assert quotes["timestamp"][n] == sent[update_id]["ts_us"]
        assert quotes["engine_timestamp"][n] == sent[update_id]["cts_us"]


def test_quotes_of_okx_are_those_that_tardis_reads(captures: Path) -> None:
    name = "okx/fastmm_md_excerpt_20260926"
    (capture,) = (one for one in CAPTURES if one.name == name)
    found = table(run(captures, capture).messages, BboBatch)
    with gzip.open(f"{captures}/expected/{name}.tardis.book_ticker.jsonl.gz", "rt") as lines:
        expected = [json.loads(line) for line in lines]
    assert len(expected) == 6
    for column, key in (
        ("bid_px", "bidPrice"),
        ("bid_sz", "bidAmount"),
        ("ask_px", "askPrice"),
        ("ask_sz", "askAmount"),
    ):
        assert found[column] == [one[key] for one in expected]
    times = [np.datetime64(one["timestamp"].rstrip("Z"), "us").astype(int) for one in expected]
    assert found["timestamp"] == times


# ------------------------------------------------------------------ derivatives


def test_partial_tickers_are_merged_as_tardis_merges_them(captures: Path) -> None:
    name = "bybit/fastmm_tickers_20260930"
    (capture,) = (one for one in CAPTURES if one.name == name)
    found = table(run(captures, capture, 3).messages, DerivativeBatch)
    with gzip.open(f"{captures}/expected/{name}.tardis.derivative_ticker.jsonl.gz", "rt") as lines:
        expected = [json.loads(line) for line in lines]
    assert len(expected) == 5
    for column, key in (
        ("last_price", "lastPrice"),
        ("mark_price", "markPrice"),
        ("index_price", "indexPrice"),
        ("open_interest", "openInterest"),
        ("funding_rate", "fundingRate"),
    ):
        assert found[column] == [one[key] for one in expected]
    for column, key in (("timestamp", "timestamp"), ("next_funding_timestamp", "fundingTimestamp")):
        times = [np.datetime64(one[key].rstrip("Z"), "us").astype(int) for one in expected]
        assert found[column] == times
    assert set(found["funding_interval_ms"]) == {8 * 3_600_000}


def test_the_parts_of_a_swap_come_together(captures: Path) -> None:
    name = "okx/fastmm_perp_mark_funding_oi_20260930"
    (capture,) = (one for one in CAPTURES if one.name == name)
    script = run(captures, capture)
    last: dict[tuple[str, str], dict[str, str]] = {}
    for line in frames(captures, name):
        frame = json.loads(line["data"])
        for row in frame.get("data", ()):
            last[row["instId"], frame["arg"]["channel"]] = row
    for ticker in capture.tickers:
        found = table([one for one in script.messages if one.ticker == ticker], DerivativeBatch)
        index = last[ticker.removesuffix("-SWAP"), "index-tickers"]
        funding = last[ticker, "funding-rate"]
        assert found["mark_price"][-1] == float(last[ticker, "mark-price"]["markPx"])
        assert found["index_price"][-1] == float(index["idxPx"])
        assert found["open_interest"][-1] == float(last[ticker, "open-interest"]["oi"])
        assert found["funding_rate"][-1] == float(funding["fundingRate"])
        assert found["next_funding_timestamp"][-1] == int(funding["fundingTime"]) * 1000
        assert found["funding_interval_ms"][-1] == 8 * 3_600_000
        assert np.isnan(found["predicted_funding_rate"][-1])


def test_liquidations_have_the_side_of_the_order(captures: Path) -> None:
    """Bybit names the side of the position, OKX that of the order."""
    for name, sides_of_orders in (
        ("okx/inline_airates_liquidations", [1]),
        ("bybit/inline_airates_liquidations", [-1, 1]),
    ):
        (capture,) = (one for one in CAPTURES if one.name == name)
        found = table(run(captures, capture).messages, LiquidationBatch)
        assert found["side"] == sides_of_orders
        assert found["position_side"] == [-side for side in sides_of_orders]


# --------------------------------------------------------------- single frames

NEITHER = "refused: neither data of a channel nor an event"
SINGLE = {
    (token, name): found
    for token, held in vectors.captures_of_venues().items()
    for name, found in held.single.items()
}


UNKNOWN_NS = 2 * 10**18
"""2033: later than any frame whose time of receipt nobody wrote down."""


@pytest.mark.parametrize(("token", "name"), SINGLE)
def test_every_single_frame_is_read_or_says_why_not(captures: Path, token: str, name: str) -> None:
    lines = frames(captures, name)
    named = r'"(?:instId|s|symbol|instrument_name|product_id)"\s*:\s*"([^"]+)"'
    tickers = sorted({one for line in lines for one in re.findall(named, line["data"])})
    trades = "trade:aggregate" if "trade:aggregate" in load(token).feeds else "trade"
    feeds = [feed for feed in (trades, *FEEDS[1:]) if feed in load(token).feeds]
    found = Counter[str]()
    for line in lines:
        listed = [*map(instrument, tickers)]
        script = Transcript(token, feeds=feeds, instruments=listed)
        receive(script, [line | {"ts": line["ts"] or UNKNOWN_NS}])
        found[outcome(script)] += 1
    assert found == SINGLE[token, name]


def outcome(script: Transcript) -> str:
    """The first feed of which rows came or wait, or else what became of the frame."""
    for feed, kind in KINDS.items():
        if table(script.messages, kind):
            return feed
    if script.session.waiting_frames:
        return "l2"
    if script.refused:
        return f"refused: {script.refused[0]}"
    (fate,) = {fate for (fate, _), count in script.fates.items() if count}
    return fate


# ------------------------------------------------------------------ instruments


def test_the_instruments_of_okx_are_those_listed(captures: Path) -> None:
    path = captures / "frames" / "okx" / "cryptofeed_instruments.jsonl.gz"
    bodies = {line["url"]: line["data"].encode() for line in wire.recorded(path)}
    listed = [row for body in bodies.values() for row in json.loads(body)["data"]]
    found = understood(load("okx").parse_instruments(list(bodies.values())))
    assert [one.ticker for one in found] == [row["instId"] for row in listed]
    assert Counter(one.kind for one in found) == {
        InstrumentKind.SPOT: 513,
        InstrumentKind.PERPETUAL: 166,
        InstrumentKind.FUTURE: 104,
        InstrumentKind.OPTION: 696,
    }
    for one, row in zip(found, listed, strict=True):
        assert one.tick_size == float(row["tickSz"])
        assert one.lot_size == float(row["lotSz"])
        assert one.venue_status == row["state"]
        if row["instType"] != "SPOT":
            assert f"{one.base}-{one.quote}" == row["uly"]
            assert one.contract_size == pytest.approx(float(row["ctVal"]) * float(row["ctMult"]))
            assert one.contract_unit == row["ctValCcy"]
            assert one.inverse == (row["ctType"] == "inverse")


def test_the_instruments_of_bybit_are_those_listed(captures: Path) -> None:
    path = captures / "frames" / "bybit" / "market_forge_instruments.jsonl.gz"
    (line,) = wire.recorded(path)
    venue, body = load("bybit_linear"), line["data"].encode()
    (found,) = understood(venue.parse_instruments([body]))
    assert (found.ticker, found.base, found.settle) == ("BTCUSDT", "BTC", "USDT")
    assert (found.tick_size, found.lot_size, found.min_qty) == (0.1, 0.001, 0.001)
    assert found.kind is InstrumentKind.PERPETUAL
    assert not venue.more_instruments_requests(venue.instruments_requests()[0], body)
