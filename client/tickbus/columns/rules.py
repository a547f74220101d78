"""The message types as arrays for the message kernels, made from the types themselves.

Tags number the types, fields count from the tag at 0: `tickbus_schemas.messages` has both. A type
that is no message, or a field that a type has not, is NOTHING.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import inspect
from tickbus_schemas.layout import ITEM_BYTES
from tickbus_schemas.messages import MESSAGES, SCHEMA, BookBatch, Header

from tickbus.columns.kernels.message import (
    BINARIES,
    BINARY,
    BOOL,
    CELLS,
    DEPTH_FIELD,
    FLOAT,
    INT,
    KIND,
    LEVELS,
    LEVELS_FIELD,
    MORE_FIELD,
    ROWS,
    ROWS_AND_ONE,
    ROWS_FIELD,
    RULE,
    TEXT,
    TEXTS,
)

Int64s = npt.NDArray[np.int64]

_PER = {"rows": ROWS, "rows+1": ROWS_AND_ONE, "levels": LEVELS, "rows*depth": CELLS, "text": 0}
_INT_BOUNDS = (-(2**63), 2**63 - 1)


def _tag(kind: type[Header]) -> int:
    tag = kind.__struct_config__.tag
    assert isinstance(tag, int), kind
    return tag


TAGS: dict[type[Header], int] = {kind: _tag(kind) for kind in MESSAGES}
KINDS: dict[int, type[Header]] = {tag: kind for kind, tag in TAGS.items()}
FIELDS: dict[type[Header], dict[str, int]] = {
    kind: {name: place for place, name in enumerate(kind.__struct_encode_fields__, 1)}
    for kind in MESSAGES
}
"""Where each field of a type stands in its array."""
_FIELDS_MAX = 1 + max(map(len, FIELDS.values()))


def _content(field: Any) -> tuple[int, int, int]:
    """WHAT, LOW and HIGH of a field, as msgspec's own decoder would hold them."""
    match field:
        case inspect.IntType(ge=low, le=high, gt=None, lt=None, multiple_of=None):
            least, most = _INT_BOUNDS
            return INT, least if low is None else low, most if high is None else high
        case inspect.BoolType():
            return BOOL, 0, 1
        case inspect.FloatType(ge=None, le=None, gt=None, lt=None, multiple_of=None):
            return FLOAT, 0, 8
        case inspect.StrType(max_length=characters, min_length=None, pattern=None):
            return TEXT, 0, _INT_BOUNDS[1] if characters is None else characters
        case inspect.BytesType(min_length=None, max_length=None):
            return BINARY, 0, _INT_BOUNDS[1]
        case inspect.ListType(item_type=item, min_length=None, max_length=None):
            what, low, high = _content(item)
            return {TEXT: TEXTS, BINARY: BINARIES}[what], low, high
    raise TypeError(f"the message kernel knows no field such as {field}")


def _rules() -> tuple[Int64s, Int64s]:
    rules = np.zeros((max(KINDS) + 1, _FIELDS_MAX, RULE), np.int64)
    kinds = np.zeros((max(KINDS) + 1, KIND), np.int64)
    kinds[:, ROWS_FIELD] = -1
    kinds[:, MORE_FIELD] = FIELDS[BookBatch]["more"]
    for kind, tag in TAGS.items():
        places = FIELDS[kind]
        described: Any = inspect.type_info(kind)
        rules[tag, 0] = (INT, tag, tag, 0, 0)
        for field in described.fields:
            per = width = 0
            if field.name in kind.columns:
                column = kind.columns[field.name]
                per, width = _PER[column.per], ITEM_BYTES[column.code]
            rules[tag, places[field.name]] = (*_content(field.type), per, width)
        rules[tag, places["schema"], 1:3] = SCHEMA
        if "values" in places:
            rules[tag, places["values"], 3:] = (ROWS, 8)
        if kind.columns:
            kinds[tag, ROWS_FIELD] = places["timestamp"]
            kinds[tag, LEVELS_FIELD] = places.get("side", 0)
            kinds[tag, DEPTH_FIELD] = places.get("depth", 0)
    return rules, kinds


FIELD_RULES, TYPE_RULES = _rules()
"""i64[tags, fields, RULE] and i64[tags, KIND] for `kernels.message.scan`."""

EXCHANGE, TICKER, EPOCH, MESSAGE_NO, MORE = (
    FIELDS[BookBatch][name] for name in ("exchange", "ticker", "epoch", "message_no", "more")
)
"""Of every type."""
INTERVAL = FIELDS[BookBatch]["interval_ms"]
"""Of every derived type."""
