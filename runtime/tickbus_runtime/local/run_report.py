"""The report of a run: one JSON object, or text. No I/O except for facts of the machine."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tickbus.lake.manifest import DataFile

from tickbus_runtime.local.lives import Lives
from tickbus_runtime.telemetry.names import STAGES

RunReport = dict[str, Any]
ODD_PARTS = {
    "untold_frames": "frames of the capture do not tell whose they are: played on the first route",
    "strange_bodies": "REST bodies of the capture were fetched elsewhere: not served",
}
"""Facts of a capture that a run names, where they are not 0."""
_OVER_REST = frozenset({"l2", "instrument", "status"})
"""Feeds of which something may come though no connection brings anything."""
_NOT_TOLD = "ingest died before its last report: what became of its last frames cannot be told"


class VenueFacts(NamedTuple):
    """What the supervisor knows of one venue's part in a run, beside what its ingest says."""

    ingest: str = "ingest"
    """name of the process"""
    instrument_lists: int = 0
    """how many are in the capture. Made-up lists, and answers to our own subscriptions, do not
    count as frames, so that the number agrees with the capture"""
    left_out: Mapping[str, int] = {}
    """frames of a capture whose channel is no feed"""
    bad_lines: int = 0
    """of a capture, not read"""
    odd_parts: Mapping[str, int] = {}
    """by ODD_PARTS, how many of them"""
    told_all: bool = True
    """ingest had one life, and left its last status"""
    why_silent: str = ""
    """why no frame came, if none did, and where to look; empty when none is expected"""


def run_report(
    lives: Lives,
    files: Iterable[DataFile],
    messages: Mapping[str, int],
    *,
    data_dir: Path,
    startup_seconds: float,
    elapsed_seconds: float,
    restarts: int,
    venues: Mapping[str, VenueFacts] | None = None,
    without_stages: Collection[str] = (),
) -> RunReport:
    """The report: `files` and `messages` (by stream) are those that the run added.

    `venues`: by exchange; of several, each has a report of its own besides.
    `without_stages`: latencies that have no meaning in this run.
    """
    files = list(files)
    venues = venues or {"": VenueFacts()}
    parts = {
        name: _venue_report(lives.only(facts.ingest), facts, _of_exchange(files, name))
        for name, facts in venues.items()
    }
    return {
        **_together(parts),
        **({"venues": parts} if len(parts) > 1 else {}),
        "rejects": lives.sum("rejects"),
        "rejects_by_reason": lives.by_label("rejects", "reason"),
        "rows": _rows(files),
        "files": len(files),
        "bytes": sum(file.size for file in files),
        "messages": dict(messages),
        "seconds": round(run_seconds(lives, elapsed_seconds), 3),
        "startup_seconds": round(startup_seconds, 3),
        "restarts": restarts,
        "latency_us": {
            stage: {
                "p50": round(latency.percentile(50), 1),
                "p99": round(latency.percentile(99), 1),
                "count": latency.count,
            }
            for stage, latency in sorted(lives.latencies().items(), key=lambda pair: _rank(pair[0]))
            if stage not in without_stages
        },
        "data": str(data_dir),
        "machine": machine(),
    }


def _venue_report(lives: Lives, facts: VenueFacts, files: Iterable[DataFile]) -> RunReport:
    """The part of one venue. `lives`: of its ingest."""
    frames = lives.by_label("frames", "source", "ingest")
    answers = min(lives.sum("requests", "ingest"), lives.sum("control_frames", "ingest"))
    websocket = frames.get("websocket", 0) - answers
    rest = frames.get("rest", 0) + min(frames.get("instruments", 0), facts.instrument_lists)
    fates, even = _fates(lives.fates("ingest"), answers)
    events = lives.by_label("events", "feed", "ingest")
    return {
        "frames": websocket + rest,
        "frames_websocket": websocket,
        "rest_bodies": rest,
        "fates": fates,
        "accounted": even if facts.told_all else None,
        "events": events,
        "rows": _rows(files),
        "gaps": lives.sum("gaps", "ingest"),
        "rejects": lives.sum("rejects", "ingest"),
        "refusals": _added(lives.fact("ingest", "refusals")),
        "left_out": dict(facts.left_out),
        "bad_lines": facts.bad_lines,
        **{name: facts.odd_parts.get(name, 0) for name in ODD_PARTS},
        "nothing_received": _why_nothing(facts, websocket, fates, events),
        "books_without_snapshot": lives.latest(facts.ingest).get("books_without_snapshot", {}),
    }


def _why_nothing(
    facts: VenueFacts, websocket: int, fates: Mapping[str, int], events: Mapping[str, int]
) -> str | None:
    """Why there is no live data, if there is none: books and lists over REST are not it."""
    live = sum(count for feed, count in events.items() if feed not in _OVER_REST)
    if not facts.why_silent or live or websocket > fates.get("refused", 0):
        return None
    if websocket:
        return f"each of {websocket:,} frames was refused; {facts.why_silent}"
    return facts.why_silent


