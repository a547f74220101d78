"""The ingest process between a real venue on loopback and a real NATS server."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import zstandard
from tickbus.log.connection import Connection
from tickbus_runtime.bus import streams
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_runtime.settings.sections import NatsSettings, Settings
from tickbus_schemas import codec
from tickbus_schemas.messages import (
    BboBatch,
    Clock,
    DeadLetter,
    Fence,
    L2Batch,
    L2Flag,
    Message,
    Status,
    StatusKind,
    TradeBatch,
)

from tests.ingest import wire

pytestmark = pytest.mark.connected

FOUR = "binance_usdm/cryptofeed_20210722"
MD = "MD_BINANCE_USDM"


class Sim:
    """The venue's process."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tickbus_sim", *arguments], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.facts: dict[str, Any] = json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate()


@contextlib.contextmanager
def sim(*arguments: str) -> Iterator[Sim]:
    venue = Sim(*arguments)
    try:
        yield venue
    finally:
        venue.close()


def capture(captures: Path, name: str = FOUR) -> str:
    return str(captures / "frames" / f"{name}.jsonl.gz")


class Ingest:
    """The service's process, set up by its environment as any user may."""

    def __init__(
        self, server: EmbeddedServer, data: Path, facts: dict[str, Any], **settings: str
    ) -> None:
        data.mkdir(exist_ok=True)
        password = data / "password"
        password.write_text(server.password)
        values = {
            "TICKBUS_DATA_DIR": str(data),
            "TICKBUS_NATS__URL": server.url,
            "TICKBUS_NATS__USER": server.user,
            "TICKBUS_NATS__PASSWORD_FILE": str(password),
            "TICKBUS_INGEST__EXCHANGE": facts["exchange"],
            "TICKBUS_INGEST__TICKERS": ",".join(facts["tickers"]),
            "TICKBUS_INGEST__FEEDS": ",".join(facts["feeds"]),
            "TICKBUS_INGEST__WS_URL": facts["ws"],
            "TICKBUS_INGEST__REST_URL": facts["rest"],
            "TICKBUS_INGEST__STOP_AT_END": "true",
            "TICKBUS_INGEST__LIMITS": "false",
            "TICKBUS_TELEMETRY__LOG_LEVEL": "error",
        }
        values |= {f"TICKBUS_INGEST__{name.upper()}": value for name, value in settings.items()}
        self.data = data
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tickbus_ingest"],
            env=os.environ | values,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    async def ended(self) -> tuple[int, str]:
        """Exit code and standard error."""
        _, errors = await asyncio.to_thread(self.process.communicate, timeout=60)
        return self.process.returncode, errors

    async def status(self) -> dict[str, Any]:
        file = self.data / "_run" / "ingest.json"
        url = json.loads(file.read_text())["health_url"]
        async with aiohttp.ClientSession() as session, session.get(f"{url}/status") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def until_published(self, feed: str, events: int) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                counters = (await self.status())["counters"]
                if counters.get(f"events{{feed={feed}}}", 0) >= events:
                    return
            await asyncio.sleep(0.02)


@pytest.fixture
async def bus_with_streams(bus: Connection) -> Connection:
    settings = Settings()
    await streams.ensure(bus.jetstream(), settings, settings.of_shard)
    return bus


async def stored(bus: Connection, stream: str = MD) -> list[tuple[int, str, Message]]:
    """(sequence, subject, message) of everything in a stream."""
    js = bus.jetstream()
    state = (await js.stream_info(stream)).state
    found = []
    for seq in range(state.first_seq, state.last_seq + 1):
        raw = await js.get_msg(stream, seq)
        assert raw.data is not None
        found.append((seq, str(raw.subject), codec.decode(raw.data, str(raw.subject))))
    return found


def assert_numbered(messages: list[Message]) -> None:
    """Each epoch begins with its fence and counts without holes; `more` counts down."""
    expected, more = 0, 0
    for message in messages:
        if isinstance(message, Fence):
            expected = 0
        assert message.message_no == expected
        assert message.more == more - 1 if more else True
        expected, more = expected + 1, message.more


