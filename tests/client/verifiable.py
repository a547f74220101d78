"""A dataset that is right in every respect, made by the writer from a log whose books agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tickbus.log.stored import Stored
from tickbus_schemas import codec, subjects
from tickbus_schemas.messages import ABSENT, BookBatch, L2Batch

from tests.writer.logs import VENUE, LogWriter, market_log, packed
from tests.writer.writing import LIMITS, written

DEPTH = 4
INTERVAL_MS = 100
BOOKS = "BOOK_BINANCE_USDM"


def top_of(book: dict[tuple[int, float], float], side: int) -> list[tuple[float, float]]:
    levels = [(price, qty) for (of, price), qty in book.items() if of == side]
    return sorted(levels, reverse=side == 1)[:DEPTH]


def grid_rows(log: list[Stored], ticker: str) -> list[tuple[Any, ...]]:
    """(time, packet, update, bids, asks) at each grid point, from dictionaries."""
    book: dict[tuple[int, float], float] = {}
    rows: list[tuple[Any, ...]] = []
    last: tuple[int, int, int] | None = None
    for one in log:
        if not one.subject.endswith(f".{subjects.escape(ticker)}.l2"):
            continue
        message = codec.decode(one.data)
        assert isinstance(message, L2Batch)
        counts = np.frombuffer(message.levels, "<i4").tolist()
        columns = [
            np.frombuffer(getattr(message, name), "<i8").tolist()
            for name in ("timestamp", "packet_id", "update_id")
        ]
        levels = list(
            zip(
                np.frombuffer(message.side, "<i1").tolist(),
                np.frombuffer(message.price, "<f8").tolist(),
                np.frombuffer(message.qty, "<f8").tolist(),
                strict=True,
            )
        )
        flags = np.frombuffer(message.flags, "<u2").tolist()
        for n, (time, packet, update) in enumerate(zip(*columns, strict=True)):
            step = INTERVAL_MS * 1_000
            if last is not None:
                first = -(-last[0] // step) * step
                rows += [
                    (point, *last[1:], top_of(book, 1), top_of(book, -1))
                    for point in range(first, time, step)
                ]
            if flags[n] & 1:
                book.clear()
            for side, price, qty in levels[: counts[n]]:
                book[side, price] = qty
                if not qty:
                    del book[side, price]
            levels = levels[counts[n] :]
            last = (time, packet, update)
    return rows


def book_log(log: list[Stored]) -> list[Stored]:
    """Messages of the book service over this log."""
    made = LogWriter()
    made.epoch = 1
    for ticker in made.update_id:
        rows = grid_rows(log, ticker)
        for start in range(0, len(rows), 7):
            part = rows[start : start + 7]
            sides: dict[str, Any] = {}
            for place, side in ((3, "bid"), (4, "ask")):
                levels = np.zeros((len(part), DEPTH, 2))
                for n, row in enumerate(part):
                    levels[n, : len(row[place])] = np.array(row[place]).reshape(-1, 2)
                sides[f"{side}_levels"] = packed([len(row[place]) for row in part], "<i4")
                sides[f"{side}_px"] = packed(levels[:, :, 0], "<f8")
                sides[f"{side}_sz"] = packed(levels[:, :, 1], "<f8")
            message = BookBatch(
                **made.header(ticker),
                interval_ms=INTERVAL_MS,
                depth=DEPTH,
                timestamp=packed([row[0] for row in part], "<i8"),
                rcv_timestamp=packed([row[0] for row in part], "<i8"),
                packet_id=packed([row[1] for row in part], "<i8"),
                update_id=packed([row[2] for row in part], "<i8"),
                flags=packed([0] * len(part), "<u2"),
                **sides,
            )
            made.store(subjects.derived("book", VENUE, ticker, INTERVAL_MS), message)
    return made.stored


def right_dataset(root: Path, log: list[Stored] | None = None) -> None:
    """Two streams, several blocks of each."""
    log = log or market_log(5, 8)
    written(root, log)
    books = book_log(log)
    written(root, books[: len(books) // 2], limits=LIMITS, stream=BOOKS)
    written(root, books, limits=LIMITS, stream=BOOKS)


__all__ = ["ABSENT", "BOOKS", "book_log", "right_dataset"]
