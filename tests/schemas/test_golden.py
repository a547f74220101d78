"""The bytes of every message type are fixed: golden.json has the values and beside them the bytes.

A test here that fails means that programs of other people can no longer read the bus. Append a
field with a default and add a case; never change one.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tickbus_schemas import codec
from tickbus_schemas.messages import MESSAGES, Header, Message

from tests.schemas.strategies import pack, same, unpack

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("golden.json").read_text())
KINDS = {kind.__name__: kind for kind in MESSAGES}
every_case = pytest.mark.parametrize(
    "case", CASES, ids=[f"{n}-{case['type']}" for n, case in enumerate(CASES)]
)


def floats(values: list[Any]) -> list[float]:
    """JSON has no NaN: it is written as text."""
    return [float(value) for value in values]


def bytes_of(case: dict[str, Any]) -> bytes:
    return bytes.fromhex("".join(case["hex"]))


def message_of(case: dict[str, Any]) -> Message:
    """The message whose values the case lists."""
    kind: type[Header] = KINDS[case["type"]]
    fields = dict(case["fields"])
    for name, width in kind.columns.items():
        if width.per == "text":
            fields[name] = fields[name].encode()
        elif width.code == "<f8":
            fields[name] = pack("<f8", floats(fields[name]))
        else:
            fields[name] = pack(width.code, fields[name])
    for field in msgspec.structs.fields(kind):
        if field.type is float:
            fields[field.name] = float(fields[field.name])
    if "values" in fields:
        fields["values"] = [pack("<f8", floats(column)) for column in fields["values"]]
    if "data" in fields:
        fields["data"] = bytes.fromhex(fields["data"])
    return kind(**fields)


def test_every_type_has_a_case_and_every_field_has_a_value_in_it() -> None:
    assert {case["type"] for case in CASES} == set(KINDS)
    for case in CASES:
        assert list(case["fields"]) == list(KINDS[case["type"]].__struct_fields__)


@every_case
def test_a_message_is_written_as_these_bytes(case: dict[str, Any]) -> None:
    assert codec.encode(message_of(case)).hex() == bytes_of(case).hex()


@every_case
def test_these_bytes_are_read_as_the_message(case: dict[str, Any]) -> None:
    message = codec.decode(bytes_of(case), case["subject"])
    assert same(message, message_of(case))
    for name, width in message.columns.items():
        if width.per != "text":
            values = unpack(width.code, getattr(message, name))
            for value, expected in zip(values, floats(case["fields"][name]), strict=True):
                assert value == expected or (math.isnan(value) and math.isnan(expected))


@every_case
def test_plain_msgpack_reads_them_in_the_order_of_the_fields(case: dict[str, Any]) -> None:
    """What a reader in another language sees: an array, the type's number first."""
    tag, *parts = msgspec.msgpack.decode(bytes_of(case))
    kind = KINDS[case["type"]]
    assert tag == kind.__struct_config__.tag
    message = message_of(case)
    assert same(parts, [getattr(message, name) for name in kind.__struct_fields__])
