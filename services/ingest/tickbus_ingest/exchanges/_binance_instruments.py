"""Binance's list of instruments: exchangeInfo of each market.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints
"""

from __future__ import annotations

from math import nan
from typing import Any

import msgspec
from msgspec import Raw, field
from tickbus_schemas.messages import ABSENT, InstrumentKind, InstrumentStatus

from tickbus_ingest.venue.instruments import Instrument, step_of
from tickbus_ingest.venue.wire_types import json_decoder, us_of


class Filter(msgspec.Struct):
    filter_type: str = field(name="filterType", default="")
    tick_size: str = field(name="tickSize", default="")
    step_size: str = field(name="stepSize", default="")
    min_qty: float = field(name="minQty", default=nan)


class Symbol(msgspec.Struct, rename="camel"):
    symbol: str
    status: str = ""
    contract_status: str = ""
    base_asset: str = ""
    quote_asset: str = ""
    margin_asset: str = ""
    contract_type: str = ""
    contract_size: float = nan
    delivery_date: int = 0
    filters: list[Filter] = []


class Symbols(msgspec.Struct):
    symbols: list[Raw]


SYMBOLS, SYMBOL = json_decoder(Symbols), json_decoder(Symbol)
_WORDS = {
    InstrumentStatus.TRADING: "TRADING",
    InstrumentStatus.PRE_LAUNCH: "PENDING_TRADING",
    InstrumentStatus.HALTED: "HALT BREAK END_OF_DAY",
    InstrumentStatus.SETTLING: "PRE_DELIVERING DELIVERING PRE_SETTLE SETTLING",
    InstrumentStatus.DELISTED: "DELIVERED CLOSE",
}
_STATUS = {word: status for status, words in _WORDS.items() for word in words.split()}


def instrument_of(symbol: Symbol, contract: dict[str, Any]) -> Instrument:
    """One row; `contract`: what one unit of a quantity is."""
    steps = {one.filter_type: one for one in symbol.filters}
    tick_size, price_precision = step_of(steps.get("PRICE_FILTER", Filter()).tick_size)
    lots = steps.get("LOT_SIZE", Filter())
    lot_size, qty_precision = step_of(lots.step_size)
    word = symbol.status or symbol.contract_status
    kind = _kind_of(symbol.contract_type)
    return Instrument(
        ticker=symbol.symbol,
        kind=kind,
        base=symbol.base_asset,
        quote=symbol.quote_asset,
        settle=symbol.margin_asset or symbol.quote_asset,
        tick_size=tick_size,
        lot_size=lot_size,
        min_qty=lots.min_qty,
        price_precision=price_precision,
        qty_precision=qty_precision,
        status=_STATUS.get(word, InstrumentStatus.UNKNOWN),
        venue_status=word,
        expiry_timestamp=us_of(symbol.delivery_date) if kind is InstrumentKind.FUTURE else ABSENT,
        **contract,
    )


def _kind_of(contract_type: str) -> InstrumentKind:
    if "PERPETUAL" in contract_type:
        return InstrumentKind.PERPETUAL
    return InstrumentKind.FUTURE if contract_type else InstrumentKind.SPOT
