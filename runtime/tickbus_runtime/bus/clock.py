"""From when to when the venue's time goes in a shard's log."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from tickbus_schemas import codec, subjects
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import Clock


async def last_clock_us(js: JetStreamContext, stream: str, shard: str) -> int:
    """Venue time of the last clock message, us UTC; 0 where none is stored, or none readable."""
    subject = subjects.clock(shard)
    with contextlib.suppress(NotFoundError, Reject):
        message = codec.decode((await js.get_last_msg(stream, subject)).data or b"", subject)
        if isinstance(message, Clock):
            return message.timestamp
    return 0


async def first_event_us(js: JetStreamContext, stream: str, exchange: str) -> int:
    """Venue time of the first trades or book that the log holds, us UTC; 0 where it has none."""
    found: list[int] = []
    for feed in ("trade", "l2"):
        with contextlib.suppress(NotFoundError, Reject):
            subject = f"md.{exchange}.*.{feed}"
            first = await js.get_msg(stream, seq=1, subject=subject, next=True)
            message: Any = codec.decode(first.data or b"", first.subject or subject)
            found.append(int(np.frombuffer(message.timestamp, np.int64).min()))
    return min(found, default=0)
