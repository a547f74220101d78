"""History from the dataset's rows gives what the log gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tickbus_features.batch import Series, compute, group_of
from tickbus_features.inputs import Ticker
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import ABSENT

from tests.features import recorded
from tests.features.recorded import Event, book, gap, quote, snapshot, trade

TICKER = (int(Exchange.BINANCE_USDM), "BTCUSDT")


def frame(events: list[Event], **columns: Any) -> pl.DataFrame:
    """Columns that every table of the dataset has, and these."""
    common = {
        "timestamp": [one.timestamp for one in events],
        "rcv_timestamp": [one.rcv_timestamp for one in events],
        "packet_id": [one.packet_id for one in events],
        "flags": [one.fields.get("flags", 0) for one in events],
    }
    return pl.DataFrame(common | columns)


def tables(events: list[Event], ticker: str) -> dict[str, Any]:
    """The dataset's tables of one ticker, as the writer fills them; absent integers are null."""
    of: dict[str, list[Event]] = {"trade": [], "bbo": [], "l2": [], "status": []}
    for one in events:
        if one.ticker == ticker:
            of[one.feed].append(one)
    levels = [(one, level) for one in of["l2"] for level in one.fields["levels"]]
    packets = [one for one, _ in levels]
    found = {
        "trade": frame(
            of["trade"],
            **{n: [one.fields[n] for one in of["trade"]] for n in ("side", "price", "qty")},
        ),
        "bbo": frame(
            of["bbo"],
            update_id=[0 for _ in of["bbo"]],
            engine_timestamp=[None for _ in of["bbo"]],
            **{
                n: [one.fields[n] for one in of["bbo"]]
                for n in ("bid_px", "bid_sz", "ask_px", "ask_sz")
            },
        ),
        "l2": frame(
            packets,
            prev_update_id=[
                None if one.fields["prev"] == ABSENT else one.fields["prev"] for one in packets
            ],
            update_id=[one.fields["update"] for one in packets],
            engine_timestamp=[None for _ in packets],
            action=[2 for _ in packets],
            side=[side for _, (side, _, _) in levels],
            price=[price for _, (_, price, _) in levels],
            qty=[size for _, (_, _, size) in levels],
        ),
    }
    if of["status"]:
        found["status"] = frame(
            of["status"],
            kind=[one.fields["kind"] for one in of["status"]],
            feed=[one.fields["feed"] for one in of["status"]],
            from_timestamp=[None for _ in of["status"]],
        ).drop("flags")
    return found


def assert_begins_like(longer: Series, shorter: Series) -> None:
    """Equal to the bit; the log's clock may have closed more at the end."""
    rows = len(shorter.bars["timestamp"])
    assert rows > 0
    for left, right in ((longer.bars, shorter.bars), (longer.features, shorter.features)):
        assert left.keys() == right.keys()
        for name, values in right.items():
            assert left[name][:rows].tobytes() == values.tobytes(), name


@pytest.mark.parametrize(
    ("name", "ticker"),
    [
        ("binance_usdm/cryptofeed_20210722", "SUSHIUSDT"),
        ("binance_usdm/cryptofeed_20210722", "KEEPUSDT"),
        ("binance_spot/btcusdt_20240808", "BTCUSDT"),
    ],
)
def test_rows_of_the_dataset_give_what_the_log_gave(captures: Path, name: str, ticker: str) -> None:
    venue = Exchange.from_token(name.split("/")[0])
    events = recorded.events(captures, name)
    from_log = compute(recorded.groups(recorded.log(events, venue, 64)), [100, 1_000])
    key: Ticker = (int(venue), ticker)
    from_rows = compute([group_of(key, **tables(events, ticker))], [100, 1_000])
    for interval_ms in (100, 1_000):
        assert_begins_like(from_log[key, interval_ms], from_rows[key, interval_ms])


def test_gaps_come_from_the_status_table_and_a_clock_may_stand_at_the_end() -> None:
    levels = [(1, 100.0, 5.0), (-1, 101.0, 7.0)]
    events = [
        snapshot(0, 1, levels, update=1),
        quote(50_000, 2, 100.0, 5.0, 101.0, 7.0),
        trade(150_000, 3, 100.0, 1.0),
        book(160_000, 4, [(1, 100.5, 1.0)], prev=1, update=2),
        gap(220_000, 5, ""),
        book(230_000, 6, [(1, 100.7, 1.0)], prev=2, update=3),
        snapshot(350_000, 7, levels, update=4),
        trade(460_000, 8, 100.0, 1.0),
        recorded.clock(3_000_000, 8),
    ]
    from_log = compute(recorded.groups(recorded.log(events, Exchange.BINANCE_USDM, 1)), [100])
    frames = tables(events, "BTCUSDT")
    from_rows = compute([group_of(TICKER, **frames, clock_us=3_000_000)], [100])
    assert len(from_rows[TICKER, 100].bars["timestamp"]) == 20
    assert_begins_like(from_log[TICKER, 100], from_rows[TICKER, 100])
    assert np.isnan(from_rows[TICKER, 100].features["mid"][:3]).tolist() == [False, True, True]
