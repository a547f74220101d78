"""What JetStream says of a message it delivers, read for many messages at once.

The reply subject of a delivered message holds it, as 9 tokens or, with a domain, 11 or 12:
`$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<seq>.<consumer seq>.<ns>.<pending>`.
https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from tickbus.stored import Stored

_TOKENS = 9


Delivered: TypeAlias = tuple[bytes, bytes, bytes, bytes | None]
"""One message as it came: subject, reply subject, payload and header block."""


def pending(delivered: Delivered) -> int:
    """Messages in the stream behind this one."""
    return _place(delivered[1])[2]


def stored_messages(arrived: Sequence[Delivered]) -> list[Stored]:
    """The messages with sequence and store time; all from one consumer."""
    subjects, replies, data, headers = zip(*arrived, strict=True)
    # One split for all: a split for each message would take most of a reader's time.
    tokens = b".".join(replies).split(b".")
    if len(tokens) == _TOKENS * len(replies):
        seqs, times = list(map(int, tokens[5::_TOKENS])), list(map(int, tokens[7::_TOKENS]))
    else:
        places = list(map(_place, replies))
        seqs, times = [place[0] for place in places], [place[1] for place in places]
    return list(map(Stored, seqs, times, map(_text, subjects), data, headers))


def _place(reply: bytes) -> tuple[int, int, int]:
    """Stream sequence, store time in ns, and messages behind it."""
    tokens = reply.split(b".")
    first = 5 if len(tokens) == _TOKENS else 7
    return int(tokens[first]), int(tokens[first + 2]), int(tokens[first + 3])


@lru_cache(maxsize=65_536)
def _text(subject: bytes) -> str:
    return subject.decode("utf-8", "replace")