def _together(parts: Mapping[str, RunReport]) -> RunReport:
    """The parts of all venues as one: counts added up, and what does not hold for all of them."""
    reports = list(parts.values())
    if len(reports) == 1:
        return reports[0]
    counts = ("frames", "frames_websocket", "rest_bodies", "gaps", "bad_lines", *ODD_PARTS)
    by_name = ("fates", "events", "refusals", "left_out")
    accounted = [one["accounted"] for one in reports]
    silent = [f"{name}: {one['nothing_received']}" for name, one in parts.items()
              if one["nothing_received"]]  # fmt: skip
    return {
        **{name: sum(one[name] for one in reports) for name in counts},
        **{name: _added(one[name] for one in reports) for name in by_name},
        "accounted": False if False in accounted else None if None in accounted else True,
        "nothing_received": "; ".join(silent) or None,
        "books_without_snapshot": {
            f"{name} {ticker}": updates
            for name, one in parts.items()
            for ticker, updates in one["books_without_snapshot"].items()
        },
    }


def _of_exchange(files: Iterable[DataFile], exchange: str) -> list[DataFile]:
    return [file for file in files if not exchange or file.exchange == exchange]


def _rows(files: Iterable[DataFile]) -> dict[str, int]:
    rows: dict[str, int] = defaultdict(int)
    for file in files:
        rows[file.feed] += file.rows
    return dict(sorted(rows.items()))


def _fates(frames: Iterable[Mapping[str, int]], answers: int) -> tuple[dict[str, int], bool]:
    """How many frames ended in which way, and whether each life accounts for all of its own.

    `answers`: control frames that answer our own requests, which do not count.
    """
    frames = list(frames)
    total = _added(frames)
    total.pop("received", None)
    if "control" in total:
        total["control"] -= min(answers, total["control"])
    even = all(2 * life.get("received", 0) == sum(life.values()) for life in frames)
    return total, even


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = defaultdict(int)
    for one in counts:
        for name, count in one.items():
            total[name] += count
    return dict(total)


def shortcomings(result: RunReport) -> list[str]:
    """What the run did not store, a line each; the exit code is not 0 then."""
    lines = nothing_received(result)
    lines += [
        f"{updates:,} updates of {ticker} are not stored: no snapshot came for them"
        for ticker, updates in result["books_without_snapshot"].items()
    ]
    if result["bad_lines"]:
        lines.append(lines_of_a_capture(result["bad_lines"]))
    if result["accounted"] is False:
        lines.append("the frames received and what became of them do not add up: please report it")
    return lines


def nothing_received(result: RunReport) -> list[str]:
    """One line when not a single frame came: then the exit code is not 0 in any run."""
    why = result["nothing_received"]
    return [f"nothing was received: {printable(why)}"] if why else []


def lines_of_a_capture(bad: int) -> str:
    """That so many of its lines are lost."""
    return f"{bad:,} {'line' if bad == 1 else 'lines'} of the capture cannot be read"


def printable(text: str) -> str:
    """The text without control characters: a terminal would obey them."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _rank(stage: str) -> int:
    order = list(STAGES)
    return order.index(stage) if stage in order else len(order)


def run_seconds(lives: Lives, elapsed_seconds: float) -> float:
    """Seconds from the first frame to the last commit, as measured by the services."""
    first = [int(ns) for ns in lives.fact("ingest", "first_frame_ns") if ns]
    last = [int(ns) for ns in lives.fact("writer", "last_commit_ns") if ns]
    if first and last and max(last) > min(first):
        return (max(last) - min(first)) / 1e9
    return elapsed_seconds


def machine() -> dict[str, Any]:
    """The machine on which the figures were measured."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _venue_line(name: str, part: RunReport) -> str:
    """What came of one venue of several."""
    return (
        f"  {name:<16} {part['frames']:>10,} frames, {sum(part['rows'].values()):>10,} rows, "
        f"{part['gaps']:,} gaps, {part['rejects']:,} rejects"
    )


def summary(result: RunReport) -> list[str]:
    """The report for people."""
    rows: Mapping[str, int] = result["rows"]
    fates = [f"{count:,} {fate}" for fate, count in result["fates"].items() if count]
    lines = [
        f"{result['frames']:,} frames ({result['frames_websocket']:,} WebSocket, "
        f"{result['rest_bodies']:,} REST) in {result['seconds']:.2f} s, "
        f"{result['gaps']:,} gaps, {result['rejects']:,} rejects",
        *([f"  frames: {' + '.join(fates)}"] if fates else []),
        *([f"  {_NOT_TOLD}"] if result["accounted"] is None else []),
        *(
            f"  refused {count:,} times: {printable(why)}"
            for why, count in result["refusals"].items()
        ),
        *(f"  {result[name]:,} {what}" for name, what in ODD_PARTS.items() if result[name]),
        f"{sum(rows.values()):,} rows in {result['files']:,} files, "
        f"{result['bytes'] / 1e6:,.1f} MB, below {result['data']}",
    ]
    lines += [f"  {feed:<12} {count:>12,} rows" for feed, count in rows.items()]
    lines += [_venue_line(name, part) for name, part in result.get("venues", {}).items()]
    if result["latency_us"]:
        lines.append(f"  {'latency':<12} {'p50':>12} {'p99':>12}")
    for stage, figures in result["latency_us"].items():
        p50, p99 = figures["p50"] / 1e3, figures["p99"] / 1e3
        lines.append(f"  {stage:<12} {p50:>9.2f} ms {p99:>9.2f} ms   {STAGES.get(stage, '')}")
    lines += shortcomings(result)
    if result["restarts"]:
        lines.append(f"{result['restarts']} restart(s) of crashed processes")
    return lines
