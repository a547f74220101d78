"""Market data as a bus: subscribe to it, replay it, read what it has stored.

Names are loaded when they are used: subscribing needs nats-py and msgspec only, `OrderBook` the
extra `tickbus[book]`, `scan` the extra `tickbus[lake]`.

Rooms, each of which imports only those behind it (import-linter holds this):
`warm`, `cli`, `lake`, `columns` and `book` (neither sees the other), `log`, `compiled` and `retry`.
"""

from __future__ import annotations

TYPE_CHECKING = False
"""Not typing's: this room is loaded first, and typing takes longer than all else it needs."""
if TYPE_CHECKING:
    from typing import Any

    from tickbus.book.orderbook import OrderBook
    from tickbus.lake.dataset import scan
    from tickbus.log.batch import Batch
    from tickbus.log.connection import Connection, connect
    from tickbus.log.subscription import Subscription, subscribe

_HOME = {
    "Batch": "tickbus.log.batch",
    "Connection": "tickbus.log.connection",
    "OrderBook": "tickbus.book.orderbook",
    "Subscription": "tickbus.log.subscription",
    "connect": "tickbus.log.connection",
    "scan": "tickbus.lake.dataset",
    "subscribe": "tickbus.log.subscription",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module 'tickbus' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


__all__ = ["Batch", "Connection", "OrderBook", "Subscription", "connect", "scan", "subscribe"]
