"""`tickbus alerts` against a real server, and the fold that it shows."""

from __future__ import annotations

import asyncio
import json
import time

import hypothesis.strategies as st
import pytest
from hypothesis import given
from tickbus.log.alerts import UNCONFIRMED_S, Alerts, begun, identity_of
from tickbus.log.connection import Connection
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_schemas.messages import ABSENT, Alert, Severity

from tests.alerts.receiving import RAISED, RENEWED, RESOLVED, alert, store
from tests.client.running import finished, tickbus
from tests.processes import make_streams

NOW_US = time.time_ns() // 1000
MINUTE_US = 60_000_000


def at(minutes_ago: int, number: int, state: int = RAISED, **fields: object) -> Alert:
    time_us = NOW_US - minutes_ago * MINUTE_US
    more = {"timestamp": time_us, "raised_timestamp": time_us, **fields}
    return alert(number, state, **more)  # type: ignore[arg-type]  # an AlertState is an int


@pytest.mark.connected
async def test_what_is_open_comes_first_and_a_critical_one_is_an_exit_code(
    nats_server: EmbeddedServer, bus: Connection
) -> None:
    await make_streams(bus)
    code, lines, _ = await finished(nats_server, "alerts")
    assert (code, lines) == (0, ["no alert is open, and none was resolved lately"])
    began = NOW_US - 90 * MINUTE_US
    await store(
        bus,
        at(90, 1),
        at(80, 2, severity=Severity.WARNING),
        at(70, 1, RESOLVED, raised_timestamp=began),
        at(60 * 30, 3, RESOLVED),
    )
    code, lines, _ = await finished(nats_server, "alerts")
    assert code == 0
    assert lines[0] == "OPEN warning  no_data of ingest binance_usdm (n2)"
    assert lines[2] == "  to do: look at <ingest> & its log"
    assert lines[3] == "resolved critical  no_data of ingest binance_usdm (n1)"
    assert ", for 20m: seen 1" in lines[4]
    assert len(lines) == 5
    await store(bus, at(1, 4))
    code, lines, _ = await finished(nats_server, "alerts", "--json", "--from", "3d")
    assert code == 1
    found = json.loads(lines[0])
    assert [one["about"] for one in found["open"]] == ["n2", "n4"]
    assert [one["about"] for one in found["resolved"]] == ["n3", "n1"]
    assert found["open"][1]["severity"] == "critical"
    assert found["open"][1]["state"] == "raised"
    assert found["open"][1]["confirmed"] is True


@pytest.mark.connected
async def test_an_alert_that_nobody_renews_is_told_as_such(
    nats_server: EmbeddedServer, bus: Connection
) -> None:
    await make_streams(bus)
    await store(bus, at(int(UNCONFIRMED_S // 60) + 5, 1))
    _, lines, _ = await finished(nats_server, "alerts")
    assert lines[-1] == "  not renewed any more: the service that told it is gone, or stopped"


@pytest.mark.connected
async def test_follow_goes_on_with_what_comes(nats_server: EmbeddedServer, bus: Connection) -> None:
    await make_streams(bus)
    await store(bus, at(3, 1))
    async with tickbus(nats_server, "alerts", "--follow", "--json") as process, asyncio.timeout(60):
        assert process.stdout is not None
        assert json.loads(await process.stdout.readline())["about"] == "n1"
        await store(bus, at(0, 2), at(0, 1, RESOLVED))
        assert json.loads(await process.stdout.readline())["about"] == "n2"
        assert json.loads(await process.stdout.readline())["state"] == "resolved"


@pytest.mark.connected
async def test_a_server_without_the_stream_says_what_makes_it(nats_server: EmbeddedServer) -> None:
    code, _, errors = await finished(nats_server, "alerts")
    assert code == 1
    assert "no stream holds alert.>" in errors


moments = st.integers(0, 50)


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.sampled_from([RAISED, RENEWED, RESOLVED]), moments),
        max_size=30,
    )
)
def test_an_alert_is_open_exactly_if_its_last_message_does_not_resolve_it(
    told: list[tuple[int, int, int]],
) -> None:
    alerts = Alerts()
    last: dict[int, Alert] = {}
    for number, state, moment in told:
        one = alert(number, state, timestamp=moment, raised_timestamp=ABSENT)  # type: ignore[arg-type]  # as above
        alerts.take(one)
        # A process that was succeeded may still tell something; it is older.
        if number not in last or moment >= last[number].timestamp:
            last[number] = one
    opened = {identity_of(one) for one in last.values() if one.state != RESOLVED}
    assert {identity_of(one) for one in alerts.open} == opened
    assert len(alerts.resolved_since(0)) == len(last) - len(opened)
    assert [begun(one) for one in alerts.open] == sorted(begun(one) for one in alerts.open)
