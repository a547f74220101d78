"""When the venue is asked for the book of one ticker, and in which way."""

from __future__ import annotations

from tickbus.retry import longest_s

from tickbus_ingest.session.book_rules import BookRules
from tickbus_ingest.session.tables import Flush
from tickbus_ingest.venue.contract import Snapshots

WAITING_UPDATES = 2
"""Updates that must wait before a snapshot is pulled; asked too early it joins nothing
(github.com/bmoscon/cryptostore issue 57)."""
FIRST_UPDATE_S = 0.2
"""A ticker with a single update is asked for after this time all the same."""
SILENT_S = 3.0
"""A ticker without any update is asked for after this time; a pushed snapshot has so long."""
RETRY_S_MAX = 10.0
SOON_US = 10_000_000
"""A pushed book that breaks again within this venue time is not asked for at once."""


class Asking:
    """One book that is wanted."""

    def __init__(self, ticker: int, rules: BookRules) -> None:
        self.is_asked = False
        """the venue was asked, and its answer is to come"""
        self._ticker = ticker
        self._rules = rules
        self._attempts = 0
        self._since_s: float | None = None
        self._unjoined = 0
        """updates that came since there is no book"""
        self._broken_us = 0
        self._breaks = 0
        """how often the book broke soon after it had broken before"""

    def ask(self, out: Flush) -> bool:
        """Ask for a book, the second time over REST where the venue has both ways; False: no way.

        Where every frame holds the whole book there is nothing to ask for.
        """
        rules = self._rules
        self._since_s = None
        if rules.snapshots in (Snapshots.EVERY_FRAME, Snapshots.NONE):
            return False
        self.is_asked = True
        if rules.snapshots is Snapshots.PULLED or (rules.pulls and self._attempts % 2):
            out.snapshots_wanted.append(self._ticker)
        else:
            out.subscriptions_wanted.append(self._ticker)
        return True

    def note_unjoined(self, updates: int) -> None:
        """So many updates came without a book."""
        self._unjoined += updates

    def ask_first(self, out: Flush) -> bool:
        """Ask as soon as enough updates wait that the book can join."""
        if (
            self._rules.snapshots is not Snapshots.PULLED
            or self.is_asked
            or self._attempts
            or self._unjoined < WAITING_UPDATES
        ):
            return False
        return self.ask(out)

    def ask_due(self, now_s: float, waiting: int, out: Flush) -> bool:
        """Ask if it is time. `waiting`: updates that wait for the book."""
        if self._since_s is None and (not self.is_asked or self._is_pushed):
            self._since_s = now_s
        passed_s = now_s - self._since_s if self._since_s is not None else 0.0
        if not self.is_asked:
            return passed_s >= self._patience_s(waiting) and self.ask(out)
        if self._is_pushed and passed_s >= SILENT_S * 2.0 ** min(self._attempts, 4):
            self.anew()  # no snapshot came of it
        return False

    def anew(self, *, first: bool = False) -> None:
        """What was asked for came to nothing: ask again, later each time."""
        self.is_asked = False
        self._since_s = None
        self._attempts = 0 if first else self._attempts + 1

    def interrupted(self, *, resubscribed: bool) -> None:
        """The connection is gone. `resubscribed`: the new one asks for the book by itself."""
        self.anew(first=True)
        self.is_asked = resubscribed

    def broken(self, time_us: int, out: Flush) -> bool:
        """The book broke at this venue time: ask for a pushed one at once, or let `ask_due` do so.

        One that broke just now is asked for later each time.
        """
        self.anew(first=True)
        if not self._is_pushed:
            return False
        self._breaks = self._breaks + 1 if time_us - self._broken_us < SOON_US else 0
        self._broken_us = time_us
        self._attempts = self._breaks
        return not self._breaks and self.ask(out)

    def answered(self) -> None:
        """The book is there."""
        self.anew(first=True)
        self._unjoined = 0

    @property
    def _is_pushed(self) -> bool:
        return self._rules.snapshots is Snapshots.PUSHED

    def _patience_s(self, waiting: int) -> float:
        if self._attempts:
            return longest_s(self._attempts, 2 * FIRST_UPDATE_S, RETRY_S_MAX)
        if self._rules.snapshots is not Snapshots.PULLED:
            return SILENT_S  # a subscription brings it by itself
        return FIRST_UPDATE_S if waiting else SILENT_S
