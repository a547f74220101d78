"""The check that a publisher is still its shard's last one, made by the server at each message.

Whoever takes a shard over writes a fence. From then on the server refuses whatever asks for the
fence before it. https://docs.nats.io/nats-concepts/jetstream/headers
"""

from __future__ import annotations

from typing import NamedTuple

from tickbus_schemas.errors import Fatal


class FenceCheck(NamedTuple):
    """The fence that must be the last one of its subject for a message to be stored."""

    subject: str
    seq: int
    """its sequence in the stream"""

    def headers(self) -> dict[str, str]:
        """Headers that ask the server for the check."""
        return {
            "Nats-Expected-Last-Subject-Sequence": str(self.seq),
            "Nats-Expected-Last-Subject-Sequence-Subject": self.subject,
        }


class Fenced(Fatal):
    """Another publisher has announced itself: nothing of ours is stored any more."""
