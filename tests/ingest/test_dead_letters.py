"""Dead letters wait for their stream, so many of them, and no longer than the process may."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from structlog.testing import CapturingLogger
from tickbus.log.connection import Connection
from tickbus_ingest.publish.dead_letters import LETTERS_MAX, DeadLetters
from tickbus_ingest.publish.messages import Messages
from tickbus_ingest.session.tables import Refused
from tickbus_runtime.bus import streams
from tickbus_runtime.service.process import Context
from tickbus_runtime.settings.sections import Settings
from tickbus_schemas import codec
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import DeadLetter

from tests.ingest.serving import until

pytestmark = pytest.mark.connected

MESSAGES = Messages(Exchange.BINANCE_USDM, "shard", ["A"], 1)


def refused(first: int, count: int, size: int = 10) -> list[Refused]:
    return [Refused(n, 1, "odd", b"x" * size) for n in range(first, first + count)]


@pytest.fixture
async def ctx(bus: Connection) -> AsyncIterator[Context]:
    settings = Settings()
    await streams.ensure(bus.jetstream(), settings, settings.of_shard)
    ctx = Context("ingest", settings, CapturingLogger())
    ctx.nc = bus
    yield ctx
    ctx.stopping.set()


def letters_of(ctx: Context, drain_s: float = 0.1) -> DeadLetters:
    return DeadLetters(ctx, MESSAGES.dead_letter, late_s=0.05, drain_s=drain_s)


def dropped(ctx: Context) -> int:
    return int(ctx.telemetry.status()["counters"].get("dead_letters_dropped", 0))


async def stored(bus: Connection) -> int:
    return int((await bus.jetstream().stream_info("DLQ")).state.messages)


async def test_letters_are_stored_before_the_end(bus: Connection, ctx: Context) -> None:
    letters = letters_of(ctx, drain_s=30)
    letters.bury(refused(1, 300))
    letters.bury(refused(301, 5))
    await letters.close()
    assert await stored(bus) == 305
    assert dropped(ctx) == 0
    last = codec.decode((await bus.jetstream().get_msg("DLQ", 305)).data or b"")
    assert isinstance(last, DeadLetter)
    assert (last.data, last.reason) == (b"x" * 10, "odd")


async def test_letters_wait_until_their_stream_is_there(bus: Connection, ctx: Context) -> None:
    await bus.jetstream().delete_stream("DLQ")
    letters = letters_of(ctx, drain_s=30)
    letters.bury(refused(1, 3))
    await until(lambda: ctx.log.calls)
    assert ctx.log.calls[0].args == ("dead letters wait: their stream does not answer",)
    await streams.ensure(bus.jetstream(), ctx.settings, ctx.shard)
    await letters.close()
    assert (await stored(bus), dropped(ctx)) == (3, 0)


@pytest.mark.parametrize(("count", "size"), [(LETTERS_MAX + 7, 10), (300, 64 * 1024)])
async def test_what_waits_is_bounded_and_what_is_dropped_is_counted_and_said(
    bus: Connection, ctx: Context, count: int, size: int
) -> None:
    await bus.jetstream().delete_stream("DLQ")
    letters = letters_of(ctx)
    letters.bury(refused(1, count, size))
    at_once = dropped(ctx)
    assert 0 < at_once < count
    await letters.close()
    assert dropped(ctx) == count
    said = [call.args[0] for call in ctx.log.calls]
    assert said.count("dead letters are dropped") == 1
