"""What every process does around its work: settings, logs, health, bus, signals, drain.

`run("book", serve)` is a complete main: `serve(context)` returns after `context.stopping` is set,
once its outputs are safe.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tickbus.log.connection import Connection
from tickbus.retry import wait_or_stop
from tickbus_schemas.errors import Fatal

from tickbus_runtime.alerts.teller import Teller
from tickbus_runtime.alerts.watched import Watched
from tickbus_runtime.bus import connection
from tickbus_runtime.service import leash, memory, run_files
from tickbus_runtime.service.health import HealthServer, Readiness, keep_probing
from tickbus_runtime.settings.sections import Settings, Shard
from tickbus_runtime.settings.sources import load
from tickbus_runtime.telemetry import logs
from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_runtime.telemetry.tracing import Tracing

DRAIN_S = 60.0
"""How long a service may take after the first signal; then it is aborted."""
EXIT_FATAL = 1
EXIT_BUG = 70  # EX_SOFTWARE of sysexits.h: a restart may help

Serve = Callable[["Context"], Coroutine[Any, Any, None]]


class Context:
    """What `serve` gets: settings, log, telemetry, connection, and how to report progress."""

    def __init__(self, name: str, settings: Settings, log: Any) -> None:
        self.name = name
        self.instance = settings.instance or name
        """Of this process, where several run the same service."""
        self.settings = settings
        self.shard: Shard = settings.of_shard
        self.log = log
        self.telemetry = Telemetry(name)
        self.tracing = Tracing(
            name,
            every=settings.telemetry.trace_every,
            telemetry=self.telemetry,
            shard=self.shard.name,
        )
        self.readiness = Readiness()
        self.stopping = asyncio.Event()
        """Set at the first signal: finish the work in progress, then return."""
        self.status: dict[str, Any] = {}
        """More fields for /status."""
        self.nc: Connection
        """Connected before `serve` begins."""
        self._unready = {self.shard.name}
        self._positions: dict[str, int] = {}
        self.watched = Watched(self._positions)
        """What becomes an alert; `serve` adds to it."""
        self._committed: dict[str, int] = {}
        self._started_s = time.time()

    def position(self, stream: str, seq: int) -> None:
        """Everything up to `seq` of a stream is processed and its outputs are stored."""
        self._positions[stream] = seq

    def committed(self, stream: str, seq: int) -> None:
        """Everything up to `seq` of a stream is in committed files (the writer's)."""
        self._committed[stream] = seq
        self.status["last_commit_ns"] = time.time_ns()

    async def released(self) -> None:
        """Wait until the supervisor has started our readers; without a supervisor do not wait."""
        while not leash.released():  # set by a thread
            if await wait_or_stop(self.stopping, 0.01):
                return

    def of_each_shard(self) -> list[Context]:
        """A context for each shard that this process serves; they share all but the shard."""
        shards = self.settings.of_shards
        self._unready = {shard.name for shard in shards}
        found = []
        for shard in shards:
            one = copy.copy(self)
            one.shard = shard
            one.log = self.log.bind(shard=shard.name) if len(shards) > 1 else self.log
            found.append(one)
        return found

    def set_ready(self) -> None:
        """The service has warmed up and works; ready are all once each shard is."""
        self._unready.discard(self.shard.name)
        if not self._unready:
            memory.settle()
            self.readiness.started = True

    def data_arrived(self) -> None:
        """Note that data arrived; it matters if `readiness.fresh_within_s` is set."""
        self.readiness.data_arrived(time.monotonic())

    def show(self) -> dict[str, Any]:
        """The whole /status."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        now_s = time.monotonic()
        return {
            "service": self.name,
            "instance": self.instance,
            "shard": self.shard.name,
            "pid": os.getpid(),
            "started": self._started_s,
            "ready": self.readiness.ready(now_s),
            "checks": self.readiness.checks(now_s),
            "positions": self._positions,
            "committed": self._committed,
            "process": {
                "cpu_s": usage.ru_utime + usage.ru_stime,
                "rss_max_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            },
            **self.telemetry.status(),
            **self.status,
        }


def each_shard(serve: Serve) -> Serve:
    """Serves every shard of the process side by side; the first that fails ends all."""

    async def serve_all(context: Context) -> None:
        contexts = context.of_each_shard()
        if len(contexts) == 1:
            await serve(contexts[0])
            return
        try:
            async with asyncio.TaskGroup() as shards:
                for one in contexts:
                    shards.create_task(serve(one))
        except* Exception as several:
            raise several.exceptions[0] from None  # one line for the user, not a group of them

    return serve_all


def run(name: str, serve: Serve) -> None:
    """Main of the process `tickbus_<name>`; exits with its code."""
    leash.hold()
    memory.keep_freed()
    arguments = _parser(name).parse_args()
    try:
        settings = load(arguments.config)
        log = logs.configure(name, settings.telemetry)
    except Fatal as error:
        print(f"tickbus-{name}: {error}", file=sys.stderr)
        sys.exit(EXIT_FATAL)
    code = 0
    try:
        asyncio.run(_main(name, settings, log, serve))
    except Fatal as error:
        _last_word(name, settings, log, str(error))
        code = EXIT_FATAL
    except Exception:
        log.exception("stopped by a bug; please report it")
        code = EXIT_BUG
    # Everything that must last is on disk or acknowledged. An orderly end of Numba and LLVM takes
    # 0.3 s, for which our supervisor would wait.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _last_word(name: str, settings: Settings, log: Any, text: str) -> None:
    """Report why the process ends: one line for a person, one event for a machine."""
    if logs.is_json(settings.telemetry):
        log.critical(text, fatal=True)
    else:
        print(f"tickbus-{name}: {text}", file=sys.stderr)


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"tickbus-{name}",
        description=f"The {name} service of tickbus. It runs until SIGTERM or Ctrl-C, then drains.",
        epilog=f"Example: TICKBUS_INGEST__TICKERS=BTCUSDT tickbus-{name} --config tickbus.toml",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="settings (TOML); TICKBUS_<SECTION>__<KEY> override it"
    )
    return parser


async def _main(name: str, settings: Settings, log: Any, serve: Serve) -> None:
    context = Context(name, settings, log)
    health = HealthServer(context.readiness, context.telemetry, context.show)
    _obey_signals(context)
    probing: asyncio.Task[None] | None = None
    await health.start(settings.health)
    try:
        with run_files.announced(Path(settings.data_dir), context.instance, health.url):
            connected = await connection.connect(
                name, settings, context.telemetry, context.stopping, log
            )
            if connected is None:
                return  # stopped before there was a bus
            shard = context.shard
            context.nc = connected
            teller = Teller(connected, name, shard, context.watched, context.telemetry, log)
            probing = asyncio.create_task(
                keep_probing(
                    context.readiness, lambda: connection.probe(connected, name, shard.name)
                )
            )
            telling = asyncio.create_task(teller.run())
            telling.add_done_callback(lambda task: _tell_bug(task, log))
            try:
                await _serve_until_drained(context, serve)
                await connection.say_farewell(connected, name, shard.name)
            except Fatal as error:
                teller.tell_failure(str(error))
                raise
            finally:
                probing.cancel()
                telling.cancel()
                await teller.close()
                run_files.leave_last(Path(settings.data_dir), context.instance, context.show())
                await connection.close(connected)
                await context.tracing.close()
    finally:
        await health.close()


def _tell_bug(telling: asyncio.Task[None], log: Any) -> None:
    """A bug in telling alerts costs the alerts, not the data."""
    if not telling.cancelled() and (error := telling.exception()) is not None:
        log.error("alerts are told no more because of a bug; please report it", exc_info=error)


async def _serve_until_drained(context: Context, serve: Serve) -> None:
    """Run the service; after a stop it has DRAIN_S to finish, then Fatal."""
    work = asyncio.ensure_future(serve(context))
    told = asyncio.create_task(context.stopping.wait())
    await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        await asyncio.wait({work}, timeout=DRAIN_S)
    told.cancel()
    if not work.done():
        work.cancel()
        await asyncio.wait({work}, timeout=1.0)
        raise Fatal(f"could not drain within {DRAIN_S:.0f} s; the next start reads the rest again")
    work.result()


def _obey_signals(context: Context) -> None:
    """First SIGTERM or Ctrl-C: drain. Second: leave at once."""

    def told(signal_number: int) -> None:
        if context.stopping.is_set():
            os._exit(128 + signal_number)
        context.log.info("stopping", signal=signal.Signals(signal_number).name)
        context.readiness.stopping = True
        context.stopping.set()

    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, told, signal_number)
