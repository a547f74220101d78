"""Whatever bytes arrive: a Reject, or a message that keeps every rule that kernels rely on.

`whole` judges with NumPy, from the contract alone; it shares no code with the checks under test.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tickbus_schemas import codec
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import (
    MAX_EPOCH,
    MESSAGES,
    BarBatch,
    BboBatch,
    BookBatch,
    Clock,
    DerivativeBatch,
    FeatureBatch,
    Header,
    Instrument,
    L2Batch,
    LiquidationBatch,
    Message,
    TickerBatch,
    TradeBatch,
)
from tickbus_schemas.values import FINITE, FINITE_OR_NULL

from tests.schemas import strategies
from tests.schemas.strategies import pack, same


def array(data: bytes, code: str) -> npt.NDArray[Any]:
    """The values of a column."""
    return np.frombuffer(data, dtype=code)


def sizes_of(message: Message) -> dict[str, int]:
    """How many values a column must have, by its `per`."""
    timestamp = getattr(message, "timestamp")  # noqa: B009  # every message has it
    rows = len(timestamp) // 8 if isinstance(timestamp, bytes) else 1
    sizes = {"rows": rows, "rows+1": rows + 1}
    if isinstance(message, L2Batch):
        sizes["levels"] = int(array(message.levels, "<i4").sum(dtype=np.int64))
    elif isinstance(message, TradeBatch):
        sizes["text"] = len(message.trade_id_bytes)
    elif isinstance(message, BookBatch):
        sizes["rows*depth"] = rows * message.depth
    return sizes


def numbers_of(message: Message) -> list[bytes]:
    """The columns that hold no NaN and no infinity."""
    match message:
        case TradeBatch() | L2Batch() | LiquidationBatch():
            return [message.price, message.qty]
        case BboBatch() | BookBatch():
            return [message.bid_px, message.bid_sz, message.ask_px, message.ask_sz]
    return []


def consistent(message: Message) -> bool:
    """Whether codes, counts and offsets are what the type of the message allows."""
    match message:
        case L2Batch():
            return bool(
                (array(message.levels, "<i4") >= 0).all()
                and np.isin(array(message.side, "<i1"), (1, -1)).all()
                and np.isin(array(message.action, "<i1"), (1, 2, 3)).all()
            )
        case TradeBatch():
            offsets = array(message.trade_id_offsets, "<i4")
            return bool(
                (offsets[0], offsets[-1]) == (0, len(message.trade_id_bytes))
                and (np.diff(offsets.astype(np.int64)) >= 0).all()
                and np.isin(array(message.side, "<i1"), (1, -1, 0)).all()
            )
        case LiquidationBatch():
            return bool(np.isin(array(message.side + message.position_side, "<i1"), (1, -1)).all())
        case BookBatch():
            counts = array(message.bid_levels + message.ask_levels, "<i4")
            return bool(counts.min() >= 0 and counts.max() <= message.depth)
        case FeatureBatch():
            lengths = {len(column) for column in message.values}
            return len(message.names) == len(message.values) and lengths <= {len(message.timestamp)}
    return True


def whole(message: Message) -> bool:
    """Whether a kernel may look at the columns of `message`."""
    sizes = sizes_of(message)
    return bool(
        sizes["rows"] > 0
        and all(
            len(array(getattr(message, name), width.code)) == sizes[width.per]
            for name, width in message.columns.items()
        )
        and all(np.isfinite(array(column, "<f8")).all() for column in numbers_of(message))
        and not any(
            np.isinf(array(getattr(message, name), "<f8")).any()
            for name, width in message.columns.items()
            if width.code == "<f8"
        )
        and consistent(message)
        and message.exchange in Exchange.__members__.values()
        and 0 <= message.epoch <= MAX_EPOCH
    )


def read(data: bytes) -> Message | None:
    """The message, or None when it was rejected; anything else that is raised fails the test."""
    try:
        message = codec.decode(data)
    except Reject:
        return None
    assert whole(message)
    return message


@given(data=st.binary(max_size=400))
@example(data=b"\xdd\xff\xff\xff\xff")
@example(data=b"\x91" * 100_000)
@example(data=b"")
def test_any_bytes_are_a_message_or_a_reject(data: bytes) -> None:
    read(data)


_parts = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=24)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(tag=st.integers(0, 15), rest=st.lists(_parts, max_size=24), sound=st.booleans())
def test_any_parts_in_the_form_of_a_message_are_one_or_a_reject(
    tag: int, rest: list[Any], sound: bool
) -> None:
    header = [1, 2, "BTCUSDT", 1, 1, 0] if sound else []
    read(msgspec.msgpack.encode([tag, *header, *rest]))


@given(message=strategies.messages(), data=st.data())
def test_a_message_with_flipped_bytes_is_still_whole_or_a_reject(
    message: Message, data: st.DataObject
) -> None:
    encoded = bytearray(codec.encode(message))
    flips = st.tuples(st.integers(0, len(encoded) - 1), st.integers(1, 255))
    for place, mask in data.draw(st.lists(flips, min_size=1, max_size=4)):
        encoded[place] ^= mask
    read(bytes(encoded))


@given(message=strategies.messages(), data=st.data())
def test_a_message_cut_short_anywhere_is_refused(message: Message, data: st.DataObject) -> None:
    encoded = codec.encode(message)
    assert read(encoded[: data.draw(st.integers(0, len(encoded) - 1))]) is None


@given(message=strategies.messages(), extra=st.binary(min_size=1, max_size=9))
def test_bytes_after_a_message_are_refused(message: Message, extra: bytes) -> None:
    assert read(codec.encode(message) + extra) is None


@settings(max_examples=200)
@given(
    message=strategies.messages().filter(lambda message: message.columns != {}),
    data=st.data(),
)
def test_a_column_of_another_length_is_refused_or_leaves_the_message_whole(
    message: Message, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(message.columns)))
    column = getattr(message, name)
    other = data.draw(
        st.integers(0, max(0, len(column) - 1)).map(lambda end: column[:end])
        | st.binary(min_size=1, max_size=17).map(lambda more: column + more)
    )
    read(codec.encode(msgspec.structs.replace(message, **{name: other})))


@settings(max_examples=200)
@given(message=strategies.messages(), data=st.data())
def test_a_column_of_other_values_is_refused_or_leaves_the_message_whole(
    message: Message, data: st.DataObject
) -> None:
    if message.columns:
        name = data.draw(st.sampled_from(sorted(message.columns)))
        size = len(getattr(message, name))
        other = data.draw(st.binary(min_size=size, max_size=size))
        read(codec.encode(msgspec.structs.replace(message, **{name: other})))


HEADER: dict[str, Any] = {"exchange": 2, "ticker": "BTCUSDT", "epoch": 1, "message_no": 1}
TIME = pack("<i8", [1_700_000_000_000_000])
TRADE = TradeBatch(
    **HEADER,
    timestamp=TIME,
    rcv_timestamp=TIME,
    packet_id=TIME,
    side=b"\x01",
    price=pack("<f8", [60_000.5]),
    qty=pack("<f8", [0.25]),
    flags=pack("<u2", [0]),
    trade_id_offsets=pack("<i4", [0, 3]),
    trade_id_bytes=b"123",
)
L2 = L2Batch(
    **HEADER,
    timestamp=TIME * 2,
    engine_timestamp=TIME * 2,
    rcv_timestamp=TIME * 2,
    packet_id=TIME * 2,
    prev_update_id=pack("<i8", [10, 11]),
    update_id=pack("<i8", [11, 12]),
    flags=pack("<u2", [0, 0]),
    levels=pack("<i4", [1, 2]),
    side=b"\x01\xff\xff",
    action=b"\x01\x02\x03",
    price=pack("<f8", [1.5, 2.0, 2.5]),
    qty=pack("<f8", [1.0, 1.0, 0.0]),
)
BBO = BboBatch(
    **HEADER,
    timestamp=TIME,
    engine_timestamp=TIME,
    rcv_timestamp=TIME,
    packet_id=TIME,
    update_id=TIME,
    bid_px=pack("<f8", [1.0]),
    bid_sz=pack("<f8", [1.0]),
    ask_px=pack("<f8", [2.0]),
    ask_sz=pack("<f8", [1.0]),
    flags=pack("<u2", [0]),
)
BOOK = BookBatch(
    **HEADER,
    interval_ms=100,
    depth=2,
    timestamp=TIME,
    rcv_timestamp=TIME,
    packet_id=TIME,
    update_id=TIME,
    flags=pack("<u2", [0]),
    bid_levels=pack("<i4", [2]),
    ask_levels=pack("<i4", [1]),
    bid_px=pack("<f8", [2.0, 1.0]),
    bid_sz=pack("<f8", [1.0, 1.0]),
    ask_px=pack("<f8", [3.0, 0.0]),
    ask_sz=pack("<f8", [1.0, 0.0]),
)


def columns_of_one_row(kind: type[Header]) -> dict[str, Any]:
    """One row of 1s."""
    one = {"<i8": TIME, "<f8": pack("<f8", [1.0]), "<u2": b"\x00\x00", "<i1": b"\x01"}
    return {name: one[width.code] for name, width in kind.columns.items()}


BAR = BarBatch(**HEADER, interval_ms=100, **columns_of_one_row(BarBatch))
TICKER = TickerBatch(**HEADER, **columns_of_one_row(TickerBatch))
LIQUIDATION = LiquidationBatch(**HEADER, **columns_of_one_row(LiquidationBatch))
DERIVATIVE = DerivativeBatch(**HEADER, **columns_of_one_row(DerivativeBatch))
FEATURE = FeatureBatch(
    **HEADER,
    interval_ms=100,
    catalogue="core",
    names=["mid", "spread"],
    timestamp=TIME,
    end_timestamp=TIME,
    rcv_timestamp=TIME,
    packet_id=TIME,
    flags=pack("<u2", [0]),
    values=[pack("<f8", [1.0]), pack("<f8", [float("nan")])],
)
INSTRUMENT = Instrument(
    **HEADER,
    timestamp=1,
    rcv_timestamp=1,
    packet_id=1,
    base="BTC",
    quote="USDT",
    settle="USDT",
    kind=2,
    tick_size=0.1,
)
CLOCK = Clock(**HEADER, timestamp=1, rcv_timestamp=1, packet_id=1)
NAN, INFINITE = pack("<f8", [float("nan")]), pack("<f8", [float("inf")])


@pytest.mark.parametrize(
    "message",
    [TRADE, L2, BBO, TICKER, DERIVATIVE, LIQUIDATION, INSTRUMENT, BOOK, BAR, FEATURE, CLOCK],
)
def test_the_messages_that_are_spoilt_below_are_sound_themselves(message: Message) -> None:
    assert same(codec.decode(codec.encode(message)), message)


@pytest.mark.parametrize(
    ("message", "spoilt", "why"),
    [
        (TRADE, {"price": NAN}, "price: .* not finite"),
        (TRADE, {"qty": INFINITE}, "qty: .* not finite"),
        (TRADE, {"qty": pack("<f8", [float("-inf")])}, "qty: .* not finite"),
        (TRADE, {"side": b"\x02"}, "side: a value that is none of"),
        (TRADE, {"side": b"\x01\x01"}, "side: 2 bytes where 1 belong"),
        (TRADE, {"price": b""}, "price: 0 bytes where 8 belong"),
        (TRADE, {"timestamp": TIME[:7]}, "without rows|bytes where"),
        (TRADE, {"timestamp": TIME + b"\x00"}, "timestamp: 9 bytes where 8 belong"),
        (TRADE, {"timestamp": TIME * 2}, "rcv_timestamp: 8 bytes where 16 belong"),
        (TRADE, {"trade_id_offsets": pack("<i4", [0])}, "trade_id_offsets: 4 bytes where 8"),
        (TRADE, {"trade_id_offsets": pack("<i4", [1, 3])}, "offsets do not span"),
        (TRADE, {"trade_id_offsets": pack("<i4", [0, 4])}, "offsets do not span"),
        (TRADE, {"trade_id_offsets": pack("<i4", [0, -1])}, "offsets do not span"),
        (TRADE, {"trade_id_bytes": b"12\xff"}, "not ASCII"),
        (TRADE, {"trade_id_bytes": b""}, "offsets do not span"),
        (L2, {"price": pack("<f8", [1.5, float("nan"), 2.5])}, "price: .* not finite"),
        (L2, {"side": b"\x01\x00\xff"}, "side: a value that is none of"),
        (L2, {"action": b"\x00\x02\x03"}, "action: a value that is none of"),
        (L2, {"action": b"\x01\x02\x04"}, "action: a value that is none of"),
        (L2, {"levels": pack("<i4", [1, 1])}, "levels: counts"),
        (L2, {"levels": pack("<i4", [2, 2])}, "levels: counts"),
        (L2, {"levels": pack("<i4", [-1, 4])}, "levels: counts"),
        (L2, {"levels": pack("<i4", [3])}, "levels: 4 bytes where 8 belong"),
        (L2, {"qty": pack("<f8", [1.0, 1.0])}, "qty: 16 bytes where 24 belong"),
        (L2, {"side": b"\x01\xff"}, "action: 3 bytes where 2 belong"),
        (BBO, {"ask_sz": NAN}, "ask_sz: .* not finite"),
        (BBO, {"bid_px": INFINITE}, "bid_px: .* not finite"),
        (TICKER, {"last_price": INFINITE}, "last_price: an infinite value"),
        (TICKER, {"ask_sz": pack("<f8", [float("-inf")])}, "ask_sz: an infinite value"),
        (TICKER, {"trade_count": b""}, "trade_count: 0 bytes where 8 belong"),
        (DERIVATIVE, {"funding_rate": INFINITE}, "funding_rate: an infinite value"),
        (DERIVATIVE, {"fields": b"\x00"}, "fields: 1 bytes where 2 belong"),
        (DERIVATIVE, {"next_funding_timestamp": TIME * 2}, "16 bytes where 8 belong"),
        (BOOK, {"bid_levels": pack("<i4", [3])}, "bid_levels: not within"),
        (BOOK, {"ask_levels": pack("<i4", [-1])}, "ask_levels: not within"),
        (BOOK, {"ask_px": NAN + NAN}, "ask_px: .* not finite"),
        (BOOK, {"depth": 3}, "bid_px: 16 bytes where 24 belong"),
        (BOOK, {"depth": 0}, "Expected `int` >= 1"),
        (BOOK, {"depth": 2**40}, "Expected `int` <= 1000"),
        (BOOK, {"interval_ms": 7}, "does not divide a day"),
        (BAR, {"close": INFINITE}, "close: an infinite value"),
        (BAR, {"volume": NAN}, "volume: .* not finite"),
        (BAR, {"interval_ms": 0}, "Expected `int` >= 1"),
        (FEATURE, {"values": [pack("<f8", [1.0])]}, "one column for each name"),
        (FEATURE, {"names": ["mid", "mid"]}, "each name once"),
        (FEATURE, {"values": [NAN, INFINITE]}, "values: an infinite value"),
        (FEATURE, {"values": [NAN, NAN + NAN]}, "not one value a row"),
        (LIQUIDATION, {"side": b"\x00"}, "side: a value that is none of"),
        (LIQUIDATION, {"position_side": b"\x02"}, "position_side: a value that is none of"),
        (LIQUIDATION, {"price": NAN}, "price: .* not finite"),
        (LIQUIDATION, {"filled_qty": INFINITE}, "filled_qty: an infinite value"),
        (INSTRUMENT, {"tick_size": float("inf")}, "tick_size: an infinite value"),
        (INSTRUMENT, {"strike": float("-inf")}, "strike: an infinite value"),
        (INSTRUMENT, {"lot_size": "0.001"}, "Expected `float`, got `str`"),
        (INSTRUMENT, {"kind": 0}, "Expected `int` >= 1"),
        (INSTRUMENT, {"kind": 128}, "Expected `int` <= 127"),
        (INSTRUMENT, {"option_type": 2}, "Expected `int` <= 1"),
        (INSTRUMENT, {"inverse": 1}, "Expected `bool`, got `int`"),
        (CLOCK, {"exchange": 0}, "unknown exchange code 0"),
        (CLOCK, {"exchange": 10_000}, "unknown exchange code 10000"),
        (CLOCK, {"epoch": -1}, "Expected `int` >= 0"),
        (CLOCK, {"epoch": MAX_EPOCH + 1}, "Expected `int` <="),
        (CLOCK, {"message_no": -1}, "Expected `int` >= 0"),
        (CLOCK, {"more": -1}, "Expected `int` >= 0"),
        (CLOCK, {"timestamp": 2**64 - 1}, "Expected `int` <="),
        (CLOCK, {"ticker": "x" * 65}, "Expected `str` of length <= 64"),
    ],
)
def test_what_breaks_a_rule_is_refused_and_named(
    message: Message, spoilt: dict[str, Any], why: str
) -> None:
    with pytest.raises(Reject, match=why):
        codec.decode(codec.encode(msgspec.structs.replace(message, **spoilt)))


def test_trade_ids_whose_offsets_go_back_are_refused() -> None:
    doubled = {name: getattr(TRADE, name) * 2 for name in TRADE.columns if "trade_id" not in name}
    for offsets, sound in (([0, 1, 3], True), ([0, 3, 3], True), ([0, 4, 3], False)):
        two = msgspec.structs.replace(TRADE, **doubled, trade_id_offsets=pack("<i4", offsets))
        assert (read(codec.encode(two)) is not None) == sound


def test_nan_is_null_in_bars_features_and_what_venues_may_leave_out() -> None:
    bar = msgspec.structs.replace(BAR, open=NAN, high=NAN, low=NAN, close=NAN, vwap=NAN)
    assert isinstance(codec.decode(codec.encode(bar)), BarBatch)
    assert isinstance(codec.decode(codec.encode(FEATURE)), FeatureBatch)
    for whole in (TICKER, DERIVATIVE):
        numbers = [name for name, width in whole.columns.items() if width.code == "<f8"]
        empty = msgspec.structs.replace(whole, **dict.fromkeys(numbers, NAN))
        assert codec.decode(codec.encode(empty)) == empty


def test_prices_whose_sum_overflows_are_finite_all_the_same() -> None:
    largest = struct.unpack("<d", b"\xff\xff\xff\xff\xff\xff\xef\x7f")[0]
    huge = msgspec.structs.replace(L2, price=pack("<f8", [largest] * 3))
    assert codec.decode(codec.encode(huge)) == huge


def test_values_are_left_to_readers_that_check_whole_columns() -> None:
    spoilt = msgspec.structs.replace(TRADE, price=NAN)
    assert codec.decode(codec.encode(spoilt), values=False) == spoilt
    short = msgspec.structs.replace(TRADE, price=b"")
    with pytest.raises(Reject):
        codec.decode(codec.encode(short), values=False)


def test_every_f8_column_has_a_rule() -> None:
    for kind in MESSAGES:
        f8 = [name for name, width in kind.columns.items() if width.code == "<f8"]
        ruled = [*FINITE[kind], *FINITE_OR_NULL[kind]]
        assert sorted(f8) == sorted(name for name in ruled if name in kind.columns)
