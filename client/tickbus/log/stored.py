"""A message as a stream holds it, and what readers note about messages."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from tickbus_schemas.messages import Header


class Stored(msgspec.Struct, gc=False):
    """One stored message, not decoded."""

    seq: int
    stored_ns: int
    """when the server stored it, ns UTC"""
    subject: str
    data: bytes
    headers: bytes | None = None
    """the NATS header block as it came, or None; see `header`"""


def header(block: bytes | None, name: str) -> str | None:
    """Value of a header in a NATS header block (`NATS/1.0\\r\\nName: value\\r\\n...`), or None.

    https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-4.md
    """
    if block is None:
        return None
    start = block.find(b"\r\n" + name.encode() + b":")
    if start < 0:
        return None
    start += len(name) + 3
    return block[start : block.find(b"\r\n", start)].strip().decode("utf-8", "replace")


class Rejected(NamedTuple):
    """A message that was refused; the group holds nothing of it."""

    seq: int
    stored_ns: int
    subject: str
    reason: str
    data: bytes


class Traced(NamedTuple):
    """A message that carries a sampled packet's trace."""

    seq: int
    stored_ns: int
    traceparent: str
    kind: type[Header]
    ticker: str
    packet_id: int
    """of its last row; -1 if it has none"""


class Missing(NamedTuple):
    """Stream sequences that were not delivered: gone from the stream (expired, deleted)."""

    first_seq: int
    last_seq: int
