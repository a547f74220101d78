"""What a service watches for severe conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tickbus_runtime.alerts.alarms import Holding

Watcher = Callable[[float], Holding]
"""What holds at a monotonic time, with what was seen."""


@dataclass
class Watched:
    """It may grow while the service runs."""

    positions: Mapping[str, int]
    """stream -> sequence up to which it is read"""
    watchers: list[Watcher] = field(default_factory=list)
    """each is asked once a second"""
    streams: bool = False
    """whether to tell when a stream is about to lose what lies behind its position"""
    full_streams: bool = False
    """whether to tell when such a stream is about to be full: one service of a shard does"""
