"""The feeds, one row each, with everything that the message's own fields do not say.

Subjects, the codec's table of kinds, ingest's columns, the tables and encodings of Parquet files,
the lines of `tickbus tail` and AsyncAPI are derived from the rows. A new feed is a message in
`messages.py`, a row here, and a section in README.md.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from tickbus_schemas.messages import (
    Alert,
    BarBatch,
    BboBatch,
    BookBatch,
    BookFlag,
    Clock,
    DeadLetter,
    DerivativeBatch,
    FeatureBatch,
    Fence,
    Header,
    Instrument,
    L2Batch,
    L2Flag,
    LiquidationBatch,
    Status,
    TickerBatch,
    TradeBatch,
)


class Identity(Enum):
    """How rows of one ticker's feed are identified."""

    NUMBERED = "numbered"
    """each row has the venue's id; whether ids are dense is a property of the venue"""
    LINKED = "linked"
    """each row names the one that it follows: see `continuity`"""
    LATEST = "latest"
    """a row replaces the one before; only the newest matters"""
    EVENT = "event"
    """rows have no id: two equal rows are two events"""
    PERIOD = "period"
    """one row for each interval and time, derived by us"""


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    """One feed: its message, and what its fields do not say."""

    name: str
    """in its subjects (last token of a raw feed, first of a derived one) and in paths of files"""
    kind: type[Header]
    identity: Identity
    noun: str
    """a row in the line of a message: "3 trades" """
    shown: str = ""
    """the rest of that line, filled with the last row's values; empty: the message has its own"""
    stream: str = "md"
    """kind of the stream that holds it"""

    table: tuple[str, ...] = ()
    """its own columns in a file, in order; empty: those of the message, in the message's order"""
    flag_columns: dict[str, int] = {}
    """bool columns of a file: whether one of these bits is set in `flags`"""
    copies: dict[str, str] = {}
    """columns at the end of a file that repeat another one: new name to old name"""
    nullable: frozenset[str] = frozenset()
    """columns declared nullable in files although they never are: the first files had them so"""
    encodings: dict[str, str] = {}
    """Parquet encodings, where another one than the type's is smaller (decision 6)"""
    harder: frozenset[str] = frozenset()
    """columns compressed at a higher level"""
    smooth: bool = False
    """its numbers hardly repeat, so that a dictionary would be larger than the values"""


PLAIN, DELTA_TEXT = "PLAIN", "DELTA_BYTE_ARRAY"
_QUOTES = "bid {bid_px} x {bid_sz}, ask {ask_px} x {ask_sz}"
_ANY_SNAPSHOT = L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST

FEEDS: tuple[Feed, ...] = (
    Feed(
        name="trade",
        kind=TradeBatch,
        identity=Identity.NUMBERED,
        noun="trade",
        shown="{side} {qty} at {price}",
        table=("trade_id", "side", "price", "qty", "flags"),
        encodings={"trade_id": DELTA_TEXT},
        harder=frozenset({"timestamp", "price", "qty"}),
    ),
    Feed(
        name="l2",
        kind=L2Batch,
        identity=Identity.LINKED,
        noun="packet",
        table=(
            "action",
            "side",
            "price",
            "qty",
            "prev_update_id",
            "update_id",
            "is_snapshot",
            "engine_timestamp",
            "flags",
        ),
        flag_columns={"is_snapshot": _ANY_SNAPSHOT},
        # Each level repeats its packet's values: plain bytes under zstd are a third smaller.
        encodings=dict.fromkeys(
            ("rcv_timestamp", "packet_id", "prev_update_id", "update_id"), PLAIN
        ),
        harder=frozenset({"price", "qty"}),
    ),
    Feed(
        name="bbo",
        kind=BboBatch,
        identity=Identity.LATEST,
        noun="quote",
        shown=_QUOTES,
        table=("bid_px", "bid_sz", "ask_px", "ask_sz", "update_id", "engine_timestamp", "flags"),
        encodings={"bid_sz": PLAIN, "ask_sz": PLAIN},  # sizes often repeat from row to row
        harder=frozenset({"bid_sz", "ask_sz", "timestamp", "engine_timestamp"}),
    ),
    Feed(
        name="ticker",
        kind=TickerBatch,
        identity=Identity.LATEST,
        noun="ticker",
        shown="last {last_price}, high {high}, low {low}, volume {volume}",
    ),
    Feed(
        name="derivative",
        kind=DerivativeBatch,
        identity=Identity.LATEST,
        noun="row",
        shown=(
            "mark {mark_price}, index {index_price}, funding {funding_rate}, "
            "open interest {open_interest}"
        ),
    ),
    Feed(
        name="liquidation",
        kind=LiquidationBatch,
        identity=Identity.EVENT,
        noun="liquidation",
        shown="{side} {qty} at {price} ({position_side})",
    ),
    Feed(
        name="instrument",
        kind=Instrument,
        identity=Identity.LATEST,
        noun="instrument",
        shown="{kind} {base} {quote}, {status}, tick {tick_size}, lot {lot_size}",
    ),
    Feed(
        name="status",
        kind=Status,
        identity=Identity.EVENT,
        noun="status",
        # Hive readers take `feed` from the path, where it is `status`.
        copies={"about_feed": "feed"},
    ),
    Feed(
        name="book",
        kind=BookBatch,
        identity=Identity.PERIOD,
        noun="book",
        shown=_QUOTES,
        stream="book",
        table=(
            "interval_ms",
            "update_id",
            "bid_px",
            "bid_sz",
            "ask_px",
            "ask_sz",
            "crossed",
            "stale",
            "gap",
        ),
        flag_columns={
            "crossed": BookFlag.CROSSED,
            "stale": BookFlag.STALE,
            "gap": BookFlag.GAP,
        },
        smooth=True,
    ),
    Feed(
        name="bar",
        kind=BarBatch,
        identity=Identity.PERIOD,
        noun="bar",
        shown=(
            "open {open} high {high} low {low} close {close} volume {volume} "
            "trade_count {trade_count}"
        ),
        stream="bar",
        nullable=frozenset(
            {
                "volume",
                "trade_count",
                "taker_buy_volume",
                "taker_sell_volume",
                "signed_volume",
                "late_count",
                "late_volume",
            }
        ),
        smooth=True,
    ),
    Feed(
        name="feature",
        kind=FeatureBatch,
        identity=Identity.PERIOD,
        noun="row",
        stream="feature",
        table=("interval_ms", "end_timestamp", "values", "flags"),
        smooth=True,
    ),
)

RAW = tuple(feed.name for feed in FEEDS if feed.stream == "md")
"""Feeds that ingest publishes, in order of their type numbers."""
DERIVED = tuple(feed.name for feed in FEEDS if feed.stream != "md")
"""Feeds that folds publish; each has its own kind of stream, of the same name."""
OF_NAME = {feed.name: feed for feed in FEEDS}
OF_KIND = {feed.kind: feed for feed in FEEDS}
OF_HEAD: dict[str, type[Header]] = {
    "fence": Fence,
    "clock": Clock,
    "dlq": DeadLetter,
    "alert": Alert,
}
"""Messages that are no feed, by the first token of their subjects."""
