"""The service as a process on a real server: killed and started again, each message once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tickbus.log.connection import Connection
from tickbus_features.fold import FeatureFold
from tickbus_schemas.exchanges import Exchange

from tests.features import recorded
from tests.processes import ServiceProcess, Start, assert_published, killed_twice, make_streams

pytestmark = pytest.mark.connected

MD, BAR, FEATURE = "MD_BINANCE_USDM", "BAR_BINANCE_USDM", "FEATURE_BINANCE_USDM"


async def test_killed_and_started_again_it_publishes_each_message_once(
    captures: Path, bus: Connection, tmp_path: Path, start: Start
) -> None:
    def started() -> ServiceProcess:
        return start("features", tmp_path / "data", TICKBUS_FEATURES__CHECKPOINT_S="0.2")

    await make_streams(bus)
    events = recorded.events(captures, "binance_usdm/cryptofeed_20210722")
    log = recorded.log(events, Exchange.BINANCE_USDM, 32)
    status = await killed_twice(started, bus, MD, log)
    fold = FeatureFold([100, 1_000, 60_000], bar_stream=BAR, feature_stream=FEATURE)
    assert status["catalogue"] == fold.tickers.catalogue.hash
    outputs = [one for group in recorded.groups(log) for one in fold.apply(group)]
    for stream in (BAR, FEATURE):
        await assert_published(bus, stream, [one for one in outputs if one.stream == stream])
