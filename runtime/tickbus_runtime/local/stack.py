"""The whole system on one machine, as processes: NATS, a simulated venue if wanted, services.

`tickbus up` and `tickbus demo` run it. Order at the start: NATS, streams, venue, services. Order at
the end: ingest, book and features, writer, NATS; each ends once it has read all of the one before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from tickbus.lake import manifest
from tickbus.log.connection import Connection
from tickbus_schemas.errors import Fatal

from tickbus_runtime.bus import connection
from tickbus_runtime.bus.streams import ensure
from tickbus_runtime.local.data_folder import DataFolder
from tickbus_runtime.local.nats_server import EmbeddedServer
from tickbus_runtime.local.programs import nats_program, service
from tickbus_runtime.local.run_report import RunReport, VenueFacts, run_report
from tickbus_runtime.local.status_poller import StatusPoller
from tickbus_runtime.local.supervise import Program, Supervisor
from tickbus_runtime.local.venue_run import INGEST, VenuePlan, VenueRun
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


class Plan(NamedTuple):
    """What to run."""

    settings: Callable[[Overrides, Overrides], Settings]
    """the settings, with these values as overrides, and those in the place of defaults"""
    config: str | None
    """settings file, for the services too"""
    embedded: bool
    """whether we start a NATS server"""
    nats_port: int
    venues: Sequence[VenuePlan]
    """one ingest each; all have one set of the other services"""
    venue_ends: bool
    """the simulated venues end by themselves: their input is finite"""
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
        self._found: dict[str, Any] = {}
        """overrides that are known once the server is there"""
        alone = len(plan.venues) == 1
        self.venues = [
            VenueRun(venue, plan.settings, plan.overrides, say, ends=plan.venue_ends, alone=alone)
            for venue in plan.venues
        ]
        self._nc: Connection | None = None
        self._answers: asyncio.Task[None] | None = None
        self._ends_before: dict[str, LogEnd] = {}
        self._files_before: set[str] = set()

    @property
    def ingests(self) -> list[str]:
        """The ingest processes, one a venue."""
        return [venue.ingest for venue in self.venues]

    @property
    def processes(self) -> list[str]:
        """All services, in order of start."""
        others = [name for name in services.NAMES if name != INGEST]
        return [*self.ingests, *others]

    async def start(self) -> None:
        """Start everything and let ingest begin; Fatal when a part cannot start."""
        self.folder.take()
        starting = [self._start_nats()] if self.plan.embedded else []
        # A simulated venue reads its capture while the server starts.
        starting += [self._start_venue(one) for one in self.venues if one.plan.simulated]
        await asyncio.gather(*starting)
        for venue in self.venues:
            venue.settle(self._found)
        self.settings = self.venues[0].settings
        await self._connect()
        for venue in self.venues:
            await venue.refuse_the_past(self.nc)
        self._ends_before = await self._log_ends()
        self._files_before = set(self._files())
        for program in self._services():
            await self.supervisor.start(program)
        self.poller.start(self.processes)
        # Ingest begins when its readers are ready, so that none of them is late.
        await self.watch(self.poller.all_started([*services.FOLDS, "writer"], READY_WITHIN_S))
        for name in self.ingests:
            self.supervisor.children[name].release()
        self.ready_s = time.monotonic()

    async def ready(self) -> None:
        """Wait until ingest receives data; from here on a stop must drain."""
        served = all(venue.plan.simulated for venue in self.venues)
        if served:  # the real venue may be out of reach for any time
            await self.watch(self.poller.all_started(self.ingests, READY_WITHIN_S))
        self.ready_s = time.monotonic()
        took = f"after {self.ready_s - self.began_s:.1f} s, logs in {self.folder.logs}"
        if served:
            self.say(f"ready {took}")
            return
        awaited = ", ".join(venue.shard.exchange.token for venue in self.venues)
        self.say(f"services ready {took}; waiting for {awaited}")
        self._answers = asyncio.create_task(self._say_answers())

    async def _say_answers(self) -> None:
        """A line for each venue that has answered: only then it is subscribed to."""
        silent = list(self.venues)
        while silent:
            await self.poller.next_look()
            for venue in list(silent):
                if self.poller.has_started(venue.ingest):
                    silent.remove(venue)
                    after_s = time.monotonic() - self.began_s
                    self.say(f"{venue.shard.exchange.token} has answered after {after_s:.1f} s")

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
        """Wait until each ingest has finished by itself, or this many seconds."""
        left = asyncio.gather(
            *(self.supervisor.children[name].finished.wait() for name in self.ingests)
        )
        try:
            await self.watch(asyncio.wait_for(left, duration_s))
        except TimeoutError:
            return

    async def finish(self) -> RunReport:
        """Drain and stop the processes in order; the report of the run."""
        await self.watch(self.supervisor.stop(self.ingests))
        self.poller.hurry()
        raw = {venue.shard.md for venue in self.venues}
        ends = await self.watch(self._log_ends())
        log = {stream: end for stream, end in ends.items() if stream in raw}
        await self.watch(asyncio.gather(*(self._caught_up(name, log) for name in services.FOLDS)))
        # All outputs of the folds are stored now: they may exit while the writer reads on.
        simulators = [venue.simulator for venue in self.venues]
        leaving = asyncio.create_task(self.supervisor.stop([*services.FOLDS, *simulators]))
        ends = await self.watch(self._log_ends())
        kinds = self.settings.writer.streams
        written = [venue.shard.stream(kind) for venue in self.venues for kind in kinds]
        await self.watch(self._written({name: ends[name] for name in written}))
        await self.watch(leaving)
        ended_s = time.monotonic()
        await self.watch(self.supervisor.stop([ALERTS]))
        await self.poller.close()
        return self._report(ends, ended_s)

    def _report(self, ends: Mapping[str, LogEnd], ended_s: float) -> RunReport:
        files = [file for path, file in self._files().items() if path not in self._files_before]
        return run_report(
            self.poller.lives,
            files,
            {name: end.seq - self._ends_before[name].seq for name, end in ends.items()},
            data_dir=self.folder.path,
            startup_seconds=self.ready_s - self.began_s,
            elapsed_seconds=ended_s - self.ready_s,
            restarts=self.supervisor.restarts,
            venues={venue.shard.exchange.token: self._facts(venue) for venue in self.venues},
            # The event times of a capture are in the past: they give no latency of the wire.
            without_stages=["wire"] if self.plan.venue_ends else [],
        )

    def _facts(self, venue: VenueRun) -> VenueFacts:
        child = self.supervisor.children[venue.ingest]
        return VenueFacts(
            ingest=venue.ingest,
            instrument_lists=venue.instrument_lists,
            left_out=venue.left_out,
            bad_lines=venue.bad_lines,
            odd_parts=venue.odd_parts,
            why_silent=venue.why_silent(
                self.poller.lives, child.tail.last_warning, self.folder.log(venue.ingest)
            ),
            told_all=child.starts == 1 and child.left_in_order,
        )

    async def _written(self, ends: Mapping[str, LogEnd]) -> None:
        """Let the writer commit everything up to `ends`; restart it if it dies meanwhile."""
        while True:
            await self._caught_up("writer", ends)
            await self.supervisor.stop(["writer"])
            if self.supervisor.children["writer"].left_in_order:
                return
            self.say("writer died during its last commit: restarted")
            self.supervisor.restarts += 1
            (writer,) = (one for one in self._services() if one.name == "writer")
            await self.supervisor.start(writer)

    async def close(self) -> None:
        """Stop NATS in order and kill everything else that still runs."""
        if self._answers is not None:
            self._answers.cancel()
            await asyncio.wait({self._answers})
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

    async def _log_ends(self) -> dict[str, LogEnd]:
        """Where each stream ends; waits for a server that is gone, Fatal when it stays away."""
        try:
            async with asyncio.timeout(STUCK_S):
                return await connection.until_answered(None, "the streams", self._present_ends)
        except TimeoutError:
            raise Fatal(f"NATS does not answer for {STUCK_S:.0f} s: see its log") from None

    async def _present_ends(self) -> dict[str, LogEnd]:
        manager = self.nc.jsm()
        shards = [venue.shard for venue in self.venues]
        names = [shard.stream(kind) for shard in shards for kind in services.STREAM_KINDS]
        states = {name: (await manager.stream_info(name)).state for name in names}
        return {name: LogEnd(state.last_seq, state.messages) for name, state in states.items()}

    def _services(self) -> list[Program]:
        """An ingest a venue, and one process of every other service for all of them."""
        first, *more = self.venues
        common = {**self.plan.overrides, **self._found}
        shards = [f"{one.shard.name}={one.shard.exchange.token}" for one in self.venues]
        # A reader knows what is asked of one venue; of several it knows their shards.
        of_venue = {**common, **first.plan.overrides} if more else first.overrides
        of_reader = {**of_venue, "shards": shards}
        made = [
            self._service(name, index, first.overrides if name == INGEST else of_reader, first)
            for index, name in enumerate(services.NAMES)
        ]
        made += [
            self._service(INGEST, len(services.NAMES) + n, venue.overrides, venue)
            for n, venue in enumerate(more)
        ]
        if self.settings.alerts.receives:
            made.append(self._service(ALERTS, len(made), of_reader, first))
        return made

    def _service(self, name: str, index: int, overrides: Overrides, venue: VenueRun) -> Program:
        instance = venue.ingest if name == INGEST else name
        made = service(name, index, self.settings, self.plan.config, overrides, instance)
        variables = {**self.plan.environment, **made.environment}
        return made._replace(environment=variables, held=name == INGEST)

    async def _start_nats(self) -> None:
        server = EmbeddedServer(
            self.folder.path,
            port=self.plan.nats_port,
            sync_always=self.settings.nats.sync_always,
        )
        server.prepare()
        child = await self.supervisor.start(nats_program(server))
        await self.watch(server.ready(lambda: child.pid is not None))
        self._found["nats.url"] = server.url
        self.say(f"nats at {server.url}, data in {self.folder.path}")

    async def _start_venue(self, venue: VenueRun) -> None:
        facts: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        await self.supervisor.start(venue.served(facts, self.folder.path))
        venue.take_facts(await self.watch(asyncio.wait_for(facts, READY_WITHIN_S)))

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
        for venue in self.venues:
            await ensure(nc.jetstream(), self._share(venue.settings), venue.shard, None)

    def _share(self, settings: Settings) -> Settings:
        """The settings with the venue's share of the disk: all streams get what one would."""
        nats = settings.nats
        bytes_max = max(nats.max_bytes // len(self.venues), 1)
        return msgspec.structs.replace(
            settings, nats=msgspec.structs.replace(nats, max_bytes=bytes_max)
        )

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