def recorded_lines(data: Path) -> list[dict[str, Any]]:
    lines = []
    for path in sorted((data / "_raw" / "binance_usdm").glob("*.jsonl.zst")):
        with path.open("rb") as file:
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            lines += [json.loads(line) for line in io.TextIOWrapper(reader, "utf-8")]
    return lines


@pytest.mark.parametrize("client", ["picows", "websockets"])
async def test_a_capture_is_stored_whole_and_the_run_ends_by_itself(
    captures: Path, nats_server: EmbeddedServer, bus_with_streams: Connection, tmp_path: Path,
    client: str,
) -> None:  # fmt: skip
    with sim("--capture", capture(captures), "--speed", "max") as venue:
        ingest = Ingest(nats_server, tmp_path / "data", venue.facts, websocket_client=client)
        code, errors = await ingest.ended()
    assert (code, errors) == (0, "")
    messages = [message for _, _, message in await stored(bus_with_streams)]
    assert_numbered(messages)
    assert isinstance(messages[0], Fence)
    *_, last = messages
    assert isinstance(last, Clock)
    assert last.final
    assert len(wire.trade_ids(messages)) == 91
    assert len(wire.table(messages, BboBatch)["update_id"]) == 613
    deltas = [p for p in wire.packets(messages) if not p[0] & L2Flag.SNAPSHOT]
    assert (len(deltas), sum(len(levels) for *_, levels in deltas)) == (752, 6252)
    kinds = {one.kind for one in messages if isinstance(one, Status)}
    assert kinds == {StatusKind.CONNECTED, StatusKind.SNAPSHOT}

    lines = recorded_lines(tmp_path / "data")
    frames = [line["data"] for line in lines if line["dir"] == "in"]
    sent = [line["data"] for line in wire.recorded(Path(capture(captures))) if line["dir"] == "in"]
    asked_for = [frame for frame in sent if "@kline" not in frame]
    assert sorted(frame for frame in frames if '"result"' not in frame) == sorted(asked_for)
    assert sum(line["dir"] == "http" for line in lines) == 5
    assert sum(line["dir"] == "connect" for line in lines) == 2
    with sim("--capture", str(tmp_path / "data" / "_raw" / "binance_usdm")) as again:
        assert again.facts["frames"] == len(asked_for)
        assert again.facts["control_frames"] == 2  # the answers to us
        assert again.facts["rest_bodies"] == venue.facts["rest_bodies"] + 1  # the instruments
        assert set(again.facts["tickers"]) == set(venue.facts["tickers"])


async def test_a_killed_ingest_says_what_is_missing_and_repeats_nothing(
    captures: Path, nats_server: EmbeddedServer, bus_with_streams: Connection, tmp_path: Path
) -> None:
    with sim("--capture", capture(captures), "--speed", "10") as venue:
        first = Ingest(nats_server, tmp_path / "data", venue.facts)
        await first.until_published("l2", 100)
        first.process.kill()
        await first.ended()
        (tmp_path / "data" / "_run" / "ingest.json").unlink()
        second = Ingest(nats_server, tmp_path / "data", venue.facts)
        code, errors = await second.ended()
    assert (code, errors) == (0, "")
    messages = [message for _, _, message in await stored(bus_with_streams)]
    assert_numbered(messages)
    assert [one.epoch for one in messages if isinstance(one, Fence)] == [1, 2]
    for ticker in venue.facts["tickers"]:
        own = [one for one in messages if one.ticker == ticker]
        ids = [int(text) for text in wire.trade_ids(own)]
        assert ids == sorted(set(ids))
        updates = [last for flags, _, last, _ in wire.packets(own) if not flags & L2Flag.SNAPSHOT]
        assert updates == sorted(set(updates))
        gaps = [one for one in own if isinstance(one, Status) and one.kind == StatusKind.GAP]
        for at, (flags, prev, last, _) in enumerate(all_packets := list(wire.packets(own))):
            if flags & L2Flag.GAP_BEFORE:
                before = all_packets[at - 1][2]
                assert any((g.feed, g.from_id, g.to_id) == ("l2", before, last) for g in gaps)
            elif at and not flags & L2Flag.SNAPSHOT and not all_packets[at - 1][0]:
                assert prev == all_packets[at - 1][2]
        for one, other in itertools.pairwise(ids):
            if other != one + 1:
                assert any((g.feed, g.from_id, g.to_id) == ("trade", one, other) for g in gaps)


