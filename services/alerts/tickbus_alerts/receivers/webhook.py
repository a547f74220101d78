"""Webhooks: the shape that Slack takes, and the one that Alertmanager sends.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
https://prometheus.io/docs/alerting/latest/configuration/#webhook_config (version 4)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tickbus.log.alerts import begun, identity_of
from tickbus_schemas.messages import Alert, AlertState

from tickbus_alerts import wording
from tickbus_alerts.receivers.receiver import Answer, Post, Receiver, Verdict, judge_http

LENGTH_MAX = 3_800
SETTINGS = "alerts.webhook_url, or its file"
NO_END = "0001-01-01T00:00:00Z"
"""What Alertmanager sends for an alert that has not ended."""


class Webhook(Receiver):
    """An address that takes JSON by POST; its answer counts by its status."""

    def __init__(self, url: str) -> None:
        self._url = url

    def post(self, alerts: Sequence[Alert], *, plain: bool) -> Post:
        """One request."""
        return Post(self._url, self.body(alerts, plain=plain))

    def body(self, alerts: Sequence[Alert], *, plain: bool) -> dict[str, Any]:
        """What is sent."""
        raise NotImplementedError

    def judge(self, answer: Answer, *, plain: bool) -> Verdict:
        """By its status."""
        return judge_http(answer, SETTINGS)


class Slack(Webhook):
    """`{"text": ...}`; Mattermost, Discord (`/slack`), Rocket.Chat and others take it too."""

    name = "slack"

    def body(self, alerts: Sequence[Alert], *, plain: bool) -> dict[str, Any]:
        """One message."""
        return {"text": wording.letter(alerts, _bold, _safe, LENGTH_MAX)}


class Alertmanager(Webhook):
    """As Alertmanager's own webhook receiver gets it, so that whatever takes that takes ours."""

    name = "alertmanager"

    def body(self, alerts: Sequence[Alert], *, plain: bool) -> dict[str, Any]:
        """One group of alerts."""
        listed = [_alert(alert) for alert in alerts]
        firing = any(one["status"] == "firing" for one in listed)
        return {
            "version": "4",
            "groupKey": "tickbus",
            "truncatedAlerts": 0,
            "status": "firing" if firing else "resolved",
            "receiver": "tickbus",
            "groupLabels": {},
            "commonLabels": _common([one["labels"] for one in listed]),
            "commonAnnotations": {},
            "externalURL": "",
            "alerts": listed,
        }


def _alert(alert: Alert) -> dict[str, Any]:
    identity = identity_of(alert)
    over = alert.state == AlertState.RESOLVED
    labels = {
        "alertname": alert.condition,
        "severity": wording.severity_of(alert),
        "source": alert.source,
        "shard": alert.shard,
        **({"about": alert.about} if alert.about else {}),
    }
    return {
        "status": "resolved" if over else "firing",
        "labels": labels,
        "annotations": {"summary": alert.cause, "remedy": alert.remedy},
        "startsAt": _rfc3339(begun(alert)),
        "endsAt": _rfc3339(alert.timestamp) if over else NO_END,
        "generatorURL": "",
        "fingerprint": hashlib.sha256("|".join(identity).encode()).hexdigest()[:16],
    }


def _common(labels: Sequence[dict[str, str]]) -> dict[str, str]:
    first, *others = labels
    return {
        name: value
        for name, value in first.items()
        if all(other.get(name) == value for other in others)
    }


def _rfc3339(time_us: int) -> str:
    try:
        found = datetime.fromtimestamp(time_us // 1_000_000, UTC)
    except (ValueError, OverflowError, OSError):
        return NO_END
    return f"{found:%Y-%m-%dT%H:%M:%S}.{time_us % 1_000_000:06d}Z"


def _safe(text: str) -> str:
    """https://docs.slack.dev/messaging/formatting-message-text#escaping"""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _bold(text: str) -> str:
    return f"*{_safe(text)}*"
