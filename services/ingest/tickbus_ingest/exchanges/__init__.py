"""The venues: one file each, found by name; the contract is `venue.contract.Venue`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from tickbus_schemas.errors import Fatal

from tickbus_ingest.venue.contract import Venue
from tickbus_ingest.venue.guard import FAILED


def names() -> list[str]:
    """Tokens of the exchanges that have a file here."""
    return sorted(
        module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")
    )


@cache
def load(token: str) -> type[Venue]:
    """The venue of an exchange token; Fatal with the known ones when there is no such file."""
    if token not in names():
        raise Fatal(f"no ingest for exchange {token!r} yet: one of {', '.join(names())}")
    try:
        venue: type[Venue] = importlib.import_module(f"{__name__}.{token}").Venue
    except Exception as error:  # a venue's file must not end in a traceback
        raise Fatal(f"{FAILED}: {token}: {type(error).__name__}: {error}") from None
    return venue


def feeds(token: str) -> tuple[str, ...]:
    """The feeds that a venue has; Fatal as `load`."""
    return load(token).feeds
