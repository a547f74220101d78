"""A ticker is listed and another one delisted while ingest runs: both without a restart."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from nats.js.errors import NotFoundError
from tickbus.log.connection import Connection
from tickbus_runtime.bus import streams
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_runtime.settings.sections import IngestSettings, Settings
from tickbus_schemas import codec, subjects
from tickbus_schemas.messages import (
    Instrument,
    InstrumentStatus,
    L2Flag,
    Message,
    Status,
    StatusKind,
    TradeBatch,
)
from tickbus_sim import dialects

from tests.ingest import wire
from tests.ingest.test_service import Ingest, assert_numbered, sim, stored

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

KINDS = ["binance_usdm"]
"""Others go to Parquet in `tests/end_to_end/test_listing.py`."""


async def last(bus: Connection, stream: str, subject: str) -> Message | None:
    try:
        found = await bus.jetstream().get_last_msg(stream, subject)
    except NotFoundError:
        return None
    return codec.decode(found.data or b"", subject)


@pytest.mark.parametrize("token", KINDS)
async def test_a_ticker_comes_and_another_goes_without_a_restart(
    nats_server: EmbeddedServer, bus: Connection, tmp_path: Path, token: str
) -> None:
    settings = Settings(ingest=IngestSettings(exchange=token))
    shard = settings.of_shard
    await streams.ensure(bus.jetstream(), settings, shard)
    (dialect,) = [one for one in dialects.exchanges() if one.token == token]
    stays, goes, comes = dialects.load(dialect).demo[:3]
    seasons: list[dict[str, Any]] = [
        {"ticker": goes, "until_s": 3},
        {"ticker": comes, "from_s": 2},
    ]
    arguments = "--synthetic", "--exchange", token, "--seed", "5", "--rate", "300"
    tickers = ",".join((stays, goes, comes))
    with sim(*arguments, "--tickers", tickers, "--seasons", json.dumps(seasons)) as venue:
        assert set(venue.facts["tickers"]) == {stays, goes}
        ingest = Ingest(
            nats_server, tmp_path / "data", venue.facts,
            tickers="*", instruments_refresh_s="0.5", stop_at_end="false",
        )  # fmt: skip
        of_book = subjects.md(shard.exchange, comes, "l2")
        of_gone = subjects.md(shard.exchange, goes, "instrument")
        while True:
            listed = await last(bus, shard.md, of_gone)
            gone = isinstance(listed, Instrument) and listed.status == InstrumentStatus.DELISTED
            if gone and await last(bus, shard.md, of_book) is not None:
                break
            assert ingest.process.poll() is None, ingest.process.communicate()
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)  # some more of the new one
        ingest.process.send_signal(signal.SIGTERM)
        code, errors = await ingest.ended()
    assert (code, errors) == (0, "")
    messages = [message for _, _, message in await stored(bus, shard.md)]
    assert_numbered(messages)
    by_ticker = {
        one: [message for message in messages if message.ticker == one]
        for one in (stays, goes, comes)
    }
    said = {
        ticker: [one for one in own if isinstance(one, Status)] for ticker, own in by_ticker.items()
    }
    for ticker, statuses in said.items():
        kinds = [one.kind for one in statuses]
        assert StatusKind.GAP not in kinds, ticker
        assert StatusKind.DISCONNECTED not in kinds, ticker
        assert StatusKind.RESYNC not in kinds, ticker
    assert "the venue lists it no more" in [one.reason for one in said[goes]]

    # The new one: its instrument, its connection, a whole book, updates that follow, trades.
    new = by_ticker[comes]
    assert isinstance(new[0], Instrument)
    assert new[0].status == InstrumentStatus.TRADING
    assert StatusKind.CONNECTED in [one.kind for one in said[comes]]
    assert any(isinstance(one, TradeBatch) for one in new)
    packets = list(wire.packets(new))
    assert packets[0][0] & L2Flag.SNAPSHOT
    assert len(packets) > 3
    for before, (flags, prev, _, _) in itertools.pairwise(packets):
        joins = before[0] & L2Flag.SNAPSHOT  # a book that was asked for may be ahead
        assert flags & L2Flag.SNAPSHOT or joins or prev == before[2]

    # The one that stays: its connections are those of the start.
    lines = [one.line for one in said[stays] if one.kind == StatusKind.CONNECTED]
    assert len(lines) == len(set(lines))
    assert max(lines) < min(one.line for one in said[comes] if one.kind == StatusKind.CONNECTED)
