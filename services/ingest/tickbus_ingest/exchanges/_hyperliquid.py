"""The frames of Hyperliquid as types, and its list of instruments.

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/subscriptions
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/tick-and-lot-size
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType
from tickbus_schemas.messages import InstrumentKind, InstrumentStatus

from tickbus_ingest.venue.instruments import Instrument, last_place
from tickbus_ingest.venue.wire_types import Id, Time, json_decoder

PRICE_DECIMALS = 6
"""Of a perpetual's price at most, less its szDecimals (and five significant digits)."""


class Level(msgspec.Struct):
    px: float
    sz: float


class Book(msgspec.Struct):
    coin: str
    time: Time
    levels: tuple[Raw, Raw]


class Quote(msgspec.Struct):
    """null stands for a side without orders."""

    coin: str
    time: Time
    bbo: tuple[Level | None, Level | None]


class Trade(msgspec.Struct):
    """`tid` is a hash of the two orders: unique, and says nothing else."""

    coin: str
    side: Literal["B", "A"]
    px: float
    sz: float
    time: Time
    tid: Id


class Context(msgspec.Struct, rename="camel"):
    """Of a perpetual; spot pairs have another channel."""

    funding: float | None = None
    open_interest: float | None = None
    prev_day_px: float | None = None
    day_ntl_vlm: float | None = None
    day_base_vlm: float | None = None
    oracle_px: float | None = None
    mark_px: float | None = None


class AssetContext(msgspec.Struct):
    coin: str
    ctx: Context


class Books(msgspec.Struct, tag_field="channel", tag="l2Book"):
    data: Book


class Trades(msgspec.Struct, tag_field="channel", tag="trades"):
    data: list[Trade]


class Quotes(msgspec.Struct, tag_field="channel", tag="bbo"):
    data: Quote


class Contexts(msgspec.Struct, tag_field="channel", tag="activeAssetCtx"):
    data: AssetContext


class Pong(msgspec.Struct, tag_field="channel", tag="pong"):
    pass


class Error(msgspec.Struct, tag_field="channel", tag="error"):
    data: str


class Subscription(msgspec.Struct):
    type: str
    coin: str = ""


class Subscribed(msgspec.Struct):
    method: str
    subscription: Subscription


class Answer(msgspec.Struct, tag_field="channel", tag="subscriptionResponse"):
    data: Subscribed


class Other(msgspec.Struct):
    channel: str | UnsetType = UNSET


class Asset(msgspec.Struct, rename="camel"):
    name: str
    sz_decimals: int
    is_delisted: bool | None = None


class Meta(msgspec.Struct):
    universe: list[Raw]


Event = Books | Trades | Quotes | Contexts | Pong | Error | Answer
EVENTS, OTHER = json_decoder(Event), json_decoder(Other)
META, ASSET = json_decoder(Meta), json_decoder(Asset)
OURS = {kind.__struct_config__.tag for kind in Event.__args__}


def instrument_of(asset: Asset) -> Instrument:
    """No fixed tick: a price has five significant digits, or is whole; see PRICE_DECIMALS."""
    return Instrument(
        ticker=asset.name,
        kind=InstrumentKind.PERPETUAL,
        base=asset.name,
        quote="USD",
        settle="USDC",
        lot_size=last_place(asset.sz_decimals),
        contract_size=1.0,
        contract_unit=asset.name,
        price_precision=PRICE_DECIMALS - asset.sz_decimals,
        qty_precision=asset.sz_decimals,
        status=InstrumentStatus.DELISTED if asset.is_delisted else InstrumentStatus.TRADING,
        venue_status="delisted" if asset.is_delisted else "listed",
    )
