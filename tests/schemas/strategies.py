"""Valid messages of every type, drawn by hypothesis, and columns packed from plain values."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import msgpack
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import (
    ABSENT,
    MESSAGES,
    BookBatch,
    FeatureBatch,
    Header,
    L2Batch,
    Message,
    TradeBatch,
    Width,
)

STRUCT_CODES = {"<i8": "q", "<f8": "d", "<i4": "i", "<u2": "H", "<i1": "b"}

int64 = st.integers(ABSENT + 1, 2**63 - 1)
texts = st.text(max_size=12)
tickers = st.text(min_size=1, max_size=16)
intervals_ms = st.sampled_from((1, 100, 1_000, 60_000, 3_600_000, 86_400_000))


def pack(code: str, values: Sequence[float]) -> bytes:
    """The little-endian bytes of a column."""
    return struct.pack(f"<{len(values)}{STRUCT_CODES[code]}", *values)


def unpack(code: str, data: bytes) -> list[Any]:
    """The values of a column, read without the code under test."""
    return [value for (value,) in struct.iter_unpack(f"<{STRUCT_CODES[code]}", data)]


def _values(kind: type[Header], name: str, width: Width) -> st.SearchStrategy[Any]:
    if name in kind.codes:
        return st.sampled_from([*kind.codes[name].names])
    if width.code == "<f8":
        return st.floats(allow_infinity=False, allow_nan=width.absent is not None)
    if width.code == "<u2":
        return st.integers(0, 2**16 - 1)
    return int64 if width.absent is None else int64 | st.just(width.absent)


@st.composite
def columns(draw: st.DrawFn, kind: type[Header]) -> dict[str, Any]:
    """The columns of a message of `kind` that keep every rule, and what they depend on."""
    rows = draw(st.integers(1, 4))
    fields: dict[str, Any] = {}
    depth = draw(st.integers(1, 3))
    level_counts = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
    sizes = {"rows": rows, "levels": sum(level_counts), "rows*depth": rows * depth}
    for name, width in kind.columns.items():
        if width.per in sizes:
            size = sizes[width.per]
            drawn = draw(st.lists(_values(kind, name, width), min_size=size, max_size=size))
            fields[name] = b"" if width.code == "<i4" else pack(width.code, drawn)
    if kind is L2Batch:
        fields["levels"] = pack("<i4", level_counts)
    elif kind is BookBatch:
        fields["depth"] = depth
        for name in ("bid_levels", "ask_levels"):
            within = st.lists(st.integers(0, depth), min_size=rows, max_size=rows)
            fields[name] = pack("<i4", draw(within))
    elif kind is TradeBatch:
        ids = draw(st.lists(st.text("0123456789abc-", max_size=9), min_size=rows, max_size=rows))
        ends = [sum(map(len, ids[:row])) for row in range(rows + 1)]
        fields["trade_id_offsets"] = pack("<i4", ends)
        fields["trade_id_bytes"] = "".join(ids).encode()
    elif kind is FeatureBatch:
        names = draw(st.lists(texts, max_size=3, unique=True))
        number = st.floats(allow_infinity=False)
        column = st.lists(number, min_size=rows, max_size=rows)
        fields["names"] = names
        fields["values"] = [pack("<f8", draw(column)) for _ in names]
    return fields


# Fields for which there is more to say than their type does.
_KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "schema": st.just(1),
    "exchange": st.sampled_from([int(exchange) for exchange in Exchange]),
    "ticker": tickers,
    "interval_ms": intervals_ms,
}


def _field(field: msgspec.structs.FieldInfo) -> st.SearchStrategy[Any]:
    """Values of a field that is no column, within the bounds of its type."""
    if field.name in _KNOWN:
        return _KNOWN[field.name]
    match msgspec.inspect.type_info(field.type):
        case msgspec.inspect.IntType(ge=low, le=high):
            assert low is not None
            number = st.integers(max(low, ABSENT + 1), high)  # which no time or count ever is
            return number | st.just(ABSENT) if field.default == ABSENT else number
        case msgspec.inspect.FloatType():
            return st.floats(allow_infinity=False)
        case msgspec.inspect.StrType():
            return texts
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.BytesType():
            return st.binary(max_size=20)
    raise AssertionError(f"no values for {field}")


@st.composite
def messages(draw: st.DrawFn, kind: type[Header] | None = None) -> Message:
    """A valid message, of `kind` or of any type."""
    chosen = kind or draw(st.sampled_from(MESSAGES))
    fields = draw(columns(chosen))
    for field in msgspec.structs.fields(chosen):
        if field.name not in fields:
            fields[field.name] = draw(_field(field))
    return chosen(**fields)


def same(one: Any, other: Any) -> bool:
    """Whether two messages or values are the same, NaN like NaN."""
    return type(one) is type(other) and msgpack.encode(one) == msgpack.encode(other)


BOOK_OF_TWO_ROWS = BookBatch(
    exchange=2,
    ticker="BTCUSDT",
    epoch=1,
    message_no=1,
    interval_ms=100,
    depth=2,
    timestamp=pack("<i8", [100_000, 200_000]),
    rcv_timestamp=pack("<i8", [100_500, 200_500]),
    packet_id=pack("<i8", [7, 8]),
    update_id=pack("<i8", [70, ABSENT]),
    flags=pack("<u2", [0, 2]),
    bid_levels=pack("<i4", [2, 2]),
    ask_levels=pack("<i4", [1, 2]),
    bid_px=pack("<f8", [2.0, 1.0, 3.0, 2.5]),
    bid_sz=pack("<f8", [1.0, 1.0, 2.0, 2.0]),
    ask_px=pack("<f8", [3.0, 0.0, 3.5, 4.0]),
    ask_sz=pack("<f8", [1.0, 0.0, 4.0, 5.0]),
)
