"""Annotations of message fields.

A column is declared once, as an annotated field such as `price: F64`. NumPy dtype, Arrow type, JSON
Schema, length, value checks and nullability are read from the annotation.
"""

from __future__ import annotations

from enum import EnumMeta, IntEnum, IntFlag
from math import nan
from typing import Annotated, Any, NamedTuple, TypeAlias

ABSENT = -(2**63)
"""An integer that the venue did not send; null in Parquet."""


class Width(NamedTuple):
    """A column's element: its NumPy code, how many a row has, and the value for a missing one."""

    code: str
    per: str = "rows"
    """rows, rows+1 (offsets of a text), text (its bytes), levels, or rows*depth"""
    absent: float | None = None
    """the value that means "not known" or "not sent" (null in Parquet); None: never missing"""


class Codes(NamedTuple):
    """Names of a field's numbers. A column may hold no other number."""

    names: dict[int, str]

    @classmethod
    def of(cls, codes: type[IntEnum]) -> Codes:
        """All members of an enumeration."""
        return cls({int(code): code.name for code in codes})


I64: TypeAlias = Annotated[bytes, Width("<i8")]
I64OrNull: TypeAlias = Annotated[bytes, Width("<i8", absent=ABSENT)]
I64OrZero: TypeAlias = Annotated[bytes, Width("<i8", absent=0)]
"""0 is null: a time that some venues do not send"""
F64: TypeAlias = Annotated[bytes, Width("<f8")]
"""finite"""
F64OrNull: TypeAlias = Annotated[bytes, Width("<f8", absent=nan)]
"""finite or NaN"""
I8: TypeAlias = Annotated[bytes, Width("<i1")]
U16: TypeAlias = Annotated[bytes, Width("<u2")]
I32: TypeAlias = Annotated[bytes, Width("<i4")]
I8OfLevels: TypeAlias = Annotated[bytes, Width("<i1", "levels")]
F64OfLevels: TypeAlias = Annotated[bytes, Width("<f8", "levels")]
F64OfCells: TypeAlias = Annotated[bytes, Width("<f8", "rows*depth")]
TextOffsets: TypeAlias = Annotated[bytes, Width("<i4", "rows+1")]
"""`<name>_offsets`: where each text begins in `<name>_bytes`, and where the last one ends"""
TextBytes: TypeAlias = Annotated[bytes, Width("<i1", "text")]


def columns_of(annotations: dict[str, Any]) -> dict[str, Width]:
    """The columns among annotated fields, in their order."""
    return dict(_marked(annotations, Width))


def codes_of(annotations: dict[str, Any]) -> dict[str, Codes]:
    """Fields and columns that hold codes."""
    return dict(_marked(annotations, Codes))


def bits_of(annotations: dict[str, Any]) -> dict[str, type[IntFlag]]:
    """Columns whose values are sets of flags."""
    return dict(_marked(annotations, EnumMeta))


def _marked(annotations: dict[str, Any], kind: type[Any]) -> list[tuple[str, Any]]:
    return [
        (name, mark)
        for name, annotation in annotations.items()
        for mark in getattr(annotation, "__metadata__", ())
        if isinstance(mark, kind)
    ]


def texts_of(columns: dict[str, Width]) -> tuple[str, ...]:
    """Names of the texts, each of which is two columns."""
    return tuple(
        name.removesuffix("_bytes") for name, width in columns.items() if width.per == "text"
    )
