"""Market data as a bus: subscribe to it, replay it, read what it has stored.

Names are loaded when they are used: subscribing needs nats-py and msgspec only, `OrderBook` the
extra `tickbus[book]`, `scan` the extra `tickbus[lake]`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tickbus.batch import Batch
    from tickbus.connection import Connection, connect
    from tickbus.dataset import scan
    from tickbus.orderbook import OrderBook
    from tickbus.subscription import Subscription, subscribe

_HOME = {
    "Batch": "tickbus.batch",
    "Connection": "tickbus.connection",
    "OrderBook": "tickbus.orderbook",
    "Subscription": "tickbus.subscription",
    "connect": "tickbus.connection",
    "scan": "tickbus.dataset",
    "subscribe": "tickbus.subscription",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tickbus' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


__all__ = ["Batch", "Connection", "OrderBook", "Subscription", "connect", "scan", "subscribe"]
