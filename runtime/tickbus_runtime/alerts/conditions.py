"""The conditions that become alerts, one row each; docs/operations.md has a section for each.

Nothing is raised that needs no action of a person. `after_s`: it must hold for so long before it is
raised. `hold_s`: it must not have held for so long before it is resolved, so that what comes and
goes is one alert.
"""

from __future__ import annotations

from typing import NamedTuple

from tickbus_schemas.messages import Severity

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL


class Condition(NamedTuple):
    """One severe condition: how severe, how long until it counts, what to do."""

    name: str
    severity: Severity
    remedy: str
    after_s: float = 0.0
    hold_s: float = 60.0


CONDITIONS = (
    # ingest
    Condition(
        "no_data", CRITICAL,
        "see ingest's log for why it cannot connect; check the network and the venue's status page",
    ),
    Condition(
        "gap_storm", CRITICAL,
        "see the status rows for the reason; if the buffer overflows use fewer tickers a shard",
        hold_s=300.0,
    ),
    Condition(
        "venue_limit", CRITICAL,
        "ingest waits by itself; make sure that nothing else uses this address, ask for less",
    ),
    Condition(
        "clock_skew", WARNING,
        "synchronise this machine's clock (chrony, ntpd); if it is right the venue sends late",
        after_s=30.0,
    ),
    Condition(
        "publisher_stalled", CRITICAL,
        "see whether NATS answers and its disk has room: 'tickbus streams', 'tickbus doctor'",
    ),
    Condition(
        "checksum", WARNING,
        "books are fetched again by themselves; if it goes on the venue's rule has changed: "
        "report it with a raw recording",
        hold_s=600.0,
    ),
    Condition(
        "instrument_gone", WARNING,
        "take the ticker out of ingest.tickers, or name its successor",
        after_s=30.0,
    ),
    Condition(
        "stream_silent", WARNING,
        "see whether the venue still has the channel; its subscriptions were repeated",
    ),
    # readers
    Condition(
        "disk_nearly_full", CRITICAL,
        "free some space or move data_dir: a full disk stops the server and the writer",
    ),
    Condition(
        "stream_full", CRITICAL,
        "raise nats.max_bytes or lower nats.max_age_h, then 'tickbus init': a full raw stream "
        "refuses data",
        hold_s=300.0,
    ),
    Condition(
        "lag", CRITICAL,
        "the reader is too slow or stands still: see its log, give it a core, or split the shard",
        after_s=30.0,
    ),
    # every service, and the notifier about the others
    Condition(
        "failed", CRITICAL,
        "do what the cause says, then start the service again",
    ),
    Condition(
        "service_silent", CRITICAL,
        "see whether the process runs and reaches NATS, and read its log",
        after_s=15.0,
    ),
    Condition(
        "bus_away", CRITICAL,
        "see whether nats-server runs, its disk has room and the network is up",
        after_s=30.0,
    ),
)  # fmt: skip

OF_NAME = {one.name: one for one in CONDITIONS}
