"""Live, ready, metrics and status over real HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tickbus_runtime.service import health
from tickbus_runtime.service.health import PROBE_FAILURES, HealthServer, Readiness, keep_probing
from tickbus_runtime.settings.sections import HealthSettings
from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_schemas.errors import Fatal


def ready(readiness: Readiness) -> Readiness:
    readiness.started = True
    readiness.bus_answered(True)
    return readiness


def test_a_service_is_ready_when_it_says_so_and_the_bus_answers() -> None:
    readiness = Readiness()
    assert not readiness.ready(0.0)
    readiness.started = True
    assert not readiness.ready(0.0)
    readiness.bus_answered(True)
    assert readiness.ready(0.0)
    readiness.stopping = True
    assert not readiness.ready(0.0)


def test_one_lost_probe_is_forgiven_and_several_are_not() -> None:
    readiness = ready(Readiness())
    for _ in range(PROBE_FAILURES - 1):
        readiness.bus_answered(False)
    assert readiness.ready(0.0)
    readiness.bus_answered(False)
    assert not readiness.ready(0.0)
    readiness.bus_answered(True)
    assert readiness.ready(0.0)


def test_stale_data_make_it_unready_where_data_must_flow() -> None:
    readiness = ready(Readiness(fresh_within_s=30.0))
    assert not readiness.ready(100.0)
    readiness.data_arrived(100.0)
    assert readiness.ready(130.0)
    assert not readiness.ready(130.1)


async def test_a_probe_that_raises_or_hangs_counts_as_no_answer() -> None:
    readiness = ready(Readiness())
    answers = iter([OSError("gone"), TimeoutError()])
    asked = asyncio.Event()

    async def probe() -> bool:
        try:
            raise next(answers)
        except StopIteration:
            asked.set()
            return False

    for _ in range(PROBE_FAILURES - 2):
        readiness.bus_answered(False)
    probing = asyncio.create_task(keep_probing(readiness, probe, retry_s=0.01))
    async with asyncio.timeout(10):
        await asked.wait()
    await asyncio.sleep(0)
    assert not readiness.ready(0.0)
    probing.cancel()


class Served:
    def __init__(self) -> None:
        self.readiness = Readiness()
        self.telemetry = Telemetry("book")
        self.server = HealthServer(self.readiness, self.telemetry, lambda: {"pid": 7, "x": {1}})

    async def get(self, path: str) -> tuple[int, str]:
        def fetch() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(self.server.url + path, timeout=10) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await asyncio.to_thread(fetch)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    await served.server.start(HealthSettings())
    yield served
    await served.server.close()


@pytest.mark.connected
async def test_probes_answer_over_http(served: Served) -> None:
    assert (await served.get("/live"))[0] == 200
    code, text = await served.get("/ready")
    assert code == 503
    checks: dict[str, Any] = json.loads(text)
    assert checks["checks"] == {"started": False, "bus": False, "not_stopping": True}
    ready(served.readiness)
    code, text = await served.get("/ready")
    assert (code, json.loads(text)["ready"]) == (200, True)


@pytest.mark.connected
async def test_a_loop_that_stands_still_is_told_while_it_does(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "DEAD_S", 0.1)
    answers: list[int] = []

    def ask() -> None:
        time.sleep(0.3)
        try:
            urllib.request.urlopen(served.server.url + "/live", timeout=10).close()
        except urllib.error.HTTPError as error:
            with error:
                answers.append(error.code)

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()  # blocks the loop, as a bug would
    assert answers == [503]


@pytest.mark.connected
async def test_metrics_and_status_are_served(served: Served) -> None:
    served.telemetry.count("checkpoints", 3)
    code, text = await served.get("/metrics")
    assert code == 200
    assert 'tickbus_checkpoints_total{service="book"} 3.0' in text
    code, text = await served.get("/status")
    assert json.loads(text)["pid"] == 7
    assert (await served.get("/other"))[0] == 404


@pytest.mark.connected
async def test_it_listens_on_loopback_only_and_a_busy_port_is_one_line(served: Served) -> None:
    assert served.server.url.startswith("http://127.0.0.1:")
    port = int(served.server.url.rpartition(":")[2])
    second = HealthServer(Readiness(), Telemetry(), dict)
    with pytest.raises(Fatal, match=f"cannot listen on 127.0.0.1:{port}.*health.port"):
        await second.start(HealthSettings(port=port))
