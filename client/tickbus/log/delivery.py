"""What JetStream says of a message it delivers.

The reply subject of a delivered message holds it, as 9 tokens or, with a domain, 11 or 12:
`$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<seq>.<consumer seq>.<ns>.<pending>`.
https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

PREFIX = b"$JS.ACK."
_SEQ = {9: 5, 11: 7, 12: 7}
"""Number of tokens -> index of the token that is the sequence."""


Delivery: TypeAlias = tuple[int, int, int]
"""Sequence in the stream, store time in ns, and number of later messages in the stream."""


class Deliveries(msgspec.Struct, gc=False):
    """Of consecutive messages, one item each."""

    seqs: Sequence[int]
    """sequence in the stream"""
    stored_ns: Sequence[int]
    """when the server stored it, ns UTC"""
    pending: int
    """messages in the stream after the last of these"""


def delivery(reply: bytes) -> Delivery | None:
    """What the reply subject of one message says; None if it is not a delivery's."""
    if not reply.startswith(PREFIX):
        return None
    tokens = reply.split(b".")
    seq = _SEQ.get(len(tokens))
    if seq is None:
        return None
    try:
        return int(tokens[seq]), int(tokens[seq + 2]), int(tokens[seq + 3])
    except ValueError:
        return None


def joined(delivered: Sequence[Delivery | None]) -> Deliveries | None:
    """The deliveries of consecutive messages as columns; None if they are no deliveries."""
    if delivered[0] is None:
        return None
    seqs, stored_ns, pending = zip(*filter(None, delivered), strict=True)
    return Deliveries(seqs, stored_ns, pending[-1])
