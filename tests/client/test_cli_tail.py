"""`tickbus tail` against a real server, as a user starts it."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from nats.js.api import StreamConfig
from tickbus.log.connection import Connection
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_schemas.feeds import RAW

from tests.client.running import L2, TRADE, finished, make_stream, publish, tickbus
from tests.schemas.test_golden import CASES

pytestmark = pytest.mark.connected


@pytest_asyncio.fixture
async def stream(bus: Connection) -> Connection:
    """A client of a server that has the stream MD_BINANCE_USDM."""
    await make_stream(bus)
    return bus


async def test_history_is_printed_from_a_sequence_on(
    nats_server: EmbeddedServer, stream: Connection
) -> None:
    await publish(stream, TRADE, L2, TRADE)
    code, lines, _ = await finished(
        nats_server, "tail", "md.binance_usdm.>", "--from", "2", "--count", "2"
    )
    assert code == 0
    assert [line.split()[0] for line in lines] == ["#2", "#3"]
    assert "2 packets, 3 levels" in lines[0]
    assert "SELL 1.25 at 61234.6" in lines[1]


async def test_every_feed_that_ingest_publishes_is_printed(
    nats_server: EmbeddedServer, bus: Connection
) -> None:
    await bus.jetstream().add_stream(StreamConfig(name="MD", subjects=["md.>"]))
    cases = [case for case in CASES if case["subject"].startswith("md.")]
    assert {case["subject"].split(".")[3] for case in cases} == set(RAW)
    await publish(bus, *cases)
    count = str(len(cases))
    code, lines, _ = await finished(nats_server, "tail", "md.>", "--from", "1", "--count", count)
    assert code == 0
    assert [line.split()[2] for line in lines] == [case["subject"] for case in cases]


async def test_history_is_printed_from_a_time_on_and_then_what_comes(
    nats_server: EmbeddedServer, stream: Connection
) -> None:
    await publish(stream, TRADE)
    await asyncio.sleep(0.01)
    start = datetime.now(UTC).isoformat()
    await publish(stream, L2)
    arguments = ("tail", "live.md.binance_usdm.>", "--from", start, "--count", "2", "--json")
    async with tickbus(nats_server, *arguments) as process:
        assert process.stdout is not None
        first = json.loads(await process.stdout.readline())
        await publish(stream, TRADE)
        second = json.loads(await process.stdout.readline())
        assert await process.wait() == 0
    assert (first["seq"], first["type"]) == (2, "L2Batch")
    assert (second["seq"], second["trade_id"]) == (3, ["5305011688", "5305011689"])


@pytest.mark.parametrize("subject", ["live.md.*.BTCUSDT.trade", "md.binance_usdm.*.trade"])
async def test_without_a_start_only_what_comes_is_printed(
    nats_server: EmbeddedServer, stream: Connection, subject: str
) -> None:
    await publish(stream, TRADE)

    async def keep_publishing() -> None:
        while True:  # until the command listens
            await publish(stream, L2, TRADE)
            await asyncio.sleep(0.05)

    publishing = asyncio.create_task(keep_publishing())
    code, lines, _ = await finished(nats_server, "tail", subject, "--count", "2", "--json")
    publishing.cancel()
    found = [json.loads(line) for line in lines]
    assert code == 0
    assert [message["type"] for message in found] == ["TradeBatch", "TradeBatch"]
    assert all(message["seq"] > 1 for message in found)
    assert found[1]["seq"] - found[0]["seq"] == 2


async def test_rows_are_a_line_each(nats_server: EmbeddedServer, stream: Connection) -> None:
    await publish(stream, L2)
    subject = "md.binance_usdm.BTCUSDT.l2"
    _, lines, _ = await finished(
        nats_server, "tail", subject, "--from", "1", "--count", "1", "--rows", "--json"
    )
    assert [json.loads(line)["price"] for line in lines] == [61234.5, 61240.1, 0.00000123]


async def test_what_is_no_message_is_shown_as_refused(
    nats_server: EmbeddedServer, stream: Connection
) -> None:
    await stream.jetstream().publish("md.binance_usdm.BTCUSDT.trade", b"\x93\x01\x02")
    _, lines, _ = await finished(
        nats_server, "tail", "md.binance_usdm.>", "--from", "1", "--count", "1"
    )
    assert lines[0].startswith("#1 md.binance_usdm.BTCUSDT.trade  REFUSED, 3 bytes: ")


async def test_ctrl_c_ends_it_quietly(nats_server: EmbeddedServer, stream: Connection) -> None:
    await publish(stream, TRADE)
    async with tickbus(nats_server, "tail", "md.binance_usdm.>", "--from", "1") as process:
        assert process.stdout is not None
        await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 10)
        assert (process.returncode, err) == (130, b"")


async def test_a_subject_that_no_stream_holds_is_answered_with_those_that_are(
    nats_server: EmbeddedServer, stream: Connection
) -> None:
    code, _, err = await finished(nats_server, "tail", "md.okx.>", "--from", "1h")
    assert code == 1
    assert err.count("\n") == 1
    assert "no stream holds md.okx.>" in err
    assert "md.binance_usdm.>" in err


async def test_a_subject_that_is_spelled_wrong_is_answered_with_the_nearest(
    nats_server: EmbeddedServer, stream: Connection
) -> None:
    code, _, err = await finished(nats_server, "tail", "md.binance_usd.>", "--from", "1h")
    assert code == 1
    assert "no stream holds md.binance_usd.>: did you mean md.binance_usdm?" in err


async def test_a_replay_is_not_stored_so_it_has_no_history(
    nats_server: EmbeddedServer, stream: Connection
) -> None:
    told = ("tail", "replay.job.md.binance_usdm.>", "--from", "1")
    code, lines, err = await finished(nats_server, *told)
    assert (code, lines) == (2, [])
    assert "a replay is not stored" in err
    assert "md.binance_usdm.>" in err.splitlines()[-1]


async def test_a_sequence_needs_one_stream(nats_server: EmbeddedServer, stream: Connection) -> None:
    other = StreamConfig(name="MD_OKX", subjects=["md.okx.>"])
    await stream.jetstream().add_stream(other)
    code, _, err = await finished(nats_server, "tail", "md.*.*.trade", "--from", "7")
    assert code == 1
    assert "MD_BINANCE_USDM, MD_OKX" in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["tail", "md.binance usdm.x"], "md.binance usdm.x"),
        (["tail", "trades.btc"], "subjects begin with md, book"),
        (["tail", "live"], "names nothing"),
        (["tail", "md.>", "--from", "yesterday"], "'yesterday' is no time"),
        (["tail", "md.>", "--count", "0"], "no whole number above 0"),
        (["tail"], "subject"),
    ],
)
async def test_wrong_usage_is_one_line_and_code_two(
    nats_server: EmbeddedServer, arguments: list[str], named: str
) -> None:
    code, _, err = await finished(nats_server, *arguments)
    assert code == 2
    assert named in err.splitlines()[-1]


async def test_no_server_is_one_line(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    code, _, err = await finished(server, "tail", "md.>", "--nats", "nats://127.0.0.1:1")
    assert code == 1
    assert err.startswith("tickbus: no NATS server at nats://127.0.0.1:1")
    assert err.count("\n") == 1
