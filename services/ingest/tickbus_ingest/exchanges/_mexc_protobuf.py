"""Reads the Protocol Buffers messages that MEXC sends, in kernels.

https://protobuf.dev/programming-guides/encoding/
https://github.com/mexcdevelop/websocket-proto
A message is a row of fields, each with its number; one may hold another message. A library would
make an object of each price level, and Python a loop over them: here levels leave as the JSON text
that `rows.l2` takes.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
from tickbus.compiled import lean_kernel, part
from tickbus_schemas.errors import Reject

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
NO_BYTES = -1
"""Instead of the end of a field that holds a whole number."""
_VARINT_BYTES_MAX = 10
_FRAME_BYTES = 4096
"""Room for a frame of that size is kept; for longer ones it grows."""
_IN_NUMBERS = np.isin(np.arange(256), list(b"0123456789.+-eE"))
"""Whether a decimal number may hold a byte."""

SLOTS = 16
"""Fields of a message that are told by their numbers: those below it."""
DATA = 2 * SLOTS
"""Where the slots tell of a push's data."""
BODIES_FROM = 301
"""Fields of a push from this number on hold its data; one of them does."""


class Depth(msgspec.Struct):
    """What changed in a book: JSON text of both sides, and the versions that they lead between."""

    bids: bytes
    asks: bytes
    first: int
    last: int


class Reader:
    """Reads one frame after the other; the arrays that kernels write to are used again."""

    def __init__(self) -> None:
        self.frame = b""
        self._bytes = np.empty(0, np.uint8)
        self._found: I64
        self._slots: I64 = np.zeros(2 * SLOTS + 3, np.int64)
        self._asks: U8
        self._bids: U8
        self._make_room(_FRAME_BYTES)
        self.open(b"\x22\x010\x2a\x010")
        # A kernel is compiled or loaded when it is called first: not at a frame.
        self.slots(0, 6)
        self.parts(0, 6)
        self.depth(0, 6)

    def _make_room(self, size: int) -> None:
        """A field has two bytes or more; a level as JSON is at most twice as long."""
        self._found = np.empty(2 * size + 8, np.int64)
        self._asks, self._bids = np.empty(2 * size + 8, np.uint8), np.empty(2 * size + 8, np.uint8)

    def open(self, frame: bytes) -> None:
        """From now on places are those in this frame."""
        self.frame = frame
        self._bytes = np.frombuffer(frame, np.uint8)
        if 2 * len(frame) + 8 > len(self._found):
            self._make_room(len(frame))

    def slots(self, start: int, stop: int) -> list[int]:
        """Where the fields of the message between two places begin and end; Reject for none.

        Of field n that is at 2n and 2n + 1, both 0 where the message has none; of a whole number
        the number itself, without a sign, and NO_BYTES. A repeated field is the last one. The last
        three values are the number, begin and end of a push's data, 0 where there is none.
        """
        if not _slots(self._bytes, start, stop, self._slots):
            raise Reject("no message, one that was cut, or two kinds of data")
        found: list[int] = self._slots.tolist()
        return found

    def parts(self, start: int, stop: int) -> list[int]:
        """Begin and end of each message in field 1, in their order; Reject where it is none."""
        count = _parts(self._bytes, start, stop, self._found)
        if count < 0:
            raise Reject("no message, or one that was cut")
        found: list[int] = self._found[: 2 * count].tolist()
        return found

    def text(self, start: int, stop: int) -> str:
        """A field's text; Reject where it is none."""
        if stop == NO_BYTES:
            raise Reject("a number where a text should be")
        try:
            return self.frame[start:stop].decode()
        except UnicodeDecodeError:
            raise Reject("a field that is no text") from None

    def number(self, start: int, stop: int) -> float:
        """A decimal number as text; Reject for anything else."""
        text = self.text(start, stop)
        try:
            if "_" not in text:  # which Python takes in a number
                return float(text)
        except ValueError:
            pass
        raise Reject(f"no number: {text[:40]!r}")

    def depth(self, start: int, stop: int) -> Depth:
        """A PublicAggreDepthsV3Api: 1 asks, 2 bids, 4 fromVersion, 5 toVersion; else Reject."""
        if not _depth(self._bytes, start, stop, self._asks, self._bids, self._found):
            raise Reject("no changes of a book")
        asks, bids, first, first_stop, last, last_stop = self._found[:6].tolist()
        return Depth(
            self._bids[:bids].tobytes(), self._asks[:asks].tobytes(),
            self._version(first, first_stop), self._version(last, last_stop),
        )  # fmt: skip

    def _version(self, start: int, stop: int) -> int:
        digits = self.frame[start:stop]
        if not (digits.isdigit() and len(digits) <= 18):
            raise Reject(f"version {digits[:40]!r}")
        return int(digits)


@part
def _at(body: U8, place: int) -> int:
    """One byte; an unsigned index saves the test for a negative one."""
    byte: int = body[np.uint64(place)]
    return byte


