"""What a venue's file says of itself: the whole contract between one exchange and the session.

A venue module defines one class named `Venue`. Adding a venue is adding its file: it is found by
its name, which is the exchange's token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import msgspec
import numpy as np
import numpy.typing as npt
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import ABSENT

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]
U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
F64 = npt.NDArray[np.float64]


class Kind(IntEnum):
    """What a channel carries; the value orders the feeds of a ticker within a flush."""

    TRADE = 0
    DEPTH = 1
    QUOTE = 2
    IGNORED = 3
    """a known channel that is not a feed of ours: counted, not published"""


class Trade(msgspec.Struct, frozen=True):
    """One trade; `engine_us` is the match time, `side` the taker's, `flags` of TradeFlag."""

    ticker: str
    event_us: int
    engine_us: int
    trade_id: int
    side: int
    price: float
    qty: float
    flags: int = 0
    long_decimals: int = 0


class Depth(msgspec.Struct, frozen=True):
    """One book update: absolute sizes, 0 removes; which update it follows is already normal."""

    ticker: str
    event_us: int
    engine_us: int
    prev_update_id: int
    update_id: int
    bids: Sequence[tuple[float, float]]
    asks: Sequence[tuple[float, float]]
    long_decimals: int = 0


class Quote(msgspec.Struct, frozen=True):
    """The best quotes; `event_us` and `engine_us` are 0 where the venue sends no time."""

    ticker: str
    event_us: int
    engine_us: int
    update_id: int
    bid_px: float
    bid_sz: float
    ask_px: float
    ask_sz: float
    long_decimals: int = 0


class Ignored(msgspec.Struct, frozen=True):
    """A frame of a known channel that is not a feed of ours."""

    channel: str


class Control(msgspec.Struct, frozen=True):
    """A frame without market data: an answer, a notice. `closing`: the venue will hang up."""

    text: str
    error: bool = False
    closing: bool = False


Parsed = Trade | Depth | Quote | Ignored | Control


class Snapshot(msgspec.Struct, frozen=True):
    """A full book from REST, bids first. `event_us` is ABSENT where the venue sends no time."""

    update_id: int
    event_us: int
    engine_us: int
    side: I8
    price: F64
    qty: F64
    long_decimals: int = 0


class Get(msgspec.Struct, frozen=True):
    """A REST request as data: path below the REST address, and its weight in the venue's budget."""

    path: str
    weight: int
    ticker: str = ""


class Stream(msgspec.Struct, frozen=True):
    """One subscription: the venue's name for it, and what it carries."""

    name: str
    ticker: str
    channel: str
    kind: Kind


class Line(msgspec.Struct, frozen=True):
    """One WebSocket connection to be held: its path below the WebSocket address, its streams."""

    path: str
    streams: tuple[Stream, ...]


class Limits(msgspec.Struct, frozen=True):
    """What the venue tolerates; each figure with its source in the venue's file."""

    connection_attempts_per_5min: int
    connection_life_s: float
    """a connection is replaced before it is this old"""
    request_weight_per_min: int
    control_messages_per_s: float
    streams_per_connection: int


