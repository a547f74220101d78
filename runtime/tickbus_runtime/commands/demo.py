"""`tickbus demo`: a simulated market runs through every service into files; no set-up needed."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from tickbus.cli import arguments

from tickbus_runtime.commands.up import EXIT_SHORT, say
from tickbus_runtime.local.demo_view import DemoView, subjects_of
from tickbus_runtime.local.local_run import local_run
from tickbus_runtime.local.progress import Progress
from tickbus_runtime.local.run_report import RunReport, nothing_received, summary
from tickbus_runtime.local.stack import Plan, Stack
from tickbus_runtime.local.venue_run import VenuePlan
from tickbus_runtime.settings.built import check_built
from tickbus_runtime.settings.sources import load
from tickbus_runtime.telemetry import tracing
from tickbus_runtime.telemetry.trace_receiver import TraceReceiver
from tickbus_runtime.telemetry.waterfall import Trace, Traces, render

help = "everything on this machine, no network: a simulated market to Parquet, live on a screen"

FRAMES_PER_S = 1_000
BLOCK_S = 10
TRACE_EVERY = 500
PLAIN_S, SCREEN_S = 20.0, 60.0

_EXAMPLES = """\
examples:
  tickbus demo
  tickbus demo --exchange kraken
  tickbus demo --exchange okx --exchange deribit
  tickbus demo --duration 30 --data ./demo --seed 7 --json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.epilog = _EXAMPLES
    add = parser.add_argument
    add(
        "--duration",
        type=arguments.seconds,
        metavar="S",
        help=f"end after so many seconds ({SCREEN_S:.0f}; {PLAIN_S:.0f} without a terminal)",
    )
    add(
        "--exchange",
        metavar="NAME",
        action="append",
        default=[],
        help="whose protocol the venue speaks (binance_usdm); repeat it for more venues",
    )
    add("--data", metavar="DIR", help="folder for the files (./data/demo-<time>)")
    add("--seed", type=int, metavar="N", help="of the simulated market (drawn anew)")
    add("--rate", type=float, default=FRAMES_PER_S, metavar="N", help="frames a second (1000)")
    add("--json", action="store_true", help="end with one JSON object; no screen")


def run(args: argparse.Namespace) -> int:
    """0 when everything was written, also after Ctrl-C; EXIT_SHORT when nothing was received."""
    screen = sys.stdout.isatty() and not args.json
    duration_s = args.duration or (SCREEN_S if screen else PLAIN_S)
    data = args.data or f"data/demo-{time.strftime('%Y%m%d-%H%M%S')}"
    result, trace = asyncio.run(_demo(args, Path(data).absolute(), duration_s, screen))
    if result is None:
        return 130
    query = _query(Path(result["data"]))
    code = EXIT_SHORT if nothing_received(result) else 0
    if args.json:
        facts = {"trace": trace.to_json() if trace else None, "query": query}
        print(json.dumps({**result, **facts}), flush=True)
        return code
    print("\n".join(["", *summary(result)]))
    if trace is not None:
        width = shutil.get_terminal_size((100, 24)).columns
        print("\n".join(["", "the path of one packet:", *render(trace, width)]))
    print(f"\nread the files with one line:\n  {query}", flush=True)
    return code


async def _demo(
    args: argparse.Namespace, data: Path, duration_s: float, screen: bool
) -> tuple[RunReport | None, Trace | None]:
    receiver = TraceReceiver(Traces(quiet_s=1e9))
    await receiver.start()
    try:
        plan = _plan(args, data, receiver.url)
        watcher = Watcher(duration_s, screen=screen)
        result, _ = await local_run(plan, duration_s=duration_s, say=say, beside=watcher.watch)
    finally:
        await receiver.close()
    traces = receiver.traces.take(time.monotonic(), everything=True)
    return result, _best(traces)


def _plan(args: argparse.Namespace, data: Path, endpoint: str) -> Plan:
    check_built(args.exchange)
    names = list(dict.fromkeys(args.exchange))
    venue = ["--synthetic", "--rate", str(args.rate / max(len(names), 1))]
    if args.seed is not None:
        venue += ["--seed", str(args.seed)]
    venues = [
        VenuePlan({"ingest.exchange": name} if len(names) > 1 else {}, [*venue, "--exchange", name])
        for name in names
    ]
    overrides: dict[str, Any] = {
        "data_dir": str(data),
        "writer.block_s": BLOCK_S,
        "telemetry.trace_every": TRACE_EVERY,
    }
    return Plan(
        settings=lambda values, offers: load(overrides=values, offers=offers),
        config=None,
        embedded=True,
        nats_port=0,
        venues=venues or [VenuePlan(simulated=venue)],
        venue_ends=False,
        overrides=overrides,
        environment={tracing.ENDPOINT: endpoint},
    )


def _best(traces: list[Trace]) -> Trace | None:
    """The trace with the most different steps."""
    packets = [trace for trace in traces if trace.root is not None]
    return max(packets, key=lambda trace: len({s.name for s in trace.spans}), default=None)


def _query(data: Path) -> str:
    files = data / "feed=trade" / "**" / "*.parquet"
    expression = "group_by('ticker').agg(pl.len(), pl.col('price').last())"
    return (
        f'{sys.executable} -c "import polars as pl; '
        f"print(pl.scan_parquet('{files}').{expression}.collect())\""
    )


class Watcher:
    """Shows the run: a screen on a terminal, a line every two seconds elsewhere."""

    def __init__(self, duration_s: float, *, screen: bool) -> None:
        self._ends_s = duration_s
        self._screen = screen
        self._progress = Progress()

    async def watch(self, stack: Stack) -> None:
        """Subscribe to the live subjects like any other program, and show what comes."""
        view = DemoView(stack.settings.of_shard.exchange, stack.settings.ingest.tickers[0])
        ends_s = time.monotonic() + self._ends_s
        nc = stack.nc

        async def take(message: Any) -> None:
            view.take(message.subject.removeprefix("live."), message.data)

        for subject in subjects_of(view.exchange, view.ticker):
            await nc.subscribe(subject, cb=take)
        if self._screen:
            await self._show(stack, view, ends_s)
        while True:
            await asyncio.sleep(2.0)
            now_s = time.monotonic()
            told = self._progress.line(stack.poller.lives, now_s, stack.ingests)
            say(f"{view.line()}; {told}")

    async def _show(self, stack: Stack, view: DemoView, ends_s: float) -> None:
        from rich.live import Live

        text = ""
        last_s = 0.0
        with Live(auto_refresh=False, transient=True) as live:
            while True:
                now_s = time.monotonic()
                if now_s - last_s >= 1.0:
                    text, last_s = self._progress.line(stack.poller.lives, now_s), now_s
                screen = view.render(stack.poller.lives, text, ends_s - now_s)
                live.update(screen, refresh=True)
                await asyncio.sleep(0.25)
