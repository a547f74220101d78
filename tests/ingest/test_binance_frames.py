"""Binance's frames into columns: the fast reader, the full decoder, and that they agree."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_ingest.exchanges import load, names
from tickbus_ingest.exchanges.contract import (
    Control,
    Decoded,
    Depth,
    Ignored,
    Kind,
    Parsed,
    Quote,
    Trade,
    Venue,
)
from tickbus_ingest.wire.buffer import join
from tickbus_schemas.errors import Fatal, Reject
from tickbus_schemas.messages import Side, TradeFlag

from tests.ingest import wire

USDM = load("binance_usdm")(["BTCUSDT"], wire.CHANNELS)
SPOT = load("binance_spot")(["BTCUSDT"], wire.CHANNELS)
LEVELS = [("61800.20", "2.507"), ("61800.10", "0.000")]


def read(venue: Venue, *frames: bytes) -> Decoded:
    """What the fast reader makes of these frames."""
    return venue.decode(*join(list(frames)))


def entered(parsed: Parsed) -> Decoded:
    """What the full decoder's result looks like in columns."""
    decoded = Decoded.unread(1)
    assert isinstance(parsed, Trade | Depth | Quote)
    decoded.put(0, 0, parsed)
    return decoded


def assert_same(fast: Decoded, full: Decoded) -> None:
    kind = full.kind[0]
    for name in ("kind", "ticker", "event_us", "engine_us", "update_id"):
        assert getattr(fast, name)[0] == getattr(full, name)[0], name
    if kind == Kind.TRADE:
        assert (fast.side[0], fast.flags[0]) == (full.side[0], full.flags[0])
        assert fast.values[0, :2].tolist() == full.values[0, :2].tolist()
    elif kind == Kind.QUOTE:
        assert fast.values[0].tolist() == full.values[0].tolist()
    else:
        assert fast.prev_update_id[0] == full.prev_update_id[0]
        for name in ("level_side", "level_price", "level_qty"):
            assert getattr(fast, name).tolist() == getattr(full, name).tolist(), name
    assert fast.long_decimals == full.long_decimals


def test_a_venue_is_found_by_the_name_of_its_file() -> None:
    assert names() == ["binance_spot", "binance_usdm"]
    assert load("binance_usdm").exchange.token == "binance_usdm"
    with pytest.raises(Fatal, match="binance_spot, binance_usdm"):
        load("nowhere")


@pytest.mark.parametrize("venue", [USDM, SPOT])
@pytest.mark.parametrize(
    "frame",
    [
        wire.trade(7, 5),
        wire.trade(7, 5, price="0.00000100", qty="1234567.12345678", m=True),
        wire.depth(10, 12, 9, 5, LEVELS, LEVELS),
        wire.depth(10, 12, 9, 5),
        wire.depth(10, 12, 9, 5, asks=[("9007199254.740991", "1")]),
        wire.quote(4, 5),
    ],
)
def test_the_fast_reader_takes_what_the_venue_sends(venue: Venue, frame: bytes) -> None:
    fast = read(venue, frame)
    assert fast.kind[0] >= 0
    assert_same(fast, entered(venue.parse(frame)))


def test_a_quote_without_time_is_spots_and_not_usdms() -> None:
    frame = wire.quote(4, None)
    assert read(SPOT, frame).event_us.tolist() == [0]
    assert read(USDM, frame).kind.tolist() == [-1]
    with pytest.raises(Reject, match="times"):
        USDM.parse(frame)


def test_the_takers_side_is_sell_when_the_buyer_was_the_maker() -> None:
    sold, bought = SPOT.parse(wire.trade(1, 1, m=True)), SPOT.parse(wire.trade(1, 1, m=False))
    assert isinstance(sold, Trade)
    assert isinstance(bought, Trade)
    assert (sold.side, bought.side) == (Side.SELL, Side.BUY)
    fast = read(SPOT, wire.trade(1, 1, m=True), wire.trade(1, 1, m=False))
    assert fast.side.tolist() == [Side.SELL, Side.BUY]


