"""Groups of stored messages as columns: what every fold, the writer and other readers work on.

A group is everything that arrived since the last look, up to a point where no ticker's flush is
open (`more` is 0), so that folds may combine feeds in `packet_id` order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from tickbus_schemas.messages import Clock, Header, Status

from tickbus.columns.numbering import Break
from tickbus.columns.scanned import Int64s
from tickbus.columns.table import Key, Table
from tickbus.log.stored import Missing, Rejected, Traced

Kind = TypeVar("Kind", bound=Header)


@dataclass(slots=True)
class Group:
    """A run of a stream's messages that may be folded."""

    seqs: Int64s
    """stream sequence of every message, the rejected ones included"""
    stored_ns: Int64s
    """when the server stored each"""
    bytes: int
    tables: dict[Key, Table] = field(default_factory=dict)
    singles: dict[type[Header], list[tuple[int, Any]]] = field(default_factory=dict)
    """the messages without columns, each with its stream sequence, in log order"""
    rejected: list[Rejected] = field(default_factory=list)
    traced: list[Traced] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    epoch: int = -1
    """of the last message with a number; with `message_no` what the next group must follow"""
    message_no: int = -1
    numbers: Int64s = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    """(messages, 2): epoch and message_no of each; -1 for an unreadable one"""

    def of(self, kind: type[Kind]) -> list[tuple[int, Kind]]:
        """The messages of a kind without columns, each with its stream sequence."""
        return self.singles.get(kind, [])

    @property
    def statuses(self) -> list[tuple[int, Status]]:
        """What happened to tickers' data."""
        return self.of(Status)

    @property
    def clocks(self) -> list[tuple[int, Clock]]:
        """The shard's venue time."""
        return self.of(Clock)

    @property
    def first_seq(self) -> int:
        """Stream sequence of the first message."""
        return int(self.seqs[0])

    @property
    def last_seq(self) -> int:
        """Stream sequence of the last message; a reader of this group goes on after it."""
        return int(self.seqs[-1])

    @property
    def first_stored_ns(self) -> int:
        """When the server stored the first message."""
        return int(self.stored_ns[0])

    @property
    def last_stored_ns(self) -> int:
        """When the server stored the last message."""
        return int(self.stored_ns[-1])

    @property
    def messages(self) -> int:
        """How many, the rejected ones included."""
        return len(self.seqs)
