"""Frames as bytes of a socket, and those that do not arrive in their turn.

Server frames are not masked, so a run of frames is one write of headers and payloads:
https://www.rfc-editor.org/rfc/rfc6455#section-5.2
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from itertools import chain

from tickbus_sim.dialect import Binary
from tickbus_sim.faults import Fate, Frame


class Astray(bytes):
    """A frame that does not arrive in its turn on a connection."""

    frame: Frame

    @classmethod
    def of(cls, frame: Frame) -> Astray:
        """The frame's text, with the frame."""
        made = cls(frame.text)
        made.frame = frame
        return made


def on_the_way(frame: Frame) -> bytes:
    """A frame's text; with the frame, where it does not arrive in its turn."""
    return frame.text if frame.fate is Fate.ARRIVES else Astray.of(frame)


def queued_frames(
    texts: Sequence[bytes],
    topic_ids: Sequence[int],
    received_ns: Sequence[int],
    numbers: Sequence[int],
) -> list[Frame]:
    """The frames of these columns [frames]."""
    columns = zip(numbers, texts, topic_ids, received_ns, strict=True)
    return [
        text.frame if isinstance(text, Astray) else Frame(number, text, topic_id, time_ns)
        for number, text, topic_id, time_ns in columns
    ]


def columns_of(frames: Sequence[Frame]) -> tuple[list[bytes], list[int], list[int]]:
    """Texts, topics and receive times."""
    return (
        list(map(on_the_way, frames)),
        [frame.topic_id for frame in frames],
        [frame.received_ns for frame in frames],
    )


_headers: dict[int, bytes] = {}


def _header(size: int) -> bytes:
    """Header of an unmasked text frame in one piece."""
    if size < 126:
        header = bytes((0x81, size))
    elif size < 1 << 16:
        header = b"\x81\x7e" + size.to_bytes(2, "big")
    else:
        return b"\x81\x7f" + size.to_bytes(8, "big")
    _headers[size] = header
    return header


def encode_frames(payloads: Sequence[bytes]) -> bytes:
    """All payloads as WebSocket frames, one after the other."""
    headers = [_headers.get(size) or _header(size) for size in map(len, payloads)]
    if Binary in map(type, payloads):
        for place, payload in enumerate(payloads):
            if type(payload) is Binary:
                headers[place] = b"\x82" + headers[place][1:]
    return b"".join(chain.from_iterable(zip(headers, payloads, strict=True)))


def packed(text: bytes) -> Binary:
    """A frame of a venue whose frames are gzip."""
    return Binary(gzip.compress(text, compresslevel=1, mtime=0))
