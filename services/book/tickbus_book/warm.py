"""Compiles the kernels, or loads them from the cache, before the service says that it is ready."""

from __future__ import annotations

from typing import Any

import numpy as np
from tickbus.columns.assembler import Assembler
from tickbus.log.stored import Stored
from tickbus_schemas import codec, subjects
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import Clock, L2Batch, L2Flag, Message

from tickbus_book.fold import BookFold

_EXCHANGE, _TICKER = next(iter(Exchange)), "WARM"
_VALUES: dict[str, Any] = {
    "timestamp": [1_000_000],
    "flags": [int(L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST)],
    "levels": [2],
    "side": [1, -1],
    "action": [1, 1],
    "price": [1.0, 2.0],
    "qty": [1.0, 1.0],
}


def warm() -> None:
    """Fold a snapshot and the clock that closes it, as they come from the bus."""
    columns: dict[str, Any] = {
        name: np.array(_VALUES.get(name, [1]), width.code).tobytes()
        for name, width in L2Batch.columns.items()
    }
    header: dict[str, Any] = {"exchange": int(_EXCHANGE), "epoch": 0}
    snapshot = L2Batch(ticker=_TICKER, message_no=0, **header, **columns)
    clock = Clock(
        ticker="",
        message_no=1,
        timestamp=5_000_000,
        rcv_timestamp=5_000_000,
        packet_id=1,
        **header,
    )
    group = Assembler().add(
        [
            _stored(1, subjects.md(_EXCHANGE, _TICKER, "l2"), snapshot),
            _stored(2, subjects.clock(_EXCHANGE.token), clock),
        ]
    )
    fold = BookFold([0, 1_000], 1, stream="")
    if group is None or len(fold.apply(group)) != 2:
        raise AssertionError("the kernels closed no point")
    fold.restore(fold.dump())


def _stored(seq: int, subject: str, message: Message) -> Stored:
    return Stored(seq, seq, subject, codec.encode(message))
