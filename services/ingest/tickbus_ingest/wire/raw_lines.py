"""Frames as JSON lines of the captures' container, written without a Python object a frame."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
from tickbus.compiled import kernel, part

from tickbus_ingest.wire.buffer import Frames

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

_BEGIN = np.frombuffer(b'{"ts":', np.uint8)
_CONN = np.frombuffer(b',"conn":', np.uint8)
_DATA = np.frombuffer(b',"dir":"in","data":"', np.uint8)
_END = np.frombuffer(b'"}\n', np.uint8)
_ROOM = len(_BEGIN) + 20 + len(_CONN) + 20 + len(_DATA) + len(_END)
QUOTE, BACKSLASH = 34, 92


class Line(msgspec.Struct, omit_defaults=True):
    """One line of the container: see the captures' README."""

    ts: int
    conn: int
    dir: str
    url: str | None = None
    data: str | None = None
    data_hex: str | None = None
    """the bytes, where they are no UTF-8 text"""


@part
def _put(out: U8, at: int, text: U8) -> int:
    for n in range(len(text)):
        out[np.uint64(at + n)] = text[np.uint64(n)]
    return at + len(text)


@part
def _put_number(out: U8, at: int, value: int) -> int:
    digits = 1
    rest = value // 10
    while rest:
        digits += 1
        rest //= 10
    for n in range(digits):
        out[np.uint64(at + digits - 1 - n)] = 48 + value % 10
        value //= 10
    return at + digits


@kernel
def _write(text: U8, ends: I64, ts: I64, conn: I64, out: U8) -> int:
    """Lines of all frames into `out`; bytes written, -1 when a frame is not plain ASCII text."""
    at = 0
    for n in range(len(ts)):
        at = _put_number(out, _put(out, at, _BEGIN), ts[n])
        at = _put(out, _put_number(out, _put(out, at, _CONN), conn[n]), _DATA)
        for k in range(ends[n], ends[n + 1]):
            byte = text[np.uint64(k)]
            if byte < 32 or byte > 126:
                return -1
            if byte in (QUOTE, BACKSLASH):
                out[np.uint64(at)] = BACKSLASH
                at += 1
            out[np.uint64(at)] = byte
            at += 1
        at = _put(out, at, _END)
    return at


def encode_frames(frames: Frames) -> bytes | memoryview:
    """The lines of received frames."""
    text, ends = frames.joined()
    out = np.empty(2 * len(text) + _ROOM * len(frames.data), np.uint8)
    ts, conn = np.array(frames.received_ns, np.int64), np.array(frames.line, np.int64)
    size = _write(text, ends, ts, conn, out)
    if size >= 0:
        return out[:size].data
    return encode_lines(
        one_line(ts, conn, "in", data)
        for ts, conn, data in zip(frames.received_ns, frames.line, frames.data, strict=True)
    )


def one_line(ts: int, conn: int, direction: str, data: bytes, url: str | None = None) -> Line:
    """A line of any kind; bytes that are no text are kept as hex."""
    try:
        return Line(ts, conn, direction, url, data.decode())
    except UnicodeDecodeError:
        return Line(ts, conn, direction, url, data_hex=data.hex())


encode_lines = msgspec.json.Encoder().encode_lines
