"""A batch gives the message's values as rows, arrays and frames; frames share its memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from tickbus.log.batch import Batch
from tickbus_schemas.feeds import OF_KIND
from tickbus_schemas.messages import (
    ABSENT,
    SEQ_ID_ROWS,
    BarBatch,
    BboBatch,
    DerivativeBatch,
    Header,
    Instrument,
    L2Batch,
    Message,
    TickerBatch,
    TradeBatch,
)

from tests.client.logs import subject_of
from tests.schemas.strategies import messages, pack


def batch_of(message: Message) -> Batch:
    return Batch(message, subject_of(message), "S", 7, 99)


_LEVEL_COLUMNS = [name for name, width in L2Batch.columns.items() if width.per == "levels"]


@given(messages())
def test_rows_arrays_and_frames_say_the_same(message: Message) -> None:
    batch = batch_of(message)
    rows = batch.rows()
    assert [row["seq_id"] for row in rows] == [7 * SEQ_ID_ROWS + n for n in range(len(batch))]
    assert all(row["ticker"] == message.ticker for row in rows)
    if type(message) in OF_KIND:
        frame = batch.to_polars()
        assert frame.height == len(batch) == len(rows)
        for name in frame.columns:
            for row, value in zip(rows, frame[name].to_list(), strict=True):
                assert _plain(value) == row[name], name
        for name, column in batch.columns.items():
            if isinstance(message, L2Batch) and name not in _LEVEL_COLUMNS:
                continue
            if not name.startswith("trade_id"):
                assert [_plain(value) for value in column.tolist()] == [row[name] for row in rows]


def _plain(value: Any) -> Any:
    if value == ABSENT or (isinstance(value, float) and math.isnan(value)):
        return None
    return value


def _shares_memory(series: pl.Series, data: bytes) -> bool:
    """Whether the values of a series lie in the memory of `data`."""
    values = series.to_numpy(allow_copy=False)
    return bool(np.shares_memory(values, np.frombuffer(data, np.uint8)))


@pytest.mark.parametrize(
    "kind", [TradeBatch, BboBatch, L2Batch, TickerBatch, DerivativeBatch, BarBatch]
)
def test_a_frame_does_not_copy_the_columns(kind: type[Header]) -> None:
    columns: dict[str, Any] = {
        name: pack(width.code, [1] * 50) for name, width in kind.columns.items()
    }
    if kind is TradeBatch:
        columns["trade_id_offsets"] = pack("<i4", list(range(51)))
    more: dict[str, Any] = {"interval_ms": 100} if kind is BarBatch else {}
    message: Any = kind(exchange=2, ticker="X", epoch=1, message_no=0, **columns, **more)
    frame = batch_of(message).to_polars()
    shared = [
        name
        for name, width in kind.columns.items()
        if width.per in ("levels" if kind is L2Batch else "rows", "levels")
    ]
    assert len(shared) >= 4
    for name in shared:
        assert _shares_memory(frame[name], getattr(message, name)), name


def test_flags_and_text_come_through() -> None:
    message = TradeBatch(
        exchange=2,
        ticker="X",
        epoch=1,
        message_no=0,
        timestamp=pack("<i8", [1, 2]),
        rcv_timestamp=pack("<i8", [1, 2]),
        packet_id=pack("<i8", [1, 2]),
        side=b"\1\xff",
        price=pack("<f8", [1.5, 2.5]),
        qty=pack("<f8", [1, 2]),
        flags=pack("<u2", [0, 3]),
        trade_id_offsets=pack("<i4", [0, 2, 5]),
        trade_id_bytes=b"10a-1",
    )
    first, second = batch_of(message).rows()
    assert (first["trade_id"], second["trade_id"]) == ("10", "a-1")
    assert (second["side"], second["flags"], second["price"]) == (-1, 3, 2.5)
    assert first["exchange"] == "binance_usdm"
    assert batch_of(message).to_polars()["trade_id"].to_list() == ["10", "a-1"]


def test_a_frame_of_an_instrument_has_types_for_what_is_absent() -> None:
    message = Instrument(
        exchange=2,
        ticker="X",
        epoch=1,
        message_no=0,
        timestamp=1,
        rcv_timestamp=1,
        packet_id=1,
        base="X",
        quote="Y",
        settle="",
        kind=1,
    )
    (row,) = batch_of(message).rows()
    assert (row["strike"], row["expiry_timestamp"], row["inverse"]) == (None, None, False)
    frame = batch_of(message).to_polars()
    assert frame.schema["strike"] == pl.Float64
    assert frame.schema["expiry_timestamp"] == pl.Int64
    assert frame.schema["venue_status"] == pl.String
