"""Which exchanges can be recorded here: what the installed ingest has a file for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib.metadata import entry_points

from tickbus_schemas.errors import Fatal

GROUP = "tickbus.venues"
"""Entry points that are functions without arguments; each gives tokens of exchanges."""
FEEDS = "tickbus.feeds"
"""Entry points that are functions of a token; each gives the feeds of that exchange."""


def built() -> list[str]:
    """Tokens of the exchanges that are built; none where no ingest is installed."""
    return sorted({token for point in entry_points(group=GROUP) for token in point.load()()})


def unknown(token: str) -> str:
    """That nobody can record this exchange, the nearest and all that are built; empty if it can."""
    known = built()
    if not known or token in known:
        return ""
    near = difflib.get_close_matches(token.lower(), known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"unknown exchange {token[:80]!r}: {hint}built are {', '.join(known)}"


def check_built(tokens: Iterable[str]) -> None:
    """Fatal for the first exchange that nobody can record."""
    for token in tokens:
        if why := unknown(token):
            raise Fatal(why)


def without_feed(token: str, wanted: Iterable[str]) -> list[str]:
    """Which of the wanted feeds a built exchange does not have; none where that is not known."""
    known = {feed for point in entry_points(group=FEEDS) for feed in point.load()(token)}
    return [feed for feed in wanted if feed not in known] if known else []
