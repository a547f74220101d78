"""Real captures: kernels against plain Python, live against batch, any cut against any other."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tickbus.log.stored import Stored
from tickbus_features.batch import Series, compute
from tickbus_features.fold import FeatureFold
from tickbus_schemas import codec
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import BarBatch, FeatureBatch, Header

from tests.features import recorded
from tests.features.naive import Naive
from tests.features.recorded import Event

INTERVALS_MS = [100, 1_000, 60_000]
USDM = "binance_usdm/btcusdt_20240808"
SPOT = "binance_spot/btcusdt_20240808"
MIDNIGHT = "binance_usdm/btcusdt_20240718_19"
FOUR_TICKERS = "binance_usdm/cryptofeed_20210722"


@cache
def events(captures: Path, name: str) -> list[Event]:
    return recorded.events(captures, name)


def exchange(name: str) -> Exchange:
    return Exchange.from_token(name.split("/")[0])


def batch(captures: Path, name: str, flush_events: int = 2048) -> dict[Any, Series]:
    stored = recorded.log(events(captures, name), exchange(name), flush_events)
    return compute(recorded.groups(stored), INTERVALS_MS)


def assert_rows_agree(series: Series, naive: Naive, length_us: int) -> None:
    """Every column that the naive reference has, row by row; None is null."""
    columns = series.features | series.bars
    assert len(naive.rows) == len(series.bars["timestamp"])
    for name in naive.rows[-1]:
        ours = columns[name].tolist()
        for place, row in enumerate(naive.rows):
            expected, found = row.get(name), ours[place]
            if expected is None or expected != expected:
                assert math.isnan(found), (name, place)
            else:
                assert math.isclose(expected, found, rel_tol=1e-9, abs_tol=1e-9), (name, place)
    starts = columns["timestamp"]
    assert not np.any(starts % length_us)
    assert np.all(np.diff(starts) == length_us)
    known = {name for row in naive.rows for name in row}
    assert set(columns) - known == {"flags"}


@pytest.mark.parametrize(
    ("name", "ticker", "intervals_ms"),
    [
        (USDM, "BTCUSDT", [100, 1_000, 60_000]),
        (SPOT, "BTCUSDT", [100, 1_000]),
        (MIDNIGHT, "BTCUSDT", [1_000]),
        (FOUR_TICKERS, "AKROUSDT", [100, 1_000]),
        (FOUR_TICKERS, "CTKUSDT", [100]),
        (FOUR_TICKERS, "SUSHIUSDT", [100]),
    ],
)
def test_bars_and_features_are_those_of_plain_python(
    captures: Path, name: str, ticker: str, intervals_ms: list[int]
) -> None:
    found = batch(captures, name)
    for interval_ms in intervals_ms:
        naive = Naive(interval_ms * 1_000)
        for event in events(captures, name):
            if event.feed == "clock" or event.ticker == ticker:
                naive.take(event)
        series = found[(int(exchange(name)), ticker), interval_ms]
        assert_rows_agree(series, naive, interval_ms * 1_000)


def test_all_volume_is_in_the_bars_or_counted_late(captures: Path) -> None:
    """Spot trades come up to 166 ms behind its quotes, so some are late for 100 ms bars."""
    trades = [one for one in events(captures, SPOT) if one.feed == "trade"]
    bars = batch(captures, SPOT)[(int(Exchange.BINANCE_SPOT), "BTCUSDT"), 100].bars
    last = bars["end_timestamp"][-1]
    assert bars["late_count"].sum() > 0
    inside = [one for one in trades if one.timestamp < last]
    assert bars["trade_count"].sum() + bars["late_count"].sum() == len(inside)
    volume = sum(one.fields["qty"] for one in inside)
    assert math.isclose(bars["volume"].sum() + bars["late_volume"].sum(), volume, rel_tol=1e-9)


# ------------------------------------------------------------------ live


def fold() -> FeatureFold:
    return FeatureFold(INTERVALS_MS, bar_stream="BAR", feature_stream="FEATURE")


def rows_of(payloads: list[bytes], kind: type[Header]) -> dict[Any, dict[str, bytes]]:
    """Bytes of each column by ticker and interval, all messages joined."""
    joined: dict[Any, dict[str, bytes]] = {}
    for payload in payloads:
        message = codec.decode(payload)
        assert isinstance(message, BarBatch | FeatureBatch)
        assert type(message) is kind
        columns = {name: getattr(message, name) for name in kind.columns}
        if isinstance(message, FeatureBatch):
            columns |= dict(zip(message.names, message.values, strict=True))
        into = joined.setdefault((message.ticker, message.interval_ms), {})
        for name, data in columns.items():
            into[name] = into.get(name, b"") + data
    return joined


def live(stored: list[Stored], cuts: list[int], restarts: set[int]) -> tuple[Any, Any, list[Any]]:
    """Bars, features and the outputs' places of a log read in pieces, restarted between some."""
    service, outputs = fold(), []
    for place, group in enumerate(recorded.groups(stored, cuts)):
        outputs += service.apply(group)
        if place in restarts:
            state = service.dump()
            service = fold()
            service.restore(state)
    bars = [one.payload for one in outputs if one.stream == "BAR"]
    features = [one.payload for one in outputs if one.stream == "FEATURE"]
    places = [(one.stream, one.in_seq, one.k, one.payload) for one in outputs]
    return rows_of(bars, BarBatch), rows_of(features, FeatureBatch), places


