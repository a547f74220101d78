"""The messages that rows go into: size, numbers, epochs, traces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from tickbus.columns.assembler import Assembler
from tickbus.columns.group import Group
from tickbus.log.stored import Stored, Traced
from tickbus_features.fold import FeatureFold
from tickbus_features.merge import fold_ticker
from tickbus_features.warm import warm
from tickbus_runtime.service.fold import Output
from tickbus_schemas import codec
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import (
    ABSENT,
    BarBatch,
    BookFlag,
    FeatureBatch,
    StatusKind,
    TradeBatch,
)

from tests.features.recorded import Event, clock, gap, groups, log, snapshot, trade

USDM = Exchange.BINANCE_USDM
T0 = 1_700_000_000_000_000
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def fold() -> FeatureFold:
    return FeatureFold([100, 1_000], bar_stream="BAR", feature_stream="FEATURE")


def outputs_of(events: list[Event]) -> list[Output]:
    service = fold()
    return [one for group in groups(log(events, USDM, 1)) for one in service.apply(group)]


def messages_of(outputs: list[Output], stream: str) -> list[Any]:
    """Decoded with every check that a reader makes."""
    return [codec.decode(one.payload, one.subject) for one in outputs if one.stream == stream]


def test_warming_leaves_nothing_to_compile() -> None:
    warm()
    outputs_of([trade(T0, 1, 100.0, 1.0), gap(T0, 2, ""), clock(T0, 2), snapshot(T0, 3, [])])
    compiled: Any = fold_ticker
    assert len(compiled.signatures) == 1


def test_a_row_is_in_a_message_of_its_ticker_and_interval() -> None:
    events = [trade(T0 + n * 100_000, n + 1, 100.0, 1.0) for n in range(14)]
    outputs = outputs_of(events)
    bars, features = messages_of(outputs, "BAR"), messages_of(outputs, "FEATURE")
    assert all(isinstance(one, BarBatch) for one in bars)
    assert all(isinstance(one, FeatureBatch) for one in features)
    assert {one.interval_ms for one in bars} == {100, 1_000}
    assert {one.subject for one in outputs} == {
        f"{kind}.binance_usdm.BTCUSDT.{interval}"
        for kind in ("bar", "feature")
        for interval in ("100ms", "1s")
    }
    assert {one.catalogue for one in features} == {fold().tickers.catalogue.hash}


def test_many_rows_of_one_input_are_split_by_a_fixed_rule() -> None:
    outputs = outputs_of([trade(T0, 1, 100.0, 1.0), trade(T0 + 300_000_000, 2, 100.0, 1.0)])
    parts = [one for one in outputs if one.subject == "feature.binance_usdm.BTCUSDT.100ms"]
    rows = [codec.rows(codec.decode(one.payload)) for one in parts]
    assert sum(rows) == 2_999
    assert len(set(rows[:-1])) == 1 < len(rows)
    assert [one.k for one in parts] == list(range(len(parts)))
    assert {one.in_seq for one in parts} == {2}


def test_numbers_begin_anew_with_a_publisher_and_never_go_back() -> None:
    times = [(T0 + n * 200_000, n + 1) for n in range(6)]
    events = [
        Event("trade", "BTCUSDT", at, packet, trade(0, 0, 1.0, 1.0).fields, epoch)
        for (at, packet), epoch in zip(times, (1, 1, 2, 2, 1, 2), strict=True)
    ]
    found = messages_of(outputs_of(events), "BAR")
    assert [(one.epoch, one.message_no) for one in found] == [
        (1, 0),
        (2, 0),
        (2, 1),
        (2, 2),
        (2, 3),
        (2, 4),
    ][: len(found)]


def test_a_trace_goes_on_in_the_first_message_that_contains_the_packet() -> None:
    events = [trade(T0 + n * 100_000, n + 1, 100.0, 1.0) for n in range(8)]
    service = fold()
    outputs: list[Output] = []
    for group in groups(log(events, USDM, 1), range(1, 8)):
        _trace(group, packet=3)
        outputs += service.apply(group)
    traced = [one for one in outputs if one.traceparent]
    assert [one.stream for one in traced] == ["BAR", "FEATURE"]
    assert {one.traceparent for one in traced} == {TRACE}
    bar = codec.decode(traced[0].payload)
    assert isinstance(bar, BarBatch)
    assert int.from_bytes(bar.timestamp[:8], "little") == T0 + 2 * 100_000


def _trace(group: Group, packet: int) -> None:
    """Mark the message of this packet as sampled."""
    for seq in group.seqs.tolist():
        if seq == packet:
            group.traced.append(Traced(seq, 0, TRACE, TradeBatch, "BTCUSDT", 2**40 + packet))


def rows_flagged(stored: list[Stored]) -> list[bool]:
    """Whether each bar of 100 ms says that trades are missing in it."""
    service, flags = fold(), b""
    assembler = Assembler()
    for one in stored:
        group = assembler.add([one])
        assert group is not None
        for message in messages_of(service.apply(group), "BAR"):
            if message.interval_ms == 100:
                flags += message.flags
    return [bool(flag & BookFlag.GAP) for flag in np.frombuffer(flags, np.uint16).tolist()]


TRADES_EACH_100_MS = [trade(T0 + n * 100_000, n + 1, 100.0, 1.0) for n in range(10)]


def test_messages_that_are_missing_in_the_log_are_a_gap() -> None:
    stored = log(TRADES_EACH_100_MS, USDM, 1)
    assert rows_flagged(stored) == [True, *[False] * 7]
    # 6 is gone: 4 and 5 are open when 7 comes, and it is 7 that ends the gap.
    assert rows_flagged(stored[:6] + stored[7:]) == [True, *[False] * 3, *[True] * 4]


def test_a_message_that_cannot_be_read_is_a_gap_of_its_ticker_and_feed() -> None:
    stored = log(TRADES_EACH_100_MS, USDM, 1)
    bad = Stored(stored[6].seq, 0, stored[6].subject, b"not a message", None)
    assert rows_flagged([*stored[:6], bad, *stored[7:]]) == [True, *[False] * 3, *[True] * 4]
    other = Stored(stored[6].seq, 0, "md.binance_usdm.BTCUSDT.bbo", b"not a message", None)
    assert not any(rows_flagged([*stored[:6], other, *stored[7:]])[1:])


def test_a_publisher_that_died_before_its_first_event_leaves_nothing_open() -> None:
    """Its successor's epoch is a loss to a ticker that has no bucket yet."""
    connected = {"feed": "", "kind": int(StatusKind.CONNECTED), "from_timestamp": ABSENT}
    statuses = [Event("status", "BTCUSDT", T0, 1, connected, epoch) for epoch in (1, 2)]
    trades = [replace(one, epoch=2) for one in TRADES_EACH_100_MS]
    stored = log([*statuses, *trades], USDM, 1)
    assert rows_flagged(stored) == [True, *[False] * 7]


def test_a_message_on_a_subject_of_no_known_ticker_makes_no_ticker() -> None:
    service = fold()
    assembler = Assembler()
    for subject in ("md.binance_usdm.JUNK.trade", "md.binance_usdm", "fence.binance_usdm"):
        group = assembler.add([Stored(1, 0, subject, b"\xff", None)])
        assert group is not None
        assert group.rejected
        assert service.apply(group) == []
    assert service.tickers.states == {}
