"""The frames and bodies of Bitstamp as types, and its list of instruments.

https://www.bitstamp.net/websocket/v2/
https://www.bitstamp.net/api/#tag/Market-info
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import msgspec
from msgspec import Raw
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import InstrumentKind, InstrumentStatus

from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, last_place
from tickbus_ingest.venue.wire_types import Id, Time, decoded, json_decoder


class Frame(msgspec.Struct):
    """Any message; `data` is an empty text where there is none."""

    event: str
    channel: str = ""
    data: Raw = Raw(b"{}")


class Book(msgspec.Struct):
    microtimestamp: Time
    bids: Raw
    asks: Raw


class Trade(msgspec.Struct):
    """`type` is the taker's side: 0 bought, 1 sold. Numbers stand as texts beside the doubles."""

    id: Id
    microtimestamp: Time
    type: int
    price_str: float
    amount_str: float


class Failure(msgspec.Struct):
    code: int | None = None
    message: str = ""


class Summary(msgspec.Struct):
    """Of 24 h, but for `open`, which is of the day; `timestamp` in seconds."""

    timestamp: int
    last: float | None = None
    high: float | None = None
    low: float | None = None
    volume: float | None = None
    bid: float | None = None
    ask: float | None = None
    open_24: float | None = None


class Market(msgspec.Struct):
    market_symbol: str
    base_currency: str
    counter_currency: str
    base_decimals: int
    counter_decimals: int
    minimum_order_amount: float = nan
    trading: str = ""
    market_type: str = "SPOT"


FRAME, BOOK, TRADE = json_decoder(Frame), json_decoder(Book), json_decoder(Trade)
FAILURE, SUMMARY = json_decoder(Failure), json_decoder(Summary)
LIST, MARKET = json_decoder(list[Raw]), json_decoder(Market)
_KINDS = {"SPOT": InstrumentKind.SPOT, "PERPETUAL": InstrumentKind.PERPETUAL}
_STATUS = {"Enabled": InstrumentStatus.TRADING, "Disabled": InstrumentStatus.HALTED}


def instruments(bodies: Sequence[bytes]) -> list[Instrument | Unread]:
    rows = (row for body in bodies for row in decoded(LIST, body))
    return each_of(rows, MARKET, _instrument)


def _instrument(one: Market) -> Instrument:
    kind = _KINDS.get(one.market_type)
    if kind is None:
        raise Reject(f"market_type {one.market_type[:40]!r}")
    return Instrument(
        ticker=one.market_symbol,
        kind=kind,
        base=one.base_currency,
        quote=one.counter_currency,
        settle=one.counter_currency,
        tick_size=last_place(one.counter_decimals),
        lot_size=last_place(one.base_decimals),
        min_qty=one.minimum_order_amount,
        contract_size=1.0,
        contract_unit=one.base_currency,
        price_precision=one.counter_decimals,
        qty_precision=one.base_decimals,
        status=_STATUS.get(one.trading, InstrumentStatus.UNKNOWN),
        venue_status=one.trading,
    )
