"""How an alert reads. Plain text in parts; each receiver marks and escapes them in its own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from tickbus.log.alerts import begun
from tickbus_schemas.messages import Alert, AlertState, Severity

SIGNS = {AlertState.RAISED: "RAISED", AlertState.RENEWED: "STILL", AlertState.RESOLVED: "RESOLVED"}
CUT = "..."


def severity_of(alert: Alert) -> str:
    """Name of its severity."""
    return alert.codes["severity"].names.get(alert.severity, str(alert.severity)).lower()


def headline(alert: Alert) -> str:
    """`RAISED critical: no_data of ingest binance_usdm`."""
    state = alert.codes["state"].names.get(alert.state, f"STATE {alert.state}")
    word = SIGNS.get(AlertState(alert.state), state) if alert.state in SIGNS else state
    about = f" ({alert.about})" if alert.about else ""
    return f"{word} {severity_of(alert)}: {alert.condition} of {alert.source} {alert.shard}{about}"


def body(alert: Alert) -> list[str]:
    """What was seen, since when, and what to do: a line each."""
    if alert.state == AlertState.RESOLVED:
        return [f"It was: {alert.cause}", f"{_clock(begun(alert))} to {_clock(alert.timestamp)}"]
    return [alert.cause, f"since {_clock(begun(alert))}", f"To do: {alert.remedy}"]


Mark = Callable[[str], str]
"""Makes a text safe, and perhaps bold, for a receiver."""


def letter(alerts: Sequence[Alert], bold: Mark, safe: Mark, length_max: int) -> str:
    """The text of one alert, or the digest of several; at most so many characters of text."""
    if len(alerts) == 1:
        (alert,) = alerts
        lines = [
            bold(cut(headline(alert), 300)),
            *(safe(cut(line, length_max // 4)) for line in body(alert)),
        ]
        return "\n".join(lines)
    return digest(alerts, bold, safe, length_max)


def digest(alerts: Sequence[Alert], bold: Mark, safe: Mark, length_max: int) -> str:
    """Many alerts, a line each, the severe ones first; those that do not fit are counted."""
    ordered = sorted(alerts, key=lambda alert: (-alert.severity, alert.timestamp))
    raised = sum(alert.state != AlertState.RESOLVED for alert in alerts)
    critical = sum(alert.severity >= Severity.CRITICAL for alert in alerts)
    title = (
        f"{len(alerts)} alerts: {raised} raised, {len(alerts) - raised} resolved, "
        f"{critical} critical"
    )
    lines, left = [bold(title)], length_max - len(title) - 40
    for place, alert in enumerate(ordered):
        line = f"{_clock(alert.timestamp)} {cut(headline(alert), 200)}: {cut(alert.cause, 120)}"
        left -= len(line) + 1
        if left < 0:
            lines.append(safe(f"and {len(ordered) - place} more: tickbus alerts"))
            break
        lines.append(safe(line))
    return "\n".join(lines)


def cut(text: str, length_max: int) -> str:
    """The text, or its beginning."""
    return text if len(text) <= length_max else text[: length_max - len(CUT)] + CUT


def _clock(time_us: int) -> str:
    """To the second, UTC."""
    try:
        return f"{datetime.fromtimestamp(time_us // 1_000_000, UTC):%Y-%m-%d %H:%M:%S}Z"
    except (ValueError, OverflowError, OSError):
        return f"{time_us} us"
