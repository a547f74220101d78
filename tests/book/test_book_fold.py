"""The messages that rows go into: size, numbers, epochs, traces; and the state between groups."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus.columns.assembler import Assembler
from tickbus.log.stored import Stored, Traced
from tickbus_book.__main__ import intervals_ms
from tickbus_book.fold import BookFold
from tickbus_book.kernels.grid import fold_ticker
from tickbus_book.warm import warm
from tickbus_runtime.service.fold import Output
from tickbus_runtime.settings.sections import BookSettings
from tickbus_schemas import codec
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import (
    MAX_MESSAGE_BYTES,
    BookBatch,
    BookFlag,
    L2Batch,
    Status,
    StatusKind,
    TradeBatch,
)

from tests.features.recorded import (
    Event,
    Log,
    book,
    clock,
    events,
    gap,
    groups,
    log,
    snapshot,
    trade,
)

USDM = Exchange.BINANCE_USDM
T0 = 1_700_006_400_000_000
LENGTHS_MS = [0, 100, 1_000]
LEVELS = [(1, 99.0, 1.0), (-1, 101.0, 1.0)]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def fold(*lengths_ms: int, depth: int = 2) -> BookFold:
    return BookFold(list(lengths_ms) or [100], depth, stream="BOOK")


def outputs_of(found: list[Event], service: BookFold) -> list[Output]:
    return [one for group in groups(log(found, USDM, 1)) for one in service.apply(group)]


def messages_of(outputs: list[Output]) -> list[BookBatch]:
    """Decoded with every check that a reader makes."""
    found = [codec.decode(one.payload, one.subject) for one in outputs]
    assert all(isinstance(one, BookBatch) for one in found)
    return [one for one in found if isinstance(one, BookBatch)]


def times(message: BookBatch) -> list[int]:
    return [(one - T0) // 1_000 for one in np.frombuffer(message.timestamp, "<i8").tolist()]


def flags(messages: list[BookBatch]) -> list[int]:
    return [int(flag) for one in messages for flag in np.frombuffer(one.flags, "<u2")]


def updates(count: int, step_ms: int = 100) -> list[Event]:
    """A snapshot and updates of its bid, each so long after the one before."""
    return [
        snapshot(T0, 1, LEVELS),
        *(
            book(T0 + n * step_ms * 1_000 + 1, n + 1, [(1, 99.0, n)], prev=n - 1, update=n)
            for n in range(1, count)
        ),
    ]


def test_warming_leaves_nothing_to_compile() -> None:
    warm()
    quote = Event(
        "bbo", "BTCUSDT", T0, 4, dict.fromkeys(("bid_px", "bid_sz", "ask_px", "ask_sz"), 1.0)
    )
    outputs_of([*updates(3), gap(T0, 3, "l2"), quote, clock(T0, 4)], fold(0, 100))
    compiled: Any = fold_ticker
    assert len(compiled.signatures) == 1


def test_a_row_is_in_a_message_of_its_ticker_and_interval() -> None:
    outputs = outputs_of(updates(12), fold(0, 100, 1_000))
    assert {(one.subject, one.stream) for one in outputs} == {
        (f"book.binance_usdm.BTCUSDT.{interval}", "BOOK") for interval in ("change", "100ms", "1s")
    }
    messages = messages_of(outputs)
    assert {(one.interval_ms, one.depth) for one in messages} == {(0, 2), (100, 2), (1_000, 2)}
    assert [times(one) for one in messages if one.interval_ms == 1_000] == [[0], [1_000]]
    assert [times(one) for one in messages if one.interval_ms == 100] == [
        [0, 100],
        *([n * 100] for n in range(2, 12)),
    ]


def test_all_rows_that_one_message_closes_are_one_message() -> None:
    late = book(T0 + 950_000, 2, [], prev=0, update=1)
    outputs = outputs_of([snapshot(T0, 1, LEVELS), late], fold())
    assert [times(one) for one in messages_of(outputs)] == [[n * 100 for n in range(10)]]
    assert [(one.in_seq, one.k) for one in outputs] == [(2, 0)]


@pytest.mark.parametrize("depth", [10, 1_000])
def test_many_rows_of_one_input_are_split_by_a_fixed_rule(depth: int) -> None:
    late = book(T0 + 100_000_000, 2, [], prev=0, update=1)
    outputs = outputs_of([snapshot(T0, 1, LEVELS), late], fold(depth=depth))
    messages = messages_of(outputs)
    rows = [codec.rows(one) for one in messages]
    assert sum(rows) == 1_000
    assert len(set(rows[:-1])) == 1 < len(rows)
    assert max(len(one.payload) for one in outputs) > MAX_MESSAGE_BYTES * 0.8
    assert [one.k for one in outputs] == list(range(len(outputs)))
    assert [at for one in messages for at in times(one)] == [n * 100 for n in range(1_000)]


def test_a_clock_closes_the_books_of_all_tickers_in_the_order_of_their_names() -> None:
    found = [Event("l2", name, T0, 1, snapshot(T0, 1, LEVELS).fields) for name in ("B", "A", "C")]
    outputs = outputs_of([*found, clock(T0 + 1_000_000, 1)], fold(100, 1_000))
    assert [one.subject.split(".", 2)[2] for one in outputs] == [
        f"{ticker}.{interval}" for ticker in "ABC" for interval in ("100ms", "1s")
    ]
    assert [(one.in_seq, one.k) for one in outputs] == [(4, k) for k in range(6)]
    assert [one.message_no for one in messages_of(outputs)] == list(range(6))


def test_other_feeds_and_other_tickers_close_nothing() -> None:
    others = [
        trade(T0 + 5_000_000, 2, 100.0, 1.0),
        Event("l2", "OTHER", T0 + 5_000_000, 3, snapshot(0, 0, LEVELS).fields),
    ]
    assert outputs_of([snapshot(T0, 1, LEVELS), *others], fold()) == []


def test_numbers_begin_anew_with_a_publisher_and_never_go_back() -> None:
    found = [
        Event("l2", "BTCUSDT", T0 + n * 100_000 + 1, n + 1, snapshot(0, 0, LEVELS).fields, epoch)
        for n, epoch in enumerate((1, 1, 1, 2, 2))
    ]
    messages = messages_of(outputs_of(found, fold()))
    numbers = [(one.epoch, one.message_no) for one in messages]
    assert numbers == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert flags(messages) == [0, 0, BookFlag.GAP, 0]


@pytest.mark.parametrize("feed", ["l2", ""])
def test_a_gap_of_the_book_breaks_it(feed: str) -> None:
    found = [snapshot(T0, 1, LEVELS), gap(T0, 2, feed), clock(T0 + 1_000_000, 2)]
    assert flags(messages_of(outputs_of(found, fold()))) == [BookFlag.GAP]


def test_messages_missing_from_the_stream_break_every_book_until_its_snapshot() -> None:
    found = [
        Event("l2", name, T0 + n, n + 1, snapshot(0, 0, LEVELS).fields)
        for n, name in enumerate(("A", "B", "LOST", "A"))
    ]
    stored = log([*found, clock(T0 + 1_100_000, 4)], USDM, 1)
    del stored[2]
    service = fold()
    outputs = [one for group in groups(stored) for one in service.apply(group)]
    by_ticker = {one.ticker: flags([one]) for one in messages_of(outputs[1:])}
    assert by_ticker == {"A": [0], "B": [BookFlag.GAP]}


@pytest.mark.parametrize(
    ("feed", "flag"), [("l2", BookFlag.GAP), ("status", BookFlag.GAP), ("trade", 0)]
)
def test_a_message_that_cannot_be_read_breaks_the_book_of_its_ticker(
    feed: str, flag: BookFlag
) -> None:
    names = ("BTCUSDT", "OTHER")
    found = [Event("l2", name, T0, 1, snapshot(0, 0, LEVELS).fields) for name in names]
    stored = log([*found, snapshot(T0, 2, LEVELS), clock(T0 + 1_000_000, 2)], USDM, 1)
    stored[2].subject, stored[2].data = f"md.binance_usdm.BTCUSDT.{feed}", b"not a message"
    group = Assembler().add(stored)
    assert group is not None
    assert len(group.rejected) == 1
    messages = messages_of(fold().apply(group))
    assert {one.ticker: flags([one]) for one in messages} == {"BTCUSDT": [flag], "OTHER": [0]}


@pytest.mark.parametrize(
    "other",
    [
        gap(T0, 2, "trade"),
        Event("status", "OTHER", T0, 2, gap(T0, 2, "l2").fields),
        Event("status", "BTCUSDT", T0, 2, {"feed": "l2", "kind": int(StatusKind.CONNECTED)}),
    ],
)
def test_other_statuses_leave_the_book_whole(other: Event) -> None:
    found = [snapshot(T0, 1, LEVELS), other, clock(T0 + 1_000_000, 2)]
    assert flags(messages_of(outputs_of(found, fold()))) == [0]


def test_a_trace_goes_on_in_the_first_message_whose_rows_hold_its_packet() -> None:
    service = fold()
    outputs: list[Output] = []
    for group in groups(log(updates(5), USDM, 1), range(1, 5)):
        if group.first_seq == 3:
            packet_id = updates(5)[2].packet_id
            for kind in (L2Batch, TradeBatch):  # a trade is in no book
                group.traced.append(Traced(3, 0, TRACE, kind, "BTCUSDT", packet_id))
        outputs += service.apply(group)
    assert [one.traceparent for one in outputs] == [None, None, TRACE, None]


def test_it_tells_its_rows_and_what_came_late_or_was_left_out() -> None:
    told: dict[str, float] = {}

    def count(name: str, n: float = 1, **labels: str) -> None:
        told[name] = told.get(name, 0) + n

    found = [
        *updates(3),
        book(T0, 4, [], prev=2, update=3),
        book(T0 + 300_000, 5, [], prev=8, update=9),
        snapshot(T0 + 10 * 86_400_000_000, 6, LEVELS),
    ]
    outputs_of(found, BookFold([100], 2, stream="BOOK", count=count))
    assert told == {"rows": 3, "late_events": 1, "left_out_events": 1, "grid_restarts": 1}


def test_settings_name_the_grids_once_and_changes_first() -> None:
    settings = BookSettings(intervals=["1s", "100ms", "1000ms"], on_change=True)
    assert intervals_ms(settings) == [0, 100, 1_000]
    assert intervals_ms(BookSettings()) == [100]


# --------------------------------------------------------------- checkpoints


def run(
    stored: list[Stored], cuts: list[int], restarts: list[int], lengths_ms: list[int]
) -> list[Output]:
    """Outputs of a log cut at these places, with a new fold from the old one's dump at some."""
    service = fold(*lengths_ms, depth=10)
    outputs: list[Output] = []
    for place, group in enumerate(groups(stored, cuts)):
        if place in restarts:
            state = service.dump()
            service = fold(*lengths_ms, depth=10)
            service.restore(state)
            assert service.dump() == state
        outputs += service.apply(group)
    return outputs


