"""What holds for all books of a venue, and the states that a book can be in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tickbus_ingest.venue.contract import Snapshots, UpdateIds, Venue

SETTLE_S = 1.0
"""A snapshot that no update joins is published after this time."""
SETTLE_US = int(SETTLE_S * 1e6)


class State(Enum):
    """Of a book; SYNCING has never been LIVE, GAP has lost an update since."""

    SYNCING = "syncing"
    LIVE = "live"
    GAP = "gap"


@dataclass(frozen=True)
class SnapshotRule:
    """A full book goes into the log after this time AND this many books' worth of levels."""

    interval_us: int = 300_000_000
    books: int = 4


@dataclass(frozen=True)
class BookRules:
    """What holds for all books of a venue."""

    snapshots: Snapshots
    update_ids: UpdateIds
    drops_equal: bool
    pulls: bool
    """a snapshot can be asked for over REST"""
    log: SnapshotRule
    wait_us: int
    """how long an update that came too early waits for the ones before it, in the venue's time"""
    counts_globally: bool
    """every connection shows the same numbers, where there are any"""
    crosses: bool
    """an update may cross the book"""

    @classmethod
    def of(cls, venue: Venue, log: SnapshotRule, wait_us: int) -> BookRules:
        """The rules of a venue."""
        asked = type(venue).snapshot_request is not Venue.snapshot_request
        return cls(
            venue.snapshots, venue.update_ids, venue.drops_equal, asked, log, wait_us,
            venue.numbering_is_global, venue.crosses,
        )  # fmt: skip

    @property
    def has_numbers(self) -> bool:
        """The venue numbers the updates of a ticker; else they are numbered here."""
        return self.update_ids in (UpdateIds.LINKED, UpdateIds.COUNTED)

    @property
    def is_global(self) -> bool:
        """The numbers tell, whatever the connection, which update is new."""
        return self.counts_globally and self.has_numbers
