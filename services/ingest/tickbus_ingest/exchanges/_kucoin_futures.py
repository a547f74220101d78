"""The frames and bodies of KuCoin Futures as types, and its list of contracts.

https://www.kucoin.com/docs-new/3470082w0
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import nan
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT, InstrumentKind, InstrumentStatus

from tickbus_ingest.exchanges._kucoin_wire import Nanoseconds, data_of
from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, step_of
from tickbus_ingest.venue.wire_types import Id, Time, decoded, json_decoder, us_of

NO_LEVELS = b"[]"
MinuteUp = Annotated[int, Meta(ge=60_000, le=365 * 86_400_000)]
"""Milliseconds of a period."""
PREDICTED_MS = 60_000
"""A rate that is told each minute is the predicted one."""
_CHANGE = re.compile(r"([0-9][0-9.eE+-]{0,40}),(buy|sell),([0-9][0-9.eE+-]{0,40})", re.ASCII)


class Trade(msgspec.Struct, rename="camel"):
    """`size` is in lots; ids are text."""

    trade_id: str
    side: Literal["buy", "sell"]
    price: float
    size: float
    ts: Nanoseconds


class Update(msgspec.Struct):
    """One level, as `price,side,quantity`."""

    sequence: Id
    change: str
    timestamp: Time


class Quote(msgspec.Struct, rename="camel"):
    """Null for a side without orders."""

    ts: Nanoseconds
    sequence: Id = ABSENT
    best_bid_price: float | None = None
    best_bid_size: float | None = None
    best_ask_price: float | None = None
    best_ask_size: float | None = None


class Day(msgspec.Struct, rename="camel"):
    """Of 24 h: `turnover` in the settlement currency, `volume` in coins and not in lots."""

    ts: Nanoseconds
    last_price: float | None = None
    high_price: float | None = None
    low_price: float | None = None
    price24_hours_before: float | None = None
    price_chg: float | None = None
    turnover: float | None = None


class Marks(msgspec.Struct, rename="camel"):
    """Of the subject mark.index.price, or of funding.rate."""

    timestamp: Time
    granularity: int = 0
    mark_price: float | None = None
    index_price: float | None = None
    funding_rate: float | None = None


class Book(msgspec.Struct):
    """A body of the REST book; null where a side is empty."""

    sequence: Id
    ts: Nanoseconds
    bids: Raw = Raw(NO_LEVELS)
    asks: Raw = Raw(NO_LEVELS)


class State(msgspec.Struct, rename="camel"):
    """What a contract's row tells besides: of no time of its own."""

    symbol: str
    open_interest: float | None = None
    funding_fee_rate: float | None = None
    funding_rate_granularity: MinuteUp | None = None
    next_funding_rate_date_time: Time | None = None


class Listed(msgspec.Struct, rename="camel"):
    """https://www.kucoin.com/docs/rest/futures-trading/market-data/get-symbols-list"""

    symbol: str
    type: str
    status: str
    base_currency: str
    quote_currency: str
    tick_size: Raw
    lot_size: Raw
    multiplier: float
    settle_currency: str = ""
    is_inverse: bool = False
    expire_date: int | None = None


BOOK, STATE, LISTED = json_decoder(Book), json_decoder(State), json_decoder(Listed)
ROWS = json_decoder(list[Raw])
_STATUS = {
    "Init": InstrumentStatus.PRE_LAUNCH,
    "Open": InstrumentStatus.TRADING,
    "BeingSettled": InstrumentStatus.SETTLING,
    "Settled": InstrumentStatus.DELISTED,
    "Closed": InstrumentStatus.DELISTED,
    "Paused": InstrumentStatus.HALTED,
    "CancelOnly": InstrumentStatus.HALTED,
}
_KIND = {"FFWCSX": InstrumentKind.PERPETUAL, "FFICSX": InstrumentKind.FUTURE}


def sides(change: str) -> tuple[bytes, bytes]:
    """Bids and asks of an update; both empty where its price is 0, which only moves the number."""
    found = _CHANGE.fullmatch(change)
    if found is None:
        raise Reject(f"a change that is no price, side and quantity: {change[:60]!r}")
    price, side, qty = found.groups()
    level = f'[["{price}","{qty}"]]'.encode() if price.strip("0.") else NO_LEVELS
    return (level, NO_LEVELS) if side == "buy" else (NO_LEVELS, level)


def side_of(levels: Raw) -> bytes | Raw:
    """A side of a REST book, which may be null."""
    return NO_LEVELS if bytes(levels) == b"null" else levels


def instruments(bodies: Sequence[bytes]) -> list[Instrument | Unread]:
    """The contracts in the bodies; Reject with the venue's reason."""
    rows = (row for body in bodies for row in decoded(ROWS, data_of(body)))
    return each_of(rows, LISTED, _instrument)


def _instrument(row: Listed) -> Instrument:
    """A lot is worth `multiplier` coins, or -`multiplier` of the quote currency if inverse."""
    tick, price_digits = _step(row.tick_size)
    lot, qty_digits = _step(row.lot_size)
    return Instrument(
        ticker=row.symbol,
        kind=_KIND.get(row.type, InstrumentKind.PERPETUAL),
        base=row.base_currency,
        quote=row.quote_currency,
        settle=row.settle_currency,
        tick_size=tick,
        lot_size=lot,
        min_qty=lot,
        contract_size=abs(row.multiplier) or nan,
        contract_unit=row.quote_currency if row.is_inverse else row.base_currency,
        price_precision=price_digits,
        qty_precision=qty_digits,
        inverse=row.is_inverse,
        status=_STATUS.get(row.status, InstrumentStatus.UNKNOWN),
        venue_status=row.status,
        expiry_timestamp=us_of(row.expire_date) if row.expire_date else ABSENT,
    )


def _step(number: Raw) -> tuple[float, int]:
    """A step that stands as a JSON number, or as text."""
    return step_of(bytes(number).decode().strip('"'))
