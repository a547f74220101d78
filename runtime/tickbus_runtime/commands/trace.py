"""`tickbus trace`: receive spans and print each packet's trace as a waterfall."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time

from tickbus.cli import arguments

from tickbus_runtime.telemetry.trace_receiver import TraceReceiver
from tickbus_runtime.telemetry.waterfall import QUIET_S, Trace, Traces, render

help = "receive OTLP traces and print each packet's path as a waterfall"

_EXAMPLES = """\
example, in two terminals:
  tickbus trace
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 tickbus up --exchange okx:BTC-USDT

'tickbus demo' receives its own traces and draws one at its end.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.epilog = _EXAMPLES
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument(
        "--port", type=arguments.port, default=4318, help="port to listen on (4318)"
    )
    parser.add_argument(
        "--duration", type=arguments.seconds, metavar="S", help="stop after so many seconds"
    )
    parser.add_argument(
        "--count", type=arguments.positive, metavar="N", help="stop after so many traces"
    )
    parser.add_argument(
        "--quiet-time",
        type=arguments.seconds,
        default=QUIET_S,
        metavar="S",
        help=f"show a trace without a write span after this long without a new span ({QUIET_S:g})",
    )
    parser.add_argument("--all", action="store_true", help="also traces that hold no packet")
    parser.add_argument("--json", action="store_true", help="one JSON object a trace")


def run(args: argparse.Namespace) -> int:
    """0 when at least one trace was shown or nothing limited the wait; 1 when none came."""
    shown = asyncio.run(_receive(args))
    if not shown and (args.duration is not None or args.count is not None):
        print("tickbus: no trace arrived; is OTEL_EXPORTER_OTLP_ENDPOINT set?", file=sys.stderr)
        return 1
    return 0


async def _receive(args: argparse.Namespace) -> int:
    receiver = TraceReceiver(Traces(quiet_s=args.quiet_time))
    await receiver.start(args.host, args.port)
    print(f"listening: OTEL_EXPORTER_OTLP_ENDPOINT={receiver.url}", file=sys.stderr, flush=True)
    shown = 0
    ends_s = None if args.duration is None else time.monotonic() + args.duration
    try:
        over = False
        while not over:
            await asyncio.sleep(0.1)
            now_s = time.monotonic()
            over = ends_s is not None and now_s >= ends_s
            for trace in receiver.traces.take(now_s, everything=over):
                if trace.root is None and not args.all:
                    continue
                if args.count is None or shown < args.count:
                    _show(trace, as_json=args.json)
                    shown += 1
            over = over or (args.count is not None and shown >= args.count)
    except asyncio.CancelledError:  # Ctrl-C: show the traces received so far
        for trace in receiver.traces.take(time.monotonic(), everything=True):
            if trace.root is not None or args.all:
                _show(trace, as_json=args.json)
        raise
    finally:
        await receiver.close()
    return shown


def _show(trace: Trace, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(trace.to_json()), flush=True)
        return
    width = shutil.get_terminal_size((100, 24)).columns
    print("\n".join(render(trace, width)), end="\n\n", flush=True)
