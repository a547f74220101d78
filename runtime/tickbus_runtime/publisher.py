"""Publishes to JetStream in flushes: pipelined, answered one by one, in order, nothing twice."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One message to be stored."""

    subject: str
    payload: bytes
    msg_id: str
    """same id, same message: the server stores it once within its duplicate window"""
    headers: dict[str, str] | None = None


class Outcome(NamedTuple):
    """What became of a message: stored (`code` is 0), or refused for good."""

    seq: int = 0
    duplicate: bool = False
    """an earlier attempt had stored it"""
    code: int = 0
    """the server's err_code of a refusal"""
    text: str = ""

    @property
    def stored(self) -> bool:
        """Whether it is in the stream."""
        return self.code == 0
