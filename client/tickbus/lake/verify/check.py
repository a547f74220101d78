"""Runs all checks of a dataset in order; each is in its own file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tickbus_schemas.errors import Fatal
from tickbus_schemas.messages import StatusKind

from tickbus.lake import manifest
from tickbus.lake.manifest import DataFile, EmptyPacket, Entry
from tickbus.lake.verify.books import Replay, check_books
from tickbus.lake.verify.coverage import UNREADABLE, check_stream
from tickbus.lake.verify.files import check_entry, check_strays
from tickbus.lake.verify.findings import Findings
from tickbus.lake.verify.l2 import Int64s, Packets, packets
from tickbus.lake.verify.links import Links
from tickbus.lake.verify.row_rules import Span, check_row_rules

Owner = tuple[str, str]
"""exchange token and ticker"""
Progress = Callable[[str, int, int], None]
"""what is done, how much of it, of how much"""
_EVERY_TICKER = "*"


def verify(root: Path, progress: Progress = lambda *_: None) -> Findings:
    """Check everything; Fatal when `root` is no dataset."""
    if not (root / manifest.FOLDER).is_dir():
        if (root / "_run").is_dir():
            raise Fatal(
                f"{root} holds no committed file yet: the writer commits when a block of "
                "writer.block_s ends (an hour, unless it is set), and when the run stops"
            )
        raise Fatal(f"{root} holds no dataset (no {manifest.FOLDER}): name the folder of --data")
    findings = Findings()
    entries: dict[str, list[Entry]] = {}
    for stream in manifest.streams(root):
        entries[stream] = check_stream(root, stream, findings)
    flat = [entry for stream in entries.values() for entry in stream]
    for done, entry in enumerate(flat):
        progress("files", done, len(flat))
        check_entry(root, entry, findings)
    check_strays(root, entries, findings)
    if findings.ok:  # rows that differ from the committed ones would only repeat the problem
        _check_rows(root, flat, findings, progress)
    progress("", 0, 0)
    return findings


def _check_rows(root: Path, entries: list[Entry], findings: Findings, progress: Progress) -> None:
    """Check rows against each other: links, books, gaps."""
    files: defaultdict[tuple[str, Owner], list[DataFile]] = defaultdict(list)
    empty: defaultdict[Owner, list[EmptyPacket]] = defaultdict(list)
    for entry in entries:
        for file in entry.files:
            files[file.feed, (file.exchange, file.ticker)].append(file)
        for one in entry.empty_packets:
            empty[one.exchange, one.ticker].append(one)
    for several in files.values():
        several.sort(key=lambda file: file.first_seq_id)
    gaps = _gaps(root, files, findings)
    spans = _spans(entries)
    for (feed, owner), several in list(files.items()):
        check_row_rules(root, several, spans, _told(gaps, feed, owner), findings)
    owners = [owner for feed, owner in files if feed == "l2"]
    for done, owner in enumerate(owners):
        progress("books", done, len(owners))
        links = Links(owner[1], _told(gaps, "l2", owner), findings)
        linked = _linked(packets(root, files["l2", owner], empty[owner]), links)
        replay = Replay(linked)
        check_books(root, owner[1], files["book", owner], replay, findings)
        for _ in linked:  # links behind the last row of the book table
            pass


def _linked(found: Iterator[Packets], links: Links) -> Iterator[Packets]:
    """The same packets, their links checked on the way."""
    for one in found:
        links.check(one)
        yield one


Gaps = defaultdict[tuple[str, Owner], list[int]]
"""`seq_id`s of gap rows by feed ("": every feed) and owner (ticker `*`: every ticker)"""


def _gaps(root: Path, files: dict[tuple[str, Owner], list[DataFile]], findings: Findings) -> Gaps:
    """`seq_id` of each gap row; all of them go into the report."""
    found: Gaps = defaultdict(list)
    for (feed, owner), several in list(files.items()):
        if feed != "status":
            continue
        for file in several:
            with pq.ParquetFile(root / file.path) as parquet:
                table = parquet.read()
            rows = table.filter(pc.equal(table["kind"], int(StatusKind.GAP)))
            for row in rows.to_pylist():
                findings.gaps.append({"exchange": owner[0], **{n: row[n] for n in _GAP}})
                found[row["feed"], owner].append(row["seq_id"])
    return found


def _spans(entries: list[Entry]) -> dict[str, Span]:
    """By path, the run of fully readable entries that a file belongs to.

    A file of an entry with unreadable messages is left out.
    """
    found: dict[str, Span] = {}
    number = 0
    for entry in entries:
        unreadable = any(entry.without_rows.get(reason) for reason in UNREADABLE)
        number += unreadable
        if not unreadable:
            found |= {file.path: (entry.stream, number) for file in entry.files}
    return found


def _told(gaps: Gaps, feed: str, owner: Owner) -> Int64s:
    """`seq_id`s of the gap rows that concern a ticker's feed, in log order."""
    found: list[int] = []
    for of_feed in (feed, ""):
        for whose in (owner, (owner[0], _EVERY_TICKER)):
            found += gaps[of_feed, whose]
    return np.array(sorted(found), np.int64)


_GAP = (
    "ticker",
    "feed",
    "reason",
    "timestamp",
    "from_id",
    "to_id",
    "from_timestamp",
    "to_timestamp",
)
