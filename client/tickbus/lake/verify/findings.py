"""What the checks found: problems (the dataset is wrong) and notes (worth knowing)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

SHOWN_MAX = 20
"""problems of one kind that are listed; all are counted"""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was found."""

    kind: str
    where: str
    text: str


class Findings:
    """Collects what all checks found."""

    def __init__(self) -> None:
        self.problems: list[Finding] = []
        self.notes: list[Finding] = []
        self.counts: Counter[str] = Counter()
        """problems by kind, the unlisted ones too"""
        self.facts: Counter[str] = Counter()
        """how much of what was checked"""
        self.gaps: list[dict[str, Any]] = []
        """rows of the status feed that announce lost data"""

    def problem(self, kind: str, where: str, text: str, n: int = 1) -> None:
        """Something is wrong."""
        self.counts[kind] += n
        if sum(one.kind == kind for one in self.problems) < SHOWN_MAX:
            self.problems.append(Finding(kind, where, text))

    def note(self, kind: str, where: str, text: str) -> None:
        """Something harmless, or something that could not be checked."""
        self.notes.append(Finding(kind, where, text))

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts
