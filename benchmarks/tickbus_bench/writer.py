"""Message bytes to committed, fsynced Parquet beside bare pyarrow; bytes a row beside gzip."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq
from tickbus.columns.assembler import Assembler
from tickbus.lake import manifest
from tickbus.lake.dataset_schema import table_of
from tickbus.lake.manifest import DataFile
from tickbus.log.stored import Stored
from tickbus_features.fold import FeatureFold
from tickbus_writer.encodings import writer_options
from tickbus_writer.warm import warm

from tickbus_bench.capture import load
from tickbus_bench.dataset import LIMITS, READ_MESSAGES, dataset
from tickbus_bench.log import groups_of, of_capture
from tickbus_bench.target import Target, of_runs

RUNS, RUNS_QUICK = 9, 4
FLUSH_FRAMES = 2_048
LEVEL_BYTES = 4.1
OF_GZIP = 0.75
OF_PYARROW = 0.5
CPU_S = 0.5
RAW_FEEDS = ("trade", "l2", "bbo", "status")


def measure(capture: Path, quick: bool) -> list[Target]:
    """The raw stream of the capture, and bars and features over it."""
    warm()
    log = of_capture(capture, flush_frames=FLUSH_FRAMES)
    streams = {"MD": log.stored, **_derived(log.stored)}
    _write(streams)
    written: list[tuple[float, float, list[DataFile]]] = []
    bare: list[float] = []
    for _ in range(RUNS_QUICK if quick else RUNS):
        with dataset({"MD": log.stored}) as (root, seconds, cpu_s):
            written.append((seconds, cpu_s, manifest.committed_files(root)))
            bare.append(_bare_seconds(root, written[-1][2]))
    all_cpu_s, files = _write(streams)
    return _targets(written, bare, all_cpu_s, files, _gzipped(capture))


def _targets(
    written: list[tuple[float, float, list[DataFile]]],
    bare: list[float],
    all_cpu_s: float,
    files: list[DataFile],
    gzip_bytes: int,
) -> list[Target]:
    raw = written[0][2]
    rows = sum(file.rows for file in raw)
    l2 = [file for file in raw if file.feed == "l2"]
    size = {feed: sum(f.size for f in files if f.feed == feed) for feed in {f.feed for f in files}}
    seconds = median(seconds for seconds, _, _ in written)
    return [
        Target(
            name="writer.of_pyarrow",
            unit="of bare pyarrow's rows/s",
            target=OF_PYARROW,
            at_least=True,
            limit=f"pyarrow alone {rows / median(bare) / 1e6:.1f}M rows/s",
            notes={
                "rows_per_s": round(rows / seconds),
                "cpu_s": round(median(cpu_s for _, cpu_s, _ in written), 3),
            },
            **of_runs([b / s for b, (s, _, _) in zip(bare, written, strict=True)]),
        ),
        Target(
            name="writer.level_bytes",
            value=sum(file.size for file in l2) / sum(file.rows for file in l2),
            unit="bytes an l2 row",
            target=LEVEL_BYTES,
            at_least=False,
        ),
        Target(
            name="writer.of_gzip",
            value=sum(size.get(feed, 0) for feed in RAW_FEEDS) / gzip_bytes,
            unit="of gzip -6 of the frames' text, all raw feeds",
            target=OF_GZIP,
            at_least=False,
            limit=f"gzip -6: {gzip_bytes:,} bytes",
            notes={"bytes": dict(sorted(size.items()))},
        ),
        Target(
            name="writer.capture_cpu",
            value=all_cpu_s,
            unit="CPU s for the raw stream, bars and features",
            target=CPU_S,
            at_least=False,
        ),
    ]


def _derived(stored: list[Stored]) -> dict[str, list[Stored]]:
    """What the feature service makes of the log, as streams of their own."""
    fold = FeatureFold([100, 1_000, 60_000], bar_stream="BAR", feature_stream="FEATURE")
    assembler = Assembler()
    made: dict[str, list[Stored]] = {"BAR": [], "FEATURE": []}
    for part in groups_of(stored, READ_MESSAGES):
        group = assembler.add(part)
        for one in fold.apply(group) if group else []:
            stream = made[one.stream]
            stream.append(Stored(len(stream) + 1, part[-1].stored_ns, one.subject, one.payload))
    return made


def _write(streams: dict[str, list[Stored]]) -> tuple[float, list[DataFile]]:
    with dataset(streams) as (root, _, cpu_s):
        return cpu_s, manifest.committed_files(root)


def _bare_seconds(root: Path, files: list[DataFile]) -> float:
    """pyarrow alone writes the same tables with the same options, one after the other, no fsync."""
    seconds = 0.0
    for file in files:
        with pq.ParquetFile(root / file.path) as parquet:
            table = parquet.read()
        options = writer_options(file.feed, table_of(table.schema), LIMITS.zstd_level)
        began_s = time.perf_counter()
        with pq.ParquetWriter(
            root / "bare.parquet", table.schema.remove_metadata(), **options
        ) as writer:
            writer.write_table(table, row_group_size=LIMITS.row_group_rows)
        seconds += time.perf_counter() - began_s
    return seconds


def _gzipped(capture: Path) -> int:
    """Bytes of gzip -6 over the text of all frames and bodies."""
    frames = load(capture)
    return len(gzip.compress(b"\n".join([*frames.wire, *frames.bodies]), 6))
