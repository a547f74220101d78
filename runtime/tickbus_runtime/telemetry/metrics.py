"""Counters, gauges and latency histograms of one process; cheap enough to update every group.

Prometheus reads them at /metrics in its text form; `tickbus up` reads them at /status and adds up
the lives of a process that was restarted.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt

from tickbus_runtime.telemetry.names import METRICS, STAGES

if TYPE_CHECKING:
    from prometheus_client.core import Metric as PrometheusMetric

STEPS_PER_OCTAVE = 16
"""Buckets grow by 2**(1/16): a percentile is right within 2.2 %."""
OCTAVES = 33  # 1 us to 2.4 hours
BUCKETS = STEPS_PER_OCTAVE * OCTAVES
CALLS_TOGETHER = 64
"""Values of this many calls are counted together."""

Int64s = npt.NDArray[np.int64]
Values: TypeAlias = npt.NDArray[Any] | list[float]
Item = TypeVar("Item")

Key = tuple[str, tuple[tuple[str, str], ...]]


class LatencyStatus(TypedDict):
    """A histogram as /status gives it."""

    count: int
    sum: float
    p50: float
    p99: float
    max: float
    buckets: dict[str, int]


class Latency:
    """Geometric histogram of microseconds; below 1 counts as 1.

    Values wait, and are counted after some dozen calls or when the histogram is read: NumPy calls
    once a group cost ten times as much as the same calls in one go.
    """

    def __init__(self) -> None:
        self._counts: Int64s = np.zeros(BUCKETS, np.int64)
        self._sum_us = 0.0
        self._max_us = 0.0
        # Waiting values. Another thread may take them: a deque's ends are safe without the lock.
        self._single: deque[tuple[float, int]] = deque()
        self._many: deque[Values] = deque()
        self._since: deque[tuple[int, Int64s]] = deque()
        self._settling = threading.Lock()

    def observe(self, us: float, n: int = 1) -> None:
        """Count one value, `n` times."""
        self._single.append((us, n))
        if len(self._single) >= CALLS_TOGETHER:
            self._settle()

    def observe_many(self, us: Values) -> None:
        """Count each of these values; the array is read later and must not change."""
        self._many.append(us)
        if len(self._many) >= CALLS_TOGETHER:
            self._settle()

    def observe_since(self, now_ns: int, then_ns: Int64s) -> None:
        """Count the time from each of `then_ns` to `now_ns`; the array must not change later."""
        self._since.append((now_ns, then_ns))
        if len(self._since) >= CALLS_TOGETHER:
            self._settle()

    def _settle(self) -> None:
        """Count the waiting values."""
        with self._settling:
            many = [*_taken(self._many)]
            many += [(now_ns - then_ns) / 1_000 for now_ns, then_ns in _taken(self._since)]
            if many:
                self._add(np.concatenate(many), None)
            single = [*_taken(self._single)]
            if single:
                us, times = zip(*single, strict=True)
                self._add(np.array(us, np.float64), np.array(times, np.int64))

    def _add(self, us: npt.NDArray[Any], times: Int64s | None) -> None:
        """Count each value once, or `times` times."""
        if not len(us):
            return
        values = np.clip(us, 1.0, 2.0**OCTAVES)
        steps = (np.log2(values) * STEPS_PER_OCTAVE).astype(np.int64)
        np.add.at(self._counts, np.minimum(steps, BUCKETS - 1), 1 if times is None else times)
        self._sum_us += float(values.sum() if times is None else values @ times)
        self._max_us = max(self._max_us, float(values.max()))

    @property
    def counts(self) -> Int64s:
        """Values in each bucket."""
        self._settle()
        return self._counts

    @property
    def sum_us(self) -> float:
        """Of all values."""
        self._settle()
        return self._sum_us

    @property
    def max_us(self) -> float:
        """The largest value."""
        self._settle()
        return self._max_us

    @property
    def count(self) -> int:
        """How many values."""
        return int(self.counts.sum())

    def percentile(self, percent: float) -> float:
        """Microseconds below which `percent` of the values lie; 0 without values."""
        total = self.count
        if not total:
            return 0.0
        rank = max(math.ceil(total * percent / 100), 1)
        step = int(np.searchsorted(np.cumsum(self.counts), rank))
        return min(2 ** ((step + 0.5) / STEPS_PER_OCTAVE), self.max_us)

    def status(self) -> LatencyStatus:
        """What /status shows; `merge` takes it back."""
        counts = self.counts
        steps = np.flatnonzero(counts)
        return {
            "count": self.count,
            "sum": self.sum_us,
            "p50": round(self.percentile(50), 1),
            "p99": round(self.percentile(99), 1),
            "max": round(self.max_us, 1),
            "buckets": {str(step): int(counts[step]) for step in steps.tolist()},
        }

    def merge(self, status: LatencyStatus) -> None:
        """Add another histogram's values."""
        for step, count in status["buckets"].items():
            self._counts[int(step)] += count
        self._sum_us += status["sum"]
        self._max_us = max(self._max_us, status["max"])

    def octaves(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound in seconds, one an octave: what Prometheus keeps."""
        cumulative = np.cumsum(self.counts.reshape(OCTAVES, STEPS_PER_OCTAVE).sum(axis=1))
        bounds = [(str(2 ** (n + 1) / 1e6), float(count)) for n, count in enumerate(cumulative)]
        return [*bounds, ("+Inf", float(self.count))]


class Counter:
    """One counter with its labels, looked up once; the first `add` creates it."""

    __slots__ = ("_counters", "_key")

    def __init__(self, counters: dict[Key, float], key: Key) -> None:
        self._counters = counters
        self._key = key

    def add(self, n: float = 1) -> None:
        """Add `n`."""
        self._counters[self._key] = self._counters.get(self._key, 0) + n


class Telemetry:
    """The metrics of a process, as declared in `names`; updated per group, never per row."""

    def __init__(self, service: str = "") -> None:
        self.service = service
        self.counters: dict[Key, float] = {}
        self.gauges: dict[Key, float] = {}
        self.latencies: dict[str, Latency] = {}

    def counter(self, name: str, **labels: str) -> Counter:
        """A counter for code that adds to it often."""
        return Counter(self.counters, (name, tuple(sorted(labels.items()))))

    def count(self, name: str, n: float = 1, **labels: str) -> None:
        """Add `n` to a counter."""
        key = (name, tuple(sorted(labels.items()))) if labels else (name, ())
        self.counters[key] = self.counters.get(key, 0) + n

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self.gauges[name, tuple(sorted(labels.items()))] = value

    def latency(self, stage: str) -> Latency:
        """The histogram of a stage."""
        found = self.latencies.get(stage)
        if found is None:
            found = self.latencies[stage] = Latency()
        return found

    def status(self) -> dict[str, Any]:
        """Counters, gauges and latencies for /status: `{"frames{source=rest}": 3, ...}`."""
        return {
            "counters": dict(_flat(self.counters)),
            "gauges": dict(_flat(self.gauges)),
            "latency_us": {stage: one.status() for stage, one in self.latencies.items()},
        }

    def prometheus(self) -> bytes:
        """All metrics in Prometheus' text form."""
        from prometheus_client import (
            CollectorRegistry,
            generate_latest,
        )  # takes 70 ms: imported only on request

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(self))
        return generate_latest(registry)


