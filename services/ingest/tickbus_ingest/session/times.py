"""Times of events to which the venue gives none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tickbus_ingest.session.tables import I64, Flush
from tickbus_ingest.venue.feeds import BY_NAME


def with_inferred(
    feed: str,
    timestamp: I64,
    flags: npt.NDArray[np.uint16],
    seen_us: I64,
    received_us: I64,
    out: Flush,
) -> I64:
    """The times of rows [rows]; 0 becomes the highest time seen of the ticker, else the arrival.

    `seen_us`: that highest time before each row, 0 where none. Marks such rows in `flags`.
    """
    if timestamp.all():
        return timestamp
    missing = timestamp == 0
    flags[missing] |= np.uint16(BY_NAME[feed].inferred)
    out.counts["inferred_times", feed] += int(np.count_nonzero(missing))
    return np.where(missing, np.where(seen_us > 0, seen_us, received_us), timestamp)