@dataclass(slots=True)
class Decoded:
    """A batch of frames as columns, one entry a frame, in order of arrival.

    `kind` is -1 for a frame that the fast reader did not take: `Venue.parse` must decide. Times in
    us. `values` [n, 4]: price, qty of a trade; bid px, bid sz, ask px, ask sz of a quote. Levels of
    frame i are `level_*[level_start[i] : level_start[i] + level_count[i]]`.
    """

    kind: I8
    ticker: I32
    event_us: I64
    engine_us: I64
    """match time of a trade, engine time of a book update or quote; 0: not sent"""
    update_id: I64
    """trade id of a trade"""
    prev_update_id: I64
    values: F64
    side: I8
    flags: U16
    level_start: I64
    level_count: I32
    level_side: I8
    level_price: F64
    level_qty: F64
    long_decimals: int = 0

    @classmethod
    def room(cls, count: int, levels: int) -> Decoded:
        """Columns for so many frames and levels, not filled in."""
        return cls(
            np.empty(count, np.int8),
            np.empty(count, np.int32),
            np.empty(count, np.int64),
            np.empty(count, np.int64),
            np.empty(count, np.int64),
            np.empty(count, np.int64),
            np.empty((count, 4), np.float64),
            np.empty(count, np.int8),
            np.empty(count, np.uint16),
            np.empty(count, np.int64),
            np.empty(count, np.int32),
            np.empty(levels, np.int8),
            np.empty(levels, np.float64),
            np.empty(levels, np.float64),
        )

    @classmethod
    def unread(cls, count: int) -> Decoded:
        """No frame was taken: `parse` decides them all."""
        made = cls.room(count, 0)
        made.kind[:] = -1
        return made

    def put(self, at: int, ticker: int, parsed: Trade | Depth | Quote) -> None:
        """Enter one frame that `parse` decoded."""
        self.ticker[at] = ticker
        self.long_decimals += parsed.long_decimals
        self.event_us[at] = parsed.event_us
        self.engine_us[at] = parsed.engine_us
        if isinstance(parsed, Trade):
            self.kind[at] = Kind.TRADE
            self.update_id[at] = parsed.trade_id
            self.values[at, :2] = (parsed.price, parsed.qty)
            self.side[at] = parsed.side
            self.flags[at] = parsed.flags
            return
        self.update_id[at] = parsed.update_id
        self.flags[at] = 0
        if isinstance(parsed, Quote):
            self.kind[at] = Kind.QUOTE
            self.values[at] = (parsed.bid_px, parsed.bid_sz, parsed.ask_px, parsed.ask_sz)
            return
        self.kind[at] = Kind.DEPTH
        self.prev_update_id[at] = parsed.prev_update_id
        self._put_levels(at, parsed)

    def _put_levels(self, at: int, depth: Depth) -> None:
        levels = [*depth.bids, *depth.asks]
        columns = np.array(levels, np.float64).reshape(-1, 2)
        side = np.repeat(np.array((1, -1), np.int8), (len(depth.bids), len(depth.asks)))
        self.level_start[at] = len(self.level_side)
        self.level_count[at] = len(levels)
        self.level_side = np.concatenate((self.level_side, side))
        self.level_price = np.concatenate((self.level_price, columns[:, 0]))
        self.level_qty = np.concatenate((self.level_qty, columns[:, 1]))


class Venue(ABC):
    """One exchange's market. State it keeps is what it was told to subscribe, nothing more."""

    exchange: ClassVar[Exchange]
    ws_url: ClassVar[str]
    rest_url: ClassVar[str]
    limits: ClassVar[Limits]
    drop_equal: ClassVar[bool] = False
    """the first update after a snapshot is dropped when it ends exactly at the snapshot"""

    def __init__(self, tickers: Sequence[str], channels: Sequence[str]) -> None:
        self.tickers = list(tickers)
        self.channels = list(channels)
        self.index = {ticker: n for n, ticker in enumerate(self.tickers)}

    @classmethod
    @abstractmethod
    def instruments_request(cls) -> Get:
        """Where the list of instruments is."""

    @classmethod
    @abstractmethod
    def parse_instruments(cls, body: bytes) -> list[str]:
        """Tickers that are traded now, as the venue spells them; Reject for another body."""

    streams: list[Stream]
    """all subscriptions, of all lines"""

    @abstractmethod
    def lines(self) -> list[Line]:
        """The connections that the wanted channels need; Fatal for an unknown channel."""

    @abstractmethod
    def subscribe(self, streams: Sequence[Stream]) -> Iterable[bytes]:
        """Frames to send once connected, or when silent streams are asked for again."""

    @abstractmethod
    def parse(self, frame: bytes) -> Parsed:
        """What one frame means, fully checked; Reject with the reason for anything else."""

    def decode(self, text: U8, ends: I64) -> Decoded:
        """Columns of the frames text[ends[i]:ends[i+1]]; the default leaves all to `parse`."""
        return Decoded.unread(len(ends) - 1)

    @abstractmethod
    def snapshot_request(self, ticker: str, limit: int) -> Get:
        """Where the full book of a ticker is; limit 0 is the most the venue gives."""

    @abstractmethod
    def parse_snapshot(self, body: bytes) -> Snapshot:
        """The book in a REST body; Reject for anything else."""


__all__ = [
    "ABSENT", "Control", "Decoded", "Depth", "Get", "Ignored", "Kind", "Limits", "Line", "Parsed",
    "Quote", "Snapshot", "Stream", "Trade", "Venue",
]  # fmt: skip
