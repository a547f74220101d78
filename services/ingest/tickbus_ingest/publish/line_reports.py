"""How the lines did: metrics, the facts of /status, and which of them fell behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tickbus_runtime.telemetry.metrics import Telemetry

from tickbus_ingest.session.race import LineReport
from tickbus_ingest.venue.contract import BEHIND_MAX_US

EVENTS_MIN = 20
"""Fewer do not tell how good a line is."""
GAPS_MAX = 0.1
"""A line that lacks this share of the events falls behind, as one that is late does."""
AGAIN_FIRST_S, AGAIN_MAX_S = 60.0, 3_600.0
"""A line that a new connection does not mend is replaced ever later."""


class LineReports:
    """Adds up report by report; `status["lines"]` has every line's last window and totals."""

    def __init__(self, telemetry: Telemetry, status: dict[str, Any]) -> None:
        self._telemetry, self._status = telemetry, status
        self._totals: dict[str, Counter[str]] = {}
        self._again: dict[str, tuple[float, float]] = {}
        """by line: when it may be replaced again, and the pause then"""

    def show(self, reports: Sequence[LineReport], now_s: float) -> list[LineReport]:
        """Show how the lines did; those that are to be replaced."""
        for one in reports:
            self._show(one)
        return [one for one in reports if self._falls_behind(one) and self._may(one, now_s)]

    def _show(self, one: LineReport) -> None:
        count, gauge = self._telemetry.count, self._telemetry.gauge
        count("line_wins", one.wins, line=one.name)
        count("line_drops", one.drops, line=one.name)
        count("line_gaps", one.gaps, line=one.name)
        for name, values in (("line_lead", one.lead_us), ("line_behind", one.behind_us)):
            for quantile, value in zip(("0.5", "0.99"), values, strict=True):
                gauge(name, value, line=one.name, quantile=quantile)
        total = self._totals.setdefault(one.name, Counter())
        total.update(wins=one.wins, drops=one.drops, gaps=one.gaps)
        self._status.setdefault("lines", {})[one.name] = one.facts | {"total": dict(total)}

    @staticmethod
    def _falls_behind(one: LineReport) -> bool:
        events = one.wins + one.drops + one.gaps
        is_late = one.behind_us[0] > BEHIND_MAX_US and one.drops > one.wins
        return events >= EVENTS_MIN and (is_late or one.gaps > GAPS_MAX * events)

    def _may(self, one: LineReport, now_s: float) -> bool:
        due_s, pause_s = self._again.get(one.name, (0.0, AGAIN_FIRST_S))
        if now_s < due_s:
            return False
        self._again[one.name] = now_s + pause_s, min(pause_s * 2, AGAIN_MAX_S)
        return True
