"""What JetStream says of a message it delivers.

The reply subject of a delivered message holds it, as 9 tokens or, with a domain, 11 or 12:
`$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<seq>.<consumer seq>.<ns>.<pending>`.
https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md
"""

from __future__ import annotations

import msgspec

PREFIX = b"$JS.ACK."
_SEQ = {9: 5, 11: 7, 12: 7}
"""Which token is the sequence, by their number."""


class Deliveries(msgspec.Struct, gc=False):
    """Of messages that follow each other, one item each."""

    seqs: list[int]
    """sequence in the stream"""
    stored_ns: list[int]
    """when the server stored it, ns UTC"""
    pending: int
    """messages in the stream behind the last of these"""


def delivery(reply: bytes) -> Deliveries | None:
    """Of one message, by its reply subject; None for any other reply."""
    if not reply.startswith(PREFIX):
        return None
    tokens = reply.split(b".")
    seq = _SEQ.get(len(tokens))
    if seq is None:
        return None
    try:
        return Deliveries([int(tokens[seq])], [int(tokens[seq + 2])], int(tokens[seq + 3]))
    except ValueError:
        return None
