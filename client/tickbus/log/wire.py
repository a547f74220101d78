"""Messages in the bytes that a NATS server sends.

`MSG <subject> <sid> [reply] <bytes>` or `HMSG <subject> <sid> [reply] <header> <bytes>`; after each
line come that many bytes and a line end.
https://docs.nats.io/reference/reference-protocols/nats-protocol

Two readers give the same messages for the same bytes: `read_plainly` here, and the kernel of
`tickbus.log.kernels.wire` for processes that run kernels anyway (decision 7). A run ends before a
message of another kind, and may end earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from typing import TypeAlias

import msgspec
from nats.errors import ProtocolError

from tickbus.log.delivery import Deliveries, Delivery, delivery, joined


class Messages(msgspec.Struct, gc=False):
    """Consecutive messages of one subscription, one item each."""

    subjects: Sequence[bytes]
    data: Sequence[bytes]
    headers: Sequence[bytes | None]
    """the header block as it came, None if none"""
    deliveries: Deliveries | None
    """their places in a stream; None if JetStream did not deliver them"""

    def each(self) -> Iterator[tuple[bytes, bytes, bytes | None]]:
        """Subject, payload and header block of each."""
        return zip(self.subjects, self.data, self.headers, strict=True)


class Run(msgspec.Struct, gc=False):
    """The messages from a place in the bytes up to `end`."""

    sid: int
    """subscription id"""
    end: int
    messages: Messages | None
    """None when the subscription is not wanted"""


RunReader: TypeAlias = Callable[[bytes, int, Container[int]], Run | None]
"""Takes bytes, a place in them and the wanted subscriptions; returns the run that begins there.

None if no complete message begins there, or none that this reader understands. ProtocolError for a
malformed line.
"""


class Head(msgspec.Struct, gc=False):
    """The parsed line before a message."""

    subject: bytes
    sid: int
    reply: bytes
    """b"" if none"""
    block: int
    """where the header block begins, or the payload if there is none"""
    body: int
    """where the payload begins"""
    end: int
    """where the payload ends; a line end follows"""


def head(data: bytes, place: int) -> Head | None:
    """The line at `place`; None if it is incomplete or not a message's."""
    block = data.find(b"\r\n", place) + 2
    words = data[place : block - 2].split() if block > 1 else None
    if not words or words[0] not in _REPLIES:
        return None
    without, with_reply = _REPLIES[words[0]]
    try:
        sid, body, end = int(words[2]), block, block + int(words[-1])
        if len(words) not in (without, with_reply):
            raise ValueError
        if words[0] == b"HMSG":
            body += int(words[-2])
        if not block <= body <= end:
            raise ValueError
    except (ValueError, IndexError):
        raise ProtocolError("nats: malformed MSG") from None
    return Head(words[1], sid, words[3] if len(words) == with_reply else b"", block, body, end)


_REPLIES = {b"MSG": (4, 5), b"HMSG": (5, 6)}
"""Words of a line without and with a reply."""


def read_plainly(data: bytes, place: int, wanted: Container[int]) -> Run | None:
    """Line by line; a RunReader."""
    line, size = head(data, place), len(data)
    if line is None or line.end + 2 > size:
        return None
    sid = line.sid
    if sid not in wanted:
        return Run(sid, line.end + 2, None)
    subjects, bodies, blocks = [], [], []
    delivered: list[Delivery | None] = []
    while line is not None and line.sid == sid and line.end + 2 <= size:
        of_this = delivery(line.reply)
        if delivered and (of_this is None) != (delivered[0] is None):
            break
        block, body = line.block, line.body
        subjects.append(line.subject)
        bodies.append(data[body : line.end])
        blocks.append(data[block:body] if body > block else None)
        delivered.append(of_this)
        place = line.end + 2
        try:
            line = head(data, place)
        except ProtocolError:
            break  # the next call says it again
    return Run(sid, place, Messages(subjects, bodies, blocks, joined(delivered)))
