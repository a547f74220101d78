"""The frames and bodies of Coinbase Advanced Trade as types, and its list of products.

https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels
https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/products/list-public-products
"""

from __future__ import annotations

from datetime import datetime
from math import nan
from typing import Literal

import msgspec
from msgspec import Raw
from tickbus_schemas.messages import ABSENT, InstrumentKind, InstrumentStatus

from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, step_of
from tickbus_ingest.venue.wire_types import Id, Number, decoded, json_decoder, known, us_of_datetime

Kind = Literal["snapshot", "update"]


class Message(msgspec.Struct, tag_field="channel"):
    """`timestamp` has nanoseconds, so it stays text: msgspec would round it up."""

    timestamp: str
    sequence_num: Id


class Book(msgspec.Struct):
    type: Kind
    product_id: str
    updates: Raw


class Trade(msgspec.Struct):
    """`side` is the maker's."""

    trade_id: Id
    product_id: str
    price: float
    size: float
    side: Literal["BUY", "SELL"]
    time: str


class TradesEvent(msgspec.Struct):
    type: Kind
    trades: list[Trade]


class Ticker(msgspec.Struct):
    product_id: str
    price: Number = ""
    volume_24_h: Number = ""
    low_24_h: Number = ""
    high_24_h: Number = ""
    best_bid: Number = ""
    best_bid_quantity: Number = ""
    best_ask: Number = ""
    best_ask_quantity: Number = ""


class TickersEvent(msgspec.Struct):
    type: Kind
    tickers: list[Ticker]


class Books(Message, tag="l2_data"):
    events: list[Book]


class Trades(Message, tag="market_trades"):
    events: list[TradesEvent]


class Tickers(Message, tag="ticker"):
    events: list[TickersEvent]


class Heartbeats(Message, tag="heartbeats"):
    """Once a second."""


class Subscriptions(Message, tag="subscriptions"):
    """Everything that is subscribed to, after each request."""


class Other(msgspec.Struct):
    """An error, or a channel that is none of ours."""

    channel: str = ""
    sequence_num: Id | None = None
    type: str = ""
    message: str = ""


class Future(msgspec.Struct):
    """`contract_size` of `contract_root_unit` a contract."""

    contract_size: Number = ""
    contract_root_unit: str = ""
    contract_expiry: datetime | None = None
    contract_expiry_type: str = ""


class Product(msgspec.Struct):
    """`alias`: the product whose books and trades this one has."""

    product_id: str
    product_type: Literal["SPOT", "FUTURE"]
    price_increment: str = ""
    base_increment: str = ""
    base_min_size: Number = ""
    base_currency_id: str = ""
    quote_currency_id: str = ""
    status: str = ""
    alias: str = ""
    is_disabled: bool = False
    trading_disabled: bool = False
    view_only: bool = False
    cancel_only: bool = False
    post_only: bool = False
    auction_mode: bool = False
    future_product_details: Future | None = None


class Products(msgspec.Struct):
    products: list[Raw]


MESSAGES = json_decoder(Books | Trades | Tickers | Heartbeats | Subscriptions)
BOOKS, OTHER = json_decoder(Books), json_decoder(Other)
PRODUCTS, PRODUCT = json_decoder(Products), json_decoder(Product)
_BOOKS, _UPDATES = b'{"channel":"l2_data",', b'"updates":['
CHANNELS = ("l2_data", "market_trades", "ticker", "heartbeats", "subscriptions")
_HALTS = (
    "is_disabled", "trading_disabled", "view_only", "cancel_only", "post_only", "auction_mode",
)  # fmt: skip
"""Flags of a product that is not traded as others are."""
_STATUS = {
    "online": InstrumentStatus.TRADING,
    "": InstrumentStatus.TRADING,  # futures have no word
    "offline": InstrumentStatus.HALTED,
    "delisted": InstrumentStatus.DELISTED,
}


def one_book(frame: bytes) -> tuple[Books, int, int] | None:
    """A message of one book without its updates, and where in the frame their list is.

    The list is nearly all of a frame, and whoever reads the levels looks at each byte of it, so it
    is cut out before the message is decoded. None: the frame is another one, or it cannot be told
    where the list ends.

    The cut is right wherever a message remains. One inside a string leaves an odd number of quotes
    behind, as there is no escape; one at the end of an inner list leaves too many brackets; and
    nothing else that remains is named as the list is.
    """
    if not frame.startswith(_BOOKS):
        return None
    start = frame.find(_UPDATES) + len(_UPDATES) - 1
    end = frame.find(b"]", start) + 1
    rest = b"%b0%b" % (frame[:start], frame[end:])
    if rest.count(_UPDATES[:-2]) != 1 or b"\\" in rest:
        return None
    try:
        message = BOOKS.decode(rest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return (message, start, end) if len(message.events) == 1 else None


def instruments(body: bytes) -> list[Instrument | Unread]:
    """The products in a body but for aliases, whose channels send what the other product does."""
    return each_of(decoded(PRODUCTS, body).products, PRODUCT, _instrument)


def _instrument(one: Product) -> Instrument | None:
    if one.alias:
        return None
    halts = [name for name in _HALTS if getattr(one, name)]
    tick, price_digits = step_of(one.price_increment)
    lot, qty_digits = step_of(one.base_increment)
    future = one.future_product_details or Future()
    is_spot = one.product_type == "SPOT"
    size, minimum, expiry = known(future.contract_size), known(one.base_min_size), ABSENT
    kind = InstrumentKind.SPOT
    if not is_spot:
        is_perpetual = future.contract_expiry_type == "PERPETUAL"
        kind = InstrumentKind.PERPETUAL if is_perpetual else InstrumentKind.FUTURE
        if future.contract_expiry is not None and not is_perpetual:
            expiry = us_of_datetime(future.contract_expiry)
    base = one.base_currency_id if is_spot else future.contract_root_unit
    return Instrument(
        ticker=one.product_id,
        kind=kind,
        base=base,
        quote=one.quote_currency_id,
        settle=one.quote_currency_id,
        tick_size=tick,
        lot_size=lot,
        min_qty=nan if minimum is None else minimum,
        contract_size=1.0 if is_spot else nan if size is None else size,
        contract_unit=base,
        price_precision=price_digits,
        qty_precision=qty_digits,
        status=InstrumentStatus.HALTED if halts else _STATUS.get(
            one.status, InstrumentStatus.UNKNOWN
        ),
        venue_status=" ".join([one.status, *halts]).strip(),
        expiry_timestamp=expiry,
    )  # fmt: skip
