"""A socket's messages on their way to the buffer: joined from fragments, unpacked, in order."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns, time_ns

from tickbus_ingest.wire.buffer import Buffer
from tickbus_ingest.wire.unpacking import Unpack

PARTS_MAX = 10_000
"""Fragments of one message; more are no market data."""

Add = Callable[[int, bytes, int, int], None]


class Intake:
    """The frames of one line, on their way to the buffer.

    A venue may send before the line is announced, so frames wait until `begin`. After `end` frames
    are dropped, because the line has been declared lost.
    """

    def __init__(self, line: int, buffer: Buffer, most: int, unpack: Unpack | None = None) -> None:
        """`most`: a longer message of fragments is truncated to `most` + 1 bytes."""
        self.line = line
        self.received = 0
        """messages so far"""
        self.add: Add = self._keep
        """(line, bytes, receive time, monotonic ns) of one frame; changes with `begin` and `end`"""
        self._buffer = buffer
        self._most = most
        self._unpack = unpack
        self._early: list[tuple[int, bytes, int, int]] = []
        self._parts: list[bytes] = []
        self._count = 0
        self._room = 0

    def begin(self) -> None:
        """The line is announced: frames go into the buffer from now on."""
        for frame in self._early:
            self._buffer.add(*frame)
        self._early.clear()
        self.add = self._buffer.add

    def end(self) -> None:
        """The line is gone."""
        self.add = _ignore

    def binary(self, data: bytes) -> None:
        """A whole binary message: packed, where the venue packs."""
        if self._unpack is not None:
            data = self._unpack(data)
        self.add(self.line, data, time_ns(), monotonic_ns())
        self.received += 1

    def part(self, data: bytes, *, last: bool, packed: bool) -> bool:
        """A fragment of a message; False when there are too many of them."""
        if not self._count:
            self._room = self._most + 1  # one more than is accepted: it will be refused as too long
        self._count += 1
        if self._room:
            self._parts.append(data[: self._room])
            self._room -= len(self._parts[-1])
        if last:
            whole = b"".join(self._parts)
            self._parts, self._count = [], 0
            if packed:
                self.binary(whole)
            else:
                self.add(self.line, whole, time_ns(), monotonic_ns())
                self.received += 1
        return self._count <= PARTS_MAX

    def _keep(self, line: int, data: bytes, received_ns: int, monotonic_ns: int) -> None:
        self._early.append((line, data, received_ns, monotonic_ns))


def _ignore(line: int, data: bytes, received_ns: int, monotonic_ns: int) -> None:
    """The line is gone already."""
