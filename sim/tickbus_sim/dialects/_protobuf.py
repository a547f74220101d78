"""Protocol Buffers messages, written and read plainly.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterable

from tickbus_sim.dialect import Binary

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}
Value = int | str | bytes
Fields = dict[int, list[int | bytes]]
"""Number -> the values of all fields of that number, in their order."""


def written(fields: Iterable[tuple[int, Value]]) -> Binary:
    """A message of these fields; whole numbers have no sign."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(_varint(number << 3 | _VARINT) + _varint(value))
        else:
            data = value.encode() if isinstance(value, str) else value
            parts.append(_varint(number << 3 | _BYTES) + _varint(len(data)) + data)
    return Binary(b"".join(parts))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def read(message: bytes) -> Fields:
    """The fields of a message. Errors: ValueError where it is none."""
    found: Fields = {}
    rest = memoryview(message)
    while rest:
        key, rest = _number(rest)
        number, kind = key >> 3, key & 7
        value: int | bytes = 0
        if not number:
            raise ValueError("a field of number 0")
        if kind == _VARINT:
            value, rest = _number(rest)
        elif kind == _BYTES:
            size, rest = _number(rest)
            value, rest = bytes(_first(rest, size)), rest[size:]
        else:
            size = _WIDTHS.get(kind, len(rest) + 1)
            value, rest = bytes(_first(rest, size)), rest[size:]
        found.setdefault(number, []).append(value)
    return found


def _first(data: memoryview, size: int) -> memoryview:
    if size > len(data):
        raise ValueError("a message that was cut")
    return data[:size]


def _number(data: memoryview) -> tuple[int, memoryview]:
    value = 0
    for n, byte in enumerate(data[:10]):
        value |= (byte & 127) << 7 * n
        if byte < 128:
            return value, data[n + 1 :]
    raise ValueError("a number without an end")


def text_of(fields: Fields, number: int) -> str:
    """The text of a field, "" where there is none. Errors: ValueError for what is no text."""
    value = fields.get(number, [b""])[-1]
    if isinstance(value, int):
        raise ValueError(f"field {number} is no text")
    return value.decode()
