"""Every message on the bus. README.md beside this package says what each field means.

msgspec msgpack arrays, tagged by a number. They grow only at the end, with defaults; `schema`
changes only when older readers must not read. A message is a batch of columns: each column is the
little-endian bytes of its rows, so NumPy, Arrow and JavaScript read it without parsing.

Annotations are evaluated here (no `from __future__ import annotations`): columns are read off them.
"""

from enum import IntEnum, IntFlag
from math import nan
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec
from msgspec import Meta

from tickbus_schemas.columns import ABSENT as ABSENT  # what goes with messages is had from here
from tickbus_schemas.columns import (
    F64,
    I8,
    I32,
    I64,
    U16,
    Codes,
    F64OfCells,
    F64OfLevels,
    F64OrNull,
    I8OfLevels,
    I64OrNull,
    I64OrZero,
    TextBytes,
    TextOffsets,
    bits_of,
    codes_of,
    columns_of,
    texts_of,
)
from tickbus_schemas.columns import Width as Width

SCHEMA = 1

MAX_MESSAGE_BYTES = 256 * 1024
MAX_ROWS = 65_536
"""No message can hold more: MAX_MESSAGE_BYTES ends it first (tested), so nothing checks it."""
MAX_DEPTH = 1_000
MAX_TEXT = 4_096
"""Characters of a free text, such as a reason."""
SEQ_ID_ROWS = 2**20
"""`seq_id` of a row is `stream sequence * SEQ_ID_ROWS + row`."""
PACKETS_PER_EPOCH = 2**40
"""`packet_id` is `epoch * PACKETS_PER_EPOCH + n`."""
MAX_EPOCH = 2**63 // PACKETS_PER_EPOCH - 1
"""So that every `packet_id` is an i64."""

# The decoder holds these bounds for us, in C: what is outside never becomes a message.
Int64: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Text: TypeAlias = Annotated[str, Meta(max_length=MAX_TEXT)]
Interval: TypeAlias = Annotated[int, Meta(ge=1, le=86_400_000)]


Number: TypeAlias = float
"""Finite, or NaN where it is not known."""


class Side(IntEnum):
    """Of a level: BID 1, ASK -1. Of a trade: the taker's, BUY 1, SELL -1, UNKNOWN 0."""

    BID = 1
    ASK = -1
    BUY = 1
    SELL = -1
    UNKNOWN = 0


class Action(IntEnum):
    """What an update did to its price level."""

    NEW = 1
    UPDATE = 2
    DELETE = 3


class TradeFlag(IntFlag):
    """What is special about a trade."""

    AGGREGATE = 1
    BLOCK = 2
    RPI = 4
    LIQUIDATION = 8
    OFF_BOOK = 16
    TIME_INFERRED = 32


class L2Flag(IntFlag):
    """What a packet of levels is."""

    SNAPSHOT_FIRST = 1
    SNAPSHOT = 2
    SNAPSHOT_LAST = 4
    GAP_BEFORE = 8
    TIME_INFERRED = 16


class BboFlag(IntFlag):
    """What is special about a best quote."""

    TIME_INFERRED = 1


class TickerFlag(IntFlag):
    """What is special about 24 h statistics."""

    TIME_INFERRED = 1


class DerivativeField(IntFlag):
    """The values of a DerivativeBatch, in the order of its columns."""

    MARK_PRICE = 1
    INDEX_PRICE = 2
    SETTLEMENT_PRICE = 4
    LAST_PRICE = 8
    FUNDING_RATE = 16
    PREDICTED_FUNDING_RATE = 32
    NEXT_FUNDING_TIMESTAMP = 64
    FUNDING_INTERVAL_MS = 128
    OPEN_INTEREST = 256
    OPEN_INTEREST_VALUE = 512


class DerivativeFlag(IntFlag):
    """What is special about a row of mark, index, funding and open interest."""

    TIME_INFERRED = 1


