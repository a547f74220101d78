"""Which alerts are open: a fold over the messages of `alert.>`. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tickbus_schemas import codec
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT, Alert, AlertState

from tickbus.log.stored import Stored

STREAM = "ALERT"
SUBJECTS = "alert.>"
RENEW_S = 3600.0
"""An open alert is renewed this often."""
UNCONFIRMED_S = 2 * RENEW_S + 60.0
"""One that was not renewed for so long has lost the service that told it."""


class Identity(NamedTuple):
    """What makes two alert messages be about the same condition."""

    source: str
    shard: str
    condition: str
    about: str


def identity_of(alert: Alert) -> Identity:
    """The condition that a message is about."""
    return Identity(alert.source, alert.shard, alert.condition, alert.about)


class Alerts:
    """The last message of every condition."""

    def __init__(self) -> None:
        self._last: dict[Identity, Alert] = {}

    def take(self, alert: Alert) -> bool:
        """Take a message in the order of the stream; False for one that changes nothing."""
        identity = identity_of(alert)
        last = self._last.get(identity)
        if last is not None and alert.timestamp < last.timestamp:
            return False  # of a process that has been succeeded
        self._last[identity] = alert
        return last is None or last.state != alert.state or begun(last) != begun(alert)

    @property
    def open(self) -> list[Alert]:
        """Alerts that were raised and not resolved, the newest last."""
        found = [one for one in self._last.values() if one.state != AlertState.RESOLVED]
        return sorted(found, key=begun)

    def resolved_since(self, time_us: int) -> list[Alert]:
        """Alerts that were resolved at this time or later, the newest last."""
        found = [
            one
            for one in self._last.values()
            if one.state == AlertState.RESOLVED and one.timestamp >= time_us
        ]
        return sorted(found, key=lambda one: one.timestamp)


def begun(alert: Alert) -> int:
    """When the alert was raised, us UTC."""
    return alert.timestamp if alert.raised_timestamp == ABSENT else alert.raised_timestamp


def alerts_in(messages: Iterable[Stored]) -> list[tuple[Stored, Alert]]:
    """The alerts among stored messages; what cannot be read as one is left out."""
    found = []
    for one in messages:
        try:
            message = codec.decode(one.data, one.subject)
        except Reject:
            continue
        if isinstance(message, Alert):
            found.append((one, message))
    return found
