"""What one measurement says: a value, the limit and the peer beside it, pass or miss."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Target:
    """A value against its target; `passes` says which direction is good by `at_least`."""

    name: str
    value: float
    unit: str
    target: float
    at_least: bool
    limit: str = ""
    """the bound of the machine or of the library below, measured in the same run"""
    peer: str = ""
    """what another program needs for the same, measured in the same run"""
    spread: tuple[float, float] | None = None
    """lowest and highest of the runs whose median is the value"""
    runs: int = 1
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def passes(self) -> bool:
        return self.value >= self.target if self.at_least else self.value <= self.target

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"pass": self.passes}


def of_runs(values: list[float]) -> dict[str, Any]:
    """Median, spread and number of runs, as arguments of a Target."""
    return {
        "value": median(values),
        "spread": (min(values), max(values)),
        "runs": len(values),
    }


def machine() -> dict[str, Any]:
    """The machine that measured, named as far as it names itself."""
    import psutil

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {
        "cpu": model,
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
