"""`tickbus streams` against a real server."""

from __future__ import annotations

import json

import pytest
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, DiscardPolicy
from tickbus.log import inventory
from tickbus.log.connection import Connection
from tickbus_runtime.local.nats_server import EmbeddedServer

from tests.client.running import L2, TRADE, finished, make_stream, publish

pytestmark = pytest.mark.connected


async def test_json_has_contents_limits_use_and_readers(
    nats_server: EmbeddedServer, bus: Connection
) -> None:
    await make_stream(bus, max_bytes=10_000, max_age=86_400, discard=DiscardPolicy.NEW)
    await publish(bus, TRADE, L2, TRADE)
    await bus.jetstream().add_consumer(
        "MD_BINANCE_USDM",
        ConsumerConfig(
            durable_name="writer", ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL
        ),
    )
    code, lines, _ = await finished(nats_server, "streams", "--json")
    assert code == 0
    (report,) = json.loads(lines[0])["streams"]
    assert report["stream"] == "MD_BINANCE_USDM"
    assert (report["messages"], report["first_seq"], report["last_seq"]) == (3, 1, 3)
    assert report["first_time"] < report["last_time"]
    assert (report["max_age_s"], report["discard"], report["storage"]) == (86_400, "new", "file")
    assert report["use"] == report["bytes"] / 10_000
    assert not report["alarm"]
    assert report["consumers"] == [
        {"consumer": "writer", "delivered_seq": 0, "pending": 3, "unacknowledged": 0}
    ]


async def test_a_stream_from_seventy_percent_of_its_bytes_on_has_an_alarm(
    nats_server: EmbeddedServer, bus: Connection
) -> None:
    await make_stream(bus, max_bytes=10_000)
    await publish(bus, L2, L2)
    info = await bus.jetstream().stream_info("MD_BINANCE_USDM")
    info.config.max_bytes = round(info.state.bytes / 0.75)
    await bus.jetstream().update_stream(info.config)
    _, lines, _ = await finished(nats_server, "streams")
    assert lines[0].startswith("MD_BINANCE_USDM  md.binance_usdm.> ")
    assert any("75% of " in line and "ALARM: nearly full" in line for line in lines)


async def test_an_empty_server_says_what_makes_streams(
    nats_server: EmbeddedServer,
) -> None:
    code, lines, _ = await finished(nats_server, "streams")
    assert (code, lines) == (0, ["no streams: 'tickbus up' or 'tickbus init' creates them"])


async def test_more_streams_and_consumers_than_a_page_holds_are_all_listed(
    bus: Connection,
) -> None:
    js = bus.jetstream()
    names = [f"S{number:03d}" for number in range(260)]
    for name in names:
        await js.add_stream(name=name, subjects=[name.lower()], storage="memory")
    assert [stream.config.name for stream in await inventory.streams(bus)] == names
    for number in range(257):
        await js.add_consumer(
            "S000",
            ConsumerConfig(name=f"c{number:03d}", mem_storage=True, ack_policy=AckPolicy.NONE),
        )
    assert len(await inventory.consumers(bus, "S000")) == 257


@pytest.mark.parametrize(("use", "alarm"), [(0.0, False), (0.699, False), (0.7, True), (1.2, True)])
def test_the_alarm_begins_at_seventy_percent(use: float, alarm: bool) -> None:
    stream = inventory.Stream(
        inventory.Limits(name="MD_OKX", max_bytes=1_000_000),
        inventory.State(messages=1, bytes=int(use * 1_000_000), first_seq=1, last_seq=1),
    )
    assert stream.alarm is alarm


def test_a_stream_without_a_limit_has_no_use() -> None:
    stream = inventory.Stream(
        inventory.Limits(name="MD_OKX"),
        inventory.State(messages=1, bytes=10**12, first_seq=1, last_seq=1),
    )
    assert (stream.use, stream.alarm) == (None, False)
