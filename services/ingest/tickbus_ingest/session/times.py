"""Times of events to which the venue gives none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import (
    BboFlag,
    DerivativeFlag,
    L2Flag,
    LiquidationFlag,
    TickerFlag,
    TradeFlag,
)

from tickbus_ingest.session.tables import I64, Flush

_INFERRED: dict[str, int] = {
    "trade": TradeFlag.TIME_INFERRED,
    "l2": L2Flag.TIME_INFERRED,
    "bbo": BboFlag.TIME_INFERRED,
    "ticker": TickerFlag.TIME_INFERRED,
    "derivative": DerivativeFlag.TIME_INFERRED,
    "liquidation": LiquidationFlag.TIME_INFERRED,
}


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
    flags[missing] |= np.uint16(_INFERRED[feed])
    out.counts["inferred_times", feed] += int(np.count_nonzero(missing))
    return np.where(missing, np.where(seen_us > 0, seen_us, received_us), timestamp)
