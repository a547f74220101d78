"""The frames and bodies of OKX as types, and its list of instruments.

https://www.okx.com/docs-v5/en/#order-book-trading-market-data
https://www.okx.com/docs-v5/en/#public-data-websocket
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import nan
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType, field
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT, InstrumentKind, InstrumentStatus, OptionType

from tickbus_ingest.venue.instruments import Instrument, step_of
from tickbus_ingest.venue.wire_types import Id, Number, Time, decoded, json_decoder, known, us_of


class Arg(msgspec.Struct, frozen=True):
    """The subscription that a frame belongs to."""

    channel: str = ""
    inst_id: str = field(name="instId", default="")


class Envelope(msgspec.Struct):
    """Any frame: data of a channel, or an event."""

    arg: Arg = Arg()
    data: Raw | UnsetType = UNSET
    action: str = ""
    event: str = ""
    code: str = ""
    msg: str = ""


class Trade(msgspec.Struct, rename="camel"):
    """`source` 1: against an order of the liquidity program, which the books do not show."""

    inst_id: str
    trade_id: str
    px: float
    sz: float
    side: Literal["buy", "sell"]
    ts: Time
    source: str = "0"


class WholeBook(msgspec.Struct, rename="camel"):
    """A book over REST."""

    bids: Raw
    asks: Raw
    ts: Time
    seq_id: Id


class Book(WholeBook, rename="camel"):
    """A snapshot or an update."""

    prev_seq_id: Annotated[int, Meta(ge=-1, le=2**63 - 1)]


Best = list[Annotated[list[float], Meta(min_length=2)]]
"""One level or none."""


class Quote(msgspec.Struct, rename="camel"):
    bids: Best
    asks: Best
    ts: Time
    seq_id: Id = ABSENT


class Ticker(msgspec.Struct, rename="camel"):
    """Volumes: `vol24h` in the unit of sz; `volCcy24h` of spot in the quote currency, else not."""

    inst_type: str
    inst_id: str
    ts: Time
    last: Number
    last_sz: Number = ""
    open24h: Number = ""
    high24h: Number = ""
    low24h: Number = ""
    vol24h: Number = ""
    vol_ccy_24h: Number = field(name="volCcy24h", default="")


class MarkPrice(msgspec.Struct, rename="camel"):
    inst_id: str
    mark_px: float
    ts: Time


class IndexPrice(msgspec.Struct, rename="camel"):
    inst_id: str
    idx_px: float
    ts: Time


class OpenInterest(msgspec.Struct, rename="camel"):
    """`oi` counts contracts; `oiUsd` is in USD, which is the quote currency of some only."""

    inst_id: str
    oi: float
    ts: Time
    oi_usd: Number = ""


class Funding(msgspec.Struct, rename="camel"):
    """`fundingRate` is paid at fundingTime, `nextFundingRate` at nextFundingTime."""

    inst_id: str
    funding_rate: Number
    funding_time: Time
    next_funding_rate: Number = ""
    next_funding_time: Time | Literal[""] = ""
    ts: Time = 0
    """recordings of 2022 have none"""


class Detail(msgspec.Struct, rename="camel"):
    """One order; `posSide` is long where `side` is sell."""

    side: Literal["buy", "sell"]
    bk_px: float
    sz: float
    ts: Time


class Liquidation(msgspec.Struct, rename="camel"):
    inst_id: str
    details: list[Detail]


class Body(msgspec.Struct):
    """A REST answer; all is well where `code` is 0."""

    code: str
    data: Raw
    msg: str = ""


class Listed(msgspec.Struct, rename="camel"):
    """A row of the list of instruments; `uly` is the index, such as BTC-USD."""

    inst_type: str
    inst_id: str
    state: str
    tick_sz: str
    lot_sz: str
    base_ccy: str = ""
    quote_ccy: str = ""
    settle_ccy: str = ""
    min_sz: Number = ""
    ct_val: Number = ""
    ct_mult: Number = ""
    ct_val_ccy: str = ""
    ct_type: str = ""
    uly: str = ""
    exp_time: Time | Literal[""] = ""
    stk: Number = ""
    opt_type: str = ""


ENVELOPE, BODY = json_decoder(Envelope), json_decoder(Body)
DATA: Mapping[str, msgspec.json.Decoder[Any]] = {
    "trades-all": json_decoder(list[Trade]),
    "trades": json_decoder(list[Trade]),
    "books": json_decoder(list[Book]),
    "bbo-tbt": json_decoder(list[Quote]),
    "tickers": json_decoder(list[Ticker]),
    "mark-price": json_decoder(list[MarkPrice]),
    "index-tickers": json_decoder(list[IndexPrice]),
    "open-interest": json_decoder(list[OpenInterest]),
    "funding-rate": json_decoder(list[Funding]),
    "liquidation-orders": json_decoder(list[Liquidation]),
}
"""By channel."""
_ABOUT = re.compile(r"channel:\s*([\w-]+)\s*,\s*inst(?:Id|Type):\s*([^\s,]+)")
"""The subscription that the text of an error is about."""
BOOKS, ROWS = json_decoder(list[WholeBook]), json_decoder(list[Raw])
ROW, INDEXES = json_decoder(Listed), json_decoder(list[str])


def stream_of(text: str) -> str:
    """The name of the stream that an error is about."""
    about = _ABOUT.search(text)
    return f"{about[1]}:{about[2]}" if about else ""


def is_list(row: Raw) -> bool:
    """Whether a row is a list of the indexes that have options, and no instrument."""
    return bytes(row).startswith(b"[")


def data_of(body: bytes) -> Raw:
    """The data of a REST answer; Reject with the venue's reason."""
    found: Body = decoded(BODY, body)
    if found.code != "0":
        raise Reject(f"{found.code} {found.msg[:200]}")
    return found.data


