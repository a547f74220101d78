"""The frames of Bybit's v5 markets as types, and what a ticker tells of two feeds.

https://bybit-exchange.github.io/docs/v5/websocket/public/ticker
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType, field
from tickbus_schemas.errors import Reject

from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import Id, Number, Time, json_decoder, known

MS_PER_HOUR = 3_600_000
HOURS_MAX = 8760

LaterTime = Annotated[int, Meta(ge=0, le=2**60)] | Literal[""]
"""Milliseconds; 0 or empty where there is none."""


class Frame(msgspec.Struct):
    """Any frame: data of a topic, or an answer."""

    topic: str = ""
    ts: Time = 0
    cts: int = 0
    type: str = ""
    data: Raw | UnsetType = UNSET
    success: bool | UnsetType = UNSET
    op: str = ""
    ret_msg: str = ""


class Trade(msgspec.Struct):
    s: str
    T: Time
    S: Literal["Buy", "Sell"]
    v: float
    p: float
    i: str
    BT: bool = False
    RPI: bool = False


class Book(msgspec.Struct):
    s: str
    b: Raw
    a: Raw
    u: Id


Best = list[Annotated[list[float], Meta(min_length=2)]]
"""One level or none."""


class Quote(msgspec.Struct):
    s: str
    b: Best
    a: Best
    u: Id


class Ticker(msgspec.Struct, rename="camel"):
    """A delta names what has changed; a contract that expires has empty texts for its funding."""

    symbol: str
    last_price: Number = ""
    prev_price_24h: Number = field(name="prevPrice24h", default="")
    high_price_24h: Number = field(name="highPrice24h", default="")
    low_price_24h: Number = field(name="lowPrice24h", default="")
    volume_24h: Number = field(name="volume24h", default="")
    turnover_24h: Number = field(name="turnover24h", default="")
    mark_price: Number = ""
    index_price: Number = ""
    predicted_delivery_price: Number = ""
    funding_rate: Number = ""
    next_funding_time: LaterTime = ""
    funding_interval_hour: Number = ""
    open_interest: Number = ""
    open_interest_value: Number = ""


class Liquidation(msgspec.Struct):
    """`S` is the side of the position: Buy is a long one, which a sale closes."""

    s: str
    T: Time
    S: Literal["Buy", "Sell"]
    v: float
    p: float


FRAME, BOOK, QUOTE = json_decoder(Frame), json_decoder(Book), json_decoder(Quote)
TRADES, LIQUIDATIONS = json_decoder(list[Trade]), json_decoder(list[Liquidation])
TICKER = json_decoder(Ticker)


def tell_statistics(ticker: Ticker, time: int, rows: Rows) -> bool:
    """Whether the frame has something of the statistics of 24 h."""
    values: dict[str, Any] = {
        "last_price": known(ticker.last_price),
        "open": known(ticker.prev_price_24h),
        "high": known(ticker.high_price_24h),
        "low": known(ticker.low_price_24h),
        "volume": known(ticker.volume_24h),
        "turnover": known(ticker.turnover_24h),
    }
    if all(value is None for value in values.values()):
        return False
    rows.ticker(ticker.symbol, time, **values)
    return True


def tell_derivative(ticker: Ticker, time: int, rows: Rows) -> bool:
    """Whether the frame has something of mark, index, funding and open interest."""
    hours = known(ticker.funding_interval_hour)
    if hours is not None and not 0 < hours <= HOURS_MAX:
        raise Reject(f"fundingIntervalHour {hours} is not above 0 and at most {HOURS_MAX}")
    values: dict[str, Any] = {
        "mark_price": known(ticker.mark_price),
        "index_price": known(ticker.index_price),
        "last_price": known(ticker.last_price),
        "settlement_price": known(ticker.predicted_delivery_price),
        "funding_rate": known(ticker.funding_rate),
        "open_interest": known(ticker.open_interest),
        "open_interest_value": known(ticker.open_interest_value),
    }
    due = ticker.next_funding_time or None
    if hours is None and due is None and all(value is None for value in values.values()):
        return False
    rows.derivative(
        ticker.symbol, time, next_funding_us=due,
        funding_interval_ms=None if hours is None else round(hours * MS_PER_HOUR), **values,
    )  # fmt: skip
    return True
