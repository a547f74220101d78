"""Messages to bytes and back, with every check that must pass before a kernel sees a column.

`decode` checks the structure (schema, bounds, layout of the columns, subject against payload,
size) and, unless told otherwise, the values. Readers that handle many messages at once leave the
values to one vectorised pass over their concatenated columns; the rules are those of `values`.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import NamedTuple, Union

import msgspec
from msgspec import structs

from tickbus_schemas import subjects
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.feeds import OF_HEAD, OF_NAME
from tickbus_schemas.layout import rows
from tickbus_schemas.messages import MAX_MESSAGE_BYTES, MESSAGES, SCHEMA, Header, Message
from tickbus_schemas.values import check_values, column

if sys.byteorder != "little":  # columns are read in place as little-endian
    raise ImportError("tickbus runs on little-endian machines only")

_EXCHANGES = frozenset(int(exchange) for exchange in Exchange)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Union[MESSAGES]).decode  # noqa: UP007  # a union made of a list


def encode(message: Message) -> bytes:
    """The bytes of a message; Reject when they would exceed MAX_MESSAGE_BYTES."""
    data = _encode(message)
    if len(data) > MAX_MESSAGE_BYTES:
        raise Reject(
            f"{type(message).__name__} of {message.ticker!r}: {len(data)} bytes, "
            f"at most {MAX_MESSAGE_BYTES}: split it"
        )
    return data


def number(value: int) -> bytes:
    """The bytes of a number inside a message."""
    return _encode(value)


def frame(message: Message) -> tuple[bytes, bytes]:
    """The bytes of a message before and behind its `message_no`, up to its columns.

    For whoever writes many: `before + number(message_no) + behind` and then each column as a
    msgpack binary is what `encode` gives. The columns must be the last fields of the message.
    """
    empty = structs.replace(message, **dict.fromkeys(message.columns, b""))
    zero, one = (_encode(structs.replace(empty, message_no=n)) for n in (0, 1))
    place = next(at for at, byte in enumerate(zero) if byte != one[at])
    return zero[:place], zero[place + 1 : len(zero) - 2 * len(message.columns)]


def decode(data: bytes, subject: str | None = None, *, values: bool = True) -> Message:
    """The message in `data`; Reject for anything that is not one of ours, whole and sane.

    `subject`: where it was found; exchange, ticker and feed or interval must agree with it.
    `values=False` leaves out the pass over the column values (see the module's text).
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise Reject(f"{len(data)} bytes: at most {MAX_MESSAGE_BYTES}")
    try:
        message: Message = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Reject(_why_undecodable(data, error)) from None
    if message.schema != SCHEMA:
        raise Reject(_unknown_schema(message.schema))
    if message.exchange not in _EXCHANGES:
        raise Reject(f"unknown exchange code {message.exchange}")
    rows(message)
    if subject is not None and not _agrees(message, home(subject)):
        raise Reject(
            f"payload ({type(message).__name__} of {message.ticker!r}) is not of {subject[:120]}"
        )
    if values:
        check_values(message)
    return message


class Home(NamedTuple):
    """What a message must be to stand on a subject; None where the subject does not say."""

    kind: type[Header]
    exchange: int | None = None
    ticker: str | None = None
    interval_ms: int | None = None


@lru_cache(maxsize=65_536)  # a subject is parsed once, not once a message
def home(subject: str) -> Home:
    """What a message on this subject must be; Reject for a subject that is none of ours."""
    head, *rest = subjects.bare(subject).split(".")
    if head in OF_HEAD and rest:
        return Home(OF_HEAD[head])
    address = subjects.parse(subject)
    exchange, ticker = int(address.exchange), address.ticker
    if address.kind == "md":
        return Home(OF_NAME[address.leaf].kind, exchange, ticker)
    length_ms = 0 if address.leaf == "change" else subjects.interval_ms(address.leaf)
    return Home(OF_NAME[address.kind].kind, exchange, ticker, length_ms)


def _agrees(message: Message, home: Home) -> bool:
    kind, exchange, ticker, interval_ms = home
    return kind is type(message) and (
        exchange is None
        or (
            exchange == message.exchange
            and ticker == message.ticker
            and (interval_ms is None or interval_ms == getattr(message, "interval_ms", None))
        )
    )


def _unknown_schema(schema: int) -> str:
    return f"schema {schema} is unknown here (this reader knows {SCHEMA}): update the reader"


def _why_undecodable(data: bytes, error: Exception) -> str:
    """A message of a newer schema fails anywhere; say that, rather than where it failed."""
    try:
        parts = msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, TypeError):
        return f"not a message: {error}"
    match parts:
        case [_, int(schema), *_] if schema != SCHEMA:
            return _unknown_schema(schema)
    return f"not a message: {error}"


__all__ = [
    "MESSAGES",
    "Home",
    "check_values",
    "column",
    "decode",
    "encode",
    "frame",
    "home",
    "number",
    "rows",
]
