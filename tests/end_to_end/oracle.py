"""The dataset against the captures' independent answers: plain Python over plain Parquet.

Nothing of tickbus is imported here. Prices and quantities are compared as decimal text, the book
is a dictionary folded row by row: slow, and easy to believe.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Book = dict[int, dict[str, str]]
SNAPSHOT_FIRST = 1


def text(number: float | str) -> str:
    """Decimal text without trailing zeros of a double's shortest form or of a venue's number."""
    plain = format(Decimal(repr(number) if isinstance(number, float) else number), "f")
    return (plain.rstrip("0").rstrip(".") or "0") if "." in plain else plain


def answers(prefix: Path, kind: str) -> list[dict[str, Any]]:
    with gzip.open(f"{prefix}.oracle.{kind}.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def frames(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") as lines:
        for line in lines:
            yield json.loads(line)


def rows(root: Path, feed: str, ticker: str) -> list[dict[str, Any]]:
    """All rows of a ticker's feed in order of `seq_id`, whatever file they are in."""
    found = [
        row
        for path in root.glob(f"feed={feed}/**/symbol={ticker}/**/*.parquet")
        for row in pq.ParquetFile(path).read().to_pylist()
    ]
    return sorted(found, key=lambda row: row["seq_id"])


OUR_OWN = {"seq_id", "packet_id", "rcv_timestamp"}
"""Columns that may differ between two runs over the same frames."""


def row_count(root: Path, feed: str) -> int:
    files = root.glob(f"feed={feed}/**/*.parquet")
    return sum(pq.read_metadata(path).num_rows for path in files)


def content(root: Path, feed: str) -> list[tuple[Any, ...]]:
    """All rows of a feed but for receive times and our own numbers, in a comparable order."""
    found = []
    for path in root.glob(f"feed={feed}/**/*.parquet"):
        table = pq.ParquetFile(path).read()
        # A connection has no venue time: its row carries the receive time.
        apart = OUR_OWN | {"timestamp"} if feed == "status" else OUR_OWN
        names = sorted(name for name in table.column_names if name not in apart)
        columns = [table.column(name).to_pylist() for name in names]
        order = table.column("seq_id").to_pylist()
        # Which of two intervals comes first in the log depends on where flushes were cut.
        series = [name for name in ("ticker", "interval_ms") if name in names]
        found += [
            ([row[names.index(name)] for name in series], seq, row)
            for seq, row in zip(order, zip(*columns, strict=True), strict=True)
        ]
    found.sort(key=lambda item: item[:2])
    return [row for _, _, row in found]


def trades_differ(root: Path, prefix: Path) -> list[str]:
    """One line for each trade that is missing, extra or different."""
    expected: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for trade in answers(prefix, "trades"):
        side = 1 if trade["side"] == "buy" else -1
        expected[trade["ticker"]][trade["id"]] = (
            trade["ts_us"],
            side,
            text(trade["price"]),
            text(trade["qty"]),
        )
    wrong = []
    for ticker, wanted in expected.items():
        stored = rows(root, "trade", ticker)
        got = {
            row["trade_id"]: (row["timestamp"], row["side"], text(row["price"]), text(row["qty"]))
            for row in stored
        }
        if len(got) != len(stored):
            wrong.append(f"{ticker}: {len(stored) - len(got)} trades twice")
        wrong += [
            f"{ticker} {key}: expected {wanted.get(key)}, got {got.get(key)}"
            for key in sorted(wanted.keys() | got.keys())
            if wanted.get(key) != got.get(key)
        ]
    return wrong


def quotes_differ(root: Path, capture: Path) -> list[str]:
    """One line for each bbo row that is not the bookTicker frame at the same place."""
    expected = defaultdict(list)
    for frame in frames(capture):
        if frame["dir"] == "in" and "bookTicker" in frame["data"][:60]:
            quote = json.loads(frame["data"])["data"]
            expected[quote["s"]].append(
                (quote["u"], *(text(quote[key]) for key in ("b", "B", "a", "A")), quote.get("E"))
            )
    wrong = []
    for ticker, wanted in expected.items():
        got = [
            (
                row["update_id"],
                *(text(row[key]) for key in ("bid_px", "bid_sz", "ask_px", "ask_sz")),
                row["timestamp"],
            )
            for row in rows(root, "bbo", ticker)
        ]
        if len(got) != len(wanted):
            wrong.append(f"{ticker}: {len(wanted)} quotes expected, {len(got)} stored")
        for place, (want, have) in enumerate(zip(wanted, got, strict=False)):
            time_agrees = want[-1] is None or want[-1] * 1_000 == have[-1]
            if want[:-1] != have[:-1] or not time_agrees:
                wrong.append(f"{ticker} quote {place}: expected {want}, got {have}")
    return wrong