@part
def _key(body: U8, at: int, end: int) -> tuple[int, int]:
    """A whole number of at most 35 bits, and the place behind it; -1: there is none."""
    value = 0
    for n in range(5):
        if at >= end:
            return 0, -1
        byte = _at(body, at)
        at += 1
        value |= (byte & 127) << (7 * n)
        if byte < 128:
            return value, at
    return 0, -1


@part
def _behind(body: U8, kind: int, at: int, end: int) -> tuple[int, int]:
    """Where the value of a field begins and ends; -1 for both: it was cut, or is of no kind."""
    if kind == BYTES:
        size, at = _key(body, at, end)
        if at < 0 or size > end - at:
            return -1, -1
        return at, at + size
    stop = at
    if kind == VARINT:
        for _ in range(_VARINT_BYTES_MAX):
            if stop >= end:
                return -1, -1
            stop += 1
            if _at(body, stop - 1) < 128:
                return at, stop
        return -1, -1
    if kind == FIXED64:
        stop = at + 8
    elif kind == FIXED32:
        stop = at + 4
    else:
        return -1, -1
    return (at, stop) if stop <= end else (-1, -1)


@part
def _quoted(body: U8, start: int, stop: int, out: U8, to: int) -> int:
    """A decimal number as a JSON text; -1 for any other text."""
    out[to] = 34
    to += 1
    for n in range(start, stop):
        char = _at(body, n)
        if not _IN_NUMBERS[char]:
            return -1
        out[np.uint64(to)] = char
        to += 1
    out[to] = 34
    return to + 1 if stop > start else -1


@part
def _level(body: U8, at: int, end: int, out: U8, to: int) -> int:
    """A level, 1 price and 2 quantity, as a JSON array behind those before; -1: it is none."""
    price = price_stop = size = size_stop = -1
    while at < end:
        key, at = _key(body, at, end)
        if at < 0 or key < 8:
            return -1
        start, at = _behind(body, key & 7, at, end)
        if at < 0:
            return -1
        if key == 8 + BYTES:
            price, price_stop = start, at
        elif key == 16 + BYTES:
            size, size_stop = start, at
    if price < 0 or size < 0:
        return -1
    out[to] = 44 if to else 91
    out[to + 1] = 91
    to = _quoted(body, price, price_stop, out, to + 2)
    if to < 0:
        return -1
    out[to] = 44
    to = _quoted(body, size, size_stop, out, to + 1)
    if to < 0:
        return -1
    out[to] = 93
    return to + 1


@part
def _closed(out: U8, to: int) -> int:
    """The array of all levels of a side is at its end."""
    if not to:
        out[0] = 91
        to = 1
    out[to] = 93
    return to + 1


@part
def _whole(body: U8, start: int, stop: int) -> int:
    """The whole number in these bytes."""
    value, shift = 0, 0
    for n in range(start, stop):
        value |= (_at(body, n) & 127) << shift
        shift += 7
    return value


@lean_kernel
def _slots(body: U8, at: int, end: int, found: I64) -> bool:
    """Writes where the fields of a message are, see `Reader.slots`; False: it is none."""
    found[:] = 0
    while at < end:
        key, at = _key(body, at, end)
        if at < 0 or key < 8:
            return False
        start, at = _behind(body, key & 7, at, end)
        if at < 0:
            return False
        number, kind = key >> 3, key & 7
        if number >= BODIES_FROM:
            if found[DATA] or kind != BYTES:
                return False
            found[DATA], found[DATA + 1], found[DATA + 2] = number, start, at
        elif number < SLOTS and kind == BYTES:
            found[2 * number], found[2 * number + 1] = start, at
        elif number < SLOTS and kind == VARINT:
            found[2 * number], found[2 * number + 1] = _whole(body, start, at), NO_BYTES
    return True


@lean_kernel
def _parts(body: U8, at: int, end: int, found: I64) -> int:
    """Writes begin and end of each message in field 1; how many, -1: there are others in it."""
    count = 0
    while at < end:
        key, at = _key(body, at, end)
        if at < 0 or key < 8:
            return -1
        start, at = _behind(body, key & 7, at, end)
        if at < 0:
            return -1
        if key == 8 + BYTES:
            found[2 * count], found[2 * count + 1] = start, at
            count += 1
        elif key >> 3 == 1:
            return -1
    return count


@lean_kernel
def _depth(body: U8, at: int, end: int, asks: U8, bids: U8, found: I64) -> bool:
    """Writes both sides, and to `found` their ends and the places of both versions; False: no."""
    asks_stop, bids_stop = 0, 0
    found[2:6] = 0
    while at < end:
        key, at = _key(body, at, end)
        if at < 0 or key < 8:
            return False
        start, at = _behind(body, key & 7, at, end)
        if at < 0:
            return False
        if key == 8 + BYTES:
            asks_stop = _level(body, start, at, asks, asks_stop)
        elif key == 16 + BYTES:
            bids_stop = _level(body, start, at, bids, bids_stop)
        elif key == 32 + BYTES:
            found[2], found[3] = start, at
        elif key == 40 + BYTES:
            found[4], found[5] = start, at
        if asks_stop < 0 or bids_stop < 0:
            return False
    found[0], found[1] = _closed(asks, asks_stop), _closed(bids, bids_stop)
    return True
