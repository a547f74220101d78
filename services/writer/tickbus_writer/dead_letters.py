"""Messages that the writer cannot read, as messages of `dlq.writer.<exchange>`."""

from __future__ import annotations

from collections.abc import Sequence

from tickbus.log.stored import Rejected
from tickbus_runtime.bus.in_flight import Outgoing
from tickbus_schemas import codec, subjects
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import DeadLetter

DATA_BYTES = 64 * 1024
TEXT_MAX = 1_000
SERVICE = "writer"


def dead_letters(stream: str, exchange: Exchange, rejected: Sequence[Rejected]) -> list[Outgoing]:
    """One message each; the same for every writer of the same stream, so stored once."""
    return [
        Outgoing(
            subject=subjects.dead_letter(SERVICE, exchange),
            payload=codec.encode(
                DeadLetter(
                    exchange=int(exchange),
                    ticker="",
                    epoch=0,
                    message_no=one.seq,
                    timestamp=one.stored_ns // 1_000,
                    packet_id=0,
                    service=SERVICE,
                    reason=one.reason[:TEXT_MAX],
                    data=one.data[:DATA_BYTES],
                    size=len(one.data),
                    source=f"{stream} {one.seq} {one.subject}"[:TEXT_MAX],
                )
            ),
            msg_id=f"dlq-{SERVICE}-{stream}-{one.seq}",
        )
        for one in rejected
    ]
