"""How far the venue's time has come in a shard's log."""

from __future__ import annotations

import contextlib

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
