"""MEXC's messages by a library that shares nothing with ours: what it writes, we must read.

The fields are those of https://github.com/mexcdevelop/websocket-proto. The hexadecimal frames of
`venues/mexc` were written by it, too.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]  # the library ships no types
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

_TEXT, _INT32, _INT64, _MESSAGE = (
    descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,
)
_OPTIONAL, _REPEATED = 1, 3
_LEVEL = (("price", 1, _TEXT), ("quantity", 2, _TEXT))
_FIELDS: dict[str, tuple[tuple[str, int, Any], ...]] = {
    "Level": _LEVEL,
    "Depth": (
        ("asks", 1, "Level"), ("bids", 2, "Level"), ("eventType", 3, _TEXT),
        ("fromVersion", 4, _TEXT), ("toVersion", 5, _TEXT), ("lastOrderCreateTime", 6, _INT64),
    ),
    "Deal": (*_LEVEL, ("tradeType", 3, _INT32), ("time", 4, _INT64), ("tradeId", 5, _TEXT)),
    "Deals": (("deals", 1, "Deal"), ("eventType", 2, _TEXT)),
    "Quote": (
        ("bidPrice", 1, _TEXT), ("bidQuantity", 2, _TEXT), ("askPrice", 3, _TEXT),
        ("askQuantity", 4, _TEXT), ("version", 5, _TEXT),
    ),
    "Day": (
        ("symbol", 1, _TEXT), ("price", 2, _TEXT), ("rate", 3, _TEXT), ("zonedRate", 4, _TEXT),
        ("high", 5, _TEXT), ("low", 6, _TEXT), ("volume", 7, _TEXT), ("quantity", 8, _TEXT),
    ),
    "Push": (
        ("channel", 1, _TEXT), ("symbol", 3, _TEXT), ("symbolId", 4, _TEXT),
        ("createTime", 5, _INT64), ("sendTime", 6, _INT64), ("publicMiniTicker", 309, "Day"),
        ("publicSpotKline", 308, "Day"), ("publicAggreDepths", 313, "Depth"),
        ("publicAggreDeals", 314, "Deals"), ("publicAggreBookTicker", 315, "Quote"),
    ),
}  # fmt: skip
_MANY = {"asks", "bids", "deals"}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="mexc.proto", syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            made = message.field.add(name=field, number=number, json_name=field)
            made.label = _REPEATED if field in _MANY else _OPTIONAL
            made.type = _MESSAGE if isinstance(kind, str) else kind
            if isinstance(kind, str):
                made.type_name = f".{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in _FIELDS
    }


CLASSES = _classes()


def message(kind: str, **fields: Any) -> bytes:
    """The bytes of one message; nested ones are dicts, or lists of them."""
    made: bytes = CLASSES[kind](**fields).SerializeToString(deterministic=True)
    return made
