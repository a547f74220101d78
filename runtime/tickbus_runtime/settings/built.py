"""Which exchanges can be recorded here: what the installed ingest has a file for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib.metadata import entry_points

from tickbus_schemas.errors import Fatal

GROUP = "tickbus.venues"
"""Entry points that are functions without arguments; each gives tokens of exchanges."""


def built() -> list[str]:
    """Tokens of the exchanges that are built; none where no ingest is installed."""
    return sorted({token for point in entry_points(group=GROUP) for token in point.load()()})


def check_built(tokens: Iterable[str]) -> None:
    """Fatal for an exchange that nobody can record, with the nearest and all that are built."""
    known = built()
    for token in tokens:
        if known and token not in known:
            raise Fatal(f"unknown exchange {token[:80]!r}: {_hint(token, known)}")


def _hint(token: str, known: list[str]) -> str:
    near = difflib.get_close_matches(token.lower(), known, n=1, cutoff=0.6)
    return f"{f'did you mean {near[0]}? ' if near else ''}built are {', '.join(known)}"
