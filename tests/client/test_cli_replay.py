"""`tickbus replay` against a real server, and its pace by itself."""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.msg import Msg
from tickbus.cli.replay import Pace
from tickbus.cli.source import in_time_order, overlap
from tickbus.log.connection import Connection
from tickbus.log.stored import Stored
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_schemas import codec
from tickbus_schemas.messages import TradeBatch

from tests.client.running import L2, TRADE, finished, make_stream, publish
from tests.schemas.test_golden import CASES, message_of

connected = pytest.mark.connected


@pytest_asyncio.fixture
async def stream(bus: Connection) -> Connection:
    """A client of a server that has the stream MD_BINANCE_USDM."""
    await make_stream(bus)
    return bus


async def now() -> str:
    """A time that lies between what was stored before and what will be stored after."""
    await asyncio.sleep(0.01)
    found = datetime.now(UTC).isoformat()
    await asyncio.sleep(0.01)
    return found


@connected
async def test_what_lies_between_two_times_is_printed_and_nothing_else(
    nats_server: EmbeddedServer, stream: Connection
) -> None:
    await publish(stream, TRADE)
    start = await now()
    await publish(stream, L2, TRADE)
    end = await now()
    await publish(stream, L2)
    code, lines, _ = await finished(
        nats_server, "replay", "md.binance_usdm.>", "--from", start, "--to", end, "--json"
    )
    assert code == 0
    assert [json.loads(line)["seq"] for line in lines] == [2, 3]


@connected
async def test_it_ends_although_the_last_matching_message_is_not_the_last_of_the_stream(
    nats_server: EmbeddedServer, stream: Connection
) -> None:
    await publish(stream, TRADE, L2, TRADE, L2, L2)
    _, lines, _ = await finished(
        nats_server, "replay", "md.*.*.trade", "--from", "1h", "--json", "--rows"
    )
    assert [json.loads(line)["seq"] for line in lines] == [1, 1, 3, 3]


@connected
@pytest.mark.parametrize("subject", ["md.binance_usdm.>", "md.binance_usdm.ETHUSDT.trade"])
async def test_nothing_in_the_span_ends_at_once_with_nothing(
    nats_server: EmbeddedServer, stream: Connection, subject: str
) -> None:
    await publish(stream, TRADE)
    start = await now()
    assert await finished(nats_server, "replay", subject, "--from", start) == (0, [], "")


@connected
async def test_several_streams_come_in_the_order_of_storing(
    nats_server: EmbeddedServer, stream: Connection
) -> None:
    js = stream.jetstream()
    await js.add_stream(name="MD_BINANCE_SPOT", subjects=["md.binance_spot.>"])
    quote = next(case for case in CASES if case["type"] == "BboBatch")
    for case in (TRADE, quote, quote, L2, TRADE, quote):
        await publish(stream, case)
    _, lines, _ = await finished(nats_server, "replay", "md.>", "--from", "1h", "--json")
    kinds = [json.loads(line)["type"] for line in lines]
    expected = "TradeBatch BboBatch BboBatch L2Batch TradeBatch BboBatch"
    assert kinds == expected.split()


@connected
async def test_into_publishes_the_same_bytes_under_the_job(
    nats_server: EmbeddedServer, stream: Connection
) -> None:
    js = stream.jetstream()
    case: dict[str, Any] = TRADE
    data = codec.encode(message_of(case))
    await js.publish(case["subject"], data, headers={"Nats-Msg-Id": "a", "traceparent": "00-1"})
    await publish(stream, L2)
    got: list[Msg] = []

    async def take(message: Msg) -> None:
        got.append(message)

    await stream.subscribe("replay.>", cb=take)
    await stream.flush()
    code, lines, _ = await finished(
        nats_server, "replay", "md.>", "--from", "1h", "--into", "replay.test_1", "--json"
    )
    await stream.flush()
    assert code == 0
    assert [message.subject for message in got] == [
        "replay.test_1.md.binance_usdm.BTCUSDT.trade",
        "replay.test_1.md.binance_usdm.BTCUSDT.l2",
    ]
    assert got[0].data == data
    assert got[0].headers == {
        "Nats-Subject": "md.binance_usdm.BTCUSDT.trade",
        "Nats-Sequence": "1",
        "Nats-Msg-Id": "a",
    }
    told = json.loads(lines[0])
    assert (told["messages"], told["into"]) == (2, "replay.test_1")
    assert told["streams"] == ["MD_BINANCE_USDM"]


