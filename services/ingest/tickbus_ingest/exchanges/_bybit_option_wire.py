"""What Bybit says of options in other words than of its other markets.

https://bybit-exchange.github.io/docs/v5/websocket/public/ticker
"""

from __future__ import annotations

import msgspec
from msgspec import field

from tickbus_ingest.venue.wire_types import Number, json_decoder


class Ticker(msgspec.Struct, rename="camel"):
    """Always whole; 0 where nothing was bid, asked, traded or estimated."""

    symbol: str
    bid_price: Number = ""
    bid_size: Number = ""
    ask_price: Number = ""
    ask_size: Number = ""
    last_price: Number = ""
    high_price_24h: Number = field(name="highPrice24h", default="")
    low_price_24h: Number = field(name="lowPrice24h", default="")
    volume_24h: Number = field(name="volume24h", default="")
    mark_price: Number = ""
    index_price: Number = ""
    open_interest: Number = ""
    predicted_delivery_price: Number = ""


class Answered(msgspec.Struct, rename="camel"):
    """Which topics of a request exist and which do not; no reason is given."""

    fail_topics: list[str] = []
    success_topics: list[str] = []


class Coin(msgspec.Struct, rename="camel"):
    """https://bybit-exchange.github.io/docs/v5/market/option-base-coins"""

    base_coin: str
    has_symbol: int = 1
    """0: it has no options now"""


TICKER, ANSWERED, COIN = json_decoder(Ticker), json_decoder(Answered), json_decoder(Coin)
