"""Where the fields of stored messages are: one kernel call reads many messages.

Messages that the kernel does not understand go to the codec, one by one. It gives the reason of a
refusal; a valid message (newer schema, other widths of numbers) is encoded again the plain way.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import numpy as np
import numpy.typing as npt
from tickbus_schemas import codec
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import MAX_MESSAGE_BYTES

from tickbus.columns.kernels.message import FOUND, START, scan
from tickbus.columns.rules import EPOCH, FIELD_RULES, MESSAGE_NO, TYPE_RULES
from tickbus.log.stored import Stored

Int64s = npt.NDArray[np.int64]


class Scanned:
    """Some stored messages, scanned; the fields of a refused message are undefined."""

    def __init__(self, stored: Sequence[Stored]) -> None:
        self.stored = stored
        self.reasons: dict[int, str] = {}
        """why the message at a place is refused; its tag is 0"""
        parts = list(map(_data_of, stored))
        odd = self._scan(parts)
        if odd:
            for place in np.flatnonzero(self.tags == 0).tolist():
                parts[place] = self._plainly(place)
            if self._scan(parts) != len(self.reasons):
                raise AssertionError("the message kernel cannot read what the codec writes")

    def _scan(self, parts: list[bytes]) -> int:
        # A bytearray, so that the array is writable: kernels are compiled once for one kind.
        self.data = np.frombuffer(bytearray().join(parts), np.uint8)
        self.sizes: Int64s = np.fromiter(map(len, parts), np.int64, len(parts))
        self.found: Int64s = np.empty((len(parts), FIELD_RULES.shape[1] + 1, FOUND), np.int64)
        """i64[messages, fields + 1, FOUND] of `kernels.message`; field 0 is the tag"""
        odd, self.closed = scan(
            self.data, self.sizes, MAX_MESSAGE_BYTES, FIELD_RULES, TYPE_RULES, self.found
        )
        return odd

    closed: int
    """how many messages lie before the first flush of a ticker that is still open"""

    def _plainly(self, place: int) -> bytes:
        """A message as our encoder writes it; empty if it is refused."""
        stored = self.stored[place]
        try:
            return codec.encode(codec.decode(stored.data, stored.subject, values=False))
        except Reject as why:
            self.reasons[place] = str(why)
            return b""

    @property
    def tags(self) -> Int64s:
        """Of each message; 0 where it is refused."""
        return self.found[:, 0, START]

    def numbers(self) -> Int64s:
        """(messages, 2): epoch and message_no of each; -1 where it is not readable."""
        numbers = self.found[:, EPOCH : MESSAGE_NO + 1, START].copy()
        if self.reasons:
            numbers[self.tags == 0] = -1
        return numbers

    def cut(self, messages: int) -> None:
        """Keep only the first `count` messages."""
        self.stored = self.stored[:messages]
        self.found = self.found[:messages]
        self.sizes = self.sizes[:messages]
        self.reasons = {place: why for place, why in self.reasons.items() if place < messages}

    def refuse(self, place: int, reason: str = "") -> None:
        """Refuse a message that breaks a rule; unless the reason is given, the codec names it."""
        stored = self.stored[place]
        if not reason:
            try:
                codec.decode(stored.data, stored.subject)
            except Reject as why:
                reason = str(why)
            else:
                raise AssertionError(f"{stored.subject} {stored.seq}: refused, but sound")
        self.reasons[place] = reason
        self.found[place, 0, START] = 0


_data_of = attrgetter("data")
