"""An instrument as a venue lists it: what its prices and quantities mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from math import isinf, nan

import msgspec
from msgspec import Raw
from msgspec.structs import force_setattr
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT, InstrumentKind, InstrumentStatus, OptionType

from tickbus_ingest.venue.wire_types import Wire, decoded

DECIMALS_MAX = 30
TIME_MAX_US = 2**60
TEXT_MAX = 200


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One ticker of a venue. NaN, ABSENT and "" stand for what the venue does not say.

    A value that cannot be (an infinite tick, 2000 decimals) counts as not said, and a long text is
    cut: one odd instrument must not keep the venue's others from being taken.
    """

    ticker: str
    """as the venue spells it"""
    kind: InstrumentKind = InstrumentKind.SPOT
    base: str = ""
    quote: str = ""
    settle: str = ""
    tick_size: float = nan
    lot_size: float = nan
    min_qty: float = nan
    contract_size: float = nan
    """how much one unit of `qty` stands for"""
    contract_unit: str = ""
    """of what: an asset's name"""
    price_precision: int = ABSENT
    """decimals of a price on the wire"""
    qty_precision: int = ABSENT
    inverse: bool = False
    status: InstrumentStatus = InstrumentStatus.TRADING
    venue_status: str = ""
    """the venue's own word"""
    expiry_timestamp: int = ABSENT
    strike: float = nan
    option_type: OptionType = OptionType.NONE

    def __post_init__(self) -> None:
        for name in ("tick_size", "lot_size", "min_qty", "contract_size", "strike"):
            if isinf(getattr(self, name)):
                force_setattr(self, name, nan)
        for name in ("price_precision", "qty_precision"):
            if not 0 <= getattr(self, name) <= DECIMALS_MAX:
                force_setattr(self, name, ABSENT)
        if not 0 < self.expiry_timestamp < TIME_MAX_US:
            force_setattr(self, "expiry_timestamp", ABSENT)
        for name in ("base", "quote", "settle", "contract_unit", "venue_status"):
            if len(getattr(self, name)) > TEXT_MAX:
                force_setattr(self, name, getattr(self, name)[:TEXT_MAX])


class Unread(msgspec.Struct, frozen=True):
    """A row of a venue's list that is not understood."""

    ticker: str
    """as far as it is known: the row's first characters"""
    why: str


def each_of(
    rows: Iterable[Raw],
    decoder: msgspec.json.Decoder[Wire],
    read: Callable[[Wire], Instrument | None],
) -> list[Instrument | Unread]:
    """What `read` makes of each row, None if it is no instrument of ours.

    A row that is not understood hides none of the others.
    """
    found: list[Instrument | Unread] = []
    for row in rows:
        try:
            one = read(decoded(decoder, row))
        except Reject as error:
            found.append(Unread(bytes(row)[:60].decode(errors="replace"), str(error)))
        else:
            if one is not None:
                found.append(one)
    return found


def understood(listed: Iterable[Instrument | Unread]) -> list[Instrument]:
    """Those of a list that are instruments."""
    return [one for one in listed if isinstance(one, Instrument)]


def last_place(decimals: int) -> float:
    """One unit of the last of so many decimals, 0.01 for 2; NaN for a number that cannot be."""
    return 10.0**-decimals if 0 <= decimals <= DECIMALS_MAX else nan


_STEP = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?")


def step_of(text: str) -> tuple[float, int]:
    """A step of prices or quantities and the decimals that it needs.

    `0.010` gives 0.01 and 2, `1e-8` gives 1e-8 and 8; an empty text and 0 say nothing: NaN and
    ABSENT. Reject for anything else.
    """
    if not text:
        return nan, ABSENT
    if not _STEP.fullmatch(text):
        raise Reject(f"not a step: {text[:40]!r}")
    step = float(text)
    return (step, decimals(text)) if step else (nan, ABSENT)


def decimals(step: str) -> int:
    """Decimals that a step such as `0.010` or `1e-8` needs: 2 and 8."""
    mantissa, _, exponent = step.lower().partition("e")
    digits = len(mantissa.partition(".")[2].rstrip("0"))
    return max(digits - int(exponent or 0), 0)
