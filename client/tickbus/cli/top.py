"""`tickbus top`: the present traffic by subject, and how full the streams are."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
from tickbus_schemas.errors import Fatal

from tickbus.cli import arguments, text
from tickbus.cli.rates import Flow, Rates, by_exchange
from tickbus.log import inventory
from tickbus.log.wire import Messages

help = "live table of streams and subjects: messages, rows and bytes a second, lag"

EXAMPLES = """\
examples:
  tickbus top                                  everything, every 2 s; Ctrl-C ends it
  tickbus top 'live.md.binance_usdm.>' --interval 1
  tickbus top --once                           one measurement, then the end
  tickbus top --json | jq '.rows_per_s'        an object a measurement

lag: from the receipt of a frame at the socket to its arrival here (of the last message).
pending: messages that the slowest reader of a stream has not been given yet.
"""

_HOME_AND_CLEAR = "\x1b[H\x1b[J"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "subject",
        nargs="?",
        default="live.>",
        type=arguments.subject,
        help="what to listen to (default: live.>)",
    )
    parser.add_argument(
        "--interval", metavar="S", type=arguments.seconds, default=2.0, help="default: 2"
    )
    parser.add_argument("--once", action="store_true", help="one measurement, then the end")
    parser.add_argument("--json", action="store_true", help="JSON, an object a measurement")
    arguments.add_bus(parser)
    parser.set_defaults(usage_error=parser.error)
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    """Measure and print until the user ends it."""
    if args.subject.split(".")[0] not in ("live", "replay"):
        args.usage_error(f"top shows live messages: write live.{args.subject}")
    asyncio.run(_top(args))
    return 0


async def _top(args: argparse.Namespace) -> None:
    rates = Rates()

    def count(messages: Messages) -> None:
        now_us = time.time_ns() // 1_000
        for subject, data in zip(messages.subjects, messages.data, strict=True):
            rates.count(subject.decode("utf-8", "replace"), data, now_us)

    async with arguments.bus(args, "top") as nc:
        subscription = await nc.pour(args.subject, count)
        began_s = time.monotonic()
        try:
            while True:
                await asyncio.sleep(args.interval)
                now_s = time.monotonic()
                flows = rates.take(now_s - began_s)
                began_s = now_s
                show(measurement(flows, await _streams(nc), args.interval), args.json)
                if args.once:
                    return
        finally:
            await nc.stop(subscription)


async def _streams(nc: Any) -> list[dict[str, Any]]:
    """The streams with their slowest reader; empty without rights to ask."""
    try:
        return [
            _stream(stream, await inventory.consumers(nc, stream.config.name))
            for stream in await inventory.streams(nc)
        ]
    except Fatal:
        return []  # a user without rights to $JS.API still sees the traffic


def _stream(stream: inventory.Stream, readers: list[inventory.Consumer]) -> dict[str, Any]:
    return {
        "stream": stream.config.name,
        "messages": stream.state.messages,
        "bytes": stream.state.bytes,
        "last_seq": stream.state.last_seq,
        "use": stream.use,
        "alarm": stream.alarm,
        "readers": len(readers),
        "pending": max((reader.num_pending for reader in readers), default=0),
    }


def measurement(
    flows: list[Flow], streams: list[dict[str, Any]], interval_s: float
) -> dict[str, Any]:
    """One measurement as plain values."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "interval_s": interval_s,
        "messages_per_s": sum(flow.messages_per_s for flow in flows),
        "rows_per_s": sum(flow.rows_per_s for flow in flows),
        "bytes_per_s": sum(flow.bytes_per_s for flow in flows),
        "rejects": sum(flow.rejects for flow in flows),
        "exchanges": [share._asdict() for share in by_exchange(flows)],
        "subjects": [flow._asdict() for flow in flows],
        "streams": streams,
    }


def show(measured: dict[str, Any], as_json: bool) -> None:
    """Print a measurement; on a terminal it replaces the one before."""
    if as_json:
        shown = msgspec.json.encode(measured).decode()
    elif sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        size = shutil.get_terminal_size()
        lines = [line[: size.columns] for line in describe(measured).splitlines()]
        shown = _HOME_AND_CLEAR + "\n".join(lines[: size.lines - 1])
    else:
        shown = describe(measured) + "\n"
    print(shown, flush=True)


def describe(measured: dict[str, Any]) -> str:
    """A measurement as tables."""
    head = (
        f"{measured['time']}  {measured['messages_per_s']:,.0f} messages/s  "
        f"{measured['rows_per_s']:,.0f} rows/s  {text.size(measured['bytes_per_s'])}/s"
    )
    if measured["rejects"]:
        head += f"  {measured['rejects']} REJECTED"
    parts = [head]
    if len(measured["exchanges"]) > 1:
        rows = [_exchange_row(share) for share in measured["exchanges"]]
        parts.append(text.table(_EXCHANGE_HEADER, rows))
    if measured["streams"]:
        parts.append(text.table(_STREAM_HEADER, [_stream_row(s) for s in measured["streams"]]))
    if measured["subjects"]:
        parts.append(text.table(_FLOW_HEADER, [_flow_row(f) for f in measured["subjects"]]))
    else:
        parts.append("no messages yet: is an ingest running, and do the streams republish?")
    return "\n\n".join(parts)


_EXCHANGE_HEADER = (
    "exchange", ">subjects", ">messages/s", ">rows/s", ">bytes/s", ">most lag ms"
)  # fmt: skip
_STREAM_HEADER = ("stream", ">messages", ">bytes", ">use", ">readers", ">pending")
_FLOW_HEADER = ("subject", ">messages/s", ">rows/s", ">bytes/s", ">lag ms", "last venue time")


def _stream_row(stream: dict[str, Any]) -> list[str]:
    use = "-" if stream["use"] is None else f"{stream['use']:.0%}"
    return [
        stream["stream"],
        f"{stream['messages']:,}",
        text.size(stream["bytes"]),
        use + (" ALARM" if stream["alarm"] else ""),
        f"{stream['readers']:,}",
        f"{stream['pending']:,}",
    ]


def _exchange_row(share: dict[str, Any]) -> list[str]:
    lag_ms = share["lag_ms"]
    return [
        share["exchange"],
        f"{share['subjects']:,}",
        f"{share['messages_per_s']:,.1f}",
        f"{share['rows_per_s']:,.1f}",
        text.size(share["bytes_per_s"]),
        "-" if lag_ms is None else f"{lag_ms:,.1f}",
    ]


def _flow_row(flow: dict[str, Any]) -> list[str]:
    lag_ms, timestamp = flow["lag_ms"], flow["timestamp"]
    return [
        flow["subject"],
        f"{flow['messages_per_s']:,.1f}",
        f"{flow['rows_per_s']:,.1f}",
        text.size(flow["bytes_per_s"]),
        "-" if lag_ms is None else f"{lag_ms:,.1f}",
        "-" if timestamp is None else text.clock(timestamp),
    ]