@pytest.fixture(scope="module")
def capture_log(captures: Path) -> list[Stored]:
    """Four tickers, with what no venue sent besides: gaps, a lost packet, a packet that is late."""
    random.seed(7)
    found: list[Event] = []
    for one in events(captures, "binance_usdm/cryptofeed_20210722"):
        found.append(one)
        if one.feed == "l2" and random.random() < 0.02:
            what = random.choice(("gap", "lost", "late"))
            if what == "gap":
                found.append(
                    Event("status", one.ticker, one.timestamp, one.packet, gap(0, 0, "l2").fields)
                )
            elif what == "lost":
                found.pop()
            else:
                levels = {"levels": [(1, 1.0, 1.0)], "prev": one.fields["update"], "flags": 0}
                levels["update"] = one.fields["update"]
                found.append(Event("l2", one.ticker, one.timestamp - 3_000_000, one.packet, levels))
    return log(found, USDM, 5)


@pytest.fixture(scope="module")
def whole(capture_log: list[Stored]) -> list[Output]:
    """What the log gives in one piece."""
    outputs = run(capture_log, [], [], LENGTHS_MS)
    found = flags(messages_of(outputs))
    assert 0 < found.count(BookFlag.GAP) < found.count(0)
    return outputs


@given(
    cuts=st.lists(st.integers(1, 250), max_size=12, unique=True).map(sorted),
    restarts=st.lists(st.integers(0, 12), max_size=4),
)
def test_the_outputs_are_the_same_bytes_for_every_cut_and_restart(
    capture_log: list[Stored], whole: list[Output], cuts: list[int], restarts: list[int]
) -> None:
    places = [place * len(capture_log) // 251 for place in cuts]
    assert run(capture_log, places, restarts, LENGTHS_MS) == whole


def test_a_state_of_other_settings_is_refused() -> None:
    state = fold(100, depth=5).dump()
    for other in (fold(200, depth=5), fold(100, depth=6)):
        with pytest.raises(ValueError, match="depth 5"):
            other.restore(state)


def test_bytes_that_are_no_state_are_refused_and_change_nothing() -> None:
    service = fold()
    outputs_of(updates(3), service)
    state = service.dump()
    broken = [b"", b"\xc0", state[:-1], state.replace(b"BTCUSDT", b"BTCUSD\xff")]
    for bad in broken:
        with pytest.raises(ValueError, match=r"state|bytes"):
            service.restore(bad)
        assert service.dump() == state


def test_a_status_for_a_ticker_without_a_book_makes_no_rows() -> None:
    shard = Log(USDM)
    stored = shard.flush([gap(T0, 1, "l2"), clock(T0 + 9_000_000, 1)])
    assert isinstance(codec.decode(stored[0].data), Status)
    assert [one for group in groups(stored) for one in fold().apply(group)] == []