@pytest.mark.parametrize("name", [FOUR_TICKERS, SPOT])
def test_the_same_messages_for_any_cut_of_the_log_and_any_restart(
    captures: Path, name: str
) -> None:
    stored = recorded.log(events(captures, name), exchange(name), 32)
    _, _, whole = live(stored, [], set())

    @given(st.data())
    @settings(
        max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
    )
    def any_cut(data: st.DataObject) -> None:
        cuts = data.draw(st.lists(st.integers(0, len(stored)), max_size=40))
        restarts = data.draw(st.sets(st.integers(0, 40), max_size=4))
        assert live(stored, cuts, restarts)[2] == whole

    any_cut()


@pytest.mark.parametrize("name", [FOUR_TICKERS, SPOT])
def test_the_same_rows_for_any_flush_size_live_and_in_batch(captures: Path, name: str) -> None:
    in_batch = batch(captures, name, 2048)
    for flush_events in (1, 7, 2048):
        stored = recorded.log(events(captures, name), exchange(name), flush_events)
        cuts = list(range(0, len(stored), 999))
        bars, features, _ = live(stored, cuts, restarts={1, 3})
        for ((_, ticker), interval_ms), series in in_batch.items():
            for found, expected in ((bars, series.bars), (features, series.features)):
                columns = found[ticker, interval_ms]
                assert columns.keys() == expected.keys()
                for column, values in expected.items():
                    assert columns[column] == values.tobytes(), (flush_events, ticker, column)


def test_outputs_are_numbered_without_holes_and_ordered_by_their_input(captures: Path) -> None:
    stored = recorded.log(events(captures, FOUR_TICKERS), exchange(FOUR_TICKERS), 64)
    for stream in ("BAR", "FEATURE"):
        service = fold()
        outputs = [
            one
            for group in recorded.groups(stored, list(range(0, len(stored), 50)))
            for one in service.apply(group)
            if one.stream == stream
        ]
        assert [codec.decode(one.payload).message_no for one in outputs] == list(
            range(len(outputs))
        )
        places = [(one.in_seq, one.k) for one in outputs]
        assert places == sorted(set(places))
        assert {codec.decode(one.payload, one.subject).epoch for one in outputs} == {1}


def test_a_state_of_other_settings_is_refused_and_changes_nothing(captures: Path) -> None:
    stored = recorded.log(events(captures, FOUR_TICKERS), exchange(FOUR_TICKERS), 64)
    service = fold()
    for group in recorded.groups(stored):
        service.apply(group)
    state = service.dump()
    other = FeatureFold([100], bar_stream="BAR", feature_stream="FEATURE")
    with pytest.raises(ValueError, match="intervals"):
        other.restore(state)
    slower = FeatureFold(INTERVALS_MS, grace_ms=50, bar_stream="BAR", feature_stream="FEATURE")
    with pytest.raises(ValueError, match="catalogue"):
        slower.restore(state)
    with pytest.raises(ValueError, match="not the state"):
        service.restore(state[:-1])
    assert service.dump() == state
