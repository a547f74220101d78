"""Logs that no venue sent: disorder, lateness, gaps, silence; against plain Python and all cuts."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tickbus_features.batch import compute
from tickbus_features.fold import FeatureFold
from tickbus_schemas.exchanges import Exchange

from tests.features.naive import Naive
from tests.features.recorded import (
    Event,
    book,
    clock,
    gap,
    groups,
    log,
    quote,
    snapshot,
    trade,
)

USDM = Exchange.BINANCE_USDM
T0 = 1_700_000_000_000_000
MS = 1_000
PRICES = [100.0, 100.5, 101.0, 101.5, 102.0, 102.5]

steps_ms = st.one_of(st.integers(0, 40), st.integers(0, 400), st.sampled_from([-350, -90, 3_000]))
sizes = st.integers(1, 9).map(float)


@st.composite
def events(draw: st.DrawFn, *, with_gaps: bool) -> list[Event]:
    """A snapshot, then anything in any order; packets count up, times mostly do."""
    bids = [(1, price - 5.0, 1.0 + price) for price in PRICES]
    asks = [(-1, price + 5.0, 1.0 + price) for price in PRICES]
    levels = [*bids, *asks]
    found = [snapshot(T0, 1, levels, update=1)]
    kinds = ["trade", "quote", "book", "clock", *(["gap", "snapshot", "epoch"] * with_gaps)]
    at_ms, highest_ms, update, epoch = 0, 0, 1, 1
    for packet in range(2, draw(st.integers(2, 60))):
        at_ms = max(0, at_ms + draw(steps_ms))
        highest_ms = max(highest_ms, at_ms)
        at = T0 + at_ms * MS
        price, size, side = (
            draw(st.sampled_from(PRICES)),
            draw(sizes),
            draw(st.sampled_from([1, -1])),
        )
        match draw(st.sampled_from(kinds)):
            case "trade":
                one = trade(at, packet, price, size, side=side)
            case "quote":
                one = quote(at, packet, price - 1, size, price + 1, draw(sizes))
            case "book":
                one = book(
                    at, packet, [(side, price - 5 * side, size)], prev=update, update=update + 1
                )
                update += 1
            case "snapshot":
                one = snapshot(at, packet, levels, update=update)
            case "gap":
                one = gap(at, packet, draw(st.sampled_from(["trade", "bbo", "l2", ""])))
            case "epoch":
                epoch += 1
                continue
            case _:
                one = clock(T0 + highest_ms * MS, packet - 1)
        found.append(Event(one.feed, one.ticker, one.timestamp, one.packet, one.fields, epoch))
    return [*found, clock(T0 + (highest_ms + 2_000) * MS, packet_of(found))]


def packet_of(found: list[Event]) -> int:
    return found[-1].packet


@given(events(with_gaps=False), st.sampled_from([50, 100, 1_000]))
def test_any_log_without_gaps_gives_what_plain_python_gives(
    found: list[Event], interval_ms: int
) -> None:
    naive = Naive(interval_ms * MS)
    for one in found:
        naive.take(one)
    series = compute(groups(log(found, USDM, 1)), [interval_ms])[
        (int(USDM), "BTCUSDT"), interval_ms
    ]
    columns = series.features | series.bars
    assert len(naive.rows) == len(columns["timestamp"])
    for place, row in enumerate(naive.rows):
        for name, expected in row.items():
            ours = columns[name][place].item()
            if expected is None or expected != expected:
                assert math.isnan(ours), (name, place)
            else:
                assert math.isclose(expected, ours, rel_tol=1e-9, abs_tol=1e-9), (name, place)


def messages(found: list[Event], flush: int, cuts: list[int], restart: bool) -> list[Any]:
    fold = FeatureFold([100, 1_000], bar_stream="BAR", feature_stream="FEATURE")
    outputs = []
    for group in groups(log(found, USDM, flush), cuts):
        outputs += fold.apply(group)
        if restart:
            state, fold = (
                fold.dump(),
                FeatureFold([100, 1_000], bar_stream="BAR", feature_stream="FEATURE"),
            )
            fold.restore(state)
    return outputs


@given(events(with_gaps=True), st.integers(1, 9), st.lists(st.integers(0, 80)), st.booleans())
@settings(max_examples=80)
def test_any_log_gives_the_same_messages_for_any_cut_and_restart(
    found: list[Event], flush: int, cuts: list[int], restart: bool
) -> None:
    stored = len(log(found, USDM, flush))
    pieces = [cut for cut in cuts if cut <= stored]
    assert messages(found, flush, pieces, restart) == messages(found, flush, [], False)


@given(events(with_gaps=True))
def test_any_log_gives_the_same_rows_for_any_flush_size(found: list[Event]) -> None:
    alone, together = (compute(groups(log(found, USDM, flush)), [100]) for flush in (1, 7))
    assert alone.keys() == together.keys()
    for key, series in alone.items():
        for name, values in (series.bars | series.features).items():
            other = (together[key].bars | together[key].features)[name]
            assert values.tobytes() == other.tobytes(), name
