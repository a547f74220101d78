"""The venue's decimal text survives the way through a double: up to 15 significant digits."""

from __future__ import annotations

import struct
from decimal import Decimal

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st


@st.composite
def decimal_texts(draw: st.DrawFn) -> str:
    """Text of a positive decimal number with at most 15 significant digits, as venues write it."""
    digits = str(draw(st.integers(0, 10**15 - 1)))
    decimals = draw(st.integers(0, 18))
    padded = digits.rjust(decimals + 1, "0")
    whole, fraction = (padded[:-decimals], padded[-decimals:]) if decimals else (padded, "")
    zeros = "0" * draw(st.integers(0, 3))
    return f"{whole}.{fraction}{zeros}" if fraction + zeros else whole


@given(text=decimal_texts())
@example(text="0.00000001")
@example(text="999999999999999")
@example(text="67432.10")
@example(text="0.000000000999999999999999")
def test_the_shortest_text_of_the_double_is_the_number_that_the_venue_sent(text: str) -> None:
    price = float(text)
    (stored,) = struct.unpack("<d", struct.pack("<d", price))
    assert Decimal(repr(stored)) == Decimal(text)


@given(text=decimal_texts())
def test_the_frame_parser_gives_the_nearest_double(text: str) -> None:
    """Both spellings that venues use: a number in quotes and a bare one."""
    quoted = msgspec.json.decode(f'["{text}"]', type=list[float], strict=False)
    bare = msgspec.json.decode(f"[{text}]", type=list[float])
    assert quoted == bare == [float(text)]


@given(text=decimal_texts(), exponent=st.integers(-12, 6))
def test_scientific_spelling_is_the_same_number(text: str, exponent: int) -> None:
    spelled = f"{text}e{exponent}"
    (number,) = msgspec.json.decode(f"[{spelled}]", type=list[float])
    assert Decimal(repr(number)) == Decimal(text).scaleb(exponent)