@pytest.mark.parametrize("kind", ["INSURANCE_FUND", "ADL", "NA"])
def test_a_trade_that_no_book_saw_is_flagged(kind: str) -> None:
    frame = wire.trade(1, 1, X=kind)
    assert read(USDM, frame).kind.tolist() == [-1]
    parsed = USDM.parse(frame)
    assert isinstance(parsed, Trade)
    assert parsed.flags == TradeFlag.OFF_BOOK


def test_an_aggregate_trade_is_flagged_and_its_id_is_the_aggregates() -> None:
    venue = load("binance_usdm")(["CTKUSDT"], ["aggTrade"])
    data = {"e": "aggTrade", "E": wire.T0_MS, "a": 16599292, "s": "CTKUSDT", "p": "1.011"}
    data |= {"q": "10", "f": 5, "l": 6, "T": wire.T0_MS, "m": False, "nq": "9", "st": 1}
    fast = read(venue, wire.envelope("ctkusdt@aggTrade", data))
    assert (fast.kind[0], fast.update_id[0], fast.flags[0]) == (0, 16599292, TradeFlag.AGGREGATE)


@pytest.mark.parametrize(
    ("text", "is_long"),
    [("0.1", 0), ("123456789012345", 0), ("1234567890.123450", 0), ("1234567890.123456", 1),
     ("123456789012345678901234567890", 1), ("0.000000000000000012345678901234567", 1)],
)  # fmt: skip
def test_numbers_of_more_than_15_digits_are_counted(text: str, is_long: int) -> None:
    frame = wire.trade(1, 1, price=text)
    parsed = USDM.parse(frame)
    assert isinstance(parsed, Trade)
    assert (parsed.price, parsed.long_decimals) == (float(text), is_long)
    fast = read(USDM, frame)
    if fast.kind[0] >= 0:
        assert (fast.values[0, 0], fast.long_decimals) == (float(text), is_long)


@given(st.integers(0, 10**17), st.integers(0, 17))
def test_decimal_text_becomes_the_nearest_double(digits: int, places: int) -> None:
    text = format(Decimal(digits).scaleb(-places), "f")
    frame = wire.trade(1, 1, price=text)
    fast = read(USDM, frame)
    if fast.kind[0] >= 0:
        assert fast.values[0, 0] == float(text)
    elif digits < 2**53:
        pytest.fail(f"{text} was left to the full decoder")


BASES = [
    wire.trade(7, 5),
    wire.depth(10, 12, 9, 5, LEVELS, LEVELS),
    wire.quote(4, 5),
]


@given(
    st.sampled_from(BASES),
    st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3), st.integers(0, 3)), max_size=3),
)
def test_whatever_the_fast_reader_takes_the_full_decoder_takes_alike(
    frame: bytes, edits: list[tuple[int, bytes, int]]
) -> None:
    for at, text, dropped in edits:
        at %= len(frame) + 1
        frame = frame[:at] + text + frame[at + dropped :]
    fast = read(USDM, frame)
    if fast.kind[0] >= 0:
        assert_same(fast, entered(USDM.parse(frame)))


def tokens() -> st.SearchStrategy[bytes]:
    return st.sampled_from(
        [b'"', b"{", b"}", b"[", b"]", b",", b":", b"0", b"1.5", b'"p":', b'"1"', b"true", b"-1",
         b"null", b"\\", b'"u":1', b"1e5", b" "]
    )  # fmt: skip


