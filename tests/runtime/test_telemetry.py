"""Counters add up, percentiles are right within a bucket, Prometheus can read all of it."""

from __future__ import annotations

import ast
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from tickbus_runtime.telemetry.metrics import Latency, Telemetry
from tickbus_runtime.telemetry.names import METRICS, SPANS, STAGES

WITHIN = 2 ** (1 / 16)
microseconds = st.lists(st.integers(0, 10**9), min_size=1, max_size=200)


@given(microseconds)
def test_one_by_one_and_many_at_once_give_the_same_histogram(values: list[int]) -> None:
    single, many = Latency(), Latency()
    for value in values:
        single.observe(value)
    many.observe_many(np.array(values, np.int64))
    assert single.counts.tolist() == many.counts.tolist()
    assert single.max_us == many.max_us
    assert single.sum_us == pytest.approx(many.sum_us)


@given(microseconds, st.sampled_from([50, 90, 99, 100]))
def test_a_percentile_is_right_within_one_bucket(values: list[int], percent: int) -> None:
    latency = Latency()
    latency.observe_many(np.array(values, np.int64))
    exact = np.percentile(np.maximum(values, 1), percent, method="inverted_cdf")
    assert exact / WITHIN <= latency.percentile(percent) <= exact * WITHIN


def test_times_since_are_counted_like_the_differences() -> None:
    now_ns, then_ns = 10**18, 10**18 - np.array([0, 5_000, 7 * 10**9], np.int64)
    since, many = Latency(), Latency()
    since.observe_since(now_ns, then_ns)
    many.observe_many((now_ns - then_ns) / 1_000)
    assert since.status() == many.status()


def test_values_are_counted_once_while_other_threads_look() -> None:
    latency, calls = Latency(), 5_000

    def look() -> int:
        return max(latency.count for _ in range(500))

    with ThreadPoolExecutor(2) as pool:
        looks = [pool.submit(look) for _ in range(2)]
        for n in range(calls):
            latency.observe(n)
            latency.observe_since(n, np.zeros(2, np.int64))
    assert all(look.result() <= 3 * calls for look in looks)
    assert latency.count == 3 * calls
    assert latency.sum_us == pytest.approx(
        calls * (calls - 1) / 2 + 1 + 2 * np.maximum(np.arange(calls) / 1_000, 1).sum()
    )


@given(microseconds, microseconds)
def test_the_lives_of_a_restarted_process_add_up(first: list[int], second: list[int]) -> None:
    lives = [Latency(), Latency()]
    lives[0].observe_many(np.array(first, np.int64))
    lives[1].observe_many(np.array(second, np.int64))
    whole, merged = Latency(), Latency()
    whole.observe_many(np.array(first + second, np.int64))
    for life in lives:
        merged.merge(life.status())
    assert merged.status()["buckets"] == whole.status()["buckets"]
    assert merged.percentile(99) == whole.percentile(99)


def test_absurd_and_absent_values_do_no_harm() -> None:
    latency = Latency()
    assert latency.percentile(99) == 0.0
    latency.observe_many(np.array([], np.int64))
    latency.observe_many(np.array([-5, 2**62], np.int64))
    latency.observe(-1.0)
    assert latency.count == 3
    assert latency.percentile(1) <= WITHIN


def test_prometheus_reads_every_kind() -> None:
    telemetry = Telemetry("book")
    telemetry.count("frames", 3, source="websocket")
    telemetry.count("frames", 2, source="websocket")
    telemetry.gauge("pending", 7, stream="MD_X")
    telemetry.latency("bus").observe_many(np.array([3, 50, 2**40], np.int64))
    families = {f.name: f for f in text_string_to_metric_families(telemetry.prometheus().decode())}
    (frames,) = families["tickbus_frames"].samples
    assert frames.value == 5
    assert frames.labels == {"service": "book", "source": "websocket"}
    assert METRICS["frames"].meaning in families["tickbus_frames"].documentation
    assert families["tickbus_pending"].samples[0].value == 7
    latency = families["tickbus_latency_seconds"].samples
    buckets = [s.value for s in latency if s.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 3
    assert next(s.value for s in latency if s.name.endswith("_count")) == 3


def test_status_names_counters_with_their_labels() -> None:
    telemetry = Telemetry("writer")
    telemetry.count("rows_written", 4, feed="trade")
    telemetry.count("checkpoints")
    assert telemetry.status()["counters"] == {"rows_written{feed=trade}": 4, "checkpoints": 1}


def called_names(attribute: str) -> set[str]:
    """First arguments of `telemetry.<attribute>("...")` in the whole project."""
    root = Path(__file__).parents[2]
    found = set()
    for folder in ("runtime", "services"):
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    owner = ast.unparse(node.func.value)
                    named = node.args and isinstance(node.args[0], ast.Constant)
                    if node.func.attr == attribute and "telemetry" in owner and named:
                        found.add(ast.literal_eval(node.args[0]))
    return found


def test_every_name_that_the_code_uses_is_declared() -> None:
    counted = called_names("count") | called_names("counter")
    assert counted | called_names("gauge") <= set(METRICS)
    assert called_names("latency") <= set(STAGES)
    assert all(metric.unit and metric.meaning for metric in METRICS.values())
    assert all(SPANS.values())
