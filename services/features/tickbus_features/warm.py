"""Compiles the kernels, or loads them from the cache, before a service says that it is ready."""

from __future__ import annotations

from typing import Any

import numpy as np
from tickbus.columns.group import Group
from tickbus.columns.table import Table
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import BboBatch, Clock, Header, L2Batch, L2Flag, TradeBatch

from tickbus_features.tickers import Tickers

_TICKER = (int(next(iter(Exchange))), "WARM")
_VALUES: dict[str, Any] = {
    "timestamp": [1_000_000],
    "flags": [L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT_LAST],
    "levels": [2],
}
_OF_LEVELS: dict[str, Any] = {
    "side": [1, -1],
    "action": [1, 1],
    "price": [1.0, 2.0],
    "qty": [1.0, 1.0],
}


def _table(kind: type[Header], seq: int) -> Table:
    """One packet of two levels, one quote or one trade."""
    columns = {
        name: np.array(
            _OF_LEVELS[name] if width.per == "levels" else _VALUES.get(name, [1]), width.code
        )
        for name, width in kind.columns.items()
    }
    if kind is TradeBatch:
        columns["flags"][:] = 0
    return Table(
        kind=kind,
        exchange=_TICKER[0],
        ticker=_TICKER[1],
        columns=columns,
        message_seq=np.array([seq]),
        message_rows=np.array([1]),
        message_levels=np.array([2] if kind is L2Batch else [], np.int64),
        message_more=np.array([0]),
    )


def warm() -> None:
    """Fold a group that has every kind of event and closes a bucket."""
    kinds: tuple[type[Header], ...] = (L2Batch, BboBatch, TradeBatch)
    clock = Clock(
        exchange=_TICKER[0],
        ticker="",
        epoch=0,
        message_no=0,
        timestamp=5_000_000,
        rcv_timestamp=5_000_000,
        packet_id=1,
    )
    group = Group(
        seqs=np.arange(4, dtype=np.int64),
        stored_ns=np.zeros(4, np.int64),
        bytes=0,
        tables={(kind, *_TICKER): _table(kind, seq) for seq, kind in enumerate(kinds)},
        singles={Clock: [(3, clock)]},
    )
    closed = Tickers([1_000], 100).fold(group)
    if not closed:
        raise AssertionError("the kernels closed no bucket")