async def test_what_others_stored_never_ends_the_service(
    captures: Path, nats_server: EmbeddedServer, bus_with_streams: Connection, tmp_path: Path
) -> None:
    (poison,) = wire.Transcript().say(wire.trade(7, 2)).messages
    assert isinstance(poison, TradeBatch)
    ids = b"no number"
    fields = {name: getattr(poison, name) for name in poison.__struct_fields__}
    fields |= {"trade_id_bytes": ids, "trade_id_offsets": np.array((0, len(ids)), "<i4").tobytes()}
    js = bus_with_streams.jetstream()
    with sim("--capture", capture(captures), "--speed", "max") as venue:
        for ticker in venue.facts["tickers"]:
            odd = TradeBatch(**fields | {"ticker": ticker})
            await js.publish(f"md.binance_usdm.{ticker}.trade", codec.encode(odd))
            await js.publish(f"md.binance_usdm.{ticker}.l2", b"\xc1")
        planted = (await js.publish("fence.binance_usdm", fence(1))).seq
        ingest = Ingest(nats_server, tmp_path / "data", venue.facts)
        code, errors = await ingest.ended()
    assert code == 0
    said = [json.loads(line) for line in errors.splitlines()]
    assert len(said) == 5  # at most so many lines, however many messages there are
    assert all(one["event"] == "the last stored message is skipped" for one in said)
    last = (await js.stream_info(MD)).state.last_seq
    ours = [await js.get_msg(MD, seq) for seq in range(planted + 1, last + 1)]
    assert len(wire.trade_ids(codec.decode(one.data or b"") for one in ours)) == 91


def fence(epoch: int) -> bytes:
    """As a predecessor wrote it."""
    message = Fence(
        exchange=1, ticker="", epoch=epoch, message_no=0, timestamp=1, owner="x", version=""
    )
    return codec.encode(message)


async def test_a_killed_server_costs_no_row(
    captures: Path, nats_server: EmbeddedServer, bus_with_streams: Connection, tmp_path: Path
) -> None:
    with sim("--capture", capture(captures), "--speed", "10") as venue:
        ingest = Ingest(nats_server, tmp_path / "data", venue.facts)
        await ingest.until_published("l2", 100)
        await nats_server.kill()
        await asyncio.sleep(0.5)
        await nats_server.start()
        code, _ = await ingest.ended()
    assert code == 0
    messages = [message for _, _, message in await stored(bus_with_streams)]
    assert_numbered(messages)
    assert len(wire.trade_ids(messages)) == 91
    assert len(wire.table(messages, BboBatch)["update_id"]) == 613
    deltas = [p for p in wire.packets(messages) if not p[0] & L2Flag.SNAPSHOT]
    assert len(deltas) == 752
    assert not [one for one in messages if isinstance(one, Status) and one.kind == StatusKind.GAP]


async def test_corrupted_frames_become_dead_letters_and_disturb_nothing_else(
    captures: Path, nats_server: EmbeddedServer, bus_with_streams: Connection, tmp_path: Path
) -> None:
    faults = '[{"kind": "corrupt", "at": 300, "count": 5, "channel": "bookTicker"}]'
    with sim("--capture", capture(captures), "--speed", "max", "--faults", faults) as venue:
        ingest = Ingest(nats_server, tmp_path / "data", venue.facts)
        code, _ = await ingest.ended()
    assert code == 0
    letters = [message for _, _, message in await stored(bus_with_streams, "DLQ")]
    assert len(letters) == 5
    assert all(isinstance(one, DeadLetter) and one.service == "ingest" for one in letters)
    messages = [message for _, _, message in await stored(bus_with_streams)]
    assert len(wire.table(messages, BboBatch)["update_id"]) == 608
    assert len(wire.trade_ids(messages)) == 91


