"""Decides which alerts are raised, renewed and resolved, from what holds now. No I/O, no clock.

A condition that comes and goes is one alert: it is resolved only when it has not held for its hold
time, and it is raised anew only when it holds again after that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tickbus.log.alerts import RENEW_S
from tickbus_schemas.messages import AlertState

from tickbus_runtime.alerts.conditions import OF_NAME

OPEN_MAX = 64
"""Alerts of one service that are open at a time; a further one waits for a place."""


class Place(NamedTuple):
    """A condition, and what it is about where a service can have it several times."""

    condition: str
    about: str = ""


Holding = Mapping[Place, str]
"""What holds now, with what was seen."""


class Change(NamedTuple):
    """What is to be told of one condition."""

    place: Place
    state: AlertState
    cause: str
    raised_us: int
    """when its alert was raised, us UTC"""


@dataclass(slots=True)
class _Open:
    raised_us: int
    cause: str
    held_s: float
    """when it was last seen to hold"""
    told_s: float


class Alarms:
    """The alerts of one service. Times `_s` are monotonic seconds, `_us` are UTC."""

    def __init__(self) -> None:
        self._since: dict[Place, float] = {}
        """conditions that hold and are not raised yet"""
        self._open: dict[Place, _Open] = {}

    @property
    def open(self) -> list[Place]:
        """Conditions whose alert is raised and not resolved."""
        return [*self._open]

    def adopt(self, place: Place, raised_us: int, cause: str, now_s: float) -> None:
        """An earlier process raised this alert and did not resolve it: it is ours from now on."""
        if place.condition in OF_NAME and place not in self._open:
            self._open[place] = _Open(raised_us, cause, now_s, now_s)

    def look(self, holding: Holding, now_s: float, now_us: int) -> list[Change]:
        """What is to be told, given what holds now."""
        changes = [*self._over(holding, now_s)]
        self._since = {
            place: self._since.get(place, now_s) for place in holding if place not in self._open
        }
        for place, cause in holding.items():
            alert = self._open.get(place)
            if alert is None:
                changes += self._raised(place, cause, now_s, now_us)
                continue
            alert.cause, alert.held_s = cause, now_s
            if now_s - alert.told_s >= RENEW_S:
                alert.told_s = now_s
                changes.append(Change(place, AlertState.RENEWED, cause, alert.raised_us))
        return changes

    def _raised(self, place: Place, cause: str, now_s: float, now_us: int) -> list[Change]:
        waits = now_s - self._since[place] < OF_NAME[place.condition].after_s
        if waits or len(self._open) >= OPEN_MAX:
            return []
        del self._since[place]
        self._open[place] = _Open(now_us, cause, now_s, now_s)
        return [Change(place, AlertState.RAISED, cause, now_us)]

    def _over(self, holding: Holding, now_s: float) -> list[Change]:
        over = [
            place
            for place, alert in self._open.items()
            if place not in holding and now_s - alert.held_s >= OF_NAME[place.condition].hold_s
        ]
        closed = [(place, self._open.pop(place)) for place in over]
        return [
            Change(place, AlertState.RESOLVED, alert.cause, alert.raised_us)
            for place, alert in closed
        ]
