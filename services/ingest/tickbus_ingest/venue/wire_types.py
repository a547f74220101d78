"""Types and decoders that venue files share for the JSON of their frames.

Numbers that a venue writes as text are declared `float` and decoded by `json_decoder`, which reads
a decimal text as a number in C. Levels stay `Raw`: `rows.l2` takes their text as it is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw
from tickbus_schemas.errors import Reject

Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Time = Annotated[int, Meta(ge=1, le=2**60)]
"""Milliseconds or microseconds since 1970: they are told apart by their size."""

Number = float | Literal[""]
"""A number that is the empty text where the venue has none."""

Wire = TypeVar("Wire")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS_MAX = 10**14
"""As milliseconds this is the year 5138, as microseconds 1973."""


def json_decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """A decoder of frames: texts that hold numbers are numbers where the type says so."""
    return msgspec.json.Decoder(kind, strict=False)


def decoded(decoder: msgspec.json.Decoder[Wire], data: bytes | Raw) -> Wire:
    """The wire type in `data`; Reject with the decoder's reason."""
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Reject(f"{str(error)[:200] or type(error).__name__}") from None


def known(number: Number) -> float | None:
    """A number that may be missing; None: it is."""
    return number if isinstance(number, float) else None


def us_of(time: int) -> int:
    """Microseconds of a time in milliseconds or microseconds."""
    return time * 1000 if time < MS_MAX else time


def us_of_datetime(time: datetime) -> int:
    """Microseconds of an RFC 3339 time, as msgspec decodes it; Reject where its zone is missing."""
    if time.tzinfo is None:
        raise Reject(f"time {time.isoformat()} has no zone")
    since = time - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
