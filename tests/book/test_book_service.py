"""The service as a process on a real server: killed and started again, each message once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tickbus.log.connection import Connection
from tickbus_book.fold import BookFold
from tickbus_schemas.exchanges import Exchange

from tests.features import recorded
from tests.processes import ServiceProcess, Start, assert_published, killed_twice, make_streams

pytestmark = pytest.mark.connected

MD, BOOK = "MD_BINANCE_USDM", "BOOK_BINANCE_USDM"


async def test_killed_and_started_again_it_publishes_each_message_once(
    captures: Path, bus: Connection, tmp_path: Path, start: Start
) -> None:
    def started() -> ServiceProcess:
        settings = {"TICKBUS_BOOK__CHECKPOINT_S": "0.2", "TICKBUS_BOOK__ON_CHANGE": "true"}
        return start("book", tmp_path / "data", **settings)

    await make_streams(bus)
    events = recorded.events(captures, "binance_usdm/cryptofeed_20210722")
    log = recorded.log(events, Exchange.BINANCE_USDM, 32)
    await killed_twice(started, bus, MD, log)
    fold = BookFold([0, 100], 10, stream=BOOK)
    outputs = [one for group in recorded.groups(log) for one in fold.apply(group)]
    await assert_published(bus, BOOK, outputs)
