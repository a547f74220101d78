"""Which tickers come and go while ingest runs, where all or a pattern of them are wanted (no I/O).

A renamed ticker is one that goes and one that comes: the venue's list tells no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace
from tickbus_schemas.errors import Fatal
from tickbus_schemas.messages import InstrumentStatus

from tickbus_ingest.lines.tickers import chosen, gone, is_pattern
from tickbus_ingest.venue.instruments import Instrument

LISTS_MIN = 2
"""A ticker must be missing in so many lists in a row: one list may be cut short."""


class Changes(NamedTuple):
    """What a list changes."""

    come: list[Instrument]
    gone: list[str]
    ended: list[Instrument]
    """of the gone ones, those that the list does not name any more, as they were last"""
    why_not: str = ""
    """why the list changes nothing"""


class Following:
    """The tickers that are taken now, and what each new list makes of them."""

    def __init__(self, wanted: Sequence[str], exchange: str, taken: Iterable[Instrument]) -> None:
        self._wanted, self._exchange = list(wanted), exchange
        self._taken = {one.ticker: one for one in taken}
        self._missing: dict[str, int] = {}

    @property
    def taken(self) -> list[Instrument]:
        """Those that are taken now."""
        return list(self._taken.values())

    @property
    def is_needed(self) -> bool:
        """Whether tickers may come and go: they were not all named."""
        return any(is_pattern(one) for one in self._wanted)

    def look(self, listed: Sequence[Instrument]) -> Changes:
        """Who comes and who goes by this list."""
        known = {one.ticker: one for one in listed}
        try:
            wanted = chosen(self._wanted, listed, self._exchange)
        except Fatal as error:  # a list without any of ours is none
            return Changes([], [], [], str(error))
        missing = {ticker for ticker in gone(list(self._taken), listed) if ticker not in known}
        self._missing = {ticker: self._missing.get(ticker, 0) + 1 for ticker in missing}
        left = [
            ticker
            for ticker in gone(list(self._taken), listed)
            if ticker in known or self._missing[ticker] >= LISTS_MIN
        ]
        ended = [
            replace(self._taken[ticker], status=InstrumentStatus.DELISTED, venue_status="")
            for ticker in left
            if ticker not in known
        ]
        for ticker in left:
            del self._taken[ticker]
        come = [one for one in wanted if one.ticker not in self._taken]
        self._taken |= {one.ticker: one for one in come}
        self._taken |= {ticker: known[ticker] for ticker in self._taken if ticker in known}
        return Changes(come, left, ended)
