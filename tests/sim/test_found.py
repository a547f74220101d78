"""Captures that went wrong once: what the venue must make of each of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tickbus_schemas.errors import Fatal
from tickbus_schemas.exchanges import Exchange
from tickbus_sim.book import CaptureBooks
from tickbus_sim.capture import Capture, read_capture
from tickbus_sim.capture_venue import capture_facts
from tickbus_sim.dialect import Line, Topic

from tests.sim.recordings import SPOT, Recording, depth, envelope, trade


def _read(found: Path, name: str) -> Capture:
    return read_capture([found / f"{name}.jsonl.gz"])


def _other(facts: dict[str, Any]) -> tuple[Any, ...]:
    return facts["feeds"], facts["other"], facts["untold_frames"]


def test_a_recorded_url_in_small_letters_is_of_the_same_ticker(found: Path) -> None:
    capture = _read(found, "lowercase_rest")

    assert capture.tickers == ["BTCUSDT"]
    assert [(body.kind, body.symbol) for body in capture.bodies] == [("book", "BTCUSDT")]
    book = CaptureBooks(capture).at("BTCUSDT", 2)
    assert (book.whole, book.last_id) == (True, 20)
    assert book.bids == {"100.0": "1", "99.0": "2"}
    assert book.asks == {"101.0": "1", "102.0": "2"}


def test_a_body_among_the_frames_makes_no_book(found: Path) -> None:
    capture = _read(found, "body_as_frame")
    books = CaptureBooks(capture)

    assert capture_facts(capture)["untold_frames"] == 1
    assert not any(books.at("BTCUSDT", place).whole for place in range(len(capture.texts) + 1))


def test_a_stream_of_the_whole_market_is_counted_and_the_rest_is_read(found: Path) -> None:
    facts = capture_facts(_read(found, "allmarket"))

    assert facts["tickers"] == ["BTCUSDT"]
    assert _other(facts) == (["trade", "l2", "bbo"], {"!forceOrder@arr": 1}, 0)
    assert facts["frames"] == 8


@pytest.mark.parametrize(
    ("payload", "topic"),
    [
        ({"e": "trade", "s": "BTCUSDT", "t": 1}, Topic("BTCUSDT", "trade")),
        ({"e": "aggTrade", "s": "BTCUSDT", "a": 1}, Topic("BTCUSDT", "aggTrade")),
        ({"e": "24hrTicker", "s": "BTCUSDT", "o": "1.5"}, Topic("BTCUSDT", "ticker")),
        ({"e": "markPriceUpdate", "s": "BTCUSDT", "p": "1"}, Topic("BTCUSDT", "markPrice")),
        ({"e": "forceOrder", "o": {"s": "BTCUSDT", "S": "SELL"}}, Topic("BTCUSDT", "forceOrder")),
        ({"s": "BTCUSDT", "u": 7, "b": "1", "a": "2"}, Topic("BTCUSDT", "bookTicker")),
        ([{"e": "24hrMiniTicker", "s": "BTCUSDT"}], Topic("", "!miniTicker@arr")),
        ([{"e": "markPriceUpdate", "s": "BTCUSDT"}], Topic("", "!markPrice@arr")),
        ([], None),
        ({"lastUpdateId": 1, "bids": [], "asks": []}, None),
    ],
)
def test_a_payload_without_envelope_tells_whose_it_is(payload: Any, topic: Topic | None) -> None:
    assert SPOT.topic_of(json.dumps(payload).encode()) == topic


def test_a_recording_of_raw_streams_is_read_as_one_of_combined_streams(found: Path) -> None:
    capture = _read(found, "raw_frames")

    facts = capture_facts(capture)
    assert capture.dialect.exchange is Exchange.BINANCE_SPOT
    assert (facts["tickers"], facts["frames"]) == (["BTCUSDT"], 7)
    assert _other(facts) == (["trade", "l2", "bbo"], {}, 0)
    book = CaptureBooks(capture).at("BTCUSDT", 7)
    assert (book.whole, book.last_id) == (True, 30)
    assert book.bids == {"100.0": "1", "99.0": "2", "99.5": "3"}
    line = SPOT.open("/stream", {})
    assert isinstance(line, Line)
    place = capture.topic_ids[0]
    wrapped = json.loads(SPOT.on_wire(line, capture.texts[0], capture.topics[place]))
    assert wrapped == {"stream": "btcusdt@depth", "data": json.loads(capture.texts[0])}


def test_times_in_microseconds_are_read_as_the_same_times(found: Path) -> None:
    capture = _read(found, "microseconds")

    assert capture_facts(capture)["feeds"] == ["trade", "l2", "bbo"]
    event = SPOT.read_book(capture.texts[0])
    assert event is not None
    assert event.event_ms == 1_760_000_000_000
    assert CaptureBooks(capture).at("BTCUSDT", len(capture.texts)).event_ms == 1_760_000_000_030


def test_books_of_a_few_levels_are_named_and_are_no_feed(found: Path) -> None:
    facts = capture_facts(_read(found, "partial_depth"))

    assert facts["tickers"] == ["BTCUSDT"]
    assert _other(facts) == ([], {"depth20": 4}, 0)


def test_updates_without_any_snapshot_never_make_a_book_of_ours(found: Path) -> None:
    capture = _read(found, "no_snapshot")

    assert not CaptureBooks(capture).at("BTCUSDT", len(capture.texts)).whole
    assert capture_facts(capture)["rest_bodies"] == 0


def test_every_ticker_has_its_recorded_snapshot(found: Path) -> None:
    capture = _read(found, "spot25")
    books = CaptureBooks(capture)

    assert len(capture.tickers) == 25
    end = len(capture.texts)
    assert [one for one in capture.tickers if not books.at(one, end).whole] == []


def test_updates_without_levels_keep_the_links(found: Path) -> None:
    capture = _read(found, "empty_updates")
    book = CaptureBooks(capture).at("ETHUSDT", len(capture.texts))

    assert (book.whole, book.last_id) == (True, 50)


def test_two_channels_of_one_feed_are_told_apart() -> None:
    recording = Recording().frames(trade("btcusdt", 1), trade("btcusdt", 2))
    capture = recording.frames(envelope("btcusdt@aggTrade", e="aggTrade", a=1)).memory()

    facts = capture_facts(capture)
    assert (facts["feeds"], facts["other"]) == (["trade"], {"aggTrade": 1})


def _connected(url: str) -> Recording:
    line = {"ts": 1, "conn": 0, "dir": "connect", "url": url}
    return Recording().raw(json.dumps(line)).frames(trade("btcusdt", 1), depth("btcusdt", 4, 5))


@pytest.mark.parametrize(
    "url",
    [
        "wss://stream.binance.us:9443/stream",
        "wss://nbstream.binance.com/eoptions/stream",
        "wss://stream.binance.com.evil.example/stream",
        "wss://feed.example/ws/v5/public",
        "wss://stream.bybit.com/v5/private",
    ],
)
def test_another_companys_or_markets_address_is_asked_about(tmp_path: Path, url: str) -> None:
    path = _connected(url).write(tmp_path / "capture.jsonl")

    with pytest.raises(Fatal, match="--exchange") as asked:
        read_capture([path])
    assert "\n" not in str(asked.value)
    assert url.partition("://")[2].partition(":")[0].partition("/")[0] in str(asked.value)
    assert read_capture([path], Exchange.BINANCE_SPOT).tickers == ["BTCUSDT"]


def test_a_body_of_another_company_is_no_book_of_the_venue(tmp_path: Path) -> None:
    recording = _connected("wss://fstream.binance.com/public/stream")
    content = {"lastUpdateId": 5, "bids": [["1", "1"]], "asks": []}
    url = "https://fapi.example/fapi/v1/depth?symbol=BTCUSDT"
    line = {"ts": 2 * 10**18, "dir": "http", "url": url, "data": json.dumps(content)}
    capture = read_capture([recording.raw(json.dumps(line)).write(tmp_path / "c.jsonl")])

    assert capture.bodies == []
    assert capture_facts(capture)["strange_bodies"] == 1
    assert not CaptureBooks(capture).at("BTCUSDT", 2).whole
