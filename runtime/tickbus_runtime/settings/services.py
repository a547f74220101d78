"""The services of a shard, one row each.

The programs of `tickbus up`, the distributions and ports that `tickbus doctor` checks, and the
streams that `tickbus init` makes and the writer reads are derived from the rows. A service's
section in the settings has its name.
"""

from __future__ import annotations

from typing import NamedTuple


class Service(NamedTuple):
    """A service; its program is `python -m tickbus_<name>`, in distribution `tickbus-<name>`."""

    name: str
    streams: tuple[str, ...] = ()
    """kinds of the streams that it publishes to (`tickbus_schemas.feeds`)"""
    folds: bool = False
    """whether it derives them from the raw stream"""
    beside: bool = False
    """whether no data depends on it: `tickbus up` starts it where the settings ask for it"""


SERVICES = (
    Service("ingest", ("md",)),
    Service("book", ("book",), folds=True),
    Service("features", ("bar", "feature"), folds=True),
    Service("writer"),
    Service("alerts", beside=True),
)
"""In order of start and of health port."""

PORT_MAX = 65_535
NAMES = tuple(service.name for service in SERVICES if not service.beside)
ALL_NAMES = tuple(service.name for service in SERVICES)
FOLDS = tuple(service.name for service in SERVICES if service.folds)
STREAM_KINDS = tuple(kind for service in SERVICES for kind in service.streams)
DERIVED_KINDS = tuple(kind for service in SERVICES if service.folds for kind in service.streams)


def health_ports(first: int, venues: int = 1) -> range:
    """Ports of the health servers from `first` on, of one ingest a venue and the other services.

    None where 0 stands for free ones.
    """
    count = len(ALL_NAMES) + max(venues, 1) - 1
    return range(first, first + count) if first else range(0)


def no_ports(first: int, venues: int = 1) -> str:
    """Why `first` cannot be the first health port: the last ones do not exist; empty if it can."""
    ports = health_ports(first, venues)
    if not first or ports[-1] <= PORT_MAX:
        return ""
    return (
        f"health.port = {first}: {len(ports)} services take the ports from it on, "
        f"and {PORT_MAX} is the last one"
    )
