"""Message bytes to books with their best ten levels each 100 ms, and the kernel alone."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from msgspec import structs
from tickbus.book.kernels import levels as kernel
from tickbus.book.orderbook import OrderBook
from tickbus.columns.assembler import Assembler
from tickbus.log.stored import Stored
from tickbus_book.fold import BookFold
from tickbus_book.warm import warm
from tickbus_runtime.service import memory
from tickbus_schemas import codec
from tickbus_schemas.messages import ABSENT, Clock, L2Batch

from tickbus_bench import peers
from tickbus_bench.log import groups_of, of_capture
from tickbus_bench.target import Target, of_runs

RUNS, RUNS_BEFORE = 25, 10
"""Of some 15 ms each. The ones before are not counted: a core that has waited begins slowly."""
READ_MESSAGES = 256
NS_A_LEVEL = 30.0
DISPATCH_NS = 1_000.0


def _of_books(stored: list[Stored]) -> list[Stored]:
    """The log as if there were no other feed than the books: numbered without holes."""
    kept: list[Stored] = []
    for one in stored:
        message = codec.decode(one.data, values=False)
        if isinstance(message, (L2Batch, Clock)):
            alone = structs.replace(message, message_no=len(kept), more=0)
            kept.append(Stored(len(kept) + 1, one.stored_ns, one.subject, codec.encode(alone)))
    return kept


def _fold_ns(stored: list[Stored], levels: int) -> float:
    """CPU ns a level from stored messages to encoded books."""
    # Other feeds are left out of the log here: their numbers are missed by nobody.
    fold = BookFold([100], 10, stream="BOOK")
    assembler = Assembler(numbered=False, whole=False)
    start = time.process_time_ns()
    for part in groups_of(stored, READ_MESSAGES):
        group = assembler.add(part)
        if group is not None:
            fold.apply(group)
    return (time.process_time_ns() - start) / levels


def _kernel_ns(messages: list[L2Batch]) -> float:
    """CPU ns a level of the book alone, NEW told from UPDATE, columns in place."""

    def column(name: str) -> Any:
        parts = [np.frombuffer(getattr(one, name), L2Batch.columns[name].code) for one in messages]
        return np.concatenate(parts)

    flags, prev_update_id, update_id = map(column, ("flags", "prev_update_id", "update_id"))
    levels, side, price, qty = map(column, ("levels", "side", "price", "qty"))
    action = np.empty(len(side), np.int8)
    book, shown = kernel.new(), np.array((ABSENT, 0, -1, 0, 0, 0), np.int64)
    start = time.process_time_ns()
    while not kernel.apply_packets(
        book, shown, flags, prev_update_id, update_id, levels, side, price, qty, action
    ):
        packet, level = shown[4:].tolist()
        book = kernel.reserve(book, side, price, level, level + int(levels[packet]))
    return (time.process_time_ns() - start) / len(side)


def _call_ns(rows: int) -> float:
    """Wall ns of one call for a packet of so many levels."""
    book = OrderBook()
    side, price = np.ones(rows, np.int8), np.arange(rows, dtype=np.float64)
    book.apply(side, price, price)
    start = time.perf_counter_ns()
    for _ in range(2_000):
        book.apply(side, price, price)
    return (time.perf_counter_ns() - start) / 2_000


def measure(capture: Path, quick: bool) -> list[Target]:
    """Flushes of 32 frames (a busy feed), and of 2048 (replay)."""
    warm()
    targets = []
    logs = {frames: of_capture(capture, flush_frames=frames) for frames in (32, 2048)}
    beside = peers.figure(capture, quick, *peers.BOOKS)
    for frames, log in logs.items():
        stored = _of_books(log.stored)
        decoded = [codec.decode(one.data, values=False) for one in stored]
        messages = [message for message in decoded if isinstance(message, L2Batch)]
        memory.settle()  # as in `of_capture`
        for _ in range(RUNS_BEFORE):
            _fold_ns(stored, log.levels)
        alone = median(_kernel_ns(messages) for _ in range(RUNS))
        targets.append(
            Target(
                name=f"book.from_bytes_{frames}",
                unit="ns a level",
                target=NS_A_LEVEL,
                at_least=False,
                limit=f"kernel alone {alone:.1f} ns",
                peer=beside,
                notes={"levels a message": round(log.levels / len(messages))},
                **of_runs([_fold_ns(stored, log.levels) for _ in range(RUNS)]),
            )
        )
    calls = [
        Target(
            name=f"book.call_{rows}_levels",
            unit="ns a call",
            target=DISPATCH_NS + rows * NS_A_LEVEL,
            at_least=False,
            **of_runs([_call_ns(rows) for _ in range(RUNS)]),
        )
        for rows in (3, 68)
    ]
    return targets + calls
