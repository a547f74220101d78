"""The dialects: one file a venue, found by name; the contract is `dialect.Dialect`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache, lru_cache

from tickbus_schemas.errors import Fatal
from tickbus_schemas.exchanges import Exchange

from tickbus_sim.dialect import Dialect, split_url

_LOCAL = ("127.0.0.1", "localhost", "::1")


@cache
def exchanges() -> tuple[Exchange, ...]:
    """The exchanges that have a file here."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_"]
    return tuple(Exchange.from_token(name) for name in sorted(names))


@cache
def load(exchange: Exchange) -> Dialect:
    """The dialect of an exchange; Fatal with the known ones when there is no such file."""
    if exchange not in exchanges():
        known = ", ".join(one.token for one in exchanges())
        raise Fatal(f"the local venue does not speak {exchange.token}: it can be {known}")
    found: Dialect = importlib.import_module(f"{__name__}.{exchange.token}").Dialect()
    return found


@lru_cache(maxsize=4096)
def of_url(url: str) -> Exchange | None:
    """The exchange that a recorded URL belongs to; None when the URL does not tell.

    A recording of this very venue names this machine: there the path tells.
    """
    try:
        host, path, query = split_url(url)
    except ValueError:
        return None
    # An exchange may have several markets on one host: the path tells them apart.
    able = [one for one in exchanges() if host in load(one).hosts or host in _LOCAL]
    exact = [one for one in able if load(one).owns(path, query)]
    if exact:
        return exact[0] if len(exact) == 1 else None
    able = [one for one in able if not load(one).path_decides]
    return able[0] if len(able) == 1 else None
