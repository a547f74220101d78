"""A dataset that the real writer makes of streams in memory, in a folder that goes away again."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from tickbus.columns.assembler import Assembler
from tickbus.log.stored import Stored
from tickbus_schemas.exchanges import Exchange
from tickbus_writer.local_target import LocalTarget
from tickbus_writer.stream_files import Limits, StreamFiles

from tickbus_bench.log import groups_of

READ_MESSAGES = 256
LIMITS = Limits(block_s=3_600, row_group_rows=262_144, memory_bytes=64 << 20, zstd_level=3)


@contextmanager
def dataset(streams: dict[str, list[Stored]]) -> Iterator[tuple[Path, float, float]]:
    """A dataset of these streams: its folder, wall and CPU seconds from bytes to commit."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        root = Path(folder)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        for name, stored in streams.items():
            with closing(LocalTarget(root)) as target:
                files = StreamFiles(name, Exchange.BINANCE_USDM, target, LIMITS, pool)
                files.start("bench", stored[-1].seq)
                assembler = Assembler()
                for part in groups_of(stored, READ_MESSAGES):
                    group = assembler.add(part)
                    if group is not None:
                        files.take(group)
                files.drain()
        cpu_s = time.process_time() - began_cpu_s
        yield root, time.perf_counter() - began_s, cpu_s