class LiquidationFlag(IntFlag):
    """What is special about a liquidation."""

    TIME_INFERRED = 1
    SAMPLED = 2
    BANKRUPTCY_PRICE = 4


class BookFlag(IntFlag):
    """Quality of a derived row: of a book, a bar or a feature."""

    CROSSED = 1
    STALE = 2
    GAP = 4
    FILLED = 8
    """no trade in the bar: open, high, low and close are the close before"""


class StatusKind(IntEnum):
    """What a status message tells; one is published for every ticker concerned."""

    CONNECTED = 1
    DISCONNECTED = 2
    GAP = 3
    RESYNC = 4
    SNAPSHOT = 5
    NOTICE = 6
    SKEW = 7
    SILENT = 8
    LINE = 9


class InstrumentKind(IntEnum):
    """What is traded under a ticker."""

    SPOT = 1
    PERPETUAL = 2
    FUTURE = 3
    OPTION = 4


class InstrumentStatus(IntEnum):
    """Whether an instrument is traded; `venue_status` has the venue's own word."""

    UNKNOWN = 0
    TRADING = 1
    HALTED = 2
    SETTLING = 3
    DELISTED = 4
    PRE_LAUNCH = 5


class OptionType(IntEnum):
    """Right that an option gives."""

    NONE = 0
    CALL = 1
    PUT = -1


class AlertState(IntEnum):
    """What an alert message says of its condition."""

    RAISED = 1
    RENEWED = 2
    RESOLVED = 3


class Severity(IntEnum):
    """How soon somebody must look."""

    WARNING = 1
    CRITICAL = 2


TAKER = Codes({1: "BUY", -1: "SELL", 0: "UNKNOWN"})
BOOK_SIDE = Codes({1: "BID", -1: "ASK"})
ORDER_SIDE = Codes({1: "BUY", -1: "SELL"})
POSITION_SIDE = Codes({1: "LONG", -1: "SHORT"})