@given(st.sampled_from(BASES), st.data())
def test_json_pieces_put_anywhere_never_divide_the_two_readers(
    frame: bytes, data: st.DataObject
) -> None:
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(frame)))
        stop = min(at + data.draw(st.integers(0, 12)), len(frame))
        frame = frame[:at] + data.draw(tokens()) + frame[stop:]
    fast = read(USDM, frame)
    if fast.kind[0] >= 0:
        assert_same(fast, entered(USDM.parse(frame)))


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"{}",
        b"[]",
        b"null",
        wire.trade(7, 5, price="NaN"),
        wire.trade(7, 5, price="Infinity"),
        wire.trade(7, 5, price="1e999"),
        wire.trade(7, 5, price="-1"),
        wire.trade(7, 5, price="1_0"),
        wire.trade(7, 5, price=" 1"),
        wire.trade(7, 5, E="1723161255000"),
        wire.trade(7, 5, E=-5),
        wire.trade(7, 5, E=2**62),
        wire.trade(7, 5, t=2**64),
        wire.trade(7, 5, t=1.5),
        wire.trade(7, 5, m="false"),
        wire.trade(7, 5, s="ETHUSDT"),
        wire.trade(7, 5).replace(b"btcusdt@trade", b"ethusdt@trade"),
        wire.depth(10, 12, 9, 5, bids=[("1", "2", "3")]),  # type: ignore[list-item]  # on purpose
        wire.depth(10, 12, 9, 5, bids=[("1", "NaN")]),
        wire.envelope("btcusdt@depth@100ms", {"e": "depthUpdate", "s": "BTCUSDT"}),
        wire.envelope("btcusdt@trade", []),
        wire.quote(4, 5).replace(b'"B":"1"', b'"B":1'),
    ],
)
def test_what_is_nothing_of_ours_is_refused_with_a_reason(frame: bytes) -> None:
    assert read(USDM, frame).kind.tolist() == [-1]
    with pytest.raises(Reject) as refused:
        USDM.parse(frame)
    assert len(str(refused.value)) > 5


def test_answers_and_notices_are_control_frames() -> None:
    assert USDM.parse(b'{"result":null,"id":1}') == Control("answer")
    error = USDM.parse(b'{"error":{"code":2,"msg":"Invalid request"},"id":1}')
    assert isinstance(error, Control)
    assert error.error
    notices = (b'{"e":"serverShutdown","E":1}', b'{"stream":"!serverShutdown","data":{"E":1}}')
    for notice in notices:
        parsed = SPOT.parse(notice)
        assert isinstance(parsed, Control)
        assert parsed.closing


def test_a_known_channel_that_is_no_feed_of_ours_is_ignored() -> None:
    venue = load("binance_usdm")(["BTCUSDT"], ["trade", "aggTrade", "kline_1m"])
    assert venue.parse(wire.envelope("btcusdt@kline_1m", {"k": {}})) == Ignored("kline_1m")
    assert venue.parse(wire.envelope("btcusdt@aggTrade", {})) == Ignored("aggTrade")


def test_an_unknown_channel_stops_the_service_with_the_known_ones() -> None:
    with pytest.raises(Fatal, match="aggTrade"):
        load("binance_spot")(["BTCUSDT"], ["orderbook"])


def test_usdm_opens_the_routes_that_its_channels_need() -> None:
    venue = load("binance_usdm")(["BTCUSDT", "ETHUSDT"], ["trade", "bookTicker"])
    assert [line.path for line in venue.lines()] == ["/public/stream"]
    venue = load("binance_usdm")(["BTCUSDT"], ["aggTrade", "depth@100ms", "kline_1m"])
    assert {line.path: [stream.name for stream in line.streams] for line in venue.lines()} == {
        "/public/stream": ["btcusdt@depth@100ms"],
        "/market/stream": ["btcusdt@aggTrade", "btcusdt@kline_1m"],
    }


def test_many_streams_are_spread_over_lines_and_asked_for_in_small_frames() -> None:
    venue = load("binance_usdm")([f"T{n}USDT" for n in range(250)], ["bookTicker"])
    lines = venue.lines()
    assert [len(line.streams) for line in lines] == [200, 50]
    frames = [json.loads(frame) for frame in venue.subscribe(lines[0].streams)]
    assert [len(frame["params"]) for frame in frames] == [100, 100]
    assert frames[0]["params"][0] == "t0usdt@bookTicker"