class _Collector:
    """Gives the numbers to Prometheus on request; keeps no copy."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry

    def collect(self) -> Iterator[PrometheusMetric]:
        """One family a metric, as prometheus_client's custom collectors do."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        service = self.telemetry.service
        for name, series in _families(self.telemetry.counters):
            family = CounterMetricFamily(f"tickbus_{name}", _meaning(name))
            for labels, value in series:
                family.add_sample(f"tickbus_{name}_total", {"service": service, **labels}, value)
            yield family
        for name, series in _families(self.telemetry.gauges):
            gauge = GaugeMetricFamily(f"tickbus_{name}", _meaning(name))
            for labels, value in series:
                gauge.add_sample(f"tickbus_{name}", {"service": service, **labels}, value)
            yield gauge
        histogram = HistogramMetricFamily(
            "tickbus_latency_seconds", "latency by stage", labels=["service", "stage"]
        )
        for stage, latency in list(self.telemetry.latencies.items()):
            histogram.add_metric([service, stage], latency.octaves(), latency.sum_us / 1e6)
        yield histogram


def _taken(waiting: deque[Item]) -> Iterator[Item]:
    """Take out the items that wait now; others may append meanwhile."""
    for _ in range(len(waiting)):
        yield waiting.popleft()


def _families(
    series: Mapping[Key, float],
) -> Iterable[tuple[str, list[tuple[dict[str, str], float]]]]:
    families: dict[str, list[tuple[dict[str, str], float]]] = {}
    for (name, labels), value in list(series.items()):
        families.setdefault(name, []).append((dict(labels), value))
    return families.items()


def _meaning(name: str) -> str:
    metric = METRICS.get(name)
    return f"{metric.unit} {metric.meaning}" if metric else name


def _flat(series: Mapping[Key, float]) -> Iterator[tuple[str, float]]:
    for (name, labels), value in list(series.items()):
        inner = ",".join(f"{label}={text}" for label, text in labels)
        yield (f"{name}{{{inner}}}" if inner else name), value


__all__ = ["STAGES", "Latency", "LatencyStatus", "Telemetry"]
