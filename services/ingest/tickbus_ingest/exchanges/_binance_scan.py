"""The hot path of Binance's frames: JSON text to columns without a Python object a row.

The reader takes only frames that it understands to the last byte: the combined-stream envelope of
a subscribed stream, known keys once each, plain decimal text that is exact as a double. It says
nothing about any other frame; `parse` of the venue decides those with a full JSON decoder, and the
two are compared by tests on every captured frame and on mutated ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tickbus.compiled import kernel, part

from tickbus_ingest.exchanges._json_text import (
    CLOSE,
    CLOSE_LIST,
    COLON,
    COMMA,
    NINE,
    OPEN_LIST,
    QUOTE,
    ZERO,
    boolean,
    char,
    decimal,
    integer,
    same,
    string_end,
)

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]
U16 = npt.NDArray[np.uint16]
U8 = npt.NDArray[np.uint8]

# Columns of the integers and of the values that a frame may hold.
EVENT, ENGINE, TRADE_ID, FIRST_ID, LAST_ID, PREV_ID = range(6)
INTS = 6
VALUES = 4
# Which keys were seen, as bits: what a kind of frame needs is a mask of them.
SAW_E, SAW_T, SAW_t, SAW_a, SAW_U, SAW_u, SAW_pu = (1 << n for n in range(7))
SAW_s, SAW_e, SAW_m, SAW_X = (1 << n for n in range(7, 11))
SAW_p, SAW_q, SAW_b, SAW_B, SAW_ask, SAW_A, SAW_bids, SAW_asks = (1 << n for n in range(11, 19))

_OPENING = np.frombuffer(b'{"stream":"', np.uint8)
_BETWEEN = np.frombuffer(b'","data":{', np.uint8)
_MARKET = np.frombuffer(b"MARKET", np.uint8)

TRADE = 0
"""contract.Kind.TRADE"""
PU = 1
"""The key `pu`, among the keys of one letter."""


class Table(NamedTuple):
    """The subscribed streams: an open-addressing table of their names, and what each carries."""

    slots: I64
    """stream number or -1; a power of two long"""
    names: U8
    name_ends: I64
    tickers: U8
    """ticker text of each stream, as the key `s` must say it"""
    ticker_ends: I64
    events: U8
    """event text of each stream, as the key `e` must say it where it stands"""
    event_ends: I64
    required: I64
    """bits that a frame of the stream must have shown"""
    forbidden: I64
    """bits that belong to another kind"""
    kinds: I8
    ticker_numbers: I32
    flags: U16
    """flags of every row of the stream"""
    by_pu: bool
    """an update names the one it follows; else it follows its own first id - 1"""


class Columns(NamedTuple):
    """Where the reader puts what it finds; see `contract.Decoded`. `ints` is scratch of a frame."""

    kind: I8
    ticker: I32
    event_us: I64
    engine_us: I64
    update_id: I64
    prev_update_id: I64
    values: F64
    side: I8
    flags: U16
    level_start: I64
    level_count: I32
    level_side: I8
    level_price: F64
    level_qty: F64
    ints: I64


@kernel
def _hash(text: U8, start: int, end: int) -> int:
    """FNV-1a in 32 bits."""
    value = np.uint64(2166136261)
    for at in range(start, end):
        value = ((value ^ np.uint64(char(text, at))) * np.uint64(16777619)) & np.uint64(0xFFFFFFFF)
    return int(value)


@part
def _stream(text: U8, start: int, end: int, table: Table) -> int:
    """Number of the stream of this name, -1 when there is none."""
    slot = _hash(text, start, end) & (len(table.slots) - 1)
    while table.slots[slot] >= 0:
        stream = table.slots[slot]
        if same(
            text, start, end, table.names, table.name_ends[stream], table.name_ends[stream + 1]
        ):
            return int(stream)
        slot = (slot + 1) & (len(table.slots) - 1)
    return -1


@kernel
def _levels(
    text: U8, at: int, end: int, is_bid: bool, filled: int, side: I8, price: F64, qty: F64
) -> tuple[int, int, int]:
    """Levels `[["p","q"],...]` from their first bracket: position behind, rows filled, long ones.

    Position -1 when anything else stands there.
    """
    at += 1
    longs = 0
    if at < end and char(text, at) == CLOSE_LIST:
        return at + 1, filled, 0
    while True:
        if at + 1 >= end or char(text, at) != OPEN_LIST or char(text, at + 1) != QUOTE:
            return -1, filled, 0
        first, at, is_long = decimal(text, at + 2, end)
        if at < 0 or at + 1 >= end or char(text, at) != COMMA or char(text, at + 1) != QUOTE:
            return -1, filled, 0
        second, at, other_long = decimal(text, at + 2, end)
        if at < 0 or at + 1 >= end or char(text, at) != CLOSE_LIST or filled >= len(side):
            return -1, filled, 0
        longs += is_long + other_long
        side[filled] = 1 if is_bid else -1
        price[filled] = first
        qty[filled] = second
        filled += 1
        at += 1
        if char(text, at) == CLOSE_LIST:
            return at + 1, filled, longs
        if char(text, at) != COMMA:
            return -1, filled, 0
        at += 1


@kernel
def read_levels(bids: U8, asks: U8, side: I8, price: F64, qty: F64) -> tuple[int, int]:
    """Both lists of a REST book into columns: rows filled (-1: not understood), long decimals."""
    at, filled, longs = _levels(bids, 0, len(bids), True, 0, side, price, qty)
    if at != len(bids):
        return -1, 0
    at, filled, more = _levels(asks, 0, len(asks), False, filled, side, price, qty)
    if at != len(asks):
        return -1, 0
    return filled, longs + more


@part
def _int_column(key: int) -> tuple[int, int]:
    """Column and bit of a key whose value is an integer; column -1 for any other key."""
    if key == ord("E"):
        return EVENT, SAW_E
    if key == ord("T"):
        return ENGINE, SAW_T
    if key == ord("t"):
        return TRADE_ID, SAW_t
    if key == ord("a"):
        return TRADE_ID, SAW_a
    if key == ord("U"):
        return FIRST_ID, SAW_U
    if key == ord("u"):
        return LAST_ID, SAW_u
    if key == PU:
        return PREV_ID, SAW_pu
    return -1, 0


@part
def _value_column(key: int) -> tuple[int, int]:
    """Column and bit of a key whose value is decimal text; column -1 for any other key."""
    if key == ord("b"):
        return 0, SAW_b
    if key == ord("B"):
        return 1, SAW_B
    if key == ord("a"):
        return 2, SAW_ask
    if key == ord("A"):
        return 3, SAW_A
    if key == ord("p"):
        return 0, SAW_p
    if key == ord("q"):
        return 1, SAW_q
    return -1, 0


@kernel
def scan(text: U8, ends: I64, table: Table, out: Columns) -> tuple[int, int]:
    """Read the frames text[ends[i]:ends[i+1]] into row i; levels filled, long decimals.

    `out.kind[i]` is -1 for a frame not understood, whose other columns mean nothing. The level
    columns must have room for a level in each 10 bytes of text.
    """
    filled = 0
    longs = 0
    for row in range(len(ends) - 1):
        end = ends[row + 1]
        out.kind[row] = -1
        out.level_start[row] = filled
        out.level_count[row] = 0
        stream, at = _envelope(text, ends[row], end, table)
        if stream < 0:
            continue
        out.ints[:] = 0
        understood, end_filled, more = _event(text, at, end, table, stream, row, filled, out)
        if understood:
            _enter(table, stream, row, out)
            out.level_count[row] = end_filled - filled
            filled = end_filled
            longs += more
    return filled, longs


@part
def _enter(table: Table, stream: int, row: int, out: Columns) -> None:
    """The integers of a frame that was understood become its row's columns; ms become us."""
    kind = table.kinds[stream]
    out.kind[row] = kind
    out.ticker[row] = table.ticker_numbers[stream]
    out.flags[row] = table.flags[stream]
    out.event_us[row] = out.ints[EVENT] * 1000
    out.engine_us[row] = out.ints[ENGINE] * 1000
    out.update_id[row] = out.ints[TRADE_ID] if kind == TRADE else out.ints[LAST_ID]
    out.prev_update_id[row] = out.ints[PREV_ID] if table.by_pu else out.ints[FIRST_ID] - 1


