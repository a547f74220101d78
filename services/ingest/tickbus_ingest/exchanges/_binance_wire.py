"""Binance's wire types, decoded in full: what the fast reader does not take, and REST bodies.

Numbers are decimal text; whatever is not, or is of another type, is refused.
"""

from __future__ import annotations

import math
from typing import Annotated, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType, field
from tickbus_schemas.errors import Reject

DecimalText = Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$", max_length=64)]
Ms = Annotated[int, Meta(ge=1, le=2**43)]  # in us it still fits a signed 64-bit integer
Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Level = tuple[DecimalText, DecimalText]

LONG_DIGITS = 15  # up to here the shortest text of the nearest double is the number again


class Envelope(msgspec.Struct):
    """Any frame: combined stream, bare event, or answer to a request."""

    stream: str | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    e: str | UnsetType = UNSET
    s: str | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    code: Raw | UnsetType = UNSET


class WireTrade(msgspec.Struct):
    E: Ms
    T: Ms
    s: str
    t: Id
    p: DecimalText
    q: DecimalText
    m: bool
    X: str = "MARKET"


class WireAggTrade(msgspec.Struct):
    E: Ms
    T: Ms
    s: str
    a: Id
    p: DecimalText
    q: DecimalText
    m: bool


class WireDepth(msgspec.Struct):
    E: Ms
    s: str
    U: Id
    u: Id
    b: list[Level]
    a: list[Level]
    T: Ms = 0
    pu: Id | UnsetType = UNSET


class WireQuote(msgspec.Struct):
    u: Id
    s: str
    b: DecimalText
    B: DecimalText
    a: DecimalText
    A: DecimalText
    E: Ms | UnsetType = UNSET
    T: Ms | UnsetType = UNSET


class WireBook(msgspec.Struct):
    last_update_id: Id = field(name="lastUpdateId")
    bids: Raw
    asks: Raw
    E: Ms | UnsetType = UNSET
    T: Ms | UnsetType = UNSET


class WireInstrument(msgspec.Struct):
    symbol: str
    status: str = ""


class WireInstruments(msgspec.Struct):
    symbols: list[WireInstrument]


Wire = TypeVar("Wire")
ENVELOPE = msgspec.json.Decoder(Envelope)
TRADE = msgspec.json.Decoder(WireTrade)
AGG_TRADE = msgspec.json.Decoder(WireAggTrade)
DEPTH = msgspec.json.Decoder(WireDepth)
QUOTE = msgspec.json.Decoder(WireQuote)
BOOK = msgspec.json.Decoder(WireBook)
LEVELS = msgspec.json.Decoder(list[Level])
INSTRUMENTS = msgspec.json.Decoder(WireInstruments)


def decoded(decoder: msgspec.json.Decoder[Wire], data: bytes | Raw) -> Wire:
    """The wire type in `data`; Reject with the decoder's reason."""
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Reject(f"{str(error)[:200] or type(error).__name__}") from None


def number(text: str) -> float:
    """The nearest double; Reject beyond its range."""
    value = float(text)
    if not math.isfinite(value):
        raise Reject(f"number out of range: {text[:40]}")
    return value


def is_long(text: str) -> bool:
    """Whether a number has more significant digits than a double gives back."""
    digits = text.lower().partition("e")[0]
    if "." in digits:
        digits = digits.rstrip("0")
    return len(digits.replace(".", "").lstrip("0")) > LONG_DIGITS


def levels(texts: list[Level]) -> tuple[list[tuple[float, float]], int]:
    """Prices and sizes as doubles, and how many had too many digits."""
    long = sum(is_long(price) + is_long(qty) for price, qty in texts)
    return [(number(price), number(qty)) for price, qty in texts], long
