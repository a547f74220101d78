"""The frames and bodies of Gemini as types, and its list of instruments.

https://developer.gemini.com/websocket/streams
https://developer.gemini.com/trading/rest-api/market-data/get-symbol-details
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import InstrumentKind, InstrumentStatus

from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, step_of
from tickbus_ingest.venue.wire_types import Id, Time, decoded, json_decoder

Nanoseconds = Annotated[int, Meta(ge=10**17, le=2**63 - 1)]


class Depth(msgspec.Struct, kw_only=True):
    """Changes of ids U to u, or the whole book."""

    s: str
    E: Nanoseconds
    first_id: Id = msgspec.field(name="U")
    u: Id
    b: Raw
    a: Raw


class Trade(msgspec.Struct):
    """`m`: the buyer was the maker, so the taker sold."""

    s: str
    E: Nanoseconds
    t: Id
    p: float
    q: float
    m: bool


class Quote(msgspec.Struct):
    s: str
    E: Nanoseconds
    u: Id
    b: float
    B: float
    a: float
    A: float


class Failure(msgspec.Struct):
    code: int = 0
    msg: str = ""


class Answer(msgspec.Struct):
    """To the request of this id; or a frame of a stream that is none of ours."""

    id: str | int | UnsetType = UNSET
    status: int = 0
    error: Failure | None = None
    e: str = ""
    last_id: Id | UnsetType = msgspec.field(name="lastUpdateId", default=UNSET)


class Volume(msgspec.Struct):
    timestamp: Time


class Summary(msgspec.Struct):
    """Of 24 h; `volume` has the sums of both currencies under their names, and the time."""

    volume: Raw
    bid: float | None = None
    ask: float | None = None
    last: float | None = None


class Details(msgspec.Struct):
    """`tick_size` is the step of quantities, `quote_increment` that of prices."""

    symbol: str
    base_currency: str
    quote_currency: str
    tick_size: Raw = Raw(b"")
    quote_increment: Raw = Raw(b"")
    min_order_size: float = nan
    status: str = ""
    product_type: str = "spot"
    contract_type: str = ""
    contract_price_currency: str = ""


DEPTH, TRADE, QUOTE = json_decoder(Depth), json_decoder(Trade), json_decoder(Quote)
ANSWER, SUMMARY, VOLUME = json_decoder(Answer), json_decoder(Summary), json_decoder(Volume)
SUMS = json_decoder(dict[str, float])
LIST, DETAILS = json_decoder(list[Raw]), json_decoder(Details)
_KINDS = {"spot": InstrumentKind.SPOT, "swap": InstrumentKind.PERPETUAL}
_STATUS = {
    "open": InstrumentStatus.TRADING,
    "limit_only": InstrumentStatus.TRADING,
    "cancel_only": InstrumentStatus.HALTED,
    "post_only": InstrumentStatus.HALTED,
    "closed": InstrumentStatus.HALTED,
}


def sums_of(volume: Raw) -> Mapping[str, float]:
    """Currency -> what was traded of it."""
    found: Mapping[str, float] = decoded(SUMS, volume)
    return found


def instruments(bodies: Sequence[bytes]) -> list[Instrument | Unread]:
    rows = (row for body in bodies for row in decoded(LIST, body))
    return each_of(rows, DETAILS, _instrument)


def _instrument(one: Details) -> Instrument:
    """Frames spell a symbol in small letters."""
    kind = _KINDS.get(one.product_type)
    if kind is None:
        raise Reject(f"product_type {one.product_type[:40]!r}")
    tick, price_digits = step_of(_text(one.quote_increment))
    lot, qty_digits = step_of(_text(one.tick_size))
    base = one.base_currency
    return Instrument(
        ticker=one.symbol.lower(),
        kind=kind,
        base=base,
        quote=one.quote_currency,
        settle=one.contract_price_currency or one.quote_currency,
        tick_size=tick,
        lot_size=lot,
        min_qty=one.min_order_size,
        contract_size=1.0,
        contract_unit=base,
        price_precision=price_digits,
        qty_precision=qty_digits,
        inverse=one.contract_type == "inverse",
        status=_STATUS.get(one.status, InstrumentStatus.UNKNOWN),
        venue_status=one.status,
    )


def _text(number: Raw) -> str:
    return bytes(number).decode(errors="replace").strip('"')