class Header(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """Common to all. `more`: how many messages of the same ticker and flush follow directly."""

    schema: int = SCHEMA
    exchange: int
    ticker: Annotated[str, Meta(max_length=64)]
    epoch: Annotated[int, Meta(ge=0, le=MAX_EPOCH)]
    message_no: Count
    more: Count = 0

    columns: ClassVar[dict[str, Width]] = {}
    texts: ClassVar[tuple[str, ...]] = ()
    """texts among the columns; each is two of them, `<name>_offsets` and `<name>_bytes`"""
    codes: ClassVar[dict[str, Codes]] = {}
    """what the numbers of a field or column are called"""
    bits: ClassVar[dict[str, type[IntFlag]]] = {}
    """what the bits of a column mean; a reader ignores a bit that it does not know"""

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        cls.columns = cls.columns | columns_of(cls.__annotations__)
        cls.codes = cls.codes | codes_of(cls.__annotations__)
        cls.bits = cls.bits | bits_of(cls.__annotations__)
        cls.texts = texts_of(cls.columns)


class TradeBatch(Header, tag=1, frozen=True, kw_only=True):
    """Trades of one ticker; `trade_id` is text as Arrow has it: int32 offsets and bytes."""

    timestamp: I64
    rcv_timestamp: I64
    packet_id: I64
    side: Annotated[I8, TAKER]
    price: F64
    qty: F64
    flags: Annotated[U16, TradeFlag]
    trade_id_offsets: TextOffsets
    trade_id_bytes: TextBytes


class L2Batch(Header, tag=2, frozen=True, kw_only=True):
    """Book updates of one ticker: a row a packet, and below it a row a level."""

    timestamp: I64
    engine_timestamp: I64OrZero
    rcv_timestamp: I64
    packet_id: I64
    prev_update_id: I64OrNull
    update_id: I64OrNull
    flags: Annotated[U16, L2Flag]
    levels: I32
    side: Annotated[I8OfLevels, BOOK_SIDE]
    action: Annotated[I8OfLevels, Codes.of(Action)]
    price: F64OfLevels
    qty: F64OfLevels


class BboBatch(Header, tag=3, frozen=True, kw_only=True):
    """Best bid and ask of one ticker, a row a change as the venue sends it."""

    timestamp: I64
    engine_timestamp: I64OrZero
    rcv_timestamp: I64
    packet_id: I64
    update_id: I64OrNull
    bid_px: F64
    bid_sz: F64
    ask_px: F64
    ask_sz: F64
    flags: Annotated[U16, BboFlag]


class TickerBatch(Header, tag=4, frozen=True, kw_only=True):
    """24 h statistics of one ticker, a row each time that the venue sends them."""

    timestamp: I64
    engine_timestamp: I64OrZero
    rcv_timestamp: I64
    packet_id: I64
    last_price: F64OrNull
    last_qty: F64OrNull
    open: F64OrNull
    high: F64OrNull
    low: F64OrNull
    volume: F64OrNull
    turnover: F64OrNull
    price_change: F64OrNull
    trade_count: I64OrNull
    bid_px: F64OrNull
    bid_sz: F64OrNull
    ask_px: F64OrNull
    ask_sz: F64OrNull
    flags: Annotated[U16, TickerFlag]


class DerivativeBatch(Header, tag=5, frozen=True, kw_only=True):
    """Mark, index, funding and open interest of one derivative.

    A row has every value known so far; `fields` says which of them its own frame sent.
    """

    timestamp: I64
    engine_timestamp: I64OrZero
    rcv_timestamp: I64
    packet_id: I64
    mark_price: F64OrNull
    index_price: F64OrNull
    settlement_price: F64OrNull
    last_price: F64OrNull
    funding_rate: F64OrNull
    predicted_funding_rate: F64OrNull
    next_funding_timestamp: I64OrNull
    funding_interval_ms: I64OrNull
    open_interest: F64OrNull
    open_interest_value: F64OrNull
    fields: Annotated[U16, DerivativeField]
    flags: Annotated[U16, DerivativeFlag]


class LiquidationBatch(Header, tag=6, frozen=True, kw_only=True):
    """Liquidations of one ticker, a row an order."""

    timestamp: I64
    engine_timestamp: I64OrZero
    rcv_timestamp: I64
    packet_id: I64
    side: Annotated[I8, ORDER_SIDE]
    position_side: Annotated[I8, POSITION_SIDE]
    price: F64
    average_price: F64OrNull
    qty: F64
    filled_qty: F64OrNull
    flags: Annotated[U16, LiquidationFlag]


class Instrument(Header, tag=7, frozen=True, kw_only=True):
    """The venue's description of one ticker; one message for each change."""

    timestamp: Int64
    rcv_timestamp: Int64
    packet_id: Int64
    base: Text
    quote: Text
    settle: Text
    kind: Annotated[int, Meta(ge=1, le=127), Codes.of(InstrumentKind)]
    """an InstrumentKind; a number that this reader does not know yet is not refused"""
    tick_size: Number = nan
    lot_size: Number = nan
    min_qty: Number = nan
    contract_size: Number = nan
    contract_unit: Text = ""
    price_precision: Int64 = ABSENT
    qty_precision: Int64 = ABSENT
    status: Annotated[int, Meta(ge=0, le=127), Codes.of(InstrumentStatus)] = 0
    """an InstrumentStatus, as `kind`"""
    venue_status: Text = ""
    expiry_timestamp: Int64 = ABSENT
    strike: Number = nan
    option_type: Annotated[int, Meta(ge=-1, le=1), Codes.of(OptionType)] = 0
    inverse: bool = False


class Status(Header, tag=8, frozen=True, kw_only=True):
    """One thing that happened to a ticker's data; a gap names what lies on both sides of it."""

    timestamp: Int64
    rcv_timestamp: Int64
    packet_id: Int64
    kind: Annotated[int, Meta(ge=1, le=127), Codes.of(StatusKind)]
    """a number that this reader does not know yet is not refused"""
    feed: Text = ""
    reason: Text = ""
    from_id: Int64 = ABSENT
    to_id: Int64 = ABSENT
    from_timestamp: Int64 = ABSENT
    to_timestamp: Int64 = ABSENT
    line: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0


class BookBatch(Header, tag=9, frozen=True, kw_only=True):
    """The top `depth` levels of one ticker's book at grid points, best first; 0 where none."""

    interval_ms: Annotated[int, Meta(ge=0, le=86_400_000)]
    """0: on change"""
    depth: Annotated[int, Meta(ge=1, le=MAX_DEPTH)]
    timestamp: I64
    rcv_timestamp: I64
    packet_id: I64
    update_id: I64OrNull
    flags: Annotated[U16, BookFlag]
    bid_levels: I32
    ask_levels: I32
    bid_px: F64OfCells
    bid_sz: F64OfCells
    ask_px: F64OfCells
    ask_sz: F64OfCells


class BarBatch(Header, tag=10, frozen=True, kw_only=True):
    """Trade bars of one ticker; absent prices are NaN (null in Parquet)."""

    interval_ms: Interval
    timestamp: I64
    end_timestamp: I64
    rcv_timestamp: I64
    packet_id: I64
    open: F64OrNull
    high: F64OrNull
    low: F64OrNull
    close: F64OrNull
    volume: F64
    vwap: F64OrNull
    trade_count: I64
    taker_buy_volume: F64
    taker_sell_volume: F64
    signed_volume: F64
    late_count: I64
    late_volume: F64
    flags: Annotated[U16, BookFlag]


class FeatureBatch(Header, tag=11, frozen=True, kw_only=True):
    """Named features of one ticker's buckets; NaN is null (warm-up, gap)."""

    interval_ms: Interval
    catalogue: Text
    names: list[Text]
    timestamp: I64
    end_timestamp: I64
    rcv_timestamp: I64
    packet_id: I64
    flags: Annotated[U16, BookFlag]
    values: list[bytes]
    """one f64 column a name"""


class Fence(Header, tag=12, frozen=True, kw_only=True):
    """A publisher starts: its epoch is the last one + 1, its `message_no` starts at 0 here."""

    timestamp: Int64
    owner: Text
    version: Text = ""


class Clock(Header, tag=13, frozen=True, kw_only=True):
    """Venue time of a shard: every event received before it lies before it in the log."""

    timestamp: Int64
    rcv_timestamp: Int64
    packet_id: Int64
    final: bool = False
    """the input has ended: nothing follows in this epoch"""


class DeadLetter(Header, tag=14, frozen=True, kw_only=True):
    """Something refused: a frame by ingest or a message by a reader."""

    timestamp: Int64
    packet_id: Int64
    service: Text
    reason: Text
    data: bytes
    size: Count
    """bytes of the whole; `data` holds at most the first 64 KiB"""
    source: Text = ""


class Alert(Header, tag=15, frozen=True, kw_only=True):
    """A severe condition has begun, goes on, or is over; `ticker` is empty unless it is of one."""

    timestamp: Int64
    state: Annotated[int, Meta(ge=1, le=127), Codes.of(AlertState)]
    """a number that this reader does not know yet is not refused, here and below"""
    severity: Annotated[int, Meta(ge=1, le=127), Codes.of(Severity)]
    source: Text
    shard: Text
    condition: Text
    about: Text = ""
    cause: Text = ""
    remedy: Text = ""
    raised_timestamp: Int64 = ABSENT


MESSAGES: tuple[type[Header], ...] = tuple(
    sorted(Header.__subclasses__(), key=lambda kind: kind.__struct_config__.tag)  # type: ignore[arg-type,return-value]  # tags are numbers
)
Message: TypeAlias = Header
"""One of MESSAGES: what `codec.decode` gives."""
