"""`tickbus verify`: checks a dataset; exit code 1 if it finds a problem."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from tickbus.lake.verify.check import Progress, verify
from tickbus.lake.verify.findings import Findings

help = "prove that a dataset is whole, unchanged and consistent"

EXAMPLES = """\
examples:
  tickbus verify ./data
  tickbus verify ./data --json | jq .problems

Checked: the manifest covers every stream sequence once, with every message number; files are
there, unchanged, each row once and in its place; book updates follow each other, or a gap row says
why not; books made again from the l2 rows are those of the book table.
Exit code 0: all is right. 1: it is not, or DIR holds no dataset.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("root", metavar="DIR", type=Path, help="the folder of the dataset (--data)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    """0 if the dataset is right, else 1."""
    findings = verify(args.root, _bar() if sys.stderr.isatty() else _silent)
    if args.json:
        print(json.dumps(report(args.root, findings)))
    else:
        print("\n".join(describe(args.root, findings)))
    return 0 if findings.ok else 1


def report(root: Path, findings: Findings) -> dict[str, Any]:
    """The findings as one object."""
    return {
        "root": str(root),
        "ok": findings.ok,
        "checked": dict(sorted(findings.facts.items())),
        "problem_counts": dict(sorted(findings.counts.items())),
        "problems": msgspec.to_builtins(findings.problems),
        "notes": msgspec.to_builtins(findings.notes),
        "gaps": findings.gaps,
    }


def describe(root: Path, findings: Findings) -> list[str]:
    """The findings as lines."""
    lines = [f"{name:>36} {count:,}" for name, count in sorted(findings.facts.items())]
    lines += [f"note     {one.kind}: {one.where}: {one.text}" for one in findings.notes]
    lines += [f"problem  {one.kind}: {one.where}: {one.text}" for one in findings.problems]
    shown = len(findings.problems)
    if findings.counts.total() > shown:
        lines.append(f"         and {findings.counts.total() - shown:,} more")
    lines.append(f"{len(findings.gaps):,} gaps are announced in the status feed")
    if findings.ok:
        lines.append(f"{root}: whole and unchanged")
    else:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(findings.counts.items()))
        lines.append(f"{root}: NOT right: {kinds}")
    return lines


def _bar() -> Progress:
    """Writes a bar over itself on the terminal."""
    width = 30

    def show(what: str, done: int, total: int) -> None:
        line = ""
        if total:
            filled = width * done // total
            line = f"{what:>6} [{'#' * filled}{'.' * (width - filled)}] {done}/{total}"
        print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)

    return show


def _silent(what: str, done: int, total: int) -> None:
    """Shows nothing."""
