"""What turns a stream into derived streams: a pure fold over the log, and the loop that serves it.

A fold's outputs are a pure function of the log: not of how groups were cut, nor of restarts. Each
output names the input message that closed its rows, so that one made again is known.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
from tickbus.group import Group


class Output(msgspec.Struct, frozen=True, gc=False):
    """One derived message; at most one for each (stream, in_seq, k)."""

    stream: str
    subject: str
    payload: bytes
    in_seq: int
    """stream sequence of the input message that closed its rows"""
    k: int
    """counts the outputs of that input message in that stream from 0"""
    traceparent: str | None = None


class Fold(Protocol):
    """State that stream messages are folded into."""

    schema: int
    """of the state that `dump` gives; another one is not restored"""

    def apply(self, group: Group) -> list[Output]:
        """Fold a group in; the outputs, for each stream in order of (in_seq, k)."""

    def dump(self) -> bytes:
        """The whole state."""

    def restore(self, state: bytes) -> None:
        """Go on from a state of `dump`; ValueError when it is not one."""