@pytest.mark.parametrize(
    ("exchange", "limit", "path", "weight"),
    [
        ("binance_usdm", 0, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000", 20),
        ("binance_usdm", 60, "/fapi/v1/depth?symbol=BTCUSDT&limit=100", 5),
        ("binance_spot", 0, "/api/v3/depth?symbol=BTCUSDT&limit=5000", 250),
        ("binance_spot", 1000, "/api/v3/depth?symbol=BTCUSDT&limit=1000", 50),
    ],
)
def test_a_snapshot_request_names_its_weight(
    exchange: str, limit: int, path: str, weight: int
) -> None:
    request = load(exchange)(["BTCUSDT"], ["trade"]).snapshot_request("BTCUSDT", limit)
    assert (request.path, request.weight) == (path, weight)


def test_a_rest_book_is_read_with_and_without_times() -> None:
    taken = USDM.parse_snapshot(wire.book(5, 10, LEVELS, LEVELS[:1]))
    assert (taken.update_id, taken.event_us) == (5, (wire.T0_MS + 10) * 1000)
    assert taken.side.tolist() == [1, 1, -1]
    assert taken.price.tolist() == [61800.2, 61800.1, 61800.2]
    spot = SPOT.parse_snapshot(wire.book(5, None, [("1e-5", "1")]))  # left to the full decoder
    assert (spot.event_us, spot.price.tolist()) == (-(2**63), [1e-05])


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b'{"lastUpdateId":1}', b'{"lastUpdateId":1,"bids":[["x","1"]],"asks":[]}'],
)
def test_another_rest_body_is_refused(body: bytes) -> None:
    with pytest.raises(Reject):
        USDM.parse_snapshot(body)


def test_instruments_are_those_that_trade() -> None:
    body = b'{"symbols":[{"symbol":"A","status":"TRADING"},{"symbol":"B","status":"BREAK"}]}'
    assert USDM.parse_instruments(body) == ["A"]
    with pytest.raises(Reject):
        USDM.parse_instruments(b"[]")


@pytest.mark.parametrize("name", ["inline_crypto_msg_parser", "inline_nautilus"])
def test_frames_of_documentation_are_read_or_refused_but_never_break(
    captures: Path, name: str
) -> None:
    lines = list(wire.recorded(captures / "frames" / "binance" / f"{name}.jsonl.gz"))
    symbols = sorted(
        {
            data["s"]
            for line in lines
            if isinstance(
                data := json.loads(line["data"]).get("data", json.loads(line["data"])), dict
            )
            and "s" in data
        }
    )
    taken = 0
    for exchange in names():
        channels = ["trade", "depth@100ms", "bookTicker", "kline_1m"]
        for wanted in (channels, ["aggTrade", *channels[1:]]):
            venue = load(exchange)(symbols, wanted)
            for line in lines:
                frame = line["data"].encode()
                fast = read(venue, frame)
                try:
                    parsed = venue.parse(frame)
                except Reject:
                    assert fast.kind[0] == -1
                    continue
                taken += 1
                if fast.kind[0] >= 0:
                    full = Decoded.unread(1)
                    assert isinstance(parsed, Trade | Depth | Quote)
                    full.put(0, venue.index[parsed.ticker], parsed)
                    assert_same(fast, full)
    assert taken > 10


@pytest.mark.parametrize(
    ("exchange", "name", "speed"),
    [
        ("binance_usdm", "btcusdt_20240808", "0ms"),
        ("binance_spot", "btcusdt_20240808", "100ms"),
    ],
)
def test_the_two_readers_agree_on_what_was_really_sent(
    captures: Path, exchange: str, name: str, speed: str
) -> None:
    venue = load(exchange)(["BTCUSDT"], ["trade", f"depth@{speed}", "bookTicker"])
    lines = wire.recorded(captures / "frames" / exchange / f"{name}.jsonl.gz")
    frames = [line["data"].encode() for line in lines if line["dir"] == "in"]
    fast = read(venue, *frames)
    assert (fast.kind >= 0).all()
    assert fast.long_decimals == 0
    for n in range(0, len(frames), 23):
        full = entered(venue.parse(frames[n]))
        assert_same(_row(fast, n), full)


def _row(decoded: Decoded, n: int) -> Decoded:
    one = Decoded.unread(1)
    for name in ("kind", "ticker", "event_us", "engine_us", "update_id", "prev_update_id", "side",
                 "flags", "values"):  # fmt: skip
        setattr(one, name, getattr(decoded, name)[n : n + 1])
    start = int(decoded.level_start[n])
    stop = start + int(decoded.level_count[n])
    for name in ("level_side", "level_price", "level_qty"):
        setattr(one, name, np.array(getattr(decoded, name)[start:stop]))
    return one