@connected
async def test_speed_keeps_the_distances_of_receipt(
    nats_server: EmbeddedServer, stream: Connection
) -> None:
    """Two messages received 3 s apart, at 10 times the speed: not sooner than 0.3 s apart."""
    first = message_of(TRADE)
    assert isinstance(first, TradeBatch)
    times = [t + 3_000_000 for (t,) in struct.iter_unpack("<q", first.rcv_timestamp)]
    later = msgspec.structs.replace(first, rcv_timestamp=struct.pack(f"<{len(times)}q", *times))
    for message in (first, later):
        await stream.jetstream().publish(TRADE["subject"], codec.encode(message))
    _, lines, _ = await finished(
        nats_server,
        *("replay", "md.>", "--from", "1h", "--speed", "10", "--into", "replay.x", "--json"),
    )
    assert json.loads(lines[0])["seconds"] >= 0.3


@connected
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--from", "1m", "--to", "5m"], "is after --to"),
        (["--from", "1m", "--speed", "0"], "'0' is no speed"),
        (["--from", "1m", "--into", "test"], "replay.<job>"),
        (["--from", "1m", "--into", "replay.*"], "replay.<job>"),
        ([], "--from"),
    ],
)
async def test_wrong_usage_is_one_line_and_code_two(
    nats_server: EmbeddedServer, arguments: list[str], named: str
) -> None:
    code, _, err = await finished(nats_server, "replay", "md.>", *arguments)
    assert code == 2
    assert named in err.splitlines()[-1]


async def given_in_groups(
    messages: list[Stored], sizes: list[int]
) -> AsyncGenerator[list[Stored], None]:
    """A source that gives its messages in groups of these sizes, one after the other."""
    place = 0
    for size in itertools.cycle(sizes):
        if place >= len(messages):
            return
        yield messages[place : place + size]
        place += size


times_ns = st.lists(st.integers(0, 60), max_size=20).map(sorted)


@given(
    streams=st.lists(times_ns, max_size=4),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3),
)
def test_streams_are_merged_by_time_without_hole_or_repeat(
    streams: list[list[int]], sizes: list[int]
) -> None:
    held = [
        [Stored(seq, time_ns, f"stream{n}", b"") for seq, time_ns in enumerate(times)]
        for n, times in enumerate(streams)
    ]

    async def merged() -> list[Stored]:
        sources = [given_in_groups(messages, sizes) for messages in held]
        return [stored async for group in in_time_order(sources) for stored in group]

    found = asyncio.run(merged())
    assert [stored.stored_ns for stored in found] == sorted(itertools.chain(*streams))
    for n, messages in enumerate(held):
        assert [stored for stored in found if stored.subject == f"stream{n}"] == messages


@given(
    gaps_us=st.lists(st.integers(0, 10**7), min_size=1, max_size=20),
    speed=st.sampled_from((0.5, 1.0, 10.0, 1_000.0)),
)
def test_a_reader_that_waits_as_told_keeps_the_pace(gaps_us: list[int], speed: float) -> None:
    pace, now_s, received_us = Pace(speed), 50.0, 1_700_000_000_000_000
    pace.wait_s(received_us, now_s)
    began_s, began_us = now_s, received_us
    for gap_us in gaps_us:
        received_us += gap_us
        now_s += pace.wait_s(received_us, now_s)
        assert now_s - began_s == pytest.approx((received_us - began_us) / 1e6 / speed)


def test_what_is_late_or_has_no_time_does_not_wait() -> None:
    pace = Pace(1.0)
    assert pace.wait_s(None, 0.0) == 0.0
    assert pace.wait_s(1_000_000, 10.0) == 0.0
    assert pace.wait_s(3_000_000, 13.0) == 0.0
    assert pace.wait_s(None, 13.0) == 0.0
    assert pace.wait_s(6_000_000, 13.0) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("md.a.b.trade", "md.a.b.trade", True),
        ("md.a.*.trade", "md.*.b.trade", True),
        ("md.>", "md.a.b.trade", True),
        ("md.a.>", "md.b.>", False),
        ("md.a.b", "md.a.b.trade", False),
        ("md.a.b.trade", "md.a.b", False),
        (">", "clock.a", True),
        ("md.a.*.trade", "md.a.b.l2", False),
        ("*.a.b.trade", "md.>", True),
    ],
)
def test_two_patterns_overlap_when_some_subject_matches_both(
    one: str, other: str, expected: bool
) -> None:
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected
