"""Bars and features of history: the same kernels over groups of a log, or over dataset rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tickbus.columns.group import Group
from tickbus.columns.table import Key, Table
from tickbus_schemas.messages import (
    ABSENT,
    PACKETS_PER_EPOCH,
    BboBatch,
    Clock,
    Header,
    L2Batch,
    Status,
    TradeBatch,
)

from tickbus_features.closed_rows import Closed
from tickbus_features.inputs import Ticker
from tickbus_features.layout import FLOATS, INTS
from tickbus_features.tickers import Tickers

Columns: TypeAlias = dict[str, NDArray[Any]]


class Series(NamedTuple):
    """All closed buckets of one ticker and interval, in order; NaN is null."""

    bars: Columns
    """the columns of a BarBatch"""
    features: Columns
    """timestamp, end_timestamp, rcv_timestamp, packet_id, flags, then one a feature"""


def compute(
    groups: Iterable[Group], intervals_ms: list[int], *, grace_ms: int = 100
) -> dict[tuple[Ticker, int], Series]:
    """Series by ((exchange code, ticker), interval_ms) of everything that the groups close."""
    tickers = Tickers(intervals_ms, grace_ms)
    closed: defaultdict[tuple[Ticker, int], list[Closed]] = defaultdict(list)
    for group in groups:
        for one in tickers.fold(group):
            closed[(one.exchange, one.ticker), one.interval_ms].append(one)
    return {key: series_of(parts, tickers.catalogue.names) for key, parts in closed.items()}


def series_of(parts: list[Closed], features: list[str]) -> Series:
    """Closed rows of one ticker and interval, joined."""
    ints = _joined([part.ints for part in parts], len(INTS), np.int64)
    floats = _joined([part.floats for part in parts], len(FLOATS) + len(features), np.float64)
    bar_flags, feature_flags = (
        np.frombuffer(b"".join(data), np.uint16)
        for data in zip(*((part.bar_flags, part.feature_flags) for part in parts), strict=True)
    )
    where = dict(zip(INTS, ints, strict=True))
    return Series(
        bars=where | dict(zip(FLOATS, floats, strict=False)) | {"flags": bar_flags},
        features={name: where[name] for name in INTS[:4]}
        | {"flags": feature_flags}
        | dict(zip(features, floats[len(FLOATS) :], strict=True)),
    )


def _joined(blocks: list[bytes], columns: int, dtype: Any) -> NDArray[Any]:
    """Blocks of columns one behind the other as one (columns, rows)."""
    return np.concatenate([np.frombuffer(block, dtype).reshape(columns, -1) for block in blocks], 1)


# ------------------------------------------------------------------ dataset rows


def group_of(
    ticker: Ticker,
    *,
    trade: pl.DataFrame | None = None,
    l2: pl.DataFrame | None = None,
    bbo: pl.DataFrame | None = None,
    status: pl.DataFrame | None = None,
    clock_us: int | None = None,
) -> Group:
    """One ticker's rows of the dataset's tables, each in order of `seq_id`, as one group.

    clock_us: a clock at the end, which closes the buckets that ended a second before it. Feeds of
    one call belong to one span of `packet_id`: to go through more than memory holds, cut all of
    them at the same packets. A packet without levels has no row in the dataset and is not seen.
    """
    tables: dict[Key, Table] = {}
    statuses = _statuses(ticker, status)
    last = len(statuses)  # all messages end with the flush's last one: they are one flush
    for kind, frame in ((TradeBatch, trade), (L2Batch, l2), (BboBatch, bbo)):
        if frame is not None and len(frame):
            columns = _packets(frame) if kind is L2Batch else _plain(frame, kind)
            tables[(kind, *ticker)] = _table(kind, ticker, columns, last)
    clocks = [] if clock_us is None else [(last + 1, _clock(ticker, clock_us, tables))]
    return Group(
        seqs=np.arange(last + 2, dtype=np.int64),
        stored_ns=np.zeros(last + 2, np.int64),
        bytes=0,
        tables=tables,
        singles={Status: list(enumerate(statuses)), Clock: clocks},
    )


def _table(kind: type[Header], ticker: Ticker, columns: Columns, seq: int) -> Table:
    return Table(
        kind=kind,
        exchange=ticker[0],
        ticker=ticker[1],
        columns=columns,
        message_seq=np.array([seq], np.int64),
        message_rows=np.array([len(columns["timestamp"])], np.int64),
        message_levels=np.array([len(columns["side"])] if kind is L2Batch else [], np.int64),
        message_more=np.zeros(1, np.int64),
    )


def _plain(frame: pl.DataFrame, kind: type[Header]) -> Columns:
    return {
        name: _numbers(frame, name, width.code)
        for name, width in kind.columns.items()
        if width.per == "rows"
    }


def _numbers(frame: pl.DataFrame, name: str, code: str) -> NDArray[Any]:
    """A column as an own array of the message's type; a null integer is ABSENT."""
    return np.array(frame.get_column(name).fill_null(ABSENT).to_numpy(), code)


_OF_PACKET = ("packet_id", "timestamp", "prev_update_id", "update_id", "flags")


def _packets(frame: pl.DataFrame) -> Columns:
    """Level rows back in their packets: a new one begins where anything of a packet changes."""
    columns: Columns = {}
    begins = np.zeros(len(frame), np.bool_)
    begins[:1] = True
    for name in _OF_PACKET:
        values = _numbers(frame, name, L2Batch.columns[name].code)
        begins[1:] |= values[1:] != values[:-1]
    first = np.flatnonzero(begins)
    for name, width in L2Batch.columns.items():
        if width.per == "levels":
            columns[name] = _numbers(frame, name, width.code)
        elif name != "levels":
            columns[name] = _numbers(frame, name, width.code)[first]
    columns["levels"] = np.diff(first, append=len(frame)).astype(np.int32)
    return columns


def _statuses(ticker: Ticker, frame: pl.DataFrame | None) -> list[Status]:
    if frame is None:
        return []
    numbers = ("timestamp", "rcv_timestamp", "packet_id", "kind", "from_timestamp")
    rows = frame.select(*(pl.col(name).fill_null(ABSENT) for name in numbers), "feed")
    return [
        Status(
            exchange=ticker[0],
            ticker=ticker[1],
            epoch=row["packet_id"] // PACKETS_PER_EPOCH,
            message_no=0,
            more=len(frame) - place,
            **row,
        )
        for place, row in enumerate(rows.iter_rows(named=True))
    ]


def _clock(ticker: Ticker, clock_us: int, tables: dict[Key, Table]) -> Clock:
    packet_id = max((int(one.columns["packet_id"].max()) for one in tables.values()), default=0)
    return Clock(
        exchange=ticker[0],
        ticker="",
        epoch=packet_id // PACKETS_PER_EPOCH,
        message_no=0,
        timestamp=clock_us,
        rcv_timestamp=clock_us,
        packet_id=packet_id,
    )
