"""The feeds of ingest, each declared once: what its rows hold, and how a session treats them.

What `Rows` collects, how it becomes columns, what no value may be, which policy takes the rows,
what a restart announces and whose silence is normal: all derive from these rows. Names, messages
and files of the feeds are declared in `tickbus_schemas.feeds`.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple

import msgspec
from tickbus_schemas.messages import (
    BboFlag,
    DerivativeField,
    DerivativeFlag,
    L2Flag,
    LiquidationFlag,
    TickerFlag,
    TradeFlag,
)


class Kind(IntEnum):
    """What a column's values are, and what they may be."""

    PLACE = 0
    """an index"""
    ID = 1
    """any whole number of 64 bits"""
    TIME = 2
    """us, or ms as they are; 0 where the venue sends none; between 2009 and tomorrow"""
    DUE = 3
    """a time to come: us, or ms as they are; ABSENT where it is not sent"""
    COUNT = 4
    """a whole number that a double holds, or ABSENT"""
    SIDE = 5
    MARKS = 6
    """flags of 16 bits"""
    TRUTH = 7
    VALUE = 8
    """a double; NaN where it is not sent"""
    PRICE = 9
    """a finite double: without it the event is none"""
    SIZE = 10
    """a finite double of at least 0"""


class Column(NamedTuple):
    """One value of each row."""

    name: str
    kind: Kind


class Treatment(Enum):
    """Which policy of the session takes the rows."""

    TRADES = "each once, what is missing between ids told"
    BOOK = "updates and whole books, linked"
    QUOTES = "the newest, by id or time"
    LATEST = "partial messages merged, ticker by ticker"
    EVENTS = "each once, by content"
    LISTED = "no rows of frames: the venue's list of instruments"


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    """One feed."""

    name: str
    treatment: Treatment
    columns: tuple[Column, ...] = ()
    """the tuples of `Rows`, value by value, behind frame, ticker and time"""
    inferred: int = 0
    """the flag of a row whose time the venue does not send"""
    hole_is_told: bool = False
    """what was missed between two lives of ingest is announced as a gap"""
    may_be_quiet: bool = False
    """silence of hours is normal"""
    tells_fields: bool = False
    """of LATEST: a row says which values its message changed"""

    @property
    def layout(self) -> tuple[Column, ...]:
        """All columns of its rows."""
        return (*_PLACE, *self.columns)

    def values(self) -> tuple[str, ...]:
        """The doubles of a row, in their order."""
        return tuple(one.name for one in self.columns if one.kind >= Kind.VALUE)


def _columns(kind: Kind, *names: str) -> tuple[Column, ...]:
    return tuple(Column(name, kind) for name in names)


_PLACE = (
    *_columns(Kind.PLACE, "frame", "ticker"),
    Column("timestamp", Kind.TIME),
)
_FUNDING = DerivativeField.NEXT_FUNDING_TIMESTAMP, DerivativeField.FUNDING_INTERVAL_MS

FEEDS = (
    Feed(
        name="trade",
        treatment=Treatment.TRADES,
        columns=(
            Column("event_us", Kind.TIME),
            Column("number", Kind.ID),
            Column("side", Kind.SIDE),
            Column("price", Kind.PRICE),
            Column("qty", Kind.SIZE),
            Column("flags", Kind.MARKS),
        ),
        inferred=TradeFlag.TIME_INFERRED,
        hole_is_told=True,
    ),
    Feed(
        name="l2",
        treatment=Treatment.BOOK,
        columns=(
            Column("engine_timestamp", Kind.TIME),
            *_columns(Kind.ID, "prev_update_id", "update_id"),
            Column("whole", Kind.TRUTH),
            Column("checksum", Kind.ID),
        ),
        inferred=L2Flag.TIME_INFERRED,
        hole_is_told=True,
    ),
    Feed(
        name="bbo",
        treatment=Treatment.QUOTES,
        columns=(
            Column("engine_timestamp", Kind.TIME),
            Column("update_id", Kind.ID),
            Column("bid_px", Kind.PRICE),
            Column("bid_sz", Kind.SIZE),
            Column("ask_px", Kind.PRICE),
            Column("ask_sz", Kind.SIZE),
        ),
        inferred=BboFlag.TIME_INFERRED,
        hole_is_told=True,
    ),
    Feed(
        name="ticker",
        treatment=Treatment.LATEST,
        columns=(
            Column("engine_timestamp", Kind.TIME),
            Column("trade_count", Kind.COUNT),
            *_columns(
                Kind.VALUE,
                "last_price", "last_qty", "open", "high", "low", "volume", "turnover",
                "price_change", "bid_px", "bid_sz", "ask_px", "ask_sz",
            ),
        ),
        inferred=TickerFlag.TIME_INFERRED,
    ),
    Feed(
        name="derivative",
        treatment=Treatment.LATEST,
        columns=(
            Column("engine_timestamp", Kind.TIME),
            Column("next_funding_timestamp", Kind.DUE),
            Column("funding_interval_ms", Kind.COUNT),
            *_columns(
                Kind.VALUE,
                *(str(one.name).lower() for one in DerivativeField if one not in _FUNDING),
            ),
        ),
        inferred=DerivativeFlag.TIME_INFERRED,
        tells_fields=True,
    ),
    Feed(
        name="liquidation",
        treatment=Treatment.EVENTS,
        columns=(
            Column("engine_timestamp", Kind.TIME),
            Column("side", Kind.SIDE),
            Column("price", Kind.PRICE),
            Column("average_price", Kind.VALUE),
            Column("qty", Kind.SIZE),
            Column("filled_qty", Kind.VALUE),
            Column("flags", Kind.MARKS),
        ),
        inferred=LiquidationFlag.TIME_INFERRED,
        hole_is_told=True,
        may_be_quiet=True,
    ),
    Feed(name="instrument", treatment=Treatment.LISTED, may_be_quiet=True),
)  # fmt: skip
BY_NAME = {feed.name: feed for feed in FEEDS}


def name_of(asked: str) -> str:
    """The feed that is asked for: `trade:aggregate` is a way to have trades."""
    return asked.partition(":")[0]
