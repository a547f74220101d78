"""The frames and bodies of HTX spot as types, and its list of instruments.

https://www.htx.com/en-us/opend/newApiPages/
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import InstrumentStatus

from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, last_place
from tickbus_ingest.venue.wire_types import Id, Time, decoded, json_decoder

_DIGITS = re.compile(r"[0-9]{1,40}")
NO_LEVELS = Raw(b"[]")


class Frame(msgspec.Struct, rename="kebab"):
    """Data have `ch` and `tick`, answers `status`, the answer that holds a book `rep`."""

    ch: str = ""
    ts: Time | None = None
    tick: Raw | UnsetType = UNSET
    ping: int | UnsetType = UNSET
    status: str = ""
    id: Any = ""
    """the request's own, which is our name of a stream"""
    subbed: str = ""
    unsubbed: str = ""
    rep: str = ""
    data: Raw | UnsetType = UNSET
    err_code: Any = ""
    err_msg: str = ""


class Trade(msgspec.Struct, rename="camel"):
    """`id` has up to 27 digits and goes; futures have no other one."""

    ts: Time
    price: float
    amount: float
    direction: Literal["buy", "sell"]
    id: Raw = Raw(b"")
    trade_id: Id | None = None

    @property
    def name(self) -> str | int:
        """What tells the trade from others; Reject where nothing does."""
        if self.trade_id is not None:
            return self.trade_id
        text = bytes(self.id).decode(errors="replace")
        if not _DIGITS.fullmatch(text):
            raise Reject(f"a trade without an id: {text[:40]!r}")
        return text


class Trades(msgspec.Struct):
    data: list[Trade]


class Update(msgspec.Struct, rename="camel"):
    """A side that has not changed may be absent."""

    seq_num: Id
    prev_seq_num: Id
    bids: Raw = NO_LEVELS
    asks: Raw = NO_LEVELS


class WholeBook(msgspec.Struct, rename="camel"):
    """In the answer to a request."""

    seq_num: Id
    bids: Raw = NO_LEVELS
    asks: Raw = NO_LEVELS


class Depth(msgspec.Struct):
    """A whole book of `depth.step0`."""

    version: Id
    ts: Time
    bids: Raw = NO_LEVELS
    asks: Raw = NO_LEVELS


class Quote(msgspec.Struct, rename="camel"):
    """A side without orders has the price 0, or none."""

    seq_id: Id
    quote_time: Annotated[int, Meta(ge=0, le=2**60)] = 0
    bid: float | None = None
    bid_size: float | None = None
    ask: float | None = None
    ask_size: float | None = None


class Detail(msgspec.Struct):
    """Of 24 h: `amount` in the base currency, `vol` in the quote currency."""

    open: float
    close: float
    high: float
    low: float
    amount: float
    vol: float
    count: Id


class Listed(msgspec.Struct):
    """`pp` and `ap` are the decimals of prices and amounts."""

    symbol: str
    bc: str
    qc: str
    pp: int
    ap: int
    state: str = ""
    at: str = ""
    """whether it is traded by API"""
    minoa: float | None = None


class Body(msgspec.Struct, rename="kebab"):
    """A REST answer."""

    status: str = ""
    data: list[Raw] | UnsetType = UNSET
    err_code: Any = ""
    err_msg: str = ""


FRAME, BODY, LISTED = json_decoder(Frame), json_decoder(Body), json_decoder(Listed)
TRADES, UPDATE, WHOLE_BOOK = json_decoder(Trades), json_decoder(Update), json_decoder(WholeBook)
DEPTH, QUOTE, DETAIL = json_decoder(Depth), json_decoder(Quote), json_decoder(Detail)

# https://huobiapi.github.io/docs/spot/v1/en/#get-market-symbols-setting
_WORDS = {
    InstrumentStatus.TRADING: "online",
    InstrumentStatus.HALTED: "suspend fuse transfer-board",
    InstrumentStatus.PRE_LAUNCH: "not-online pre-online",
    InstrumentStatus.DELISTED: "offline",
}
_STATUS = {word: status for status, words in _WORDS.items() for word in words.split()}


def instruments(bodies: Sequence[bytes]) -> list[Instrument | Unread]:
    """The pairs in the bodies; Reject with the venue's reason."""
    found: list[Instrument | Unread] = []
    for body in bodies:
        told = decoded(BODY, body)
        if told.data is UNSET or told.status != "ok":
            reason = f"{told.err_code} {told.err_msg}".strip()[:200]
            raise Reject(f"no list of instruments: {reason or told.status[:80]}")
        found += each_of(told.data, LISTED, _instrument)
    return found


def _instrument(row: Listed) -> Instrument:
    status = _STATUS.get(row.state, InstrumentStatus.UNKNOWN)
    if status is InstrumentStatus.TRADING and row.at == "disabled":
        status = InstrumentStatus.HALTED
    base, quote = row.bc.upper(), row.qc.upper()
    lot = last_place(row.ap)
    return Instrument(
        ticker=row.symbol,
        base=base,
        quote=quote,
        tick_size=last_place(row.pp),
        lot_size=lot,
        min_qty=lot if row.minoa is None else row.minoa,
        contract_size=1.0,
        contract_unit=base,
        price_precision=row.pp,
        qty_precision=row.ap,
        status=status,
        venue_status=row.state,
    )
