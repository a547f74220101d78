"""Rows that the bus refused: what the log says in their place."""

from __future__ import annotations

from typing import Any

import numpy as np
from tickbus_schemas.messages import ABSENT, StatusKind

from tickbus_ingest.session.tables import StatusRow


def gap_of(message: Any, ticker: int, feed: str, reason: str) -> StatusRow:
    """The gap that stands for the rows of a message; its packet is as the message has it."""
    times = np.frombuffer(message.timestamp, np.int64)
    from_id, to_id = _first_and_last_id(message)
    return StatusRow(
        ticker,
        StatusKind.GAP,
        int(times[-1]),
        int(np.frombuffer(message.rcv_timestamp, np.int64)[-1]),
        int(np.frombuffer(message.packet_id, np.int64)[-1]),
        feed=feed,
        reason=reason,
        from_id=from_id,
        to_id=to_id,
        from_timestamp=int(times[0]),
        to_timestamp=int(times[-1]),
    )


def _first_and_last_id(message: Any) -> tuple[int, int]:
    """Of the rows of a message; ABSENT where ids are no numbers."""
    if hasattr(message, "trade_id_bytes"):
        ends = np.frombuffer(message.trade_id_offsets, np.int32).tolist()
        text = message.trade_id_bytes
        ids = [text[ends[0] : ends[1]], text[ends[-2] : ends[-1]]]
        if all(one.isdigit() and len(one) < 19 for one in ids):
            return int(ids[0]), int(ids[1])
        return ABSENT, ABSENT
    if hasattr(message, "update_id"):
        first, last = np.frombuffer(message.update_id, np.int64)[[0, -1]].tolist()
        return first, last
    return ABSENT, ABSENT
