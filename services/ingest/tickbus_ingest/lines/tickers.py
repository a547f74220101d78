"""Which instruments to take: the venue's list decides, a mistake gets the nearest names."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence

from tickbus_schemas import subjects
from tickbus_schemas.errors import Fatal, Reject
from tickbus_schemas.messages import InstrumentStatus

from tickbus_ingest.venue.instruments import Instrument, Unread

ALL = "*"
TRADED = (InstrumentStatus.TRADING, InstrumentStatus.UNKNOWN)
GONE = (InstrumentStatus.DELISTED, InstrumentStatus.SETTLING)
SHOWN_MAX = 5


def chosen(wanted: Sequence[str], listed: Sequence[Instrument], exchange: str) -> list[Instrument]:
    """The wanted instruments in the venue's spelling; `*` and `BTC*`: those that fit and are
    traded now.

    Fatal for none at all, for one that the venue does not list, and for one named twice.
    """
    if not wanted:
        raise Fatal("ingest.tickers is empty: name some, or * for all that the venue lists")
    known = {one.ticker: one for one in listed}
    traded = [one.ticker for one in known.values() if one.status in TRADED]
    found: list[str] = []
    for ticker in wanted:
        if list(wanted).count(ticker) > 1:
            raise Fatal(f"ingest.tickers names {ticker!r} twice")
        if ticker in known:
            found.append(ticker)
            continue
        if not is_pattern(ticker):
            raise Fatal(f"{exchange} does not list {ticker!r}{_nearest(ticker, list(known))}")
        fitting = fnmatch.filter(traded, ticker)
        if not fitting:
            raise Fatal(f"{exchange} lists no instrument that is traded now{_of(ticker)}")
        found += fitting
    return [known[ticker] for ticker in dict.fromkeys(found)]


def is_pattern(ticker: str) -> bool:
    """Whether it stands for many: `*`, `BTC*`, `ETH-?????`."""
    return not {"*", "?"}.isdisjoint(ticker)


def _of(pattern: str) -> str:
    return "" if pattern == ALL else f" and fits {pattern!r}"


def gone(taken: Sequence[str], listed: Sequence[Instrument]) -> list[str]:
    """Tickers of ours that the venue lists no more, or that have ceased to be traded."""
    known = {one.ticker: one.status for one in listed}
    return [ticker for ticker in taken if known.get(ticker, GONE[0]) in GONE]


def carried(listed: Sequence[Instrument | Unread]) -> tuple[list[Instrument], str]:
    """Instruments that can be taken, and a line about the rest: unread, or unfit for a subject."""
    good, odd = [], []
    for one in listed:
        if isinstance(one, Unread):
            odd.append(f"{one.ticker!r} ({one.why})")
            continue
        try:
            subjects.escape(one.ticker)
        except Reject as error:
            odd.append(str(error))
        else:
            good.append(one)
    if not odd:
        return good, ""
    more = f" and {len(odd) - SHOWN_MAX} more" if len(odd) > SHOWN_MAX else ""
    return good, f"left out of the venue's list: {'; '.join(odd[:SHOWN_MAX])}{more}"


def _nearest(ticker: str, listed: Sequence[str]) -> str:
    in_one_case = {one.upper(): one for one in listed}
    found = difflib.get_close_matches(ticker.upper(), in_one_case, n=3, cutoff=0.5)
    near = [in_one_case[one] for one in found]
    return f": did you mean {' or '.join(near)}?" if near else ""
