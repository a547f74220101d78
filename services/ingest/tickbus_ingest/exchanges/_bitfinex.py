"""The frames of Bitfinex as types, and its list of instruments.

https://docs.bitfinex.com/docs/ws-general
Data are arrays that may grow at their end: what stands behind the last field that is known is
passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import InstrumentKind

from tickbus_ingest.venue.instruments import Instrument, Unread, each_of, last_place
from tickbus_ingest.venue.wire_types import Id, Time, decoded, json_decoder

DECIMALS = 8
"""Of prices, which have five significant digits, and of amounts, at most:
https://docs.bitfinex.com/docs/introduction#price-precision"""


class Data(msgspec.Struct, array_like=True):
    """What a channel sends; `seq` counts such messages of a connection."""

    chan: Id
    body: Raw
    seq: Id
    time: Time


class Named(msgspec.Struct, array_like=True):
    """A message with a name: of a trade, with its content; without one a heartbeat."""

    chan: Id
    name: str
    third: Raw
    fourth: Id
    fifth: Time | None = None


class Trade(msgspec.Struct, array_like=True):
    """`amount` is below 0 where the taker sold."""

    id: Id
    time: Time
    amount: float
    price: float


class Ticker(msgspec.Struct, array_like=True):
    """`bid_sum` and `ask_sum` are of the 25 best levels, not of the best one."""

    bid: float | None
    bid_sum: float | None
    ask: float | None
    ask_sum: float | None
    change: float | None
    change_part: float | None
    last: float | None
    volume: float | None
    high: float | None
    low: float | None


class Status(msgspec.Struct, array_like=True):
    """Of a derivative; https://docs.bitfinex.com/reference/ws-public-status"""

    time: Time
    f1: Any
    last: float | None
    spot: float | None
    f4: Any
    f5: Any
    f6: Any
    next_funding: Time | None
    accrued: float | None
    f9: Any
    f10: Any
    funding: float | None
    f12: Any
    f13: Any
    mark: float | None
    f15: Any
    f16: Any
    open_interest: float | None


class Liquidation(msgspec.Struct, array_like=True):
    """`amount` is the position's: below 0 it was short. `is_match` 1: a fill of what was told."""

    kind: str
    id: Id
    time: Time
    f3: Any
    symbol: str
    amount: float
    base_price: float | None
    f7: Any
    is_match: int
    is_market_sold: int
    f10: Any
    price: float | None


class Platform(msgspec.Struct):
    status: int = 1


class Event(msgspec.Struct):
    """An answer or a notice."""

    event: str
    code: int | UnsetType = UNSET
    msg: str = ""
    status: str = ""
    platform: Platform | UnsetType = UNSET
    channel: str = ""
    chan: Id | UnsetType = msgspec.field(name="chanId", default=UNSET)
    symbol: str = ""
    key: str = ""
    len: str | int = ""
    cid: int | UnsetType = UNSET


class Limits(msgspec.Struct, array_like=True):
    f0: Any = None
    f1: Any = None
    f2: Any = None
    least: float | None = None


class Pair(msgspec.Struct, array_like=True):
    name: str
    limits: Limits


DATA, NAMED, EVENT = json_decoder(Data), json_decoder(Named), json_decoder(Event)
TRADE, TRADES = json_decoder(Trade), json_decoder(list[Trade])
LEVELS = json_decoder(list[tuple[float, float, float]])
TICKER, STATUS = json_decoder(Ticker), json_decoder(Status)
LIQUIDATIONS = json_decoder(list[Liquidation])
LISTS, PAIR = json_decoder(list[list[Raw]]), json_decoder(Pair)


def instruments(bodies: Sequence[bytes]) -> list[Instrument | Unread]:
    """The pairs of both lists in a body, spot and derivatives."""
    rows = (row for body in bodies for pairs in decoded(LISTS, body) for row in pairs)
    return each_of(rows, PAIR, _instrument)


def _instrument(pair: Pair) -> Instrument:
    """A ticker is a pair; its symbol has a t in front. All that are listed are traded.

    There is no tick: a price has five significant digits.
    """
    base, colon, quote = pair.name.partition(":")
    if not colon:
        base, quote = pair.name[:-3], pair.name[-3:]
    if not (base and quote):
        raise Reject(f"pair {pair.name[:40]!r}")
    is_perpetual = base.endswith("F0")
    base, quote = base.removesuffix("F0"), quote.removesuffix("F0")
    least = pair.limits.least
    return Instrument(
        ticker=pair.name,
        kind=InstrumentKind.PERPETUAL if is_perpetual else InstrumentKind.SPOT,
        base=base,
        quote=quote,
        settle=quote,
        lot_size=last_place(DECIMALS),
        min_qty=nan if least is None else least,
        contract_size=1.0,
        contract_unit=base,
        price_precision=DECIMALS,
        qty_precision=DECIMALS,
    )
