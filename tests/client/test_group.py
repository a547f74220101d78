"""Groups hold what the messages hold, however the log was cut, and nothing of a bad message."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus.columns.assembler import Assembler
from tickbus.columns.group import Group
from tickbus.log.stored import Stored, header
from tickbus_schemas import codec
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import (
    SEQ_ID_ROWS,
    BarBatch,
    BboBatch,
    BookBatch,
    Clock,
    DerivativeBatch,
    FeatureBatch,
    Header,
    Instrument,
    L2Batch,
    LiquidationBatch,
    Message,
    Status,
    TickerBatch,
    TradeBatch,
)

from tests.client.logs import changed, runs, stored, subject_of
from tests.schemas.strategies import pack, same, unpack

Rows = dict[Hashable, list[dict[str, Any]]]


def rows_of_messages(log: Sequence[Stored]) -> Rows:
    """Every row of every readable message, by what a table is of; made without the code tested."""
    rows: defaultdict[Hashable, list[dict[str, Any]]] = defaultdict(list)
    for one in log:
        try:
            message = codec.decode(one.data, one.subject)
        except Reject:
            continue
        if message.columns:
            rows[_table_of(message)] += _rows_of(one.seq, message)
    return dict(rows)


def _table_of(message: Message) -> Hashable:
    key: tuple[Any, ...] = (type(message), message.exchange, message.ticker)
    if isinstance(message, BookBatch):
        return (*key, message.interval_ms, message.depth)
    if isinstance(message, BarBatch):
        return (*key, message.interval_ms, None)
    if isinstance(message, FeatureBatch):
        return (*key, message.interval_ms, (message.catalogue, tuple(message.names)))
    return key


def _rows_of(seq: int, message: Message) -> list[dict[str, Any]]:
    """Rows; of L2 first the packets, then the levels."""
    columns: dict[str, list[list[Any]]] = {"rows": [], "levels": []}
    names: dict[str, list[str]] = {"rows": [], "levels": []}
    for name, width in message.columns.items():
        values: list[Any]
        if width.per in ("rows", "levels"):
            values = unpack(width.code, getattr(message, name))
        elif width.per == "rows*depth" and isinstance(message, BookBatch):
            flat = unpack(width.code, getattr(message, name))
            values = [flat[at : at + message.depth] for at in range(0, len(flat), message.depth)]
        elif name == "trade_id_bytes" and isinstance(message, TradeBatch):
            ends = unpack("<i4", message.trade_id_offsets)
            text = message.trade_id_bytes.decode()
            values = [text[start:end] for start, end in itertools.pairwise(ends)]
        else:
            continue
        columns["levels" if width.per == "levels" else "rows"].append(values)
        names["levels" if width.per == "levels" else "rows"].append(name)
    if isinstance(message, FeatureBatch):
        columns["rows"] += [unpack("<f8", data) for data in message.values]
        names["rows"] += [f"feature {name}" for name in message.names]
    rows = []
    for per in ("rows", "levels"):
        for row, values_ in enumerate(zip(*columns[per], strict=True)):
            found = dict(zip(names[per], values_, strict=True))
            of_file = per == "levels" or not isinstance(message, L2Batch)
            rows.append(found | ({"seq_id": seq * SEQ_ID_ROWS + row} if of_file else {"seq": seq}))
    return rows


def rows_of_groups(groups: Iterable[Group]) -> Rows:
    """The same from groups."""
    packets: defaultdict[Hashable, list[dict[str, Any]]] = defaultdict(list)
    for group in groups:
        for key, table in group.tables.items():
            columns = {name: column.tolist() for name, column in table.columns.items()}
            columns |= {f"feature {n}": column.tolist() for n, column in table.features.items()}
            if table.kind is TradeBatch:
                ends, text = columns.pop("trade_id_offsets"), bytes(columns.pop("trade_id_bytes"))
                pairs = itertools.pairwise(ends)
                columns["trade_id_bytes"] = [text[start:end].decode() for start, end in pairs]
            if table.kind is L2Batch:
                packets[key] += _by_message(columns, table.seq_id().tolist(), table)
            else:
                columns["seq_id"] = table.seq_id().tolist()
                packets[key] += _transposed(columns)
            assert table.rows == len(table.seq_id())
    return dict(packets)


def _by_message(columns: dict[str, list[Any]], seq_ids: list[int], table: Any) -> list[Any]:
    """Packets and levels of L2 in the order of `_rows_of`: message by message."""
    of_levels = ("side", "action", "price", "qty")
    packets = {name: values for name, values in columns.items() if name not in of_levels}
    packets["seq"] = np.repeat(table.message_seq, table.message_rows).tolist()
    levels = {name: columns[name] for name in of_levels} | {"seq_id": seq_ids}
    rows, packet_rows, level_rows = [], _transposed(packets), _transposed(levels)
    for count, level_count in zip(table.message_rows, table.message_levels, strict=True):
        rows += packet_rows[:count] + level_rows[:level_count]
        del packet_rows[:count], level_rows[:level_count]
    return rows


def _transposed(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    values = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in values]


def assert_same_rows(found: Rows, expected: Rows) -> None:
    """Equal to the bit, NaN being NaN."""
    assert {key: rows for key, rows in found.items() if rows}.keys() == expected.keys()
    for key, rows in expected.items():
        assert len(found[key]) == len(rows)
        for one, other in zip(found[key], rows, strict=True):
            assert one.keys() == other.keys()
            for name, value in other.items():
                same = one[name] == value or (math.isnan(one[name]) and math.isnan(value))
                assert same, (key, name, one[name], value)


def assembled(log: Sequence[Stored], cuts: Sequence[int]) -> list[Group]:
    """The groups of a log that arrives in pieces of these sizes."""
    assembler, groups, place = Assembler(), [], 0
    for size in [*cuts, len(log)]:
        group = assembler.add(log[place : place + size])
        place += size
        if group is not None:
            groups.append(group)
    return groups


cuts = st.lists(st.integers(1, 4), max_size=8)


@given(runs(), cuts)
def test_every_row_is_there_once_however_the_log_was_cut(
    log: list[Message], sizes: list[int]
) -> None:
    arrived = stored(log)
    groups = assembled(arrived, sizes)
    assert_same_rows(rows_of_groups(groups), rows_of_messages(arrived))
    singles = [one for group in groups for several in group.singles.values() for one in several]
    alone = [(one.seq, m) for one, m in zip(arrived, log, strict=True) if not m.columns]
    assert same(sorted(singles, key=itemgetter(0)), alone)
    assert [seq for group in groups for seq in group.seqs] == [one.seq for one in arrived]
    assert not any(group.breaks or group.missing or group.rejected for group in groups)


@given(runs(), cuts)
def test_no_group_ends_within_a_tickers_flush(log: list[Message], sizes: list[int]) -> None:
    for group in assembled(stored(log), sizes):
        assert log[group.last_seq - 1].more == 0


def _nan_price(message: Message) -> Message:
    name = "price" if hasattr(message, "price") else "bid_px"
    column = bytearray(getattr(message, name))
    column[-8:] = pack("<f8", [math.nan])
    return changed(message, **{name: bytes(column)})


def _with(name: str, code: str, value: float) -> Callable[[Any], Message]:
    """Damage: every value of a column is this one."""

    def change(message: Any) -> Message:
        count = len(unpack(code, getattr(message, name)))
        return changed(message, **{name: pack(code, [value] * count)})

    return change


def _infinite(message: Any) -> Message:
    count = len(message.timestamp) // 8
    return changed(message, values=[pack("<f8", [math.inf] * count) for _ in message.values])


DAMAGE: list[tuple[Callable[[Any], Message], tuple[type[Header], ...]]] = [
    (_nan_price, (TradeBatch, L2Batch, BboBatch, BookBatch)),
    (_with("side", "<i1", 5), (TradeBatch, L2Batch)),
    (_with("action", "<i1", 4), (L2Batch,)),
    (_with("side", "<i1", 0), (L2Batch, LiquidationBatch)),
    (_with("position_side", "<i1", -128), (LiquidationBatch,)),
    (_with("position_side", "<i1", 31), (LiquidationBatch,)),
    (_with("levels", "<i4", 2), (L2Batch,)),
    (_with("levels", "<i4", -1), (L2Batch,)),
    (_with("trade_id_offsets", "<i4", 9), (TradeBatch,)),
    (_with("trade_id_bytes", "<i1", -1), (TradeBatch,)),
    (_with("bid_levels", "<i4", 1_001), (BookBatch,)),
    (_with("vwap", "<f8", math.inf), (BarBatch,)),
    (_with("turnover", "<f8", math.inf), (TickerBatch,)),
    (_with("funding_rate", "<f8", -math.inf), (DerivativeBatch,)),
    (lambda m: changed(m, tick_size=math.inf), (Instrument,)),
    (_infinite, (FeatureBatch,)),
    (lambda m: changed(m, values=m.values[1:]), (FeatureBatch,)),
    (lambda m: changed(m, flags=m.flags + b"\0\0"), (TradeBatch, BboBatch)),
    (lambda m: changed(m, ticker="OTHER"), (TradeBatch, L2Batch, BboBatch, BookBatch)),
    (lambda m: changed(m, schema=7), (TradeBatch, L2Batch, Status, Clock)),
]


@given(runs(), cuts, st.data())
def test_bad_messages_are_refused_alone_and_as_the_codec_refuses_them(
    log: list[Message], sizes: list[int], data: st.DataObject
) -> None:
    arrived = stored(log)
    for place, message in enumerate(log):
        fitting = [change for change, kinds in DAMAGE if isinstance(message, kinds)]
        damage = data.draw(st.sampled_from(["none", "none", "cut", "noise", *fitting]))
        one = arrived[place]
        if callable(damage):
            # The codec would not encode some of these: they are written as a stranger would.
            arrived[place] = _replaced(one, codec._encode(damage(message)))
        elif damage == "cut":
            arrived[place] = _replaced(one, one.data[: len(one.data) // 2])
        elif damage == "noise":
            arrived[place] = _replaced(one, data.draw(st.binary(max_size=8)))
    groups = assembled(arrived, sizes)
    seen = [one for one in arrived if groups and one.seq <= groups[-1].last_seq]
    refused = {rejected.seq: rejected for group in groups for rejected in group.rejected}
    assert refused.keys() == {one.seq for one in seen if _refused_by_codec(one)}
    assert all(rejected.reason for rejected in refused.values())
    assert_same_rows(rows_of_groups(groups), rows_of_messages(seen))


def _replaced(one: Stored, data: bytes) -> Stored:
    return Stored(one.seq, one.stored_ns, one.subject, data)


def _refused_by_codec(one: Stored) -> bool:
    try:
        codec.decode(one.data, one.subject)
    except Reject:
        return True
    return False


def _clock(message_no: int, epoch: int = 1, more: int = 0) -> Message:
    return Clock(
        exchange=2,
        ticker="",
        epoch=epoch,
        message_no=message_no,
        more=more,
        timestamp=1,
        rcv_timestamp=1,
        packet_id=1,
    )


@pytest.mark.parametrize(
    ("numbers", "kinds"),
    [
        ([(1, 0), (1, 1), (1, 2)], []),
        ([(3, 7), (3, 8)], []),
        ([(1, 0), (1, 2)], ["hole"]),
        ([(1, 5), (1, 5)], ["repeat"]),
        ([(1, 5), (1, 4), (1, 5)], ["repeat"]),
        ([(1, 5), (2, 0)], []),
        ([(1, 5), (2, 1)], ["hole"]),
        ([(2, 5), (1, 6), (2, 6)], ["epoch", "hole"]),
    ],
)
@pytest.mark.parametrize("cut", [1, 2, 9])
def test_numbers_prove_that_nothing_is_missing_or_twice(
    numbers: list[tuple[int, int]], kinds: list[str], cut: int
) -> None:
    log = stored([_clock(message_no, epoch) for epoch, message_no in numbers])
    groups = assembled(log, [cut] * len(log))
    assert [one.kind for group in groups for one in group.breaks] == kinds


def test_an_unreadable_message_may_have_used_up_a_number_or_not() -> None:
    for second in (1, 2):
        log = stored([_clock(0), _clock(1), _clock(second)])
        log[1] = _replaced(log[1], b"?")
        (group,) = assembled(log, [])
        assert not group.breaks
        assert [one.seq for one in group.rejected] == [2]


def test_sequences_that_the_stream_lost_are_named() -> None:
    assembler = Assembler()
    assembler.resume(4, 1, 0)
    log = stored([_clock(1), _clock(2)], first_seq=7)
    log.append(_replaced(log[0], codec.encode(_clock(3))))
    log[2].seq = 12
    group = assembler.add(log)
    assert group is not None
    assert group.missing == [(5, 6), (9, 11)]


def test_a_flush_that_never_ends_is_closed_by_the_next_publisher() -> None:
    log = stored([_clock(0), _clock(1, more=2)])
    assembler = Assembler()
    first = assembler.add(log)
    assert first is not None
    assert first.last_seq == 1
    last = assembler.add(stored([_clock(0, epoch=2)], first_seq=3))
    assert last is not None
    assert last.seqs.tolist() == [2, 3]


def test_a_subject_that_is_none_of_ours_is_refused() -> None:
    one = stored([_clock(0)])[0]
    (group,) = assembled([Stored(1, 1, "md.nowhere.X.trade", one.data)], [])
    assert "unknown exchange" in group.rejected[0].reason


def test_a_traced_message_names_its_last_packet() -> None:
    trade = TradeBatch(
        exchange=2,
        ticker="BTCUSDT",
        epoch=1,
        message_no=0,
        timestamp=pack("<i8", [1, 2]),
        rcv_timestamp=pack("<i8", [1, 2]),
        packet_id=pack("<i8", [41, 42]),
        side=b"\1\1",
        price=pack("<f8", [1, 1]),
        qty=pack("<f8", [1, 1]),
        flags=pack("<u2", [0, 0]),
        trade_id_offsets=pack("<i4", [0, 1, 2]),
        trade_id_bytes=b"12",
    )
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    block = f"NATS/1.0\r\nNats-Msg-Id: 1\r\ntraceparent: {parent}\r\n\r\n".encode()
    one = Stored(5, 99, subject_of(trade), codec.encode(trade), block)
    (group,) = assembled([one], [])
    assert group.traced == [(5, 99, parent, TradeBatch, "BTCUSDT", 42)]


def test_a_header_is_found_by_its_whole_name() -> None:
    block = b"NATS/1.0\r\nXIn-Seq: 1\r\nIn-Seq: 7.0\r\n\r\n"
    assert header(block, "In-Seq") == "7.0"
    assert header(block, "Seq") is None
    assert header(None, "In-Seq") is None
