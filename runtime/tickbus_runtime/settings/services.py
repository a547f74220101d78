"""The services of a shard, one row each.

From the rows come the programs of `tickbus up`, what `tickbus doctor` looks for, the streams that
`tickbus init` makes and the writer reads. A service's section in the settings has its name.
"""

from __future__ import annotations

from typing import NamedTuple


class Service(NamedTuple):
    """One service: its program is `python -m tickbus_<name>`, of distribution `tickbus-<name>`."""

    name: str
    streams: tuple[str, ...] = ()
    """the kinds of stream that it alone publishes to (`tickbus_schemas.feeds`)"""
    folds: bool = False
    """whether these are derived from the raw stream"""


SERVICES = (
    Service("ingest", ("md",)),
    Service("book", ("book",), folds=True),
    Service("features", ("bar", "feature"), folds=True),
    Service("writer"),
)
"""In the order of their starts and of their health ports."""

NAMES = tuple(service.name for service in SERVICES)
FOLDS = tuple(service.name for service in SERVICES if service.folds)
STREAM_KINDS = tuple(kind for service in SERVICES for kind in service.streams)
DERIVED_KINDS = tuple(kind for service in SERVICES if service.folds for kind in service.streams)
