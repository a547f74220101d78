"""The frames and bodies of KuCoin spot as types, and its list of instruments.

https://www.kucoin.com/docs-new
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import InstrumentStatus

from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, step_of
from tickbus_ingest.venue.wire_types import Id, Number, Time, decoded, json_decoder, known

OK = "200000"
NO_LEVELS = Raw(b"[]")
Nanoseconds = Annotated[int, Meta(ge=1, le=2**63 - 1)]
PRICE_0 = b'["0"'
"""How a row of price 0 begins; written otherwise it would remove a level that no book has."""


class Frame(msgspec.Struct):
    """`type` is message, welcome, ack, pong or error; `data` of an error is a text."""

    type: str = ""
    topic: str = ""
    id: Any = ""
    code: Any = ""
    data: Raw | UnsetType = UNSET


class Trade(msgspec.Struct, rename="camel"):
    """Ids are text, times nanoseconds as text."""

    trade_id: str
    side: Literal["buy", "sell"]
    price: float
    size: float
    time: Nanoseconds


class Changes(msgspec.Struct):
    """Levels are [price, size, sequence]."""

    bids: Raw = NO_LEVELS
    asks: Raw = NO_LEVELS


class Update(msgspec.Struct, rename="camel"):
    """All changes of the book from `sequence_start` to `sequence_end`."""

    sequence_start: Id
    sequence_end: Id
    changes: Changes
    time: Time | None = None
    """absent in 2021"""


class Quote(msgspec.Struct):
    """The best price and size of each side; an empty array for a side without orders."""

    timestamp: Time
    bids: list[float] = []
    asks: list[float] = []


class Day(msgspec.Struct, rename="camel"):
    """Of 24 h: `vol` in the base currency, `vol_value` in the quote currency."""

    datetime: Time
    last_traded_price: float | None = None
    open: float | None = None
    high: float | None = None
    low: float | None = None
    vol: float | None = None
    vol_value: float | None = None
    change_price: float | None = None


class Snapshot(msgspec.Struct):
    data: Day


class Book(msgspec.Struct):
    """A body of the REST book."""

    time: Time
    sequence: Id
    bids: Raw
    asks: Raw


class Server(msgspec.Struct):
    endpoint: str


class Bullet(msgspec.Struct, rename="camel"):
    """Where to connect; the token is valid for a day."""

    token: str
    instance_servers: list[Server]


class Listed(msgspec.Struct, rename="camel"):
    """https://www.kucoin.com/docs-new/rest/spot-trading/market-data/get-all-symbols"""

    symbol: str
    base_currency: str
    quote_currency: str
    base_increment: str
    price_increment: str
    enable_trading: bool
    base_min_size: Number = ""


class Body(msgspec.Struct):
    """A REST answer."""

    code: str = ""
    msg: str = ""
    data: Raw | UnsetType = UNSET


FRAME, BODY, LISTED = json_decoder(Frame), json_decoder(Body), json_decoder(Listed)
BOOK, BULLET, ROWS = json_decoder(Book), json_decoder(Bullet), json_decoder(list[Raw])


def data_of(body: bytes) -> Raw:
    """The data of a REST answer; Reject with the venue's reason."""
    told: Body = decoded(BODY, body)
    if told.code != OK or told.data is UNSET or bytes(told.data) == b"null":
        raise Reject(f"{told.code} {told.msg}".strip()[:200] or "no answer of the venue")
    return told.data


def levels(side: bytes | Raw) -> bytes:
    """A side of an update without rows of price 0, which only tell that the sequence went on."""
    rows = [bytes(row) for row in decoded(ROWS, side)]
    return b"[%b]" % b",".join(row for row in rows if not row.startswith(PRICE_0))


def address(body: bytes) -> str:
    """The WebSocket's URL; Reject where the answer has none."""
    told = decoded(BULLET, data_of(body))
    if not told.instance_servers or not told.token:
        raise Reject("an answer without a server or a token")
    endpoint = told.instance_servers[0].endpoint
    if not endpoint.startswith(("wss://", "ws://")):
        raise Reject(f"no address of a WebSocket: {endpoint[:80]!r}")
    return f"{endpoint}?token={quote(told.token, safe='')}"


def instruments(bodies: Sequence[bytes]) -> list[Instrument | Unread]:
    """The pairs in the bodies; Reject with the venue's reason."""
    rows = (row for body in bodies for row in decoded(ROWS, data_of(body)))
    return each_of(rows, LISTED, _instrument)


def _instrument(row: Listed) -> Instrument:
    tick, price_digits = step_of(row.price_increment)
    lot, qty_digits = step_of(row.base_increment)
    smallest = known(row.base_min_size)
    trades = row.enable_trading
    return Instrument(
        ticker=row.symbol,
        base=row.base_currency,
        quote=row.quote_currency,
        tick_size=tick,
        lot_size=lot,
        min_qty=lot if smallest is None else smallest,
        contract_size=1.0,
        contract_unit=row.base_currency,
        price_precision=price_digits,
        qty_precision=qty_digits,
        status=InstrumentStatus.TRADING if trades else InstrumentStatus.HALTED,
        venue_status="enabled" if trades else "disabled",
    )
