"""Adds up what restarted processes did in all their lives, from their /status. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from tickbus_runtime.telemetry.metrics import Latency

Status = dict[str, Any]


class Lives:
    """The last status of every life (service and pid); a restarted process begins a new one."""

    def __init__(self) -> None:
        self._lives: dict[tuple[str, int], Status] = {}

    def update(self, status: Status) -> None:
        """Take a status; it replaces the earlier one of the same life."""
        self._lives[str(status["service"]), int(status["pid"])] = status

    def only(self, instance: str) -> Lives:
        """Those of one process alone, as `latest` names it."""
        found = Lives()
        found._lives = {
            (service, pid): status
            for (service, pid), status in self._lives.items()
            if status.get("instance", service) == instance
        }
        return found

    def latest(self, instance: str) -> Status:
        """The newest status of a process (its service's name, if it has none of its own)."""
        found = [
            status
            for (service, _), status in self._lives.items()
            if status.get("instance", service) == instance
        ]
        return max(found, key=lambda status: status.get("started", 0.0), default={})

    def position(self, service: str, stream: str, pid: int | None) -> int:
        """How far the life `pid` has read a stream; 0 if unknown.

        An earlier life's position does not count: what it read but did not store is read again.
        """
        status = self._lives.get((service, pid), {}) if pid is not None else {}
        return int(status.get("positions", {}).get(stream, 0))

    def counters(self, *services: str) -> dict[str, float]:
        """Counters added up over all lives; of all services or of these."""
        total: dict[str, float] = defaultdict(float)
        for status in self._of(services):
            for name, value in status.get("counters", {}).items():
                total[name] += value
        return dict(total)

    def by_label(self, name: str, label: str, *services: str) -> dict[str, int]:
        """One counter by the values of a label: `{"trade": 21313, ...}`."""
        total: dict[str, int] = defaultdict(int)
        for key, value in self.counters(*services).items():
            base, labels = split_labels(key)
            if base == name:
                total[labels.get(label, "")] += int(value)
        return dict(sorted(total.items()))

    def sum(self, name: str, *services: str) -> int:
        """One counter over all its labels."""
        return sum(self.by_label(name, "", *services).values())

    def latencies(self) -> dict[str, Latency]:
        """Each stage's histogram over all lives."""
        stages: dict[str, Latency] = defaultdict(Latency)
        for status in self._of(()):
            for stage, histogram in status.get("latency_us", {}).items():
                stages[stage].merge(histogram)
        return dict(stages)

    def fact(self, service: str, name: str) -> list[Any]:
        """A field of a service's status, one value for each life that has it."""
        return [status[name] for status in self._of((service,)) if name in status]

    def fates(self, service: str) -> list[dict[str, int]]:
        """`frames` of a service's status, one for each life: how many were `received`, and fates.

        The counters are newer: a life that was killed has them from after its last status of this.
        """
        found = []
        for status in self._of((service,)):
            frames: dict[str, int] = dict(status.get("frames", {}))
            for key, value in status.get("counters", {}).items():
                name, labels = split_labels(key)
                if name == "fates":
                    fate = labels["fate"]
                    frames[fate] = max(frames.get(fate, 0), int(value))
            found.append(frames)
        return found

    def _of(self, services: Iterable[str]) -> list[Status]:
        wanted = set(services)
        return [status for (name, _), status in self._lives.items() if not wanted or name in wanted]


def split_labels(key: str) -> tuple[str, dict[str, str]]:
    """`frames{source=rest}` is ("frames", {"source": "rest"})."""
    base, _, inner = key.rstrip("}").partition("{")
    return base, dict(part.partition("=")[::2] for part in inner.split(",") if part)
