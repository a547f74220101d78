"""Decimal texts as the JSON numbers of venues that quote none."""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

_NUMBER = re.compile(r"-?\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,2})?", re.ASCII)


def is_number(text: str) -> bool:
    """Whether a text is a number that a price or a quantity may be.

    An exponent of three digits is none: its decimals would fill the memory.
    """
    return _NUMBER.fullmatch(text) is not None


def json_number(text: str) -> msgspec.Raw:
    """A decimal text as a JSON number with all its digits."""
    return msgspec.Raw(text.encode())


def decimal_of(number: msgspec.Raw) -> str:
    """A JSON number such as 1.2E-7 as decimal text. Errors: ValueError for anything else."""
    text = bytes(number).decode()
    if not is_number(text):
        raise ValueError(f"no number: {text[:40]}")
    return format(Decimal(text), "f") if "e" in text.lower() else text
