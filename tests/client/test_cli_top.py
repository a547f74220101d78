"""`tickbus top`: rates by themselves, and the command against a real server."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import struct
import sys
import termios
from typing import Any

import pytest
from tickbus.cli import text, top
from tickbus.cli.rates import Rates, exchange_of
from tickbus.log.connection import Connection
from tickbus_runtime.local.nats_server import EmbeddedServer

from tests.client.running import L2, TRADE, finished, make_stream, publish, tickbus
from tests.schemas.test_golden import CASES, bytes_of

NOW_US = 1_723_075_200_200_000
"""The last row of the golden trades was received at ...126956."""


def test_rates_are_counts_a_second_of_messages_rows_and_bytes() -> None:
    rates = Rates()
    for _ in range(4):
        rates.count(TRADE["subject"], bytes_of(TRADE), NOW_US)
    (flow,) = rates.take(2.0)
    assert (flow.subject, flow.messages_per_s, flow.rows_per_s) == (TRADE["subject"], 2.0, 4.0)
    assert flow.bytes_per_s == 2 * len(bytes_of(TRADE))
    assert flow.timestamp == 1_723_075_200_124_456
    assert flow.lag_ms == pytest.approx(73.044)


def test_messages_of_every_kind_are_counted() -> None:
    rates = Rates()
    for case in CASES:
        rates.count(case["subject"], bytes_of(case), NOW_US)
    flows = rates.take(1.0)
    assert sum(flow.messages_per_s for flow in flows) == len(CASES)
    assert sum(flow.rejects for flow in flows) == 0
    assert all(flow.rows_per_s >= 1 and flow.timestamp for flow in flows)


def test_rows_of_books_are_levels_and_the_busiest_subject_comes_first() -> None:
    rates = Rates()
    rates.count(TRADE["subject"], bytes_of(TRADE), NOW_US)
    rates.count(L2["subject"], bytes_of(L2), NOW_US)
    assert [(flow.subject[-5:], flow.rows_per_s) for flow in rates.take(1.0)] == [
        ("DT.l2", 3.0),
        ("trade", 2.0),
    ]


def test_a_subject_that_falls_silent_keeps_its_last_time() -> None:
    rates = Rates()
    rates.count(TRADE["subject"], bytes_of(TRADE), NOW_US)
    (before,) = rates.take(1.0)
    (after,) = rates.take(1.0)
    assert (after.messages_per_s, after.rows_per_s, after.bytes_per_s) == (0, 0, 0)
    assert after.timestamp == before.timestamp


def test_what_cannot_be_read_is_counted_as_rejected() -> None:
    rates = Rates()
    rates.count(TRADE["subject"], b"\x00", NOW_US)
    rates.count(TRADE["subject"], bytes_of(L2), NOW_US)
    (flow,) = rates.take(1.0)
    assert (flow.messages_per_s, flow.rows_per_s, flow.rejects) == (2, 0, 2)
    assert "2 REJECTED" in top.describe(top.measurement([flow], [], 1.0)).splitlines()[0]


def test_messages_without_a_time_of_receipt_have_no_lag() -> None:
    rates = Rates()
    fence = next(case for case in CASES if case["type"] == "Fence")
    rates.count(fence["subject"], bytes_of(fence), NOW_US)
    (flow,) = rates.take(1.0)
    assert flow.lag_ms is None
    assert top.describe(top.measurement([flow], [], 1.0)).splitlines()[-1].split()[-2] == "-"


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1_023, "1023 B"),
        (1_536, "1.5 KiB"),
        (5 * 2**30, "5.0 GiB"),
        (2**60, "1024.0 PiB"),
    ],
)
def test_sizes_have_the_unit_that_fits(count: int, shown: str) -> None:
    assert text.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (59.6, "1m"), (61, "1m 1s"), (86_400, "1d"), (90_061, "1d 1h")],
)
def test_durations_have_their_two_largest_units(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


def test_a_time_beyond_any_calendar_is_shown_as_it_is() -> None:
    assert text.clock(1_723_075_200_123_456) == "2024-08-08T00:00:00.123456Z"
    assert text.clock(2**62) == f"{2**62} us"


@pytest.mark.connected
async def test_json_measures_what_is_stored_and_the_streams(
    nats_server: EmbeddedServer, bus: Connection
) -> None:
    await make_stream(bus, max_bytes=10**9)

    async def keep_publishing() -> None:
        while True:
            await publish(bus, TRADE, L2)
            await asyncio.sleep(0.01)

    publishing = asyncio.create_task(keep_publishing())
    async with tickbus(nats_server, "top", "--json", "--interval", "0.2") as process:
        assert process.stdout is not None
        measured: dict[str, Any] = {"subjects": []}
        while not measured["subjects"]:  # until it listens
            measured = json.loads(await process.stdout.readline())
    publishing.cancel()
    assert {flow["subject"] for flow in measured["subjects"]} == {
        "live.md.binance_usdm.BTCUSDT.trade",
        "live.md.binance_usdm.BTCUSDT.l2",
    }
    assert measured["rows_per_s"] > measured["messages_per_s"] > 0
    assert measured["rejects"] == 0
    (stream,) = measured["streams"]
    assert (stream["stream"], stream["alarm"]) == ("MD_BINANCE_USDM", False)


@pytest.mark.connected
async def test_once_prints_plain_tables_where_there_is_no_terminal(
    nats_server: EmbeddedServer, bus: Connection
) -> None:
    await make_stream(bus)
    code, lines, err = await finished(nats_server, "top", "--once", "--interval", "0.1")
    assert (code, err) == (0, "")
    assert "0 messages/s" in lines[0]
    assert lines[2].split() == ["stream", "messages", "bytes", "use", "readers", "pending"]
    assert lines[-2] == "no messages yet: is an ingest running, and do the streams republish?"
    assert "\x1b" not in "".join(lines)


@pytest.mark.connected
async def test_a_subject_that_is_not_live_is_answered_with_the_one_that_is(
    nats_server: EmbeddedServer,
) -> None:
    code, _, err = await finished(nats_server, "top", "md.binance_usdm.>")
    assert code == 2
    assert "write live.md.binance_usdm.>" in err


@pytest.mark.connected
async def test_on_a_terminal_it_draws_in_place_and_within_the_window(
    nats_server: EmbeddedServer, bus: Connection
) -> None:
    await make_stream(bus)
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 4, 30, 0, 0))
    arguments = ["top", "--once", "--interval", "0.1", "--data", nats_server.run_file.parents[1]]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tickbus.cli", *map(str, arguments)),
        stdout=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    assert await asyncio.wait_for(process.wait(), 30) == 0
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    os.close(theirs)
    assert shown.startswith("\x1b[H\x1b[J")
    lines = shown.removeprefix("\x1b[H\x1b[J").splitlines()
    assert len(lines) == 3
    assert all(len(line) <= 30 for line in lines)


def test_exchanges_are_told_apart_once_there_are_several() -> None:
    rates = Rates()
    rates.count(TRADE["subject"], bytes_of(TRADE), NOW_US)
    one = top.measurement(rates.take(1.0), [], 1.0)
    (share,) = one["exchanges"]
    assert (share["exchange"], share["subjects"], share["rows_per_s"]) == ("binance_usdm", 1, 2.0)
    assert share["lag_ms"] == pytest.approx(73.044)
    assert "exchange" not in top.describe(one)
    for case in CASES:
        rates.count(f"live.{case['subject']}", bytes_of(case), NOW_US)
    several = top.measurement(rates.take(1.0), [], 1.0)
    names = [share["exchange"] for share in several["exchanges"]]
    assert names == sorted(
        {"binance_usdm", *map(exchange_of, (c["subject"] for c in CASES))} - {""}
    )


@pytest.mark.parametrize(
    ("subject", "exchange"),
    [
        ("live.md.okx.BTC-USDT.trade", "okx"),
        ("replay.job.book.deribit.BTC-PERPETUAL.100ms", "deribit"),
        ("dlq.ingest.kraken", "kraken"),
        ("live.clock.okx", ""),
        ("alert.warning.okx", ""),
    ],
)
def test_a_subject_says_its_exchange(subject: str, exchange: str) -> None:
    assert exchange_of(subject) == exchange
