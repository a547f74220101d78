"""The simulated venue mutes one stream of one ticker: noticed, asked for again, moved, told."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from tickbus.log.alerts import alerts_in
from tickbus.log.connection import Connection
from tickbus.log.reader import Reader
from tickbus_schemas import codec
from tickbus_schemas.messages import Alert, AlertState, Status, StatusKind

from tests.ingest.test_service import sim
from tests.processes import Start, make_streams

pytestmark = [pytest.mark.connected, pytest.mark.timeout(300)]

MUTED, RARE = "BTCDEMO", "ETHDEMO"
MUTED_FROM_S = 40.0
FAULTS = [
    {
        "kind": "drop", "at": MUTED_FROM_S, "count": 10**6,
        "ticker": MUTED, "channel": "bookTicker",
    },
    # Quotes of another ticker come in one or two of every five seconds only.
    *(
        {
            "kind": "drop", "at": 5.0 * turn + 0.5, "count": 45,
            "ticker": RARE, "channel": "bookTicker",
        }
        for turn in range(60)
    ),
]  # fmt: skip


async def raised(bus: Connection, condition: str) -> Alert:
    """The first alert of a condition."""
    async for group in Reader(bus, "ALERT").groups():
        for _, alert in alerts_in(group):
            if alert.condition == condition and alert.state == AlertState.RAISED:
                return alert
    raise AssertionError("the stream ended")


async def silent_rows(bus: Connection) -> list[Status]:
    found = []
    subject = "md.binance_usdm.*.status"
    reader = Reader(bus, "MD_BINANCE_USDM", subject_filter=subject, only_history=True)
    async for group in reader.groups():
        messages = (codec.decode(one.data, one.subject) for one in group)
        found += [
            one for one in messages if isinstance(one, Status) and one.kind == StatusKind.SILENT
        ]
    return found


def sent(data: Path) -> list[dict[str, Any]]:
    """What ingest did on its connections, from its raw recording."""
    lines = []
    for path in sorted((data / "_raw" / "binance_usdm").glob("*.jsonl.zst")):
        with path.open("rb") as file:
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            lines += [json.loads(line) for line in io.TextIOWrapper(reader, "utf-8")]
    return lines


async def test_a_muted_stream_is_asked_for_again_moved_and_told_and_a_rare_one_is_left_alone(
    bus: Connection, start: Start, tmp_path: Path
) -> None:
    await make_streams(bus)
    data = tmp_path / "data"
    arguments = ["--synthetic", "--rate", "90", "--seed", "5", "--faults", json.dumps(FAULTS)]
    with sim(*arguments) as venue:
        service = start(
            "ingest", data,
            TICKBUS_INGEST__TICKERS=",".join(venue.facts["tickers"]),
            TICKBUS_INGEST__FEEDS="trade,bbo",
            TICKBUS_INGEST__WS_URL=venue.facts["ws"],
            TICKBUS_INGEST__REST_URL=venue.facts["rest"],
            TICKBUS_INGEST__TICKER_SILENCE_S="5",
        )  # fmt: skip
        async with asyncio.timeout(240):
            alert = await raised(bus, "stream_silent")
            rows = await silent_rows(bus)
        assert await asyncio.to_thread(service.drain) == 0
    stream = f"{MUTED.lower()}@bookTicker"
    assert alert.cause == f"binance_usdm: silent, though asked for again: {stream}"
    assert alert.source == "ingest"
    muted = [row for row in rows if row.ticker == MUTED]
    assert {row.feed for row in muted} == {"bbo"}
    steps = [row.reason.partition("; ")[2] for row in muted]
    assert steps[-2:] == ["asked for again", "moved to another connection"]
    assert not any("moved" in row.reason for row in rows if row.ticker != MUTED)
    lines = sent(data)
    asked = [line for line in lines if line["dir"] == "out" and stream in json.dumps(line)]
    connects = [line for line in lines if line["dir"] == "connect"]
    assert len(asked) >= 3  # at the start, asked for again, by the new connection
    assert len(connects) >= 2
