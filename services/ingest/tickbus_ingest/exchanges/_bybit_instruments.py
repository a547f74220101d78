"""Bybit's list of instruments, page by page.

https://bybit-exchange.github.io/docs/v5/market/instrument
"""

from __future__ import annotations

import re
from math import nan
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType, field
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT, InstrumentKind, InstrumentStatus, OptionType

from tickbus_ingest.exchanges._bybit_wire import LaterTime
from tickbus_ingest.venue.instruments import Instrument, step_of
from tickbus_ingest.venue.wire_types import Number, decoded, json_decoder, known, us_of


class PriceFilter(msgspec.Struct, rename="camel"):
    tick_size: str = ""


class LotSizeFilter(msgspec.Struct, rename="camel"):
    """Contracts have `qtyStep`, spot has `basePrecision`."""

    qty_step: str = ""
    base_precision: str = ""
    min_order_qty: Number = ""


class Listed(msgspec.Struct, rename="camel"):
    symbol: str
    status: str
    price_filter: PriceFilter
    lot_size_filter: LotSizeFilter
    base_coin: str = ""
    quote_coin: str = ""
    settle_coin: str = ""
    contract_type: str = ""
    options_type: str = ""
    delivery_time: LaterTime = ""


class Page(msgspec.Struct, rename="camel"):
    rows: list[Raw] = field(name="list", default_factory=list)
    category: str = ""
    next_page_cursor: str = ""


class Body(msgspec.Struct, rename="camel"):
    """A REST answer; all is well where `retCode` is 0."""

    ret_code: int
    ret_msg: str = ""
    result: Raw | UnsetType = UNSET


BODY, PAGE, ROW = json_decoder(Body), json_decoder(Page), json_decoder(Listed)
_STATUS = {
    "Trading": InstrumentStatus.TRADING,
    "PreLaunch": InstrumentStatus.PRE_LAUNCH,
    "Delivering": InstrumentStatus.SETTLING,
    "Closed": InstrumentStatus.DELISTED,
}
_OPTION_TYPE = {"Call": OptionType.CALL, "Put": OptionType.PUT}
_STRIKE = re.compile(r"[^-]+-[^-]+-([0-9]{1,15}(?:\.[0-9]{1,15})?)-[CP]\b")
"""In the name of an option, `BTC-27MAR26-70000-P-USDT`: no field tells it."""


def page_of(body: bytes) -> Page:
    """The rows of a REST answer; Reject with the venue's reason."""
    found: Body = decoded(BODY, body)
    if found.ret_code or found.result is UNSET:
        raise Reject(f"{found.ret_code} {found.ret_msg[:200]}")
    page: Page = decoded(PAGE, found.result)
    return page


def instrument_of(row: Listed, contract: dict[str, Any]) -> Instrument:
    """One row; `contract`: what one unit of a quantity is."""
    tick, price_digits = step_of(row.price_filter.tick_size)
    lots = row.lot_size_filter
    lot, qty_digits = step_of(lots.qty_step or lots.base_precision)
    minimum = known(lots.min_order_qty)
    strike = _STRIKE.match(row.symbol) if row.options_type else None
    return Instrument(
        ticker=row.symbol,
        kind=_kind_of(row),
        base=row.base_coin,
        quote=row.quote_coin,
        settle=row.settle_coin,
        tick_size=tick,
        lot_size=lot,
        min_qty=nan if minimum is None else minimum,
        price_precision=price_digits,
        qty_precision=qty_digits,
        status=_STATUS.get(row.status, InstrumentStatus.UNKNOWN),
        venue_status=row.status,
        expiry_timestamp=us_of(row.delivery_time) if row.delivery_time else ABSENT,
        strike=float(strike[1]) if strike else nan,
        option_type=_OPTION_TYPE.get(row.options_type, OptionType.NONE),
        **contract,
    )


def _kind_of(row: Listed) -> InstrumentKind:
    if row.options_type:
        return InstrumentKind.OPTION
    if "Perpetual" in row.contract_type:
        return InstrumentKind.PERPETUAL
    return InstrumentKind.FUTURE if row.contract_type else InstrumentKind.SPOT
