"""`tickbus tail`: prints messages as they come, or from a time or sequence on."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import datetime

from tickbus_schemas import codec
from tickbus_schemas.errors import Fatal, Reject

from tickbus.cli import arguments, rendering, source
from tickbus.log.connection import Connection
from tickbus.log.stored import Stored

help = "print the messages of a subject, live or from a time or sequence on"

EXAMPLES = f"""\
examples:
  tickbus tail 'live.md.*.BTCUSDT.>'                    one ticker, every venue, as it comes
  tickbus tail md.binance_usdm.BTCUSDT.trade --rows     a line a trade
  tickbus tail book.binance_usdm.BTCUSDT.100ms --from 5m --count 10
  tickbus tail 'md.binance_usdm.>' --from 1 --json | jq .type
  tickbus tail 'dlq.>' --from 1d                        what was refused, and why

What a replay publishes is not stored: replay.JOB.> is shown as it comes, without --from.
A subject with live. in front comes from the server as soon as it is stored; without it, and always
with --from, messages are read from their streams: nothing is left out.
{arguments.TIMES}
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "subject", type=arguments.subject, help="with * for any token and a last > for any rest"
    )
    parser.add_argument(
        "--from",
        dest="start",
        metavar="T|SEQ",
        type=arguments.moment_or_sequence,
        help="begin at a time or at a stream sequence, then go on with what comes",
    )
    parser.add_argument(
        "--count", type=arguments.positive, metavar="N", help="end after N messages"
    )
    parser.add_argument("--rows", action="store_true", help="a line a row instead of a message")
    parser.add_argument("--json", action="store_true", help="JSON, an object a line")
    arguments.add_bus(parser)
    parser.set_defaults(usage_error=parser.error)
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    """Print until --count is reached or the user ends it."""
    if args.start is not None and args.subject.split(".")[0] == "replay":
        held = source.stored_form(args.subject)
        args.usage_error(
            f"a replay is not stored: tail {args.subject} without --from while it runs, or what it "
            f"was made of with --from: {held}"
        )
    asyncio.run(_tail(args))
    return 0


async def _tail(args: argparse.Namespace) -> None:
    async with arguments.bus(args, "tail") as nc:
        left = args.count
        async with aclosing(await _messages(nc, args.subject, args.start)) as groups:
            async for group in groups:
                shown = group if left is None else group[:left]
                lines = [
                    line for stored in shown for line in lines_of(stored, args.rows, args.json)
                ]
                sys.stdout.write("".join(f"{line}\n" for line in lines))
                sys.stdout.flush()  # the reader of a pipe wants it now
                if left is not None:
                    left -= len(shown)
                    if left == 0:
                        return


async def _messages(
    nc: Connection, subject: str, start: datetime | int | None
) -> AsyncGenerator[list[Stored], None]:
    if start is None and subject.split(".")[0] in ("live", "replay"):
        return source.live(nc, subject)
    held = source.stored_form(subject)
    streams = await source.streams_of(nc, held)
    if isinstance(start, int) and len(streams) > 1:
        names = ", ".join(stream.config.name for stream in streams)
        raise Fatal(
            f"{held} is held by {names}: --from with a sequence needs one stream, not a time"
        )
    return source.follow(nc, streams, held, start)


def lines_of(stored: Stored, by_row: bool, as_json: bool) -> Iterator[str]:
    """The lines of a message, of a refused one too."""
    try:
        message = codec.decode(stored.data, stored.subject)
    except Reject as why:
        yield rendering.refused(stored.seq, stored.subject, len(stored.data), str(why), as_json)
        return
    if by_row:
        show = rendering.json_rows if as_json else rendering.rows
        yield from show(stored.seq, stored.subject, message)
    else:
        line = rendering.json_line if as_json else rendering.line
        yield line(stored.seq, stored.subject, message)
