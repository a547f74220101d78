"""Alerts on a real server: stored once, taken over by the next process; services gone silent."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
import structlog
from tickbus.log.alerts import Alerts, alerts_in
from tickbus.log.connection import Connection
from tickbus.log.reader import Reader
from tickbus_alerts.heartbeats import FORGOTTEN_S, SILENT_S, Heartbeats, Named, listen, named_in
from tickbus_runtime.alerts import conditions, teller
from tickbus_runtime.alerts.alarms import Place
from tickbus_runtime.alerts.conditions import CONDITIONS
from tickbus_runtime.alerts.teller import Teller
from tickbus_runtime.alerts.watched import Watched
from tickbus_runtime.bus.connection import FAREWELL, probe, say_farewell
from tickbus_runtime.settings.sections import Settings
from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_schemas.messages import Alert, AlertState

from tests.alerts.receiving import RAISED, RESOLVED
from tests.processes import Start, make_streams

BOOK, FEATURES = Named("book", "okx"), Named("features", "okx")
DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"


async def told(bus: Connection, count: int) -> list[tuple[AlertState, str]]:
    """State and condition of the first alerts that are stored."""
    found: list[Alert] = []
    async with asyncio.timeout(30):
        async for group in Reader(bus, "ALERT").groups():
            found += [alert for _, alert in alerts_in(group)]
            if len(found) >= count:
                break
    return [(AlertState(one.state), one.condition) for one in found]


@pytest.mark.connected
async def test_what_a_killed_process_has_raised_is_resolved_by_the_next_one(
    bus: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teller, "FIRST_LOOK_S", 0.0)
    monkeypatch.setattr(teller, "LOOK_S", 0.05)
    quick = conditions.OF_NAME["no_data"]._replace(hold_s=0.5)
    monkeypatch.setitem(conditions.OF_NAME, "no_data", quick)
    await make_streams(bus)
    holding = {Place("no_data"): "nothing comes"}
    for held in (holding, holding, {}):
        watched = Watched({}, [lambda _, held=held: held])  # type: ignore[misc]  # binds the loop's value
        shard = Settings().of_shard
        one = Teller(bus, "ingest", shard, watched, Telemetry(), structlog.get_logger())
        running = asyncio.create_task(one.run())
        await told(bus, 1 if held else 2)
        await asyncio.sleep(0.3)
        running.cancel()  # killed: it says nothing more
        await asyncio.gather(running, return_exceptions=True)
        await one.close()
    assert await told(bus, 2) == [(RAISED, "no_data"), (RESOLVED, "no_data")]
    assert (await bus.jetstream().stream_info("ALERT")).state.messages == 2


@pytest.mark.connected
async def test_a_service_that_cannot_go_on_says_why_with_its_last_word(
    bus: Connection, start: Start, tmp_path: Path
) -> None:
    await make_streams(bus)
    await bus.jsm().delete_stream("MD_BINANCE_USDM")
    code, said = await start("book", tmp_path / "data").ended()
    assert code == 1
    alerts = Alerts()
    async for group in Reader(bus, "ALERT", only_history=True).groups():
        for _, alert in alerts_in(group):
            alerts.take(alert)
    (failed,) = alerts.open
    assert (failed.condition, failed.source) == ("failed", "book")
    assert "there is no stream MD_BINANCE_USDM" in failed.cause
    assert failed.cause in said


# -------------------------------------------------------------- signs of life


def test_a_service_is_silent_after_six_probes_and_forgotten_after_a_day() -> None:
    one = Heartbeats()
    one.note(BOOK, b"", 0.0)
    one.note(FEATURES, b"", 20.0)
    assert one.look(SILENT_S - 1) == {}
    assert [*one.look(SILENT_S)] == [Place("service_silent", "book okx")]
    one.note(BOOK, b"", SILENT_S + 1)
    assert one.look(SILENT_S + 2) == {}
    assert len(one.look(SILENT_S * 3)) == 2
    assert one.look(FORGOTTEN_S + SILENT_S + 1) == {}


def test_a_service_that_was_stopped_in_order_is_not_missed() -> None:
    one = Heartbeats()
    one.note(BOOK, b"", 0.0)
    one.note(BOOK, FAREWELL, 5.0)
    assert one.look(1000.0) == {}


def test_whoever_hears_nobody_misses_nobody() -> None:
    one = Heartbeats()
    one.note(BOOK, b"", 0.0)
    for second in range(1, 1000):
        one.deaf(float(second))
    assert one.look(999.0 + SILENT_S - 1) == {}
    assert [*one.look(999.0 + SILENT_S)] == [Place("service_silent", "book okx")]


def test_a_probe_of_an_older_version_is_nobodys() -> None:
    assert named_in("ckpt.probe.book.okx") == BOOK
    assert named_in("ckpt.probe.book") is None


@pytest.mark.connected
async def test_probes_are_heard_from_the_server_the_old_ones_too(bus: Connection) -> None:
    await make_streams(bus)
    assert await probe(bus, "book", "okx")
    await asyncio.sleep(1.1)
    heartbeats = Heartbeats()
    listening = asyncio.create_task(listen(bus, heartbeats, asyncio.Event()))
    assert await probe(bus, "features", "okx")
    async with asyncio.timeout(30):
        while len(heartbeats.look(time.monotonic() + SILENT_S + 5)) < 2:  # noqa: ASYNC110  # nothing else tells that it has come
            await asyncio.sleep(0.02)
        # The probe of book is a second older than that of features.
        heard = heartbeats._heard_s
        assert 0.9 < heard[FEATURES] - heard[BOOK] < 20.0
        await say_farewell(bus, "book", "okx")
        while len(heartbeats.look(time.monotonic() + SILENT_S + 5)) > 1:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.02)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


def test_every_condition_is_explained_for_those_who_are_called_at_night() -> None:
    page = DOCUMENT.read_text()
    for one in CONDITIONS:
        assert f"### `{one.name}`" in page, one.name
        severity = one.severity.name.lower()
        section = page.partition(f"### `{one.name}`")[2].partition("\n### ")[0]
        assert section.startswith(f" ({severity})")
        assert "**Do:**" in section
