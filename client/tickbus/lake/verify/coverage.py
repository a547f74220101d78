"""Checks the manifest by itself: an unbroken chain, no hole, no overlap, every message number."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import xxhash
from tickbus_schemas.errors import Fatal

from tickbus.lake import manifest
from tickbus.lake.manifest import CHAIN, Entry
from tickbus.lake.verify.findings import Findings

UNREADABLE = ("reject", "missing", "expired", "recreated")
"""sequences that may have used a message number which nobody saw"""


def check_stream(root: Path, stream: str, findings: Findings) -> list[Entry]:
    """Check the manifest of one stream; its readable entries in log order."""
    held: list[tuple[str, Entry, bytes]] = []
    folder = root / manifest.stream_folder(stream)
    for path in sorted(folder.glob("*.json"), key=_first_seq):
        data = path.read_bytes()
        try:
            entry = manifest.decode(data, str(path))
        except Fatal as why:
            findings.problem("entry unreadable", path.name, str(why))
            continue
        if path.name != entry.name or entry.stream != stream:
            findings.problem("entry misnamed", path.name, f"it says {entry.stream} {entry.name}")
        held.append((path.name, entry, data))
    _check_links(folder, held, findings)
    entries = [entry for _, entry, _ in held]
    if entries and entries[0].previous:
        _missing_before(entries[0], findings)
    for (name, before, data), (_, after, _) in pairwise(held):
        _check_step(before, after, findings)
        if after.previous != name:
            continue  # reported by _check_step
        if after.previous_hash != xxhash.xxh3_128_hexdigest(data):
            findings.problem("entry changed", name, "its bytes are not those its successor saw")
    for entry in entries:
        _check_count(entry, findings)
    _check_numbers(entries, findings)
    findings.facts["entries"] += len(entries)
    if entries:
        findings.facts["sequences"] += entries[-1].last_seq - entries[0].first_seq + 1
    return entries


def _first_seq(path: Path) -> tuple[int, str]:
    parts = path.stem.split("-")
    return (int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else -1, path.name)


def _check_links(folder: Path, held: list[tuple[str, Entry, bytes]], findings: Findings) -> None:
    """Each entry has its link and each link its entry: a lost last entry is noticed too."""
    links = {path.name: path for path in (folder / CHAIN).glob("*")}
    for name, entry, data in held:
        link = links.pop(manifest.link_name(entry.first_seq), None)
        if link is None:
            findings.problem("link missing", name, f"{CHAIN} has no link for it")
        elif link.read_bytes() != data:
            findings.problem("entry changed", name, f"it differs from its link {link.name}")
    for link in links.values():
        findings.problem(
            "entry missing",
            f"{folder.name} from {int(link.name)} on",
            "it was committed, but the entry is gone (a writer that starts writes it again)",
        )


def _missing_before(entry: Entry, findings: Findings) -> None:
    findings.problem(
        "entry missing", f"{entry.stream} before {entry.first_seq}", f"{entry.previous} is gone"
    )


def _check_step(before: Entry, after: Entry, findings: Findings) -> None:
    """Check two neighbouring entries."""
    hole = after.first_seq - before.last_seq - 1
    where = f"{after.stream} at {after.first_seq}"
    if hole > 0:
        findings.problem(
            "hole", where, f"{hole} sequences are in no entry; {after.previous} is gone"
        )
    elif hole < 0:
        findings.problem("overlap", where, f"{-hole} sequences are in {before.name} too")
    elif after.previous != before.name:
        findings.problem(
            "entry missing", where, f"it follows {after.previous!r}, not {before.name}"
        )


def _check_count(entry: Entry, findings: Findings) -> None:
    """Check that every sequence has rows, or a reason why not."""
    counted = entry.messages_with_rows + sum(entry.without_rows.values())
    covered = entry.last_seq - entry.first_seq + 1
    if counted != covered:
        findings.problem(
            "count", entry.name, f"{covered} sequences, of which {counted} are accounted for"
        )


def _check_numbers(entries: list[Entry], findings: Findings) -> None:
    """Check that `message_no` counts from 0 without hole in each epoch, over all entries."""
    epoch, number = -1, -1
    unseen = 0
    for entry in entries:
        unseen += sum(entry.without_rows.get(reason, 0) for reason in UNREADABLE)
        for one in entry.epochs:
            where = f"{entry.name} epoch {one.epoch}"
            if one.epoch < epoch:
                findings.problem("epoch", where, f"it comes after epoch {epoch}")
                continue
            is_first = epoch < 0
            expected = number + 1 if one.epoch == epoch else 0
            skipped = 0 if is_first else one.first_message_no - expected
            within = one.last_message_no - one.first_message_no + 1 - one.messages
            if is_first and one.first_message_no:
                findings.note("starts late", where, f"from message_no {one.first_message_no} on")
            if skipped < 0 or within < 0:
                findings.problem("message_no", where, "a number comes twice")
            elif skipped + within > unseen:
                findings.problem(
                    "message_no", where, f"{skipped + within} messages are missing in the log"
                )
            elif skipped + within:
                unseen -= skipped + within
            epoch, number = one.epoch, one.last_message_no
