"""`tickbus alerts`: which alerts are open, and which were resolved lately."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from tickbus_schemas.messages import Alert, AlertState
from tickbus_schemas.plain import plain

from tickbus.cli import arguments, source, text
from tickbus.log.alerts import STREAM, SUBJECTS, UNCONFIRMED_S, Alerts, alerts_in, begun
from tickbus.log.connection import Connection
from tickbus.log.reader import Reader

help = "alerts that are open, and those that were resolved lately"

EXAMPLES = f"""\
examples:
  tickbus alerts                       what is open, and what was resolved in the last day
  tickbus alerts --from 7d --json
  tickbus alerts --follow              then each alert as it comes

The exit code is 1 when a critical alert is open (not with --follow). docs/operations.md says what
each alert means and what to do.
{arguments.TIMES}
"""
RECENT = timedelta(days=1)


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "--from",
        dest="start",
        metavar="T",
        type=arguments.moment,
        help="also those that were resolved since then (a day ago)",
    )
    parser.add_argument("--follow", action="store_true", help="go on with what comes")
    parser.add_argument("--json", action="store_true", help="JSON; with --follow an object a line")
    arguments.add_bus(parser)
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    """1 when a critical alert is open."""
    alerts = asyncio.run(_show(args))
    critical = any(severity(one) == "critical" for one in alerts.open)
    return int(critical and not args.follow)


async def _show(args: argparse.Namespace) -> Alerts:
    start = args.start or datetime.now(UTC) - RECENT
    async with arguments.bus(args, "alerts") as nc:
        await source.streams_of(nc, SUBJECTS)  # Fatal with the remedy where there is none
        alerts, next_seq = await _stored(nc)
        now_us = time.time_ns() // 1000
        shown = [*alerts.open, *alerts.resolved_since(round(start.timestamp() * 1e6))]
        if args.json and not args.follow:
            print(_json_of(alerts.open, shown[len(alerts.open) :], now_us))
        else:
            for alert in shown:
                _print(alert, now_us, as_json=args.json)
            if not shown and not args.json:
                print("no alert is open, and none was resolved lately")
        if args.follow:
            await _follow(nc, next_seq, as_json=args.json)
    return alerts


async def _stored(nc: Connection) -> tuple[Alerts, int]:
    """Everything that is stored, folded; and the sequence after it."""
    alerts, next_seq = Alerts(), 1
    async with aclosing(Reader(nc, STREAM, only_history=True).groups()) as groups:
        async for group in groups:
            for _, alert in alerts_in(group):
                alerts.take(alert)
            next_seq = group[-1].seq + 1
    return alerts, next_seq


async def _follow(nc: Connection, next_seq: int, *, as_json: bool) -> None:
    async with aclosing(Reader(nc, STREAM, start_seq=next_seq).groups()) as groups:
        async for group in groups:
            for _, alert in alerts_in(group):
                _print(alert, alert.timestamp, as_json=as_json)
            sys.stdout.flush()


def _print(alert: Alert, now_us: int, *, as_json: bool) -> None:
    line = msgspec.json.encode(fields(alert, now_us)).decode() if as_json else describe(alert)
    print(line if as_json or confirmed(alert, now_us) else f"{line}\n  {UNCONFIRMED}", flush=True)


UNCONFIRMED = "not renewed any more: the service that told it is gone, or stopped"


def confirmed(alert: Alert, now_us: int) -> bool:
    """Whether the service that raised it still says so; a resolved one needs no word."""
    return alert.state == AlertState.RESOLVED or now_us - alert.timestamp < UNCONFIRMED_S * 1e6


def severity(alert: Alert) -> str:
    """Name of its severity."""
    return alert.codes["severity"].names.get(alert.severity, str(alert.severity)).lower()


def describe(alert: Alert) -> str:
    """An alert in a few lines."""
    about = f" ({alert.about})" if alert.about else ""
    whose = f"{alert.condition} of {alert.source} {alert.shard}{about}"
    began = text.clock(begun(alert))
    if alert.state == AlertState.RESOLVED:
        lasted = text.duration((alert.timestamp - begun(alert)) / 1e6)
        return f"resolved {severity(alert)}  {whose}\n  {began}, for {lasted}: {alert.cause}"
    return (
        f"OPEN {severity(alert)}  {whose}\n  since {began}: {alert.cause}\n  to do: {alert.remedy}"
    )


def fields(alert: Alert, now_us: int) -> dict[str, Any]:
    """An alert for a program: names instead of codes."""
    found = plain(alert)
    for name in ("type", "schema", "epoch", "message_no", "more"):
        del found[name]
    state = alert.codes["state"].names.get(alert.state, str(alert.state)).lower()
    return found | {
        "state": state,
        "severity": severity(alert),
        "raised_timestamp": begun(alert),
        "confirmed": confirmed(alert, now_us),
    }


def _json_of(opened: list[Alert], recent: list[Alert], now_us: int) -> str:
    report = {
        "open": [fields(one, now_us) for one in opened],
        "resolved": [fields(one, now_us) for one in recent],
    }
    return msgspec.json.encode(report).decode()
