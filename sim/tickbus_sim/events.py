"""What happens in the synthetic market, in no venue's words; numbers are decimal text."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TypeAlias

from tickbus_sim.book import Levels, NaiveBook


@dataclass(frozen=True)
class Instrument:
    """A ticker with its price and quantity steps."""

    ticker: str
    price_decimals: int
    qty_decimals: int
    price_ticks: int  # at the open
    _texts: dict[int, str] = field(default_factory=dict, compare=False, repr=False)

    def price_text(self, ticks: int) -> str:
        """Decimal text of a price."""
        text = self._texts.get(ticks)
        if text is None:
            text = self._texts[ticks] = decimal_text(ticks, self.price_decimals)
        return text

    def qty_text(self, lots: int) -> str:
        """Decimal text of a quantity."""
        return decimal_text(lots, self.qty_decimals)


def decimal_text(units: int, decimals: int) -> str:
    """So many units of the last of some decimals."""
    if decimals == 0:
        return str(units)
    text = str(units).rjust(decimals + 1, "0")
    return f"{text[:-decimals]}.{text[-decimals:]}"


@dataclass(frozen=True)
class Trade:
    """One trade; `sells`: the taker sold."""

    ticker: str
    number: int
    price: str
    qty: str
    sells: bool
    time_ms: int
    is_liquidation: bool = False
    """the taker's order was forced; a Liquidation follows"""


@dataclass(frozen=True)
class Change:
    """What changed in a book since the last one: absolute sizes, 0 removes."""

    ticker: str
    bids: Levels
    asks: Levels
    first_id: int
    last_id: int
    prev_id: int
    count: int
    """number of this change, from 1"""
    time_ms: int
    engine_ms: int
    book: NaiveBook
    """after the change, as deep as the venue shows it"""
    action: str | None = None
    """what it does to all its levels, of ACTIONS; None: any of them"""


ACTIONS = ("delete", "update", "insert")
"""What happens to a level. In this order no book is crossed in between."""


@dataclass(frozen=True)
class Statistics:
    """The last 24 h, which here begin with the market."""

    ticker: str
    last: str
    last_qty: str
    open: str
    high: str
    low: str
    volume: str
    turnover: str
    trades: int
    change: str
    bid: tuple[str, str]
    ask: tuple[str, str]
    time_ms: int

    @property
    def vwap(self) -> str:
        """Turnover by volume, with the decimals of a price."""
        if not Decimal(self.volume):
            return self.last
        price = Decimal(self.turnover) / Decimal(self.volume)
        return str(price.quantize(Decimal(self.last), ROUND_HALF_EVEN))

    @property
    def percent(self) -> str:
        """The change in percent of the opening price."""
        percent = 100 * Decimal(self.change) / Decimal(self.open)
        return str(percent.quantize(Decimal("0.001"), ROUND_HALF_EVEN))


@dataclass(frozen=True)
class Quote:
    """The best bid and ask."""

    ticker: str
    update_id: int
    bid: tuple[str, str]
    ask: tuple[str, str]
    time_ms: int
    day: Statistics | None = None
    """where the venue tells both in one frame"""


@dataclass(frozen=True)
class Derivative:
    """What holds for a perpetual: prices, funding, open interest."""

    ticker: str
    mark: str
    index: str
    last: str
    funding_rate: str
    next_funding_ms: int
    open_interest: str
    open_interest_value: str
    time_ms: int
    day: Statistics | None = None
    """where the venue tells both in one frame"""


@dataclass(frozen=True)
class Liquidation:
    """A forced order; `sells`: it closes a long position."""

    ticker: str
    price: str
    qty: str
    sells: bool
    time_ms: int


Event: TypeAlias = Trade | Change | Quote | Statistics | Derivative | Liquidation


@dataclass(frozen=True)
class Told:
    """An event, and how many frames tell of it: none where the venue does not publish it."""

    event: Event
    frames: int


def as_facts(event: Event) -> dict[str, object]:
    """A line of the journal."""
    facts: dict[str, object] = {"event": type(event).__name__.lower()}
    told = {name: getattr(event, name) for name in event.__dataclass_fields__ if name != "book"}
    return facts | {name: value for name, value in told.items() if value is not None}
