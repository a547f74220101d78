"""`tickbus streams`: the streams, how full they are, and who reads them."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import msgspec

from tickbus.cli import arguments, text
from tickbus.log import inventory

help = "streams with their contents, limits, use and readers"

EXAMPLES = """\
examples:
  tickbus streams                       of the server that 'tickbus up' started for ./data
  tickbus streams --nats nats://bus.example:4222
  tickbus streams --json | jq '.streams[] | select(.alarm) | .stream'

A stream that takes 70 % of its max_bytes or more is marked with an alarm.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    arguments.add_bus(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    """Print the streams once."""
    reports = asyncio.run(collect(args))
    if args.json:
        print(msgspec.json.encode({"streams": reports}).decode())
    elif not reports:
        print("no streams: 'tickbus up' or 'tickbus init' creates them")
    else:
        print("\n\n".join(map(describe, reports)))
    return 0


async def collect(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The reports of all streams."""
    async with arguments.bus(args, "streams") as nc:
        return [
            inventory.report(stream, await inventory.consumers(nc, stream.config.name))
            for stream in await inventory.streams(nc)
        ]


def describe(report: dict[str, Any]) -> str:
    """A stream in a few lines."""
    lines = [
        f"{report['stream']}  {' '.join(report['subjects'])}",
        f"  {report['messages']:,} messages, {text.size(report['bytes'])}, {_span(report)}",
        f"  {report['storage']}, {report['replicas']} replica(s), discard {report['discard']}, "
        f"{_age(report)}, {_use(report)}",
    ]
    if report["consumers"]:
        rows = [
            [f"  {reader['consumer']}", f"{reader['delivered_seq']:,}", f"{reader['pending']:,}"]
            for reader in report["consumers"]
        ]
        lines.append(text.table(["  reader", ">delivered", ">pending"], rows))
    return "\n".join(lines)


def _span(report: dict[str, Any]) -> str:
    if not report["messages"]:
        return f"empty (next sequence {report['last_seq'] + 1:,})"
    first, last = (_to_seconds(report[name]) for name in ("first_time", "last_time"))
    return f"sequence {report['first_seq']:,} to {report['last_seq']:,}, stored {first} to {last}"


def _to_seconds(rfc3339: str) -> str:
    return rfc3339.partition(".")[0].rstrip("Z") + "Z"


def _age(report: dict[str, Any]) -> str:
    age_s = report["max_age_s"]
    return f"kept {text.duration(age_s)}" if age_s else "kept without a time limit"


def _use(report: dict[str, Any]) -> str:
    if report["use"] is None:
        return "no limit of bytes"
    alarm = "  ALARM: nearly full" if report["alarm"] else ""
    return f"{report['use']:.0%} of {text.size(report['max_bytes'])}{alarm}"