def fold(level_rows: list[dict[str, Any]]) -> Book:
    """The book after all rows: emptied where a snapshot begins, absolute sizes, 0 removes."""
    book: Book = {1: {}, -1: {}}
    snapshot_start = None
    for row in level_rows:
        # All rows of the packet that begins a snapshot carry the flag: empty once a packet.
        if row["flags"] & SNAPSHOT_FIRST:
            packet = (row["packet_id"], row["update_id"], row["seq_id"] >> 20)
            if packet != snapshot_start:
                snapshot_start = packet
                book = {1: {}, -1: {}}
        side = book[row["side"]]
        if row["qty"] == 0:
            side.pop(text(row["price"]), None)
        else:
            side[text(row["price"])] = text(row["qty"])
    return book


def levels_differ(root: Path, prefix: Path, *, delta_rows: int | None = None) -> list[str]:
    """Final books, and the count of delta rows where the capture states one."""
    wrong = []
    deltas = 0
    for final in answers(prefix, "book_final"):
        ticker = final["ticker"]
        stored = rows(root, "l2", ticker)
        deltas += sum(not row["is_snapshot"] for row in stored)
        book = fold(stored)
        for side, name in ((1, "bids"), (-1, "asks")):
            wanted = {text(price): text(qty) for price, qty in final[name]}
            if book[side] != wanted:
                apart = set(book[side].items()) ^ set(wanted.items())
                wrong.append(
                    f"{ticker} {name}: {len(apart)} levels differ, e.g. {sorted(apart)[:3]}"
                )
    if delta_rows is not None and deltas != delta_rows:
        wrong.append(f"{delta_rows} delta rows expected, {deltas} stored")
    return wrong


def books_differ(root: Path, prefix: Path) -> list[str]:
    """One line for each 100 ms point whose top 10 is missing or different."""
    wrong = []
    stored: dict[str, dict[int, dict[str, Any]]] = {}
    for point in answers(prefix, "book_top10_100ms"):
        ticker = point["ticker"]
        if ticker not in stored:
            stored[ticker] = {row["timestamp"]: row for row in rows(root, "book", ticker)}
        row = stored[ticker].get(point["t_ms"] * 1_000)
        if row is None:
            wrong.append(f"{ticker} {point['t_ms']}: no row")
            continue
        for side in ("bid", "ask"):
            got = [
                (text(row[f"{side}_px_{n:02}"]), text(row[f"{side}_sz_{n:02}"]))
                for n in range(1, 11)
                if row[f"{side}_px_{n:02}"] is not None
            ]
            wanted = [(text(price), text(qty)) for price, qty in point[f"{side}s"]]
            if got != wanted:
                wrong.append(f"{ticker} {point['t_ms']} {side}: expected {wanted}, got {got}")
    return wrong


def common_columns_wrong(root: Path) -> list[str]:
    """Nulls where none may be, sequences that go back, dates that are not the venue's."""
    wrong = []
    seen: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for path in sorted(root.glob("feed=*/**/*.parquet")):
        table = pq.ParquetFile(path).read()
        common = ("timestamp", "rcv_timestamp", "exchange", "ticker", "seq_id", "packet_id")
        wrong += [f"{path.name}: null in {n}" for n in common if table.column(n).null_count]
        sequence = table.column("seq_id").to_pylist()
        stream = path.name.split("-")[0], str(path.relative_to(root).parts[0])
        if sequence != sorted(set(sequence)) or seen[stream] & set(sequence):
            wrong.append(f"{path.name}: seq_id does not strictly increase, or stands elsewhere too")
        seen[stream] |= set(sequence)
        days = {moment // 86_400_000_000 for moment in table.column("timestamp").to_pylist()}
        if len(days) != 1:
            wrong.append(f"{path.name}: more than one day")
    return wrong
