"""MEXC's binary frames: what a Protocol Buffers library writes is read, and any bytes are safe."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_ingest.exchanges import _mexc as wire
from tickbus_ingest.exchanges._mexc_protobuf import Reader
from tickbus_schemas.errors import Reject

from tests.ingest.mexc_messages import message

DECIMALS = st.decimals(min_value=0, max_value=10**9, places=8).map(str)
LEVELS = st.lists(st.fixed_dictionaries({"price": DECIMALS, "quantity": DECIMALS}), max_size=60)
VERSIONS = st.integers(1, 10**17)
TIMES = st.integers(1, 2**60)
TEXTS = st.text(max_size=300)
READER = Reader()


def opened(data: bytes) -> tuple[Reader, int, int]:
    """The reader at a message, as the functions of the wire take it."""
    READER.open(data)
    return READER, 0, len(data)


def slots(reader: Reader, start: int, stop: int) -> Any:
    return reader.slots(start, stop)


@given(asks=LEVELS, bids=LEVELS, first=VERSIONS, count=st.integers(0, 10**6), event=TEXTS)
def test_the_levels_of_a_message_are_those_that_were_written(
    asks: list[dict[str, str]], bids: list[dict[str, str]], first: int, count: int, event: str
) -> None:
    written = message(
        "Depth", asks=asks, bids=bids, eventType=event, fromVersion=str(first),
        toVersion=str(first + count), lastOrderCreateTime=count,
    )  # fmt: skip

    found = wire.depth(*opened(written))

    assert json.loads(found.asks) == [[one["price"], one["quantity"]] for one in asks]
    assert json.loads(found.bids) == [[one["price"], one["quantity"]] for one in bids]
    assert (found.first, found.last) == (first, first + count)


@given(
    channel=TEXTS.filter(bool), symbol=TEXTS, created=TIMES, sent=TIMES, symbol_id=TEXTS,
    price=DECIMALS,
)  # fmt: skip
def test_a_push_is_read_whatever_else_it_holds(
    channel: str, symbol: str, created: int, sent: int, symbol_id: str, price: str
) -> None:
    quote = {"bidPrice": price, "bidQuantity": "1", "version": "7"}
    written = message(
        "Push", channel=channel, symbol=symbol, symbolId=symbol_id, createTime=created,
        sendTime=sent, publicAggreBookTicker=quote,
    )  # fmt: skip

    push = wire.push(READER, written)

    assert (push.channel, push.symbol, push.sent, push.kind) == (channel, symbol, sent, 315)
    assert written[push.start : push.stop] == message("Quote", **quote)
    assert wire.best(READER, push.start, push.stop) == (float(price), 1.0, 0.0, 0.0)


@given(
    deals=st.lists(
        st.fixed_dictionaries(
            {
                "price": DECIMALS, "quantity": DECIMALS, "tradeType": st.sampled_from([1, 2]),
                "time": TIMES, "tradeId": TEXTS.filter(bool),
            }
        ),
        max_size=20,
    )
)  # fmt: skip
def test_trades_are_read_in_their_order(deals: list[dict[str, Any]]) -> None:
    found = wire.trades(*opened(message("Deals", deals=deals, eventType="x")))

    assert [
        (one.price, one.qty, one.side, one.time, one.trade_id) for one in found
    ] == [
        (
            float(one["price"]), float(one["quantity"]), 1 if one["tradeType"] == 1 else -1,
            one["time"], one["tradeId"],
        )
        for one in deals
    ]  # fmt: skip


@pytest.mark.parametrize("read", [slots, wire.trades, wire.depth, wire.best, wire.day])
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(read: Any, data: bytes) -> None:
    with contextlib.suppress(Reject):
        read(*opened(data))
    with contextlib.suppress(Reject):
        wire.push(READER, data)


def test_a_field_that_no_push_has_moves_nothing() -> None:
    known = message("Push", channel="spot@x", symbol="X", sendTime=1, publicAggreBookTicker={})
    for other in (b"\x10\xff\xff\xff\xff\x07", b"\x12\x03abc", b"\x78\x05", b"\x80\x01\x09"):
        for frame in (known + other, other + known):
            push = wire.push(READER, frame)
            assert (push.channel, push.symbol, push.sent, push.kind) == ("spot@x", "X", 1, 315)
            assert push.start == push.stop <= len(frame)


def test_a_frame_may_be_longer_than_any_before_it() -> None:
    bids = [{"price": f"{n}.5", "quantity": "0.25"} for n in range(20_000)]
    written = message("Depth", bids=bids, fromVersion="1", toVersion="2")
    reader = Reader()
    reader.open(written)

    assert len(reader.parts(0, len(written))) == 0
    assert len(json.loads(reader.depth(0, len(written)).bids)) == 20_000


@given(asks=LEVELS.filter(bool), cut=st.integers(1, 10**6), noise=st.binary(min_size=1, max_size=9))
def test_a_message_that_was_cut_or_has_noise_in_it_gives_levels_of_numbers_or_none(
    asks: list[dict[str, str]], cut: int, noise: bytes
) -> None:
    whole = message("Depth", asks=asks, fromVersion="1", toVersion="2")
    place = cut % len(whole)
    for data in (whole[:place], whole[:place] + noise + whole[place:]):
        try:
            found = wire.depth(*opened(data))
        except Reject:
            continue
        for level in (*json.loads(found.asks), *json.loads(found.bids)):
            assert len(level) == 2
            assert all(text.strip("0123456789.+-eE") == "" for text in level)


def test_the_statistics_of_a_day_are_read() -> None:
    """A frame of this form was recorded by others in September 2026; the numbers are our own."""
    fields = {"symbol": "USDCUSDT", "price": "1.0001", "high": "1.0002", "low": "0.9998"}
    push = wire.push(
        READER,
        message(
            "Push", channel="spot@public.miniTicker.v3.api.pb@USDCUSDT@24H", symbol="USDCUSDT",
            sendTime=1_790_000_000_000, publicMiniTicker=fields | {"volume": "5", "quantity": "4"},
        ),
    )  # fmt: skip

    assert wire.day(READER, push.start, push.stop) == wire.Day(1.0001, 1.0002, 0.9998, 5.0, 4.0)
