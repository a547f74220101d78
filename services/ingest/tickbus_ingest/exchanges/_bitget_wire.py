"""The frames and bodies of Bitget's v3 as types, and its lists of instruments.

https://www.bitget.com/docs/uta/websocket/public/Order-Book-Channel
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT, InstrumentKind, InstrumentStatus, Side, TradeFlag

from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, last_place, step_of
from tickbus_ingest.venue.wire_types import (
    Id,
    Number,
    Time,
    decoded,
    json_decoder,
    known,
    us_of,
)

Due = Annotated[int, Meta(ge=0, le=2**60)] | Literal[""]
"""A time that is empty or 0 where nothing is due."""


class Arg(msgspec.Struct, rename="camel"):
    """What a subscription names; of all symbols where there is none."""

    inst_type: str = ""
    topic: str = ""
    symbol: str = ""

    @property
    def name(self) -> str:
        """Of its stream."""
        return f"{self.topic}:{self.symbol or self.inst_type}"


class Frame(msgspec.Struct):
    """Data of a topic has an action; answers have an event."""

    arg: Arg = msgspec.field(default_factory=Arg)
    action: str = ""
    data: Raw | UnsetType = UNSET
    ts: Time | None = None
    event: str = ""
    code: Any = ""
    msg: str = ""


class Trade(msgspec.Struct):
    """`S` is the taker's side; ids of all symbols are of one kind, and only differ."""

    trade_id: str = msgspec.field(name="i")
    price: float = msgspec.field(name="p")
    qty: float = msgspec.field(name="v")
    taker: Literal["buy", "sell"] = msgspec.field(name="S")
    time: Time = msgspec.field(name="T")
    is_rpi: str = msgspec.field(name="isRPI", default="no")

    @property
    def side(self) -> int:
        """The taker's side."""
        return Side.BUY if self.taker == "buy" else Side.SELL

    @property
    def flags(self) -> int:
        """Of TradeFlag."""
        return TradeFlag.RPI if self.is_rpi == "yes" else TradeFlag(0)


class Book(msgspec.Struct):
    """`pseq` is the `seq` of the update before; a checksum, where one comes, is a leftover."""

    asks: Raw = msgspec.field(name="a")
    bids: Raw = msgspec.field(name="b")
    seq: Id
    ts: Time
    pseq: Id | None = None
    depth: Annotated[int, Meta(ge=0, le=1_000_000)] = msgspec.field(name="maxdepth", default=0)


Level = tuple[float, float]


class Quote(msgspec.Struct):
    """The best level of each side; none where it is empty."""

    asks: list[Level] = msgspec.field(name="a")
    bids: list[Level] = msgspec.field(name="b")
    ts: Time
    seq: Id | None = None

    @property
    def best(self) -> tuple[float, float, float, float]:
        """Bid and ask with their sizes; 0 at 0 where a side is empty."""
        return (*(self.bids or _NOTHING)[0], *(self.asks or _NOTHING)[0])


class Ticker(msgspec.Struct, rename="camel"):
    """What has changed; `price24hPcnt` is in percent. Spot has no more than statistics."""

    last_price: Number = ""
    open_price24h: Number = msgspec.field(name="openPrice24h", default="")
    high_price24h: Number = msgspec.field(name="highPrice24h", default="")
    low_price24h: Number = msgspec.field(name="lowPrice24h", default="")
    volume24h: Number = ""
    turnover24h: Number = ""
    mark_price: Number = ""
    index_price: Number = ""
    funding_rate: Number = ""
    open_interest: Number = ""
    next_funding_time: Due = ""

    @property
    def funding(self) -> tuple[float | None, int | None]:
        """The rate and when it is due; nothing of contracts that are delivered."""
        due = self.next_funding_time
        return (None, None) if due in ("", 0) else (known(self.funding_rate), int(due))


