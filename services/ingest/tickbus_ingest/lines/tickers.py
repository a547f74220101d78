"""Which tickers to take: the venue's list decides, a mistake is answered with the nearest names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from tickbus_schemas.errors import Fatal

ALL = "*"


def chosen(wanted: Sequence[str], listed: Sequence[str], exchange: str) -> list[str]:
    """The wanted tickers in the venue's spelling; `*` is all of them.

    Fatal for none at all, for one that the venue does not list, and for one named twice.
    """
    if not wanted:
        raise Fatal("ingest.tickers is empty: name some, or * for all that the venue lists")
    if list(wanted) == [ALL]:
        if not listed:
            raise Fatal(f"{exchange} lists no instrument that is traded now")
        return list(listed)
    known = set(listed)
    for ticker in wanted:
        if ticker not in known:
            raise Fatal(f"{exchange} does not list {ticker!r}{_nearest(ticker, listed)}")
        if list(wanted).count(ticker) > 1:
            raise Fatal(f"ingest.tickers names {ticker!r} twice")
    return list(wanted)


def _nearest(ticker: str, listed: Sequence[str]) -> str:
    near = difflib.get_close_matches(ticker.upper(), listed, n=3, cutoff=0.5)
    return f": did you mean {' or '.join(near)}?" if near else ""