@part
def _envelope(text: U8, at: int, end: int, table: Table) -> tuple[int, int]:
    """Number of the stream that a frame is of (-1: none of ours), and where its event begins."""
    name = at + len(_OPENING)
    if not same(text, at, min(name, end), _OPENING, 0, len(_OPENING)):
        return -1, at
    name_end = string_end(text, name, end)
    if name_end < 0:
        return -1, at
    at = name_end + len(_BETWEEN)
    if not same(text, name_end, min(at, end), _BETWEEN, 0, len(_BETWEEN)):
        return -1, at
    return _stream(text, name, name_end, table), at


@kernel
def _event(
    text: U8, at: int, end: int, table: Table, stream: int, row: int, filled: int, out: Columns
) -> tuple[bool, int, int]:
    """The event from behind its bracket: whether understood, levels filled, long decimals."""
    refused = (False, filled, 0)
    seen = 0
    longs = 0
    while True:
        if at >= end or char(text, at) != QUOTE:
            return refused
        key_end = string_end(text, at + 1, end)
        if key_end < at + 2 or key_end + 2 >= end or char(text, key_end + 1) != COLON:
            return refused
        key = int(char(text, at + 1)) if key_end == at + 2 else 0
        if key_end == at + 3 and char(text, at + 1) == ord("p") and char(text, at + 2) == ord("u"):
            key = PU
        at = key_end + 2
        byte = char(text, at)
        more = 0
        if ZERO <= byte <= NINE:
            number, at = integer(text, at, end)
            column, bit = _int_column(key)
            if column >= 0:
                out.ints[column] = number
            if number == 0 and (column in (EVENT, ENGINE)):
                return refused  # 0 stands for a time that was not sent
        elif byte == QUOTE:
            column, bit = _value_column(key)
            if column >= 0:
                out.values[row, column], at, more = decimal(text, at + 1, end)
            else:
                bit, at = _text(text, at + 1, end, key, table, stream)
        elif byte == OPEN_LIST and (key == ord("b") or key == ord("a")):
            bit = SAW_bids if key == ord("b") else SAW_asks
            at, filled, more = _levels(
                text, at, end, key == ord("b"), filled,
                out.level_side, out.level_price, out.level_qty,
            )  # fmt: skip
        else:
            is_true, at = boolean(text, at, end)
            bit = SAW_m if key == ord("m") else 0
            if bit:
                out.side[row] = -1 if is_true else 1  # the buyer was the maker: the taker sold
        if at < 0 or at >= end or bit & seen:
            return refused
        seen |= bit
        longs += more
        if char(text, at) == CLOSE:
            break
        if char(text, at) != COMMA:
            return refused
        at += 1
    complete = seen & table.required[stream] == table.required[stream]
    if (
        not complete
        or seen & table.forbidden[stream]
        or at + 2 != end
        or char(text, at + 1) != CLOSE
    ):
        return refused
    return True, filled, longs


@part
def _text(text: U8, start: int, end: int, key: int, table: Table, stream: int) -> tuple[int, int]:
    """A string that is no number: its bit, and the position behind it (-1: not as expected)."""
    stop = string_end(text, start, end)
    if stop < 0:
        return 0, -1
    if key == ord("s"):
        first, last = table.ticker_ends[stream], table.ticker_ends[stream + 1]
        return SAW_s, stop + 1 if same(text, start, stop, table.tickers, first, last) else -1
    if key == ord("e"):
        first, last = table.event_ends[stream], table.event_ends[stream + 1]
        return SAW_e, stop + 1 if same(text, start, stop, table.events, first, last) else -1
    if key == ord("X"):  # anything but MARKET may be off the book: `parse` decides
        return SAW_X, stop + 1 if same(text, start, stop, _MARKET, 0, len(_MARKET)) else -1
    return 0, stop + 1


def name_hash(name: bytes) -> int:
    """The table's hash of a stream name."""
    return int(_hash(np.frombuffer(name, np.uint8), 0, len(name)))
