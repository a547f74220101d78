"""The frames and bodies of dYdX's indexer as types, its list of markets, and its refusals.

https://docs.dydx.exchange/api_integration-indexer/indexer_websocket
https://github.com/dydxprotocol/v4-chain/tree/main/indexer/services/socks
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Raw
from tickbus_schemas.messages import InstrumentKind, InstrumentStatus, Side, TradeFlag

from tickbus_ingest.venue.contract import OnError
from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, step_of
from tickbus_ingest.venue.wire_types import Id, decoded, json_decoder

BOOK, TRADES, MARKETS = "v4_orderbook", "v4_trades", "v4_markets"
NO_LEVELS = Raw(b"[]")


class Frame(msgspec.Struct):
    """Any message. v4_markets has no id."""

    type: str
    message_id: Id
    channel: str = ""
    id: str = ""
    contents: Raw = Raw(b"")
    message: str = ""


class Sides(msgspec.Struct):
    """Of an update `[[price, size], ...]`; of a whole book objects."""

    bids: Raw = NO_LEVELS
    asks: Raw = NO_LEVELS


class Level(msgspec.Struct):
    price: str
    size: str


class Trade(msgspec.Struct, rename="camel"):
    """`side` is the taker's. Older indexers say `liquidation`, newer ones `type`."""

    side: Literal["BUY", "SELL"]
    size: float
    price: float
    created_at: datetime
    id: str = ""
    type: str = ""
    liquidation: bool = False

    @property
    def is_liquidation(self) -> bool:
        """The taker was liquidated."""
        return self.liquidation or self.type == "LIQUIDATED"

    @property
    def flags(self) -> int:
        """A position that is deleveraged is matched with another one, not with the book."""
        if self.is_liquidation:
            return TradeFlag.LIQUIDATION
        return TradeFlag.OFF_BOOK if self.type == "DELEVERAGED" else TradeFlag(0)


class Trades(msgspec.Struct):
    trades: list[Trade]


class Market(msgspec.Struct):
    """What has changed. `volume24H` is in USD; `priceChange24H` is the oracle's, so not read."""

    oracle_price: float | None = msgspec.field(default=None, name="oraclePrice")
    volume_24h: float | None = msgspec.field(default=None, name="volume24H")
    trades_24h: Id | None = msgspec.field(default=None, name="trades24H")
    next_funding_rate: float | None = msgspec.field(default=None, name="nextFundingRate")
    open_interest: float | None = msgspec.field(default=None, name="openInterest")

    @property
    def tells_day(self) -> bool:
        """Whether it holds statistics of 24 h."""
        return self.volume_24h is not None or self.trades_24h is not None

    @property
    def tells_derivative(self) -> bool:
        """Whether it holds a price, funding or open interest."""
        told = (self.oracle_price, self.next_funding_rate, self.open_interest)
        return any(one is not None for one in told)


class OraclePrice(msgspec.Struct, rename="camel"):
    """Newer indexers call the price `oraclePrice`, older ones `price`."""

    oracle_price: float | None = None
    price: float | None = None
    effective_at: datetime | None = None


class Markets(msgspec.Struct, rename="camel"):
    """`markets`: all of them, at first; then what has changed."""

    markets: dict[str, Market] = {}
    trading: dict[str, Market] = {}
    oracle_prices: dict[str, OraclePrice] = {}


class Listed(msgspec.Struct, rename="camel"):
    """https://docs.dydx.exchange/api_integration-indexer/indexer_api#listperpetualmarkets"""

    ticker: str
    status: str
    tick_size: str
    step_size: str


class Body(msgspec.Struct):
    markets: dict[str, Raw]


FRAME, SIDES, LEVELS = json_decoder(Frame), json_decoder(Sides), json_decoder(list[Level])
CONTENTS = {
    BOOK: SIDES,
    TRADES: json_decoder(Trades),
    MARKETS: json_decoder(Markets),
}
"""Decoder of a channel's contents."""
BATCHES = {
    BOOK: json_decoder(list[Sides]),
    TRADES: json_decoder(list[Trades]),
    MARKETS: json_decoder(list[Markets]),
}
"""The same where several were put together."""
SIDE = {"BUY": Side.BUY, "SELL": Side.SELL}
BODY, MARKET = json_decoder(Body), json_decoder(Listed)


def pairs(levels: Raw) -> bytes | Raw:
    """Levels that are objects as those of an update are written."""
    if levels == b"[]":
        return levels
    return msgspec.json.encode([(one.price, one.size) for one in decoded(LEVELS, levels)])


_NAMED = re.compile(r"\((v4_[a-z_]+)-(.{1,100})\)$")
ALREADY = "Invalid subscribe message: already subscribed"
# Beginnings, for there are no codes; the first that fits counts: socks/src/lib/subscription.ts,
# socks/src/lib/invalid-message.ts, socks/src/websocket/index.ts
ERRORS = {
    "Invalid subscription id": OnError.REJECT,  # no such market
    ALREADY: OnError.RETRY,
    "Invalid": OnError.REJECT,  # channel, id, type, or no JSON
    "Too many subscribe attempts": OnError.RESYNC,  # the venue hangs up
    "Too many invalid messages": OnError.RESYNC,  # the venue hangs up
    "Internal error": OnError.RETRY,  # could not fetch the first contents
    "Per-connection subscription limit reached": OnError.RETRY,
}


def named(message: str) -> str:
    """The subscription that an error names."""
    found = _NAMED.search(message)
    return stream_name(*found.groups()) if found else ""


def stream_name(channel: str, ticker: str) -> str:
    """The name of a subscription."""
    return MARKETS if channel == MARKETS else f"{channel}:{ticker}"


_STATUS = {
    "ACTIVE": InstrumentStatus.TRADING,
    "PAUSED": InstrumentStatus.HALTED,
    "CANCEL_ONLY": InstrumentStatus.HALTED,
    "POST_ONLY": InstrumentStatus.HALTED,
    "INITIALIZING": InstrumentStatus.PRE_LAUNCH,
    "FINAL_SETTLEMENT": InstrumentStatus.SETTLING,
}


def instruments(body: bytes) -> list[Instrument | Unread]:
    """The markets in a body; all are perpetuals."""
    return each_of(decoded(BODY, body).markets.values(), MARKET, _instrument)


def _instrument(row: Listed) -> Instrument:
    """A base may have dashes of its own. An order is a number of steps, so the least is one."""
    base, _, quote = row.ticker.rpartition("-")
    tick, price_digits = step_of(row.tick_size)
    lot, qty_digits = step_of(row.step_size)
    return Instrument(
        ticker=row.ticker,
        kind=InstrumentKind.PERPETUAL,
        base=base,
        quote=quote,
        settle="USDC",
        tick_size=tick,
        lot_size=lot,
        min_qty=lot,
        contract_size=1.0,
        contract_unit=base,
        price_precision=price_digits,
        qty_precision=qty_digits,
        status=_STATUS.get(row.status, InstrumentStatus.UNKNOWN),
        venue_status=row.status,
    )
