"""The frames of Upbit as types, in their SIMPLE form, and its list of instruments.

https://docs.upbit.com/kr/reference/websocket-guide
https://docs.upbit.com/kr/reference/websocket-orderbook
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType
from tickbus_schemas.errors import Reject

from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, last_place
from tickbus_ingest.venue.wire_types import Id, Time, decoded, json_decoder

DECIMALS = 8
"""Of prices and quantities at most: https://docs.upbit.com/kr/docs/krw-market-info"""


class Unit(msgspec.Struct):
    """A bid and an ask of the same rank; 0 at 0 where a side has no more."""

    ap: float
    bp: float
    ask_size: float = msgspec.field(name="as")
    bs: float


class Book(msgspec.Struct, tag_field="ty", tag="orderbook"):
    cd: str
    tms: Time
    obu: Raw


class Trade(msgspec.Struct, tag_field="ty", tag="trade"):
    """`ab` is the taker's side; `ttms` the time of the trade, `tms` of the message."""

    cd: str
    tms: Time
    ttms: Time
    tp: float
    tv: float
    ab: Literal["ASK", "BID"]
    sid: Id


class Ticker(msgspec.Struct, tag_field="ty", tag="ticker"):
    """Opening price, high, low and change are of the UTC day; only sums of 24 h are told."""

    cd: str
    tms: Time
    tp: float | None = None
    tv: float | None = None
    atv24h: float | None = None
    atp24h: float | None = None


class Subscription(msgspec.Struct):
    ty: str
    cds: list[str] = []


class Failure(msgspec.Struct):
    name: str = ""
    message: str = ""


class Other(msgspec.Struct):
    """An answer, a sign of life, an error, or a type that is none of ours."""

    ty: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    mthd: str | UnsetType = UNSET
    rslt: list[Subscription] = []
    tckt: str = ""
    error: Failure | UnsetType = UNSET


class Event(msgspec.Struct):
    warning: bool = False
    caution: dict[str, bool] = {}


class Market(msgspec.Struct):
    """`market` is quote and base: KRW-BTC. Older servers tell `market_warning`."""

    market: str
    market_event: Event | None = None
    market_warning: str = ""


EVENTS, OTHER = json_decoder(Book | Trade | Ticker), json_decoder(Other)
UNITS = json_decoder(tuple[Unit])
MARKETS, MARKET = json_decoder(list[Raw]), json_decoder(Market)
TYPES = ("orderbook", "trade", "ticker")


def sides(units: bytes) -> tuple[bytes, bytes]:
    """Bids and asks of units that hold one of both, each with the keys `p` and `s`.

    Without the letter b, `bp` and `bs` are `p` and `s`, and no number or word becomes another one
    that is a number. That is one pass over the bytes: to decode them, or to rename four keys, takes
    longer than all that is done with the levels later. The kernel that reads them passes over the
    keys of the other side.
    """
    return units.translate(None, b"b"), units.translate(None, b"a")


def instruments(bodies: Sequence[bytes]) -> list[Instrument | Unread]:
    rows = (row for body in bodies for row in decoded(MARKETS, body))
    return each_of(rows, MARKET, _instrument)


def _instrument(one: Market) -> Instrument:
    """All that are listed are traded. The tick depends on the price, so none is named."""
    quote, dash, base = one.market.partition("-")
    if not (quote and dash and base):
        raise Reject(f"market {one.market[:40]!r} is no pair")
    event = one.market_event or Event()
    words = ["warning"] * event.warning + sorted(w for w, on in event.caution.items() if on)
    if one.market_warning not in ("", "NONE"):
        words.append(one.market_warning)
    return Instrument(
        ticker=one.market,
        base=base,
        quote=quote,
        settle=quote,
        lot_size=last_place(DECIMALS),
        contract_size=1.0,
        contract_unit=base,
        price_precision=DECIMALS,
        qty_precision=DECIMALS,
        venue_status=" ".join(words),
    )
