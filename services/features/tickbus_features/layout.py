"""Where the kernels keep what: records of the state, columns that come in, rows that go out.

The state is a few NumPy records, so that a checkpoint is their bytes and a kernel names its fields.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tickbus_schemas.messages import ABSENT

from tickbus_features.catalogue import DEPTH
from tickbus_features.expression import Float64s, Int64s

Int8s: TypeAlias = NDArray[np.int8]
Uint16s: TypeAlias = NDArray[np.uint16]
Records: TypeAlias = NDArray[np.void]
Record: TypeAlias = Any
"""One record of a state's array, as kernels see it: its fields are attributes."""

DAY_US = 86_400_000_000
FAR_US = 4_102_444_800_000_000
"""2100-01-01: a time outside [0, FAR_US) is no time"""
CLOCK_GRACE_US = 1_000_000
"""A clock closes the buckets that ended this long before it."""
FILLED_ROWS_MAX = 3_600
"""A grid restarts rather than fill more empty buckets than this in one step."""

TRADES, QUOTES, BOOK = 1, 2, 4
"""What of a ticker or a bucket is missing, as bits."""
RESET = 8
"""Besides, in a bucket that a gap has hit: windows begin anew with it."""

TICKER = np.dtype(
    [
        ("epoch", "<i8"),  # of the last event; -1 before the first
        ("missing", "<i8"),  # TRADES | QUOTES | BOOK, until the feed is whole again
        ("quotes_from_bbo", "<i8"),  # the log has had a best quote of this ticker
        ("book_valid", "<i8"),
        ("in_snapshot", "<i8"),
        ("update_id", "<i8"),  # last one in the book
        ("l2_timestamp", "<i8"),
        ("reach_from", "<i8"),  # a time within [reach_from, reach_to) opens and closes nothing
        ("reach_to", "<i8"),
        ("bid_px", "<f8"),  # the quote before, for order flow
        ("bid_sz", "<f8"),
        ("ask_px", "<f8"),
        ("ask_sz", "<f8"),
        ("late_trades", "<i8"),  # counted once an interval
        ("restarts", "<i8"),  # of a grid after a time jump
        ("losses", "<i8"),  # gaps, broken links and new epochs
        ("untimed", "<i8"),  # events whose time is none
    ]
)
GRID = np.dtype(
    [
        ("length_us", "<i8"),
        ("jump_us", "<i8"),  # a longer step restarts the grid
        ("closed_to", "<i8"),  # start of the oldest bucket that is not closed; ABSENT: no grid
        ("opened_to", "<i8"),  # start of the first bucket without a slot
        ("frozen_to", "<i8"),  # start of the first bucket whose book is not known yet
        ("last_slot", "<i8"),  # slot opened last
        ("partial", "<i8"),  # the next bucket to open is the grid's first
        ("age", "<i8"),  # rows since the windows were reset
        ("close", "<f8"),
        ("rcv_timestamp", "<i8"),
        ("packet_id", "<i8"),
        ("late_count", "<i8"),
        ("late_volume", "<f8"),
    ]
)
SLOT = np.dtype(
    [
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("volume", "<f8"),
        ("turnover", "<f8"),
        ("taker_buy_volume", "<f8"),
        ("taker_sell_volume", "<f8"),
        ("trade_count", "<i8"),
        ("order_flow", "<f8"),
        ("quote_count", "<i8"),
        ("l2_count", "<i8"),
        ("rcv_timestamp", "<i8"),
        ("packet_id", "<i8"),  # of the last event in it; ABSENT: none
        ("missing", "<i8"),
        ("frozen", "<i8"),  # the book below is the bucket's
        ("book", "<f8", (4, DEPTH)),  # bid prices, bid sizes, ask prices, ask sizes
    ]
)
FAR = 2**63 - 1
STATE_HASH = hashlib.sha256(repr((TICKER.descr, GRID.descr, SLOT.descr)).encode()).hexdigest()[:16]
"""Names what the bytes of a state mean."""

STATUS, L2, BBO, TRADE = 0, 1, 2, 3
"""Feeds in the order in which events of one packet are taken."""
CURSOR = np.dtype(
    [
        ("message", "<i8", (4,)),  # next message of each feed
        ("row", "<i8", (4,)),  # first row of the flush
        ("end", "<i8", (4,)),  # behind its last row
        ("at", "<i8"),  # next event in the flush's order
        ("count", "<i8"),  # events in it
        ("clock", "<i8"),  # next clock
        ("level", "<i8"),  # first level of the next book packet
        ("short", "<i8"),  # levels of that packet if the book had no room for them
        ("seq", "<i8"),  # of the flush's last message
    ]
)


