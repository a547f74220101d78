"""The decoded form: every value once, absent values as None, rows that agree with the columns."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from tickbus_schemas.messages import ABSENT, FeatureBatch, L2Batch, Message, Status, TradeBatch
from tickbus_schemas.plain import plain, plain_rows, texts

from tests.schemas import strategies
from tests.schemas.strategies import pack, unpack


@given(message=strategies.messages())
def test_columns_become_lists_with_none_for_absent_values(message: Message) -> None:
    fields = plain(message)
    assert fields["type"] == type(message).__name__
    for name, width in message.columns.items():
        if width.per in ("rows", "levels"):
            expected = unpack(width.code, getattr(message, name))
            assert fields[name] == [
                None if value == ABSENT or math.isnan(value) else value for value in expected
            ]


@given(message=strategies.messages(TradeBatch))
def test_trade_ids_are_text_a_row(message: TradeBatch) -> None:
    ids = texts(message, "trade_id")
    assert "".join(ids).encode() == message.trade_id_bytes
    assert [row["trade_id"] for row in plain_rows(message)] == ids


@given(message=strategies.messages(L2Batch))
def test_l2_rows_are_levels_with_the_values_of_their_packet(message: L2Batch) -> None:
    rows = plain_rows(message)
    packets = unpack("<i8", message.packet_id)
    levels = unpack("<i4", message.levels)
    repeated = [packet for packet, count in zip(packets, levels, strict=True) for _ in range(count)]
    assert [row["packet_id"] for row in rows] == repeated
    assert [row["price"] for row in rows] == unpack("<f8", message.price)
    assert all("levels" not in row for row in rows)


@given(message=strategies.messages(FeatureBatch))
def test_features_are_keys_of_their_rows(message: FeatureBatch) -> None:
    for place, row in enumerate(plain_rows(message)):
        for name, column in zip(message.names, message.values, strict=True):
            value = unpack("<f8", column)[place]
            assert row[name] == (None if math.isnan(value) else value)


def test_a_message_without_columns_is_one_row() -> None:
    gap = Status(
        exchange=2,
        ticker="BTCUSDT",
        epoch=1,
        message_no=4,
        timestamp=5,
        rcv_timestamp=6,
        packet_id=7,
        kind=3,
        to_id=9,
    )
    (row,) = plain_rows(gap)
    expected: dict[str, Any] = {"kind": 3, "from_id": None, "to_id": 9, "ticker": "BTCUSDT"}
    assert row | expected == row
    assert "epoch" not in row


def test_a_book_has_its_levels_row_by_row() -> None:
    book = strategies.BOOK_OF_TWO_ROWS
    assert plain(book)["bid_px"] == [[2.0, 1.0], [3.0, 2.5]]
    assert [row["ask_sz"] for row in plain_rows(book)] == [[1.0, 0.0], [4.0, 5.0]]
    assert book.bid_px == pack("<f8", [2.0, 1.0, 3.0, 2.5])