TYPES = {
    InstrumentKind.SPOT: "SPOT",
    InstrumentKind.PERPETUAL: "SWAP",
    InstrumentKind.FUTURE: "FUTURES",
    InstrumentKind.OPTION: "OPTION",
}
_KINDS = {word: kind for kind, word in TYPES.items()}
_STATUS = {
    "live": InstrumentStatus.TRADING,
    "suspend": InstrumentStatus.HALTED,
    "settling": InstrumentStatus.SETTLING,
    "rebase": InstrumentStatus.HALTED,
    "post_only": InstrumentStatus.PRE_LAUNCH,
    "preopen": InstrumentStatus.PRE_LAUNCH,
}


def carries(channel: str, one: Instrument) -> bool:
    """Whether a channel carries this kind of instrument."""
    if channel == "funding-rate":
        return one.kind is InstrumentKind.PERPETUAL
    return one.kind is not InstrumentKind.SPOT or channel not in ("mark-price", "open-interest")


def instrument_of(row: Listed) -> Instrument:
    """One row; a contract is worth `ctVal` times `ctMult`."""
    kind = _KINDS.get(row.inst_type)
    if kind is None:
        raise Reject(f"instrument type {row.inst_type[:20]!r}")
    tick, price_digits = step_of(row.tick_sz)
    lot, qty_digits = step_of(row.lot_sz)
    is_spot = kind is InstrumentKind.SPOT
    base, _, currency = row.uly.partition("-")
    value, times = known(row.ct_val), known(row.ct_mult)
    size = nan if value is None else value * (1.0 if times is None else times)
    minimum, strike = known(row.min_sz), known(row.stk)
    return Instrument(
        ticker=row.inst_id,
        kind=kind,
        base=row.base_ccy if is_spot else base,
        quote=row.quote_ccy if is_spot else currency,
        settle=row.settle_ccy,
        tick_size=tick,
        lot_size=lot,
        min_qty=nan if minimum is None else minimum,
        contract_size=1.0 if is_spot else size,
        contract_unit=row.base_ccy if is_spot else row.ct_val_ccy,
        price_precision=price_digits,
        qty_precision=qty_digits,
        inverse=row.ct_type == "inverse",
        status=_STATUS.get(row.state, InstrumentStatus.UNKNOWN),
        venue_status=row.state,
        expiry_timestamp=us_of(row.exp_time) if row.exp_time else ABSENT,
        strike=nan if strike is None else strike,
        option_type={"C": OptionType.CALL, "P": OptionType.PUT}.get(row.opt_type, OptionType.NONE),
    )
