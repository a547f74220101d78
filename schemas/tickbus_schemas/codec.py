"""Messages to bytes and back, with every check that must pass before a kernel sees a column.

`decode` checks the structure (schema, layout of the columns, subject against payload, size) and,
unless told otherwise, the values. Readers that handle many messages at once leave the values to
one vectorised pass over their concatenated columns (`tickbus.columns`); the rules are the same.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable
from functools import lru_cache
from math import isfinite
from operator import attrgetter
from typing import Any, cast

import msgspec

from tickbus_schemas import subjects
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import (
    FEED_OF,
    MAX_DEPTH,
    MAX_MESSAGE_BYTES,
    MAX_ROWS,
    MESSAGES,
    SCHEMA,
    BarBatch,
    BboBatch,
    BookBatch,
    Clock,
    DeadLetter,
    FeatureBatch,
    Fence,
    Header,
    L2Batch,
    Message,
    Status,
    TradeBatch,
    Width,
)

if sys.byteorder != "little":  # columns are read in place as little-endian
    raise ImportError("tickbus runs on little-endian machines only")

_ITEM_BYTES = {"<i8": 8, "<f8": 8, "<i4": 4, "<u2": 2, "<i1": 1}
_CAST = {"<i8": "q", "<f8": "d", "<i4": "i", "<u2": "H", "<i1": "b"}
_KIND_OF: dict[type[Header], str] = {BookBatch: "book", BarBatch: "bar", FeatureBatch: "feature"}
_EXCHANGES = frozenset(int(exchange) for exchange in Exchange)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode
_address = lru_cache(maxsize=65_536)(subjects.parse)


def encode(message: Message) -> bytes:
    """The bytes of a message; Reject when they would exceed MAX_MESSAGE_BYTES."""
    data = _encode(message)
    if len(data) > MAX_MESSAGE_BYTES:
        raise Reject(
            f"{type(message).__name__} of {message.ticker!r}: {len(data)} bytes, "
            f"at most {MAX_MESSAGE_BYTES}: split it"
        )
    return data


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
    if message.epoch < 0 or message.message_no < 0 or message.more < 0:
        raise Reject("epoch, message_no and more must not be negative")
    rows(message)
    if subject is not None:
        _check_subject(message, subject)
    if values:
        check_values(message)
    return message


def _unknown_schema(schema: object) -> str:
    return f"schema {schema!r} is unknown here (this reader knows {SCHEMA}): update the reader"


def _why_undecodable(data: bytes, error: Exception) -> str:
    """A message of a newer schema fails anywhere; say that, rather than where it failed."""
    try:
        parts = msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, TypeError):
        return f"not a message: {error}"
    if isinstance(parts, list) and len(parts) > 1 and parts[1] != SCHEMA:
        return _unknown_schema(parts[1])
    return f"not a message: {error}"


class _Layout:
    """Lengths that the columns of one message type must have; grouped, for one look a group."""

    def __init__(self, columns: dict[str, Width]) -> None:
        groups: dict[tuple[str, int], list[str]] = {}
        for name, width in columns.items():
            if width.per != "text":
                groups.setdefault((width.per, _ITEM_BYTES[width.code]), []).append(name)
        # The last name is repeated: attrgetter gives a tuple only for two names or more.
        self.groups = [
            (per, size, tuple(names), attrgetter(*names, names[-1]))
            for (per, size), names in groups.items()
        ]

    def check(self, message: Header, items: dict[str, int]) -> None:
        """Reject unless each column has `items[per]` items."""
        for per, item_bytes, names, columns in self.groups:
            length = items[per] * item_bytes
            if set(map(len, columns(message))) != {length}:
                wrong = next(name for name in names if len(getattr(message, name)) != length)
                raise Reject(
                    f"{wrong}: {len(getattr(message, wrong))} bytes where {items[per]} values of "
                    f"{item_bytes} bytes belong"
                )


_LAYOUTS = {kind: _Layout(kind.columns) for kind in MESSAGES if kind.columns}


def rows(message: Message) -> int:
    """Rows of a batch (packets of an L2Batch), 1 for a message without columns.

    Reject unless every column has the length that the others imply.
    """
    if isinstance(message, (Status, Fence, Clock, DeadLetter)):
        return 1
    count = len(message.timestamp) >> 3
    items = {"rows": count}
    most = count
    if isinstance(message, L2Batch):
        items["levels"] = len(message.side)
        most = max(count, len(message.side))
    elif isinstance(message, TradeBatch):
        items["rows+1"] = count + 1
    elif isinstance(message, BookBatch):
        if not 0 < message.depth <= MAX_DEPTH:
            raise Reject(f"depth {message.depth}: 1 to {MAX_DEPTH}")
        items["rows*depth"] = count * message.depth
    elif isinstance(message, FeatureBatch):
        _check_feature_layout(message, count)
    if most > MAX_ROWS:
        raise Reject(f"{most} rows in one message: at most {MAX_ROWS}")
    _LAYOUTS[type(message)].check(message, items)
    return count


def _check_feature_layout(message: FeatureBatch, count: int) -> None:
    if len(message.values) != len(message.names) or len(set(message.names)) != len(message.names):
        raise Reject("features: one column for each name, each name once")
    if any(len(column) != 8 * count for column in message.values):
        raise Reject("features: a column has not one value a row")


def _check_subject(message: Message, subject: str) -> None:
    if isinstance(message, (Fence, Clock, DeadLetter)):
        return  # their subjects name a shard or a service; the stream they came from says which
    address = _address(subject)
    kind = _KIND_OF.get(type(message), "md")
    if kind == "md":
        agrees = address.leaf == FEED_OF[type(message)]
    else:
        length_ms = cast(BookBatch | BarBatch | FeatureBatch, message).interval_ms
        agrees = address.leaf == (subjects.interval_token(length_ms) if length_ms else "change")
    if not (
        agrees
        and address.kind == kind
        and address.exchange == message.exchange
        and address.ticker == message.ticker
    ):
        raise Reject(
            f"payload ({type(message).__name__} of {message.ticker!r}) is not of {subject}"
        )


def column(data: bytes, code: str) -> memoryview:
    """The values of a column as Python numbers, without a copy; code as in `Width`."""
    return memoryview(data).cast(cast(Any, _CAST[code]))


def check_values(message: Header) -> None:
    """Reject unless enums are in range, prices and quantities finite, counts consistent."""
    if isinstance(message, L2Batch):
        _require(message, "side", (1, -1))
        _require(message, "action", (1, 2, 3))
        _finite(message, "price", "qty")
        levels = column(message.levels, "<i4")
        if any(count < 0 for count in levels) or sum(levels) != len(message.side):
            raise Reject("levels: counts that are not those of the level rows")
    elif isinstance(message, TradeBatch):
        _require(message, "side", (1, -1, 0))
        _finite(message, "price", "qty")
        _check_text(message)
    elif isinstance(message, BookBatch):
        _finite(message, "bid_px", "bid_sz", "ask_px", "ask_sz")
        for name in ("bid_levels", "ask_levels"):
            if any(not 0 <= n <= message.depth for n in column(getattr(message, name), "<i4")):
                raise Reject(f"{name}: not within 0 and depth")
    elif isinstance(message, BboBatch):
        _finite(message, "bid_px", "bid_sz", "ask_px", "ask_sz")


def _require(message: Header, name: str, allowed: Iterable[int]) -> None:
    if not set(column(getattr(message, name), "<i1")) <= set(allowed):
        raise Reject(f"{name}: a value that is none of {sorted(allowed)}")


def _finite(message: Header, *names: str) -> None:
    for name in names:
        if not all(map(isfinite, column(getattr(message, name), "<f8"))):
            raise Reject(f"{name}: a value that is not finite")


def _check_text(message: TradeBatch) -> None:
    offsets = column(message.trade_id_offsets, "<i4").tolist()
    if offsets[0] != 0 or offsets[-1] != len(message.trade_id_bytes):
        raise Reject("trade_id: offsets do not span the text")
    if any(start > end for start, end in itertools.pairwise(offsets)):
        raise Reject("trade_id: offsets go back")
    if not message.trade_id_bytes.isascii():
        raise Reject("trade_id: not ASCII")


__all__ = ["MESSAGES", "check_values", "column", "decode", "encode", "rows"]