async def test_a_stream_of_dead_letters_that_is_gone_holds_up_no_data(
    captures: Path, nats_server: EmbeddedServer, bus_with_streams: Connection, tmp_path: Path
) -> None:
    await bus_with_streams.jetstream().delete_stream("DLQ")
    faults = '[{"kind": "corrupt", "at": 300, "count": 5, "channel": "bookTicker"}]'
    with sim("--capture", capture(captures), "--speed", "max", "--faults", faults) as venue:
        ingest = Ingest(nats_server, tmp_path / "data", venue.facts)
        code, errors = await ingest.ended()
    assert code == 0
    (said,) = [json.loads(line) for line in errors.splitlines()]
    assert (said["event"], said["letters"]) == ("dead letters are dropped", 5)
    messages = [message for _, _, message in await stored(bus_with_streams)]
    assert_numbered(messages)
    assert isinstance(messages[-1], Clock)
    assert messages[-1].final
    assert len(wire.table(messages, BboBatch)["update_id"]) == 608


async def test_refused_rows_become_a_gap_and_a_new_book(
    captures: Path, nats_server: EmbeddedServer, bus: Connection, tmp_path: Path
) -> None:
    settings = Settings(nats=NatsSettings())
    await streams.ensure(bus.jetstream(), settings, settings.of_shard)
    js = bus.jetstream()
    config = (await js.stream_info(MD)).config
    config.max_msg_size = 40_000  # a book of 2,000 levels passes, many updates together do not
    await js.update_stream(config)
    with sim("--capture", capture(captures), "--speed", "max") as venue:
        ingest = Ingest(nats_server, tmp_path / "data", venue.facts, linger_ms="500")
        code, _ = await ingest.ended()
    assert code == 0
    messages = [message for _, _, message in await stored(bus)]
    assert_numbered(messages)  # a gap stands where its rows would
    refused = [
        one for one in messages if isinstance(one, Status) and one.reason.startswith("refused")
    ]
    assert any(one.kind == StatusKind.GAP for one in refused)
    for one in refused:
        if one.kind == StatusKind.GAP and one.feed == "l2":
            ids = [
                last for message in messages if isinstance(message, L2Batch)
                and message.ticker == one.ticker
                for last in np.frombuffer(message.update_id, np.int64).tolist()
            ]  # fmt: skip
            assert not any(one.from_id < last < one.to_id for last in ids)


async def test_sigterm_stores_what_was_received_and_ends(
    captures: Path, nats_server: EmbeddedServer, bus_with_streams: Connection, tmp_path: Path
) -> None:
    with sim("--capture", capture(captures), "--speed", "5") as venue:
        ingest = Ingest(nats_server, tmp_path / "data", venue.facts, stop_at_end="false")
        await ingest.until_published("bbo", 50)
        ingest.process.send_signal(signal.SIGTERM)
        code, _ = await ingest.ended()
    assert code == 0
    messages = [message for _, _, message in await stored(bus_with_streams)]
    assert_numbered(messages)
    last = messages[-1]
    assert isinstance(last, Clock)
    assert last.final
    assert any(isinstance(one, TradeBatch) for one in messages)


async def test_capture_times_become_receive_times(
    captures: Path, nats_server: EmbeddedServer, bus_with_streams: Connection, tmp_path: Path
) -> None:
    with sim("--capture", capture(captures), "--speed", "max", "--capture-times") as venue:
        ingest = Ingest(nats_server, tmp_path / "data", venue.facts, capture_times="true")
        code, _ = await ingest.ended()
    assert code == 0
    messages = [message for _, _, message in await stored(bus_with_streams)]
    ours = sorted(wire.table(messages, BboBatch)["rcv_timestamp"])
    theirs = sorted(
        line["ts"] // 1000
        for line in wire.recorded(Path(capture(captures)))
        if line["dir"] == "in" and "@bookTicker" in line["data"][:60]
    )
    assert ours == theirs


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tickers": "SUSHIUSD"}, "does not list 'SUSHIUSD': did you mean SUSHIUSDT"),
        ({"feeds": "trades"}, "has no trades: choose among"),
    ],
)
async def test_a_mistake_ends_with_one_line(
    captures: Path, nats_server: EmbeddedServer, bus_with_streams: Connection, tmp_path: Path,
    settings: dict[str, str], says: str,
) -> None:  # fmt: skip
    with sim("--capture", capture(captures), "--speed", "max") as venue:
        code, errors = await Ingest(nats_server, tmp_path / "data", venue.facts, **settings).ended()
    assert code == 1
    assert says in errors
    assert len(errors.strip().splitlines()) == 1