class Messages(NamedTuple):
    """Messages of a feed: i64 each, in log order."""

    seq: Int64s
    rows: Int64s
    more: Int64s


FeedMessages: TypeAlias = tuple[Messages, Messages, Messages, Messages]
"""of STATUS, L2, BBO and TRADE"""


class Trades(NamedTuple):
    """Columns of TradeBatch that are needed."""

    timestamp: Int64s
    rcv_timestamp: Int64s
    packet_id: Int64s
    side: Int8s
    price: Float64s
    qty: Float64s
    flags: Uint16s


class Quotes(NamedTuple):
    """Columns of BboBatch that are needed."""

    timestamp: Int64s
    rcv_timestamp: Int64s
    packet_id: Int64s
    bid_px: Float64s
    bid_sz: Float64s
    ask_px: Float64s
    ask_sz: Float64s


class Packets(NamedTuple):
    """Columns of L2Batch that are needed: a row a packet, the last three a row a level."""

    timestamp: Int64s
    rcv_timestamp: Int64s
    packet_id: Int64s
    prev_update_id: Int64s
    update_id: Int64s
    flags: Uint16s
    levels: NDArray[np.int32]
    side: Int8s
    price: Float64s
    qty: Float64s


class Losses(NamedTuple):
    """Status messages: `lost` and `found` are bits of TRADES, QUOTES, BOOK."""

    packet_id: Int64s
    from_timestamp: Int64s
    lost: Int64s
    found: Int64s


class Clocks(NamedTuple):
    """Clock messages of the shard."""

    seq: Int64s
    timestamp: Int64s
    epoch: Int64s


class Order(NamedTuple):
    """The events of one flush in order of their packets."""

    key: Int64s
    """packet_id, never less than of the row before in the same feed"""
    feed: Int8s
    row: Int64s
    timestamp: Int64s
    packet_id: Int64s
    own: Int64s
    """keys of the feed that is being put in"""


INTS = ("timestamp", "end_timestamp", "rcv_timestamp", "packet_id", "trade_count", "late_count")
FLOATS = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "vwap",
    "taker_buy_volume",
    "taker_sell_volume",
    "signed_volume",
    "late_volume",
)
"""Columns of a closed row; the features follow behind the floats."""


class Rows(NamedTuple):
    """Closed rows of one ticker, one part an interval, and the messages that they go into."""

    ints: Int64s
    """(intervals, rows, len(INTS))"""
    floats: Float64s
    """(intervals, rows, len(FLOATS) + features)"""
    flags: Uint16s
    """(intervals, rows, 2): of the bar, of the features"""
    messages: Int64s
    """(intervals, rows, 4): first row, rows, stream sequence that closed them, its epoch"""
    counts: Int64s
    """(intervals, 2): rows and messages"""


class Scratch(NamedTuple):
    """The catalogue's program, and the space that one run of it needs; see `Program`."""

    steps: Int64s
    constants: Float64s
    tracked: Int64s
    published: Int64s
    """places of the published values"""
    values: Float64s
    stack: Float64s
    best: Float64s
    """best bid price and size, best ask price and size"""


class State(NamedTuple):
    """All that is kept of one ticker but the book itself."""

    ticker: Records
    """TICKER, one"""
    grids: Records
    """GRID, one an interval"""
    slots: Records
    """SLOT (intervals, ring): the open buckets, each at `start / length % ring`"""
    history: Float64s
    """(intervals, rows, tracked columns): see `evaluate`"""


def new_state(intervals_us: list[int], grace_us: int, history: tuple[int, int]) -> State:
    """The state before the first event; history: rows and columns that the catalogue needs."""
    ticker = np.zeros(1, TICKER)
    ticker["epoch"] = -1
    ticker["missing"] = QUOTES | BOOK
    ticker["update_id"] = ABSENT
    grids = np.zeros(len(intervals_us), GRID)
    grids["length_us"] = intervals_us
    grids["jump_us"] = [min(DAY_US, FILLED_ROWS_MAX * length) for length in intervals_us]
    grids["closed_to"] = ABSENT
    grids["close"] = np.nan
    ring = grace_us // min(intervals_us) + 2
    slots = np.zeros((len(intervals_us), ring), SLOT)
    return State(ticker, grids, slots, np.zeros((len(intervals_us), *history)))


def new_order(rows: int) -> Order:
    """Space for the events of a flush of so many rows."""
    numbers = np.zeros((5, rows), np.int64)
    key, row, timestamp, packet_id, own = numbers
    return Order(key, np.zeros(rows, np.int8), row, timestamp, packet_id, own)
