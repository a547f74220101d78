"""Runs a log through the writer's files, grouped as a test likes, and reads the dataset back."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tickbus.columns.assembler import Assembler
from tickbus.log.stored import Stored
from tickbus_writer.local_target import LocalTarget
from tickbus_writer.stream_files import Limits, StreamFiles
from tickbus_writer.target import Target

from tests.writer.logs import VENUE

LIMITS = Limits(block_s=4, row_group_rows=40, memory_bytes=20_000, zstd_level=1)
STREAM = "MD_BINANCE_USDM"
INCARNATION = "0abc"


def groups_of(log: Sequence[Stored], sizes: Sequence[int]) -> list[list[Stored]]:
    """The log in pieces of these sizes, over and over."""
    pieces, at, turn = [], 0, 0
    while at < len(log):
        size = sizes[turn % len(sizes)]
        pieces.append(list(log[at : at + size]))
        at, turn = at + size, turn + 1
    return pieces


def write(
    target: Target,
    log: Sequence[Stored],
    sizes: Sequence[int] = (7,),
    *,
    stream: str = STREAM,
    limits: Limits = LIMITS,
    drain: bool = True,
    incarnation: str = INCARNATION,
) -> StreamFiles:
    """What the service does with a log: from the manifest's end to the log's, then drain."""
    with ThreadPoolExecutor(1) as pool:
        files = StreamFiles(stream, VENUE, target, limits, pool)
        files.start(incarnation, log[-1].seq)
        while True:
            assembler = Assembler()
            wanted = files.next_seq
            if wanted:
                assembler.resume(wanted - 1)
            won = True
            for piece in groups_of([one for one in log if one.seq >= wanted], sizes):
                group = assembler.add(piece)
                outcomes = files.take(group) if group else []
                won = not outcomes or outcomes[-1].won
                if not won:
                    break
            if won:
                break
        if drain:
            files.drain()
        else:
            files.abandon()
    return files


def written(root: Path, log: Sequence[Stored], sizes: Sequence[int] = (7,), **more: Any) -> None:
    with closing(LocalTarget(root)) as target:
        write(target, log, sizes, **more)


def data_files(root: Path) -> dict[str, bytes]:
    """Every Parquet file by its path, as any glob sees the dataset."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.parquet")}


def all_rows(root: Path, feed: str) -> list[dict[str, Any]]:
    """Rows that a plain reader finds by a glob, by seq_id; ticker from the column."""
    rows = [
        row
        for path in root.glob(f"feed={feed}/**/*.parquet")
        for row in pq.ParquetFile(path).read().to_pylist()
    ]
    return sorted(rows, key=lambda row: int(row["seq_id"]))
