"""Checks each file against its entry: unchanged, whole, in its place, in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import SEQ_ID_ROWS

from tickbus.lake import manifest, rowhash
from tickbus.lake.dataset_schema import table_of
from tickbus.lake.manifest import DataFile, Entry
from tickbus.lake.verify.findings import Findings
from tickbus.lake.verify.values import Values

_CHUNK_BYTES = 4 << 20
_DAY_US = 86_400_000_000


def check_entry(root: Path, entry: Entry, findings: Findings) -> None:
    """Check every file of an entry, and that they hold the rows of all its messages, each once."""
    seq_ids = []
    for file in entry.files:
        found = check_file(root, entry, file, findings)
        if found is None:
            return  # already reported; the sums below would only repeat it
        seq_ids.append(found)
        findings.facts["files"] += 1
        findings.facts["rows"] += file.rows
        findings.facts[f"rows {file.feed}"] += file.rows
    if entry.cut in ("expired", "recreated"):
        return  # its one row names sequences that nobody could read
    joined = np.sort(np.concatenate(seq_ids)) if seq_ids else np.zeros(0, np.int64)
    if (joined[1:] == joined[:-1]).any():
        findings.problem("row twice", entry.name, "two rows have the same seq_id")
    messages = len(np.unique(joined // SEQ_ID_ROWS))
    if messages != entry.messages_with_rows:
        findings.problem(
            "rows missing",
            entry.name,
            f"rows of {messages} messages; {entry.messages_with_rows} have some",
        )


def check_file(
    root: Path, entry: Entry, file: DataFile, findings: Findings
) -> npt.NDArray[np.int64] | None:
    """Check one committed file; its `seq_id`s, or None if it cannot be trusted."""
    path = root / file.path
    if not path.is_file():
        findings.problem("file missing", file.path, f"{entry.name} names it")
        return None
    if file.path != _place(entry, file):
        findings.problem("file misplaced", file.path, "it is not where its rows belong")
    size, checksum = _checksum(path)
    try:
        with pq.ParquetFile(path) as parquet:
            table = table_of(parquet.schema_arrow)
            names = [column.name for column in table]
            stamp = (parquet.metadata.metadata or {}).get(b"tickbus.range", b"").decode()
            rows = parquet.metadata.num_rows
            common = parquet.read([name for name in names if name in _COMMON])
        values = Values(file.feed, table)
        row_hash = rowhash.of_file(path, values.look)
    except (OSError, ValueError, KeyError, pa.ArrowException) as why:
        findings.problem("file unreadable", file.path, f"cut or damaged: {str(why)[:120]}")
        return None
    if (size, checksum) != (file.size, file.checksum):
        what = "rows" if row_hash != file.row_hash or rows != file.rows else "bytes, not its rows,"
        findings.problem("file changed", file.path, f"its {what} are not those committed")
        return None
    if row_hash != file.row_hash or rows != file.rows:
        findings.problem("rows changed", file.path, "its rows are not those committed")
        return None
    expected = manifest.range_name(entry.incarnation, entry.first_seq, entry.last_seq)
    if stamp != f"{entry.stream}-{expected}":
        findings.problem("file misplaced", file.path, f"it was written for {stamp}")
    values.tell(file.path, findings)
    return _check_common(file, entry, common, findings)


_COMMON = ("timestamp", "rcv_timestamp", "exchange", "ticker", "seq_id", "packet_id")


def _place(entry: Entry, file: DataFile) -> str:
    folder = manifest.data_folder(
        file.feed, Exchange.from_token(file.exchange), file.ticker, file.date, file.catalogue
    )
    expected = manifest.range_name(entry.incarnation, entry.first_seq, entry.last_seq)
    stem = f"{entry.stream}-{expected}"
    name = file.path.rpartition("/")[2]
    return f"{folder}/{name if name.startswith(stem) else stem}"


def _check_common(
    file: DataFile, entry: Entry, common: pa.Table, findings: Findings
) -> npt.NDArray[np.int64]:
    """Check the columns that every table has: no nulls, right day, in order, within the block."""
    for name in _COMMON:
        nulls = common[name].null_count
        if nulls:
            findings.problem("null", file.path, f"{nulls} in {name}")
    timestamp = common["timestamp"].to_numpy()
    if set(np.unique(timestamp // _DAY_US).tolist()) != {_day(file.date)}:
        findings.problem("date", file.path, "rows of another day")
    seq_id: npt.NDArray[np.int64] = common["seq_id"].to_numpy()
    if (seq_id[1:] <= seq_id[:-1]).any():
        findings.problem("order", file.path, "seq_id does not strictly increase")
    first, last = entry.first_seq * SEQ_ID_ROWS, (entry.last_seq + 1) * SEQ_ID_ROWS
    if seq_id[0] < first or seq_id[-1] >= last:
        findings.problem("range", file.path, "rows of sequences outside its entry")
    bounds = (int(seq_id[0]), int(seq_id[-1]), int(timestamp.min()), int(timestamp.max()))
    stated = (file.first_seq_id, file.last_seq_id, file.first_timestamp, file.last_timestamp)
    if bounds != stated:
        findings.problem("range", file.path, "seq_ids or times are not those of its entry")
    return seq_id


def check_strays(root: Path, entries: dict[str, list[Entry]], findings: Findings) -> None:
    """Report files that no entry names: a copy, a leftover, or a block about to be committed."""
    named: set[str] = set()
    for stream in entries.values():
        for entry in stream:
            for file in entry.files:
                if file.path in named:
                    findings.problem("file twice", file.path, "two entries name it")
                named.add(file.path)
    for path in sorted(root.glob("feed=*/**/*.parquet")):
        where = path.relative_to(root).as_posix()
        if where not in named:
            _check_stray(root, path, where, entries, findings)


def _check_stray(
    root: Path, path: Path, where: str, entries: dict[str, list[Entry]], findings: Findings
) -> None:
    name = manifest.parse_data_file(path.name)
    if name is None:
        findings.problem("file stray", where, "not a name that the writer gives; a glob reads it")
        return
    covered = entries.get(name.stream, [])
    end = covered[-1].last_seq if covered else name.first_seq - 1
    if name.first_seq <= end:
        findings.problem(
            "file stray", where, "its sequences are in other files: a glob reads rows twice"
        )
        return
    try:
        with pq.ParquetFile(path) as parquet:
            stamp = (parquet.metadata.metadata or {}).get(b"tickbus.range", b"").decode()
    except (OSError, pa.ArrowException):
        stamp = ""
    if stamp and not path.stem.startswith(stamp):
        findings.problem("file stray", where, f"a copy of {stamp} under another name")
    elif _writer_works(root):
        findings.note("not committed", where, "a block that is about to be committed")
    else:
        findings.problem(
            "not committed", where, "left by a crash: start the writer, it repairs this"
        )


def _writer_works(root: Path) -> bool:
    """Whether a writer holds the lock of its folder of temporary files."""
    try:
        import fcntl
    except ImportError:  # not on this system, and then no writer of ours either
        return False
    for lock in (root / "_tmp").glob("*.lock"):
        with open(lock, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
    return False


def _checksum(path: Path) -> tuple[int, str]:
    size, state = 0, xxhash.xxh3_128()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            state.update(chunk)
            size += len(chunk)
    return size, state.hexdigest()


def _day(date: str) -> int:
    return int(np.datetime64(date, "D").astype(int))
