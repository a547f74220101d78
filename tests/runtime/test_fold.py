"""A served fold stores each output once and in order, wherever it dies."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from tickbus.columns.assembler import Assembler
from tickbus.columns.group import Group
from tickbus.log.connection import Connection
from tickbus.log.reader import Reader
from tickbus.log.stored import Stored, header
from tickbus_runtime.bus import checkpoint
from tickbus_runtime.bus.checkpoint import CHUNK_BYTES, Checkpoint
from tickbus_runtime.bus.in_flight import Outgoing
from tickbus_runtime.bus.publisher import Publisher
from tickbus_runtime.bus.streams import ensure
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_runtime.service.fold import Output, serve_fold
from tickbus_runtime.service.process import Context
from tickbus_runtime.settings.sections import NatsSettings, Settings
from tickbus_schemas import codec, subjects
from tickbus_schemas.errors import Fatal
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import Clock, DeadLetter, Message

from tests.runtime.folding import BAR, STEPS, TradeCounter, clock, trades

ROOT = Path(__file__).parents[2]
SMALL = NatsSettings(max_bytes=64 * 1024**2)


def subject_of(message: Message) -> str:
    if isinstance(message, Clock):
        return subjects.clock("binance_usdm")
    return subjects.md(Exchange(message.exchange), message.ticker, "trade")


def log_of(first_no: int, count: int, *, final: bool = False) -> list[Message]:
    """Trades of two tickers, and a clock after every fourth message."""
    log: list[Message] = []
    for n in range(first_no, first_no + count):
        last = final and n == first_no + count - 1
        if n % 4 == 3 or last:
            log.append(clock(n, final=last))
        else:
            log.append(trades("BTCUSDT" if n % 3 else "ETHUSDT", n, [0.1 * n, 1.0, 2.5]))
    return log


def folded(fold: TradeCounter, log: Sequence[Message], cuts: Sequence[int] = ()) -> list[Output]:
    """The outputs of a log that arrives in pieces of these sizes."""
    stored = [
        Stored(message.message_no + 1, 1, subject_of(message), codec.encode(message))
        for message in log
    ]
    assembler, outputs, place = Assembler(), [], 0
    for size in [*cuts, len(stored)]:
        group = assembler.add(stored[place : place + size])
        place += size
        outputs += fold.apply(group) if group is not None else []
    return outputs


@given(st.integers(0, 40), st.lists(st.integers(1, 9), max_size=6))
def test_restored_and_fed_the_rest_a_fold_is_as_if_it_had_never_stopped(
    stopped: int, cuts: list[int]
) -> None:
    log = log_of(0, 40)
    whole = TradeCounter()
    expected = folded(whole, log)
    before = TradeCounter()
    outputs = folded(before, log[:stopped], cuts)
    after = TradeCounter()
    after.restore(before.dump())
    outputs += folded(after, log[stopped:], cuts)
    assert outputs == expected
    assert after.dump() == whole.dump()


async def _publish(nc: Connection, log: Sequence[Message]) -> None:
    publisher = Publisher(nc)
    await publisher.flush(
        [
            Outgoing(subject_of(message), codec.encode(message), f"in{message.message_no}")
            for message in log
        ]
    )
    await publisher.close()


async def _outputs(nc: Connection, stream: str = BAR) -> list[Stored]:
    reader = Reader(nc, stream, only_history=True)
    return [stored async for batch in reader.groups() for stored in batch]


@pytest.mark.connected
async def test_killed_at_every_step_it_stores_each_output_once_and_in_order(
    bus: Connection, nats_server: EmbeddedServer, tmp_path: Path
) -> None:
    await ensure(bus.jetstream(), Settings(nats=SMALL), Settings().of_shard)
    log: list[Message] = []
    for step in [*STEPS, "live"]:
        more = log_of(len(log), 41, final=step == "live")
        log += more
        await _publish(bus, more)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.runtime.folding", nats_server.folder.parent, step),
            cwd=ROOT,
        )
        assert await process.wait() == (0 if step == "live" else -9)
    found = await _outputs(bus)
    expected = folded(TradeCounter(), log)
    assert [one.data for one in found] == [one.payload for one in expected]
    assert [one.subject for one in found] == [one.subject for one in expected]
    places = [f"{one.in_seq}.{one.k}" for one in expected]
    assert [header(one.headers, "In-Seq") for one in found] == places


class _Folded(TradeCounter):
    """Stops the service after so many messages."""

    def __init__(self, ctx: Context, messages: int) -> None:
        super().__init__()
        self.ctx, self.left = ctx, messages
        self.groups: list[Group] = []

    def apply(self, group: Group) -> list[Output]:
        self.groups.append(group)
        self.left -= group.messages
        if self.left <= 0:
            self.ctx.stopping.set()
        return super().apply(group)


def _context(nc: Connection, name: str = "counter") -> Context:
    ctx = Context(name, Settings(), structlog.get_logger())
    ctx.nc = nc
    return ctx


async def _serve(ctx: Context, fold: TradeCounter) -> None:
    async with asyncio.timeout(20):
        await serve_fold(ctx, fold, out_streams=[BAR], stage="feature", checkpoint_s=10.0)


@pytest.mark.connected
async def test_stopped_and_started_it_goes_on_where_it_was(bus: Connection) -> None:
    await ensure(bus.jetstream(), Settings(nats=SMALL), Settings().of_shard)
    await _publish(bus, log_of(0, 40))
    ctx = _context(bus)
    await _serve(ctx, _Folded(ctx, 40))
    assert ctx.show()["positions"] == {"MD_BINANCE_USDM": 40}
    await _publish(bus, log_of(40, 10))
    ctx = _context(bus)
    fold = _Folded(ctx, 10)
    await _serve(ctx, fold)
    assert fold.groups[0].first_seq == 41
    assert not fold.groups[0].breaks
    assert fold.dump() == _dumped(log_of(0, 50))
    assert len(await _outputs(bus)) == len(folded(TradeCounter(), log_of(0, 50)))


def _dumped(log: Sequence[Message]) -> bytes:
    fold = TradeCounter()
    folded(fold, log)
    return fold.dump()


@pytest.mark.connected
async def test_without_its_checkpoint_it_begins_anew_and_sends_nothing_twice(
    bus: Connection,
) -> None:
    js = bus.jetstream()
    await ensure(js, Settings(nats=SMALL), Settings().of_shard)
    await _publish(bus, log_of(0, 40))
    ctx = _context(bus)
    await _serve(ctx, _Folded(ctx, 40))
    await js.purge_stream("CKPT")
    before = await _outputs(bus)
    ctx = _context(bus)
    await _serve(ctx, _Folded(ctx, 40))
    assert await _outputs(bus) == before
    assert ctx.telemetry.status()["counters"]["outputs_suppressed"] == len(before)


@pytest.mark.connected
async def test_a_message_that_cannot_be_read_is_kept_aside_once_and_disturbs_nothing(
    bus: Connection,
) -> None:
    js = bus.jetstream()
    await ensure(js, Settings(nats=SMALL), Settings().of_shard)
    await _publish(bus, log_of(0, 20))
    await js.publish("md.binance_usdm.BTCUSDT.trade", b"poison")
    await _publish(bus, log_of(20, 20))
    for _ in range(2):
        ctx = _context(bus)
        await _serve(ctx, _Folded(ctx, 41))
        await js.purge_stream("CKPT")
    (letter,) = await _outputs(bus, "DLQ")
    assert letter.subject == "dlq.counter.binance_usdm"
    message = codec.decode(letter.data, letter.subject)
    assert isinstance(message, DeadLetter)
    assert (message.data, message.source) == (b"poison", "MD_BINANCE_USDM:21")
    assert len(await _outputs(bus)) == len(folded(TradeCounter(), log_of(0, 40)))


@pytest.mark.connected
async def test_without_streams_it_says_what_makes_them(bus: Connection) -> None:
    ctx = _context(bus)
    with pytest.raises(Fatal, match="tickbus init"):
        await _serve(ctx, TradeCounter())


def _checkpoint(number: int, state: bytes) -> Checkpoint:
    return Checkpoint(
        number=number,
        incarnation="abc",
        seq=number * 10,
        epoch=1,
        message_no=number,
        schema=1,
        state=state,
    )


@pytest.mark.connected
async def test_the_last_whole_checkpoint_is_taken(bus: Connection) -> None:
    await ensure(bus.jetstream(), Settings(nats=SMALL), Settings().of_shard)
    assert await checkpoint.load(bus, "book", "x") is None
    publisher = Publisher(bus)
    states = [bytes([n]) * (CHUNK_BYTES * 2 + n) for n in range(5)]
    for number, state in enumerate(states[:4], start=1):
        await checkpoint.save(publisher, "book", "x", _checkpoint(number, state))
        assert await checkpoint.load(bus, "book", "x") == _checkpoint(number, state)
    # The next one overwrites the slot of the one before the last, and does not come to its header.
    parts = checkpoint.messages("book", "x", _checkpoint(5, states[4]))
    for written in range(len(parts)):
        assert await checkpoint.load(bus, "book", "x") == _checkpoint(4, states[3])
        await publisher.flush(parts[written : written + 1])
    assert await checkpoint.load(bus, "book", "x") == _checkpoint(5, states[4])
    # A chunk that is not the one its header speaks of makes the whole of it void.
    await publisher.flush([Outgoing("ckpt.book.x.1.1", b"other", "other")])
    assert await checkpoint.load(bus, "book", "x") == _checkpoint(4, states[3])
    assert await checkpoint.load(bus, "feature", "x") is None
    await publisher.close()


@pytest.mark.connected
async def test_an_empty_state_is_a_checkpoint_too(bus: Connection) -> None:
    await ensure(bus.jetstream(), Settings(nats=SMALL), Settings().of_shard)
    publisher = Publisher(bus)
    await checkpoint.save(publisher, "book", "x", _checkpoint(1, b""))
    assert await checkpoint.load(bus, "book", "x") == _checkpoint(1, b"")
    await publisher.close()


class _Killing(_Folded):
    """Kills the server before its outputs can be stored, and is told to stop."""

    def __init__(self, ctx: Context, server: EmbeddedServer) -> None:
        super().__init__(ctx, 0)
        self.server = server

    def apply(self, group: Group) -> list[Output]:
        assert self.server.process is not None
        self.server.process.kill()
        return super().apply(group)


@pytest.mark.connected
async def test_told_to_stop_while_the_bus_is_away_it_leaves_in_order(
    bus: Connection, nats_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickbus_runtime.service.fold.GIVE_UP_S", 0.1)
    await ensure(bus.jetstream(), Settings(nats=SMALL), Settings().of_shard)
    await _publish(bus, log_of(0, 20))
    ctx = _context(bus)
    await _serve(ctx, _Killing(ctx, nats_server))
    assert ctx.show()["positions"] == {}  # nothing of it counts as done
    await nats_server.start()
    ctx = _context(bus)
    await _serve(ctx, _Folded(ctx, 20))
    assert len(await _outputs(bus)) == len(folded(TradeCounter(), log_of(0, 20)))


@pytest.mark.connected
async def test_told_to_stop_before_the_bus_has_answered_it_leaves(
    bus: Connection, nats_server: EmbeddedServer
) -> None:
    await nats_server.kill()
    ctx = _context(bus)
    serving = asyncio.create_task(_serve(ctx, TradeCounter()))
    await asyncio.sleep(0.05)
    assert not serving.done()
    ctx.stopping.set()
    await serving
    assert not ctx.readiness.started
