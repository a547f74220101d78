"""`tickbus bench`: every promise of speed, measured beside its limit and its peer."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from tickbus_runtime.service import memory
from tickbus_schemas.errors import Fatal

from tickbus_bench import peers
from tickbus_bench.capture import find
from tickbus_bench.target import Target, machine

help = "measure each speed target beside a limit and a peer of the same run"

# In order of cost; each module has `measure(capture, quick) -> list[Target]`.
BENCHMARKS = {
    "book": "message bytes to books, per level",
    "features": "message bytes to bars and features",
    "writer": "message bytes to committed Parquet, rows/s and bytes",
    "ingest": "WebSocket to JetStream-acked, frames/s",
    "wide": "the same with 500 tickers",
    "venues": "frames of every venue file to columns, frames/s",
    "replay": "the log to books and features, rows/s and messages/s",
    "latency": "socket read to a subscriber's hands",
    "path": "the whole path of a capture against the same job by hand",
    "cost": "CPU per row as load grows, tickers a shard, memory, start-up",
    "telemetry": "what metrics and traces cost",
}
WITHOUT_CAPTURE = {"venues"}
"""Their frames are made here."""
WITH_PEERS = {"book", "ingest", "wide", "replay"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: tickbus bench --quick book writer"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    listing = "\n".join(f"  {name:10} {text}" for name, text in BENCHMARKS.items())
    parser.description = f"{help}\n\nbenchmarks:\n{listing}"
    parser.add_argument("name", nargs="*", metavar="NAME", help="which ones (default: all)")
    parser.add_argument("--capture", metavar="FILE", help="capture to measure with (.jsonl.gz)")
    parser.add_argument("--quick", action="store_true", help="fewer runs: all within 50 s")
    parser.add_argument("--json", action="store_true", help="one JSON object at the end")


def run(args: argparse.Namespace) -> int:
    unknown = [name for name in args.name if name not in BENCHMARKS]
    if unknown:
        raise Fatal(f"no benchmark {', '.join(unknown)}: one of {', '.join(BENCHMARKS)}")
    names = args.name or BENCHMARKS
    made_here = args.capture is None and WITHOUT_CAPTURE.issuperset(names)
    capture = None if made_here else find(args.capture)
    memory.keep_freed()  # as every service does, like the line below
    memory.settle()
    targets: list[Target] = []
    if capture is not None and not WITH_PEERS.isdisjoint(names):
        peers.begin(capture, args.quick)
    for name in names:
        measure: Callable[..., list[Target]]
        measure = importlib.import_module(f"tickbus_bench.{name}").measure
        started = time.perf_counter()
        found = measure(capture, args.quick)
        took_s = time.perf_counter() - started
        if not args.json:
            print(f"{name} ({took_s:.1f} s)", *map(text, found), sep="\n", flush=True)
        targets += found
    if args.json:
        result = {"machine": machine(), "targets": [target.as_json() for target in targets]}
        json.dump(result, sys.stdout)
        print()
    return 0 if all(target.passes for target in targets) else 1


def text(target: Target) -> str:
    """One target for a person: verdict, value and bound, what stands beside it, its notes."""
    bound = f"{'>=' if target.at_least else '<='} {target.target:g}"
    spread = f" [{target.spread[0]:.4g}..{target.spread[1]:.4g}]" if target.spread else ""
    verdict = "pass" if target.passes else "MISS"
    first = f"  {verdict} {target.name}: {target.value:.4g} {target.unit}{spread} ({bound})"
    beside = [one for one in (target.limit, target.peer) if one]
    return f"\n{' ' * 9}".join([first, *beside, *facts(target.notes)])


def facts(notes: Mapping[str, Any]) -> list[str]:
    """Notes as lines: single facts in one, each group of facts in its own; lists are for --json."""
    groups = {name: group for name, group in notes.items() if isinstance(group, dict)}
    single = {name: fact for name, fact in notes.items() if isinstance(fact, (str, int, float))}
    found = [_joined(single)] if single else []
    return found + [f"{name}: {_joined(group)}" for name, group in groups.items()]


def _joined(named: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {fact:.4g}" if isinstance(fact, float) else f"{name} {fact}"
        for name, fact in named.items()
    )
