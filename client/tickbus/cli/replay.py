"""`tickbus replay`: prints or republishes what was stored between two times, at a chosen pace."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from contextlib import aclosing
from datetime import UTC, datetime

import msgspec
from tickbus_schemas import codec
from tickbus_schemas.errors import Reject

from tickbus.cli import arguments, source, text
from tickbus.cli.tail import lines_of
from tickbus.log.connection import Connection
from tickbus.log.stored import Stored, header

help = "print or publish again what was stored between two times, at any speed"

SHORTEST_WAIT_S = 0.001
"""Shorter waits are skipped: they would cost more than they are worth."""

EXAMPLES = f"""\
examples:
  tickbus replay md.binance_usdm.BTCUSDT.trade --from 10m --to 5m --rows
  tickbus replay 'md.binance_usdm.>' --from 2026-11-21T10:00 --to 2026-11-21T11:00 --json
  tickbus replay 'md.binance_usdm.>' --from 1h --speed 10 --into replay.test
      publishes on replay.test.md.binance_usdm...: tickbus tail 'replay.test.>' shows it

--from and --to are when the server stored a message. --speed 1 keeps the distances at which the
frames were received (rcv_timestamp), 10 is ten times as fast, max does not wait.
{arguments.TIMES}
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "subject", type=arguments.subject, help="with * for any token and a last > for any rest"
    )
    parser.add_argument("--from", dest="start", metavar="T", required=True, type=arguments.moment)
    parser.add_argument("--to", dest="end", metavar="T", type=arguments.moment, help="default: now")
    parser.add_argument(
        "--speed", metavar="N|max", type=speed, default=None, help="default: max, without waiting"
    )
    parser.add_argument(
        "--into",
        metavar="replay.JOB",
        type=into,
        help="publish on replay.JOB.<subject> instead of printing",
    )
    parser.add_argument("--rows", action="store_true", help="print a line a row, not a message")
    parser.add_argument(
        "--json", action="store_true", help="JSON, an object a line; with --into one at the end"
    )
    arguments.add_bus(parser)
    parser.set_defaults(usage_error=parser.error)
    parser.epilog = EXAMPLES


def speed(word: str) -> float | None:
    """How many times as fast as it was; None for `max`; an argparse type."""
    if word == "max":
        return None
    try:
        found = float(word)
    except ValueError:
        found = 0.0
    if not 0 < found < 1e9:
        raise argparse.ArgumentTypeError(f"{word!r} is no speed: a number above 0, or max")
    return found


def into(prefix: str) -> str:
    """`replay.<job>`; an argparse type."""
    if not re.fullmatch(r"replay\.[a-z][a-z0-9_]{0,47}", prefix):
        raise argparse.ArgumentTypeError(
            f"{prefix!r}: write replay.<job>, the job in lower case letters, digits and _"
        )
    return prefix


def run(args: argparse.Namespace) -> int:
    """Replay and end."""
    args.end = args.end or datetime.now(UTC)
    if args.start > args.end:
        args.usage_error(f"--from ({args.start}) is after --to ({args.end})")
    asyncio.run(_replay(args))
    return 0


class Pace:
    """When a message is due: as long after the first one as it was received after it."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._first_us: int | None = None
        self._began_s = 0.0

    def wait_s(self, received_us: int | None, now_s: float) -> float:
        """Seconds from `now_s` (a monotonic clock) until it is due; 0 when it is late."""
        if received_us is None:
            return 0.0
        if self._first_us is None:
            self._first_us, self._began_s = received_us, now_s
        due_s = self._began_s + (received_us - self._first_us) / 1e6 / self._speed
        return max(0.0, due_s - now_s)


async def _replay(args: argparse.Namespace) -> None:
    held = source.stored_form(args.subject)
    began_s = time.monotonic()
    async with arguments.bus(args, "replay") as nc:
        streams = await source.streams_of(nc, held)
        output = Forwarder(nc, args.into) if args.into else Printer(args.rows, args.json)
        pace = Pace(args.speed) if args.speed else None
        parts = [source.history(nc, stream, held, args.start, args.end) for stream in streams]
        async with aclosing(source.in_time_order(parts)) as groups:
            async for group in groups:
                await _hand_over(group, output, pace)
        for part in parts:
            await part.aclose()
        if isinstance(output, Forwarder):
            await nc.flush()
            names = [stream.config.name for stream in streams]
            print(output.told(names, time.monotonic() - began_s, args.json))


async def _hand_over(group: list[Stored], output: Printer | Forwarder, pace: Pace | None) -> None:
    for stored in group:
        if pace is not None:
            wait_s = pace.wait_s(received_us(stored), time.monotonic())
            if wait_s > SHORTEST_WAIT_S:
                output.flush()
                await asyncio.sleep(wait_s)
        await output.put(stored)
    output.flush()


def received_us(stored: Stored) -> int | None:
    """When the last row of a message was received; None where it does not say."""
    try:
        received = getattr(codec.decode(stored.data, values=False), "rcv_timestamp", None)
    except Reject:
        return None
    if isinstance(received, bytes):
        return int.from_bytes(received[-8:], "little", signed=True)
    return received


class Printer:
    """Prints messages or their rows."""

    def __init__(self, by_row: bool, as_json: bool) -> None:
        self._by_row, self._as_json = by_row, as_json
        self._lines: list[str] = []

    async def put(self, stored: Stored) -> None:
        """The next message."""
        self._lines += lines_of(stored, self._by_row, self._as_json)

    def flush(self) -> None:
        """Release everything that is held back."""
        sys.stdout.write("".join(f"{line}\n" for line in self._lines))
        sys.stdout.flush()
        self._lines = []


class Forwarder:
    """Republishes messages unchanged, with the headers that the server adds on `live.`."""

    def __init__(self, nc: Connection, prefix: str) -> None:
        self._nc, self._prefix = nc, prefix
        self._messages = self._bytes = 0

    async def put(self, stored: Stored) -> None:
        """The next message; waits while the server is slower."""
        headers = {"Nats-Subject": stored.subject, "Nats-Sequence": str(stored.seq)}
        for name in ("Nats-Msg-Id", "In-Seq"):
            value = header(stored.headers, name)
            if value is not None:
                headers[name] = value
        await self._nc.publish(f"{self._prefix}.{stored.subject}", stored.data, headers=headers)
        self._messages += 1
        self._bytes += len(stored.data)

    def flush(self) -> None:
        """nats-py writes by itself."""

    def told(self, streams: list[str], seconds: float, as_json: bool) -> str:
        """What was published, as a line."""
        if as_json:
            return msgspec.json.encode(
                {
                    "into": self._prefix,
                    "streams": streams,
                    "messages": self._messages,
                    "bytes": self._bytes,
                    "seconds": round(seconds, 6),
                }
            ).decode()
        return (
            f"published {self._messages:,} messages ({text.size(self._bytes)}) of "
            f"{', '.join(streams)} on {self._prefix}.> in {seconds:.1f} s"
        )
