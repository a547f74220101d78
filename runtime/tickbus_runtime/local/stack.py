"""The whole system on one machine, as processes: NATS, a simulated venue if wanted, services.

`tickbus up` and `tickbus demo` run it. Order at the start: NATS, streams, venue, services. Order at
the end: ingest, book and features, writer, NATS; each ends once it has read all of the one before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

import msgspec
from tickbus.lake import manifest
from tickbus.log.connection import Connection
from tickbus_schemas.errors import Fatal

from tickbus_runtime.bus import connection
from tickbus_runtime.bus.clock import first_event_us, last_clock_us
from tickbus_runtime.bus.streams import ensure
from tickbus_runtime.local.data_folder import DataFolder
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_runtime.local.programs import (
    VENUE,
    nats_program,
    service,
    venue_program,
)
from tickbus_runtime.local.run_report import RunReport, lines_of_a_capture, printable, run_report
from tickbus_runtime.local.status_poller import StatusPoller
from tickbus_runtime.local.supervise import Program, Supervisor
from tickbus_runtime.settings import services
from tickbus_runtime.settings.sections import Settings
from tickbus_runtime.settings.sources import Overrides
from tickbus_runtime.telemetry.metrics import Telemetry

READY_WITHIN_S = 300.0  # includes compiling the kernels
ALERTS = "alerts"
"""The service that nothing waits for."""
STUCK_S = 60.0
"""A reader without progress for this long is stuck."""

Result = TypeVar("Result")


class LogEnd(NamedTuple):
    """The end of a stream."""

    seq: int
    """last sequence ever assigned"""
    messages: int
    """number of messages in it"""

    @property
    def to_read(self) -> int:
        """The sequence up to which a reader must read; 0 for an empty stream."""
        return self.seq if self.messages else 0


CLOCKS_DIFFER_US = 60_000_000
"""A recorder's clock may be so far ahead of the venue's."""
FIRST_DIFFERS_US = 5_000_000
"""It may be so far behind."""


class Plan(NamedTuple):
    """What to run."""

    settings: Callable[[Overrides, Overrides], Settings]
    """the settings, with these values as overrides, and those in the place of defaults"""
    config: str | None
    """settings file, for the services too"""
    embedded: bool
    """whether we start a NATS server"""
    nats_port: int
    venue: Sequence[str]
    """arguments of the simulated venue; none: the real one"""
    venue_ends: bool
    """the venue ends by itself: its input is finite"""
    overrides: Overrides
    environment: Mapping[str, str] = {}
    """more environment variables for the services"""


class Stack:
    """Starts, watches and ends the processes of one data folder."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.settings = plan.settings(plan.overrides, {})
        self.say = say
        self.folder = DataFolder(Path(self.settings.data_dir))
        self.supervisor = Supervisor(say)
        self.poller = StatusPoller(self.folder.path, self.supervisor, say)
        self.began_s = time.monotonic()
        self.ready_s = 0.0
        self._overrides = dict(plan.overrides)
        self._offers: dict[str, Any] = {}
        """what the simulated venue has"""
        self._nc: Connection | None = None
        self._instrument_lists = 0
        self._left_out: dict[str, int] = {}
        """channel -> frames of a capture that are no feed"""
        self._bad_lines = 0
        self._first_us = self._last_us = 0
        """receive times of a capture's first and last frame"""
        self._ends_before: dict[str, LogEnd] = {}
        self._files_before: set[str] = set()

    async def start(self) -> None:
        """Start everything and let ingest begin; Fatal when a part cannot start."""
        self.folder.take()
        starting = [self._start_nats()] if self.plan.embedded else []
        if self.plan.venue:  # reads its capture while the server starts
            starting.append(self._start_venue())
        await asyncio.gather(*starting)
        self.settings = self.plan.settings(self._overrides, self._offers)
        self._take_offers()
        if not self.settings.ingest.tickers:
            raise Fatal("no tickers: name them with --tickers BTCUSDT,ETHUSDT (or * for all)")
        await self._connect()
        await self._refuse_the_past()
        self._ends_before = await self._log_ends()
        self._files_before = set(self._files())
        for index, name in enumerate(services.NAMES):
            await self.supervisor.start(self._service(name, index))
        if self.settings.alerts.receives:
            await self.supervisor.start(self._service(ALERTS, services.ALL_NAMES.index(ALERTS)))
        self.poller.start(services.NAMES)
        # Ingest begins when its readers are ready, so that none of them is late.
        await self.watch(self.poller.all_started([*services.FOLDS, "writer"], READY_WITHIN_S))
        self.supervisor.children["ingest"].release()
        self.ready_s = time.monotonic()

    async def ready(self) -> None:
        """Wait until ingest receives data; from here on a stop must drain."""
        if self.plan.venue:  # the real venue may be out of reach for any time
            await self.watch(self.poller.all_started(["ingest"], READY_WITHIN_S))
        self.ready_s = time.monotonic()
        self.say(f"ready after {self.ready_s - self.began_s:.1f} s, logs in {self.folder.logs}")

    async def watch(self, work: Awaitable[Result]) -> Result:
        """The result of `work`; Fatal if a process gives up meanwhile."""
        task: asyncio.Future[Result] = asyncio.ensure_future(work)
        waiting: set[asyncio.Future[Any]] = {task, self.supervisor.failed}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self.supervisor.failed.done():
                self.supervisor.failed.result()
            return await task
        finally:
            task.cancel()  # no effect where it is done

    async def ended(self, duration_s: float | None) -> None:
        """Wait until ingest has finished by itself, or this many seconds."""
        left = self.supervisor.children["ingest"].finished.wait()
        try:
            await self.watch(asyncio.wait_for(left, duration_s))
        except TimeoutError:
            return

    async def finish(self) -> RunReport:
        """Drain and stop the processes in order; the report of the run."""
        await self.watch(self.supervisor.stop(["ingest"]))
        self.poller.hurry()
        shard = self.settings.of_shard
        log = {shard.md: (await self.watch(self._log_ends()))[shard.md]}
        await self.watch(asyncio.gather(*(self._caught_up(name, log) for name in services.FOLDS)))
        # All outputs of the folds are stored now: they may exit while the writer reads on.
        leaving = asyncio.create_task(self.supervisor.stop([*services.FOLDS, VENUE]))
        ends = await self.watch(self._log_ends())
        written = map(shard.stream, self.settings.writer.streams)
        await self.watch(self._written({name: ends[name] for name in written}))
        await self.watch(leaving)
        ended_s = time.monotonic()
        await self.watch(self.supervisor.stop([ALERTS]))
        await self.poller.close()
        ingest = self.supervisor.children["ingest"]
        return run_report(
            self.poller.lives,
            [file for path, file in self._files().items() if path not in self._files_before],
            {name: end.seq - self._ends_before[name].seq for name, end in ends.items()},
            data_dir=self.folder.path,
            startup_seconds=self.ready_s - self.began_s,
            elapsed_seconds=ended_s - self.ready_s,
            restarts=self.supervisor.restarts,
            instrument_lists=self._instrument_lists,
            left_out=self._left_out,
            bad_lines=self._bad_lines,
            # The event times of a capture are in the past: they give no latency of the wire.
            without_stages=["wire"] if self.plan.venue_ends else [],
            why_silent=self._why_silent(),
            ingest_told_all=ingest.starts == 1 and ingest.left_in_order,
        )

    def _why_silent(self) -> str:
        """Why ingest received nothing, if it did not, and where to look."""
        if set(self.settings.ingest.feeds) <= {"instrument"}:
            return ""  # lists do not count as frames
        begun = self.poller.lives.latest("ingest").get("checks", {}).get("started")
        silent = "the venue sent nothing" if begun else "the venue's list of instruments is awaited"
        why = self.supervisor.children["ingest"].tail.last_warning or silent
        return f"{why}; see {self.folder.log('ingest')}"

    async def _written(self, ends: Mapping[str, LogEnd]) -> None:
        """Let the writer commit everything up to `ends`; restart it if it dies meanwhile."""
        while True:
            await self._caught_up("writer", ends)
            await self.supervisor.stop(["writer"])
            if self.supervisor.children["writer"].left_in_order:
                return
            self.say("writer died during its last commit: restarted")
            self.supervisor.restarts += 1
            await self.supervisor.start(self._service("writer", services.NAMES.index("writer")))

    async def close(self) -> None:
        """Stop NATS in order and kill everything else that still runs."""
        await self.poller.close()
        if self._nc is not None:
            await connection.close(self._nc)
        rest = [name for name in self.supervisor.children if name != "nats"]
        for name in rest:
            self.supervisor.children[name].kill()
        await self.supervisor.stop(["nats"], patience_s=10.0)
        await self.supervisor.close()
        self.folder.release()

    @property
    def nc(self) -> Connection:
        """Our own connection to the bus, once started."""
        assert self._nc is not None
        return self._nc

    async def _refuse_the_past(self) -> None:
        """Fatal for a capture that begins or ends before what is stored.

        What it holds of an earlier time would look repeated.
        """
        if not self._last_us:
            return
        shard, js = self.settings.of_shard, self.nc.jetstream()
        stored_us = await last_clock_us(js, shard.md, shard.name)
        if self._last_us + CLOCKS_DIFFER_US < stored_us:
            self._refuse("up to", stored_us, "ends", self._last_us)
        stored_us = await first_event_us(js, shard.md, shard.exchange.token)
        if self._first_us + FIRST_DIFFERS_US < stored_us:
            self._refuse("from", stored_us, "begins", self._first_us)

    def _refuse(self, bound: str, stored_us: int, word: str, capture_us: int) -> NoReturn:
        stored, own = (
            f"{datetime.fromtimestamp(time_us // 10**6, UTC):%Y-%m-%d %H:%M:%S}"
            for time_us in (stored_us, capture_us)
        )
        raise Fatal(
            f"{self.folder.path} holds {self.settings.of_shard.name} {bound} {stored}, and the "
            f"capture {word} at {own}: name another folder with --data"
        )

    async def _log_ends(self) -> dict[str, LogEnd]:
        """Where each stream ends; waits for a server that is gone, Fatal when it stays away."""
        try:
            async with asyncio.timeout(STUCK_S):
                return await connection.until_answered(None, "the streams", self._present_ends)
        except TimeoutError:
            raise Fatal(f"NATS does not answer for {STUCK_S:.0f} s: see its log") from None

    async def _present_ends(self) -> dict[str, LogEnd]:
        shard, manager = self.settings.of_shard, self.nc.jsm()
        names = [shard.stream(kind) for kind in services.STREAM_KINDS]
        states = {name: (await manager.stream_info(name)).state for name in names}
        return {name: LogEnd(state.last_seq, state.messages) for name, state in states.items()}

    def _service(self, name: str, index: int) -> Program:
        made = service(name, index, self.settings, self.plan.config, self._overrides)
        variables = {**self.plan.environment, **made.environment}
        return made._replace(environment=variables, held=name == "ingest")

    async def _start_nats(self) -> None:
        server = EmbeddedServer(
            self.folder.path,
            port=self.plan.nats_port,
            sync_always=self.settings.nats.sync_always,
        )
        server.prepare()
        child = await self.supervisor.start(nats_program(server))
        await self.watch(server.ready(lambda: child.pid is not None))
        self._overrides |= {"nats.url": server.url}
        self.say(f"nats at {server.url}, data in {self.folder.path}")

    async def _start_venue(self) -> None:
        ready: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()

        def printed(line: str) -> None:
            if not ready.done():
                ready.set_result(msgspec.json.decode(line))

        await self.supervisor.start(venue_program(self.plan.venue, self.folder.path, printed))
        facts = await self.watch(asyncio.wait_for(ready, READY_WITHIN_S))
        # What the user asked for goes before it: fewer tickers, or a mistake.
        self._offers = {
            "ingest.tickers": list(facts["tickers"]),
            "ingest.feeds": list(facts["feeds"]),
        }
        self._overrides = {
            "ingest.exchange": facts["exchange"],
            **self._overrides,
            "ingest.ws_url": facts["ws"],
            "ingest.rest_url": facts["rest"],
            "ingest.stop_at_end": self.plan.venue_ends,
            "ingest.limits": False,
        }
        self._instrument_lists = int(facts.get("instrument_lists", 0))
        self._left_out = dict(facts.get("other", {}))
        self._bad_lines = int(facts.get("bad_lines", 0))
        self._first_us = (facts.get("first_ns") or 0) // 1000
        self._last_us = (facts.get("last_ns") or 0) // 1000
        self.say(f"venue {facts['exchange']} at {facts['ws']}: {', '.join(facts['tickers'])}")
        self._say_unused(facts)
        self._say_left_out(facts)

    def _take_offers(self) -> None:
        """The services get what the settings chose; Fatal when the venue has nothing of it."""
        ingest = self.settings.ingest
        self._overrides |= {"ingest.tickers": ingest.tickers, "ingest.feeds": ingest.feeds}
        offered = self._offers.get("ingest.feeds", ingest.feeds)
        missing = ", ".join(feed for feed in ingest.feeds if feed not in offered)
        if missing:
            said = f"the venue has no {missing} to give; it has {', '.join(offered)}"
            if not set(ingest.feeds) & set(offered):
                raise Fatal(
                    f"{said}: name some of these in ingest.feeds, or leave it unset for all"
                )
            self.say(said)

    def _say_unused(self, facts: Mapping[str, Any]) -> None:
        """Name the settings that say where data comes from: here the venue says it."""
        exchange = facts["exchange"]
        asked = self.plan.settings(self.plan.overrides, {"ingest.exchange": exchange}).ingest
        source = "capture" if self.plan.venue_ends else "simulated venue"
        if asked.exchange != exchange:
            setting = f"ingest.exchange = {asked.exchange}"
            self.say(f"the {source} is of {exchange}: the setting {setting} is not used")
        for name in ("ws_url", "rest_url"):
            if getattr(asked, name):
                self.say(f"a {source} is served here: the setting ingest.{name} is not used")

    def _say_left_out(self, facts: Mapping[str, Any]) -> None:
        """Name what a capture holds and nobody reads; Fatal when that is all of it."""
        left_out = ", ".join(f"{name} ({count:,} frames)" for name, count in self._left_out.items())
        if not facts["feeds"]:
            held = left_out or "no frame of a known channel"
            raise Fatal(
                f"the capture holds no feed of {facts['exchange']}: {held}; record trades, book "
                "updates or best quotes, or name the right --exchange"
            )
        if self._bad_lines:
            lost = lines_of_a_capture(self._bad_lines)
            self.say(f"{lost}; the first: {printable(facts['first_bad_line'])}")
        if left_out:
            self.say(f"left out, no feed or said by another channel: {left_out}")

    async def _connect(self) -> None:
        stopping = asyncio.Event()
        log = _SayingLog(self.say)
        nc = await self.watch(
            asyncio.wait_for(
                connection.connect("up", self.settings, Telemetry("up"), stopping, log),
                READY_WITHIN_S,
            )
        )
        assert nc is not None
        self._nc = nc
        shard = self.settings.of_shard
        await ensure(nc.jetstream(), self.settings, shard, None)

    def _files(self) -> dict[str, manifest.DataFile]:
        root = Path(self.settings.writer.root or self.folder.path)
        return {file.path: file for file in manifest.committed_files(root)}

    async def _caught_up(self, name: str, ends: Mapping[str, LogEnd]) -> None:
        """Wait until a reader has processed everything up to `ends`; Fatal when it is stuck."""
        best = -1
        moved_s = time.monotonic()
        while True:
            pid = self.supervisor.children[name].pid
            done = {stream: self.poller.lives.position(name, stream, pid) for stream in ends}
            if all(done[stream] >= end.to_read for stream, end in ends.items()):
                return
            total = sum(done.values())
            if total != best:
                best, moved_s = total, time.monotonic()
            if time.monotonic() - moved_s > STUCK_S:
                behind = ", ".join(
                    f"{stream} {done[stream]} of {end.to_read}"
                    for stream, end in ends.items()
                    if done[stream] < end.to_read
                )
                raise Fatal(f"{name} is stuck at {behind}; see {self.folder.log(name)}")
            await self.poller.next_look()


class _SayingLog:
    """Shows log events of the connection as lines for the user of `up`."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def warning(self, event: str, **facts: object) -> None:
        """One line."""
        self._say(" ".join([event, *map(str, facts.values())]))
