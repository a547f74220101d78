"""The one rule that says whether a book update follows the one before.

Every venue numbers its updates in its own way, but each can say which update it follows. Ingest
turns that into `prev_update_id` and `update_id`; after that this rule serves every venue and every
reader. The table of cases per numbering style stands in `tests/schemas/test_continuity.py`.
"""

from __future__ import annotations

from enum import Enum

from tickbus_schemas.messages import ABSENT


class Verdict(Enum):
    """What to do with an update."""

    APPLY = "apply"
    STALE = "stale"
    """already contained in the book: drop it"""
    GAP = "gap"
    """something between is missing: the book needs a new snapshot"""


class Continuity:
    """Judges the book updates of one ticker, in order of arrival.

    `drop_equal`: the first update after a snapshot is dropped when it ends exactly at the snapshot
    (Binance Spot drops `u <= lastUpdateId`, USD-M only `u < lastUpdateId`). Ingest says so for its
    venue; readers leave it off, because what was published was judged already.
    """

    __slots__ = ("_drop_equal", "_joined", "update_id")

    def __init__(self, *, drop_equal: bool = False) -> None:
        self._drop_equal = drop_equal
        self.update_id = ABSENT
        """the last update applied; ABSENT before the first snapshot and after a gap"""
        self._joined = False

    @property
    def is_joined(self) -> bool:
        """Whether an update has followed the last snapshot."""
        return self._joined

    def snapshot(self, update_id: int) -> None:
        """A full book replaces all that went before."""
        self.update_id = update_id
        self._joined = False

    def resume(self, update_id: int) -> None:
        """Go on after `update_id` with the first update already joined (a checkpoint, a log)."""
        self.update_id = update_id
        self._joined = True

    def reset(self) -> None:
        """Nothing is known until the next snapshot."""
        self.update_id = ABSENT
        self._joined = False

    def judge(self, prev_update_id: int, update_id: int) -> Verdict:
        """Verdict on the update that follows `prev_update_id` (ABSENT: the venue says no link).

        On GAP the state is reset; on APPLY it moves to `update_id`.
        """
        verdict = self.verdict(prev_update_id, update_id)
        if verdict is Verdict.APPLY:
            self.resume(update_id)
        elif verdict is Verdict.GAP:
            self.reset()
        return verdict

    def verdict(self, prev_update_id: int, update_id: int) -> Verdict:
        """What `judge` would say; the state stays as it is."""
        if self.update_id == ABSENT:
            return Verdict.GAP
        # The link is looked at first: a venue may restart its numbering and still link to the past.
        if prev_update_id == self.update_id:
            return Verdict.APPLY
        covered_at_equal = self._joined or self._drop_equal
        if update_id < self.update_id or (covered_at_equal and update_id == self.update_id):
            return Verdict.STALE
        if prev_update_id == ABSENT:
            return Verdict.APPLY
        # Only the first update after a snapshot may overlap it; later ones must link exactly.
        if not self._joined and prev_update_id < self.update_id <= update_id:
            return Verdict.APPLY
        return Verdict.GAP
