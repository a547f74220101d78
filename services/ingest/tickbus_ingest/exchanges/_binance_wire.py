"""The frames and books of Binance's markets as types, by the venue's own short names.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType, field

from tickbus_ingest.venue.wire_types import Id, Time, json_decoder


class Event(msgspec.Struct, tag_field="e"):
    """Any event; `E` is when the venue sent it."""

    s: str
    E: Time


class TradeEvent(Event, tag="trade"):
    T: Time
    t: Id
    p: float
    q: float
    m: bool
    X: str = "MARKET"


class AggTradeEvent(Event, tag="aggTrade"):
    T: Time
    a: Id
    p: float
    q: float
    m: bool


class DepthEvent(Event, tag="depthUpdate"):
    U: Id
    u: Id
    b: Raw
    a: Raw
    T: int = 0
    pu: Id | UnsetType = UNSET


class QuoteEvent(Event, tag="bookTicker"):
    u: Id
    b: float
    B: float
    a: float
    A: float
    T: int = 0


class TickerEvent(Event, tag="24hrTicker"):
    p: float
    c: float
    Q: float
    o: float
    h: float
    low: float = field(name="l")
    v: float
    q: float
    n: int


class MarkPriceEvent(Event, tag="markPriceUpdate"):
    """`r` and `T` are empty where there is no funding: delivery contracts."""

    p: float
    i: float | UnsetType = UNSET
    P: float | UnsetType = UNSET
    r: float | Literal[""] = ""
    T: int = 0


class ForcedOrder(msgspec.Struct):
    s: str
    S: str
    q: float
    p: float
    ap: float
    z: float
    T: Time


class ForceOrderEvent(msgspec.Struct, tag_field="e", tag="forceOrder"):
    """The latest liquidation of a symbol within a second: a sample of them."""

    E: Time
    o: ForcedOrder


class SpotQuote(msgspec.Struct):
    """Spot's bookTicker carries neither a time nor the name of its event."""

    u: Id
    s: str
    b: float
    B: float
    a: float
    A: float


Events = (
    TradeEvent | AggTradeEvent | DepthEvent | QuoteEvent | TickerEvent | MarkPriceEvent
    | ForceOrderEvent
)  # fmt: skip


class Combined(msgspec.Struct):
    """A frame of a combined stream."""

    stream: str
    data: Events


class CombinedQuote(msgspec.Struct):
    stream: str
    data: SpotQuote


class Envelope(msgspec.Struct):
    """Any frame: combined stream, bare event, or answer to a request."""

    stream: str | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    e: str | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    code: Raw | UnsetType = UNSET
    u: Raw | UnsetType = UNSET


class Book(msgspec.Struct):
    """A REST book; only futures send times."""

    last_update_id: Id = field(name="lastUpdateId")
    bids: Raw
    asks: Raw
    E: int = 0
    T: int = 0


COMBINED, BARE = json_decoder(Combined), json_decoder(Events)
COMBINED_QUOTE, BARE_QUOTE = json_decoder(CombinedQuote), json_decoder(SpotQuote)
ENVELOPE, BOOK = json_decoder(Envelope), json_decoder(Book)
LIST: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(list[Raw])

FAMILY_OF: Mapping[type, str] = {
    TradeEvent: "trade",
    AggTradeEvent: "aggTrade",
    DepthEvent: "depth",
    QuoteEvent: "bookTicker",
    TickerEvent: "ticker",
    MarkPriceEvent: "markPrice",
    ForceOrderEvent: "forceOrder",
}
EVENT_NAMES = frozenset(
    (
        "trade",
        "aggTrade",
        "depthUpdate",
        "bookTicker",
        "24hrTicker",
        "markPriceUpdate",
        "forceOrder",
    )
)