class Liquidation(msgspec.Struct):
    """`side` is that of the position: `buy` is a long that was closed, so its order sold."""

    symbol: str
    side: Literal["buy", "sell"]
    price: float
    amount: float
    ts: Time

    @property
    def order_side(self) -> int:
        """Side of the order."""
        return Side.SELL if self.side == "buy" else Side.BUY


class Listed(msgspec.Struct, rename="camel"):
    """https://www.bitget.com/docs/uta/public/Instruments"""

    symbol: str
    category: str
    base_coin: str
    quote_coin: str
    status: str
    price_precision: str = ""
    quantity_precision: str = ""
    price_multiplier: str = ""
    quantity_multiplier: str = ""
    min_order_qty: Number = ""
    type: str = ""
    symbol_type: str = ""
    delivery_time: Due = ""


class Body(msgspec.Struct):
    """A REST answer; all is well where `code` is 00000."""

    code: str
    data: list[Raw] | None = None
    msg: str = ""


_NOTHING: list[Level] = [(0.0, 0.0)]
FRAME, ARG, BODY, ROW = (json_decoder(one) for one in (Frame, Arg, Body, Listed))
DATA = {
    "publicTrade": json_decoder(list[Trade]),
    "books": json_decoder(list[Book]),
    "books1": json_decoder(list[Quote]),
    "ticker": json_decoder(list[Ticker]),
    "liquidation": json_decoder(list[Liquidation]),
}
"""Decoder of each topic's data."""


def about(text: str) -> str:
    """The stream that an error is about, whose text begins with the argument as JSON; "": none."""
    end = text.rfind("}")
    try:
        arg: Arg = decoded(ARG, text[: end + 1].encode())
    except Reject:
        return ""
    return arg.name if arg.topic else ""


def instruments(body: bytes) -> list[Instrument | Unread]:
    """The instruments in a body; Reject with the venue's reason."""
    found: Body = decoded(BODY, body)
    if found.code != "00000" or found.data is None:
        raise Reject(f"{found.code} {found.msg[:200]}")
    return each_of(found.data, ROW, _instrument)


_STATES = {
    "listed": InstrumentStatus.PRE_LAUNCH,
    "online": InstrumentStatus.TRADING,
    "limit_open": InstrumentStatus.TRADING,
    "limit_close": InstrumentStatus.TRADING,
    "restrictedAPI": InstrumentStatus.TRADING,
    "offline": InstrumentStatus.DELISTED,
}
"""Limits are those of who orders; orders are matched all the same."""


def _instrument(row: Listed) -> Instrument:
    """Quantities are in the base coin on every market that is read here."""
    is_spot = row.category == "SPOT"
    delivered = "delivery" in (row.type, row.symbol_type)
    kind = InstrumentKind.FUTURE if delivered else InstrumentKind.PERPETUAL
    tick, price_digits = _step(row.price_multiplier, row.price_precision)
    lot, qty_digits = _step(row.quantity_multiplier, row.quantity_precision)
    smallest = known(row.min_order_qty)
    return Instrument(
        ticker=row.symbol,
        kind=InstrumentKind.SPOT if is_spot else kind,
        base=row.base_coin,
        quote=row.quote_coin,
        settle="" if is_spot else row.quote_coin,
        tick_size=tick,
        lot_size=lot,
        min_qty=smallest or lot,
        contract_size=1.0,
        contract_unit=row.base_coin,
        price_precision=price_digits,
        qty_precision=qty_digits,
        status=_STATES.get(row.status, InstrumentStatus.UNKNOWN),
        venue_status=row.status,
        expiry_timestamp=us_of(row.delivery_time) if delivered and row.delivery_time else ABSENT,
    )


def _step(multiplier: str, precision: str) -> tuple[float, int]:
    """A step and its decimals: contracts name the step, spot the number of its decimals."""
    if multiplier:
        return step_of(multiplier)
    if not (precision.isascii() and precision.isdigit() and len(precision) < 3):
        raise Reject(f"neither a step nor its decimals: {precision[:40]!r}")
    return last_place(int(precision)), int(precision)
