"""Starts, watches, restarts and stops child processes.

`Restarts` decides what to do after an exit; it has no process and no clock. Each child logs into
its own file, so a slow terminal never delays one; the supervisor follows the files.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tickbus.retry import longest_s, wait_or_stop
from tickbus_schemas.errors import Fatal

from tickbus_runtime.local.log_files import LogTail
from tickbus_runtime.service import leash

FATAL_CODES = frozenset({1, 2})
"""Our Fatal (1) and wrong usage (2): a restart would fail in the same way."""
KILLED = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT})
STABLE_S = 10.0
CRASHES_MAX = 5
RESTART_FIRST_S, RESTART_MAX_S = 0.1, 5.0
PATIENCE_S = 65.0
"""Time from SIGTERM to SIGKILL; a little more than a service may take (DRAIN_S)."""


class Again(NamedTuple):
    """Restart it after this wait."""

    after_s: float


class Finished(NamedTuple):
    """Its work is done."""


class GiveUp(NamedTuple):
    """It cannot work; everything is stopped."""

    reason: str


class Restarts:
    """Decides what follows the exit of one program.

    | exit | then |
    |---|---|
    | 0 | finished; a program that never ends by itself was told by somebody: as a crash |
    | 1, 2 | give up: it has reported why it cannot go on |
    | killed from outside (SIGKILL, SIGTERM, SIGINT) | again, with backoff |
    | anything else, fewer than 5 times without 10 s of work between | again, with backoff |
    | anything else | give up: it crashes again and again |
    """

    def __init__(self, fatal_codes: frozenset[int] = FATAL_CODES, *, ends: bool = True) -> None:
        """`ends`: the program may end by itself."""
        self._fatal_codes = fatal_codes
        self._ends = ends
        self._exits = 0
        self._crashes = 0

    def judge(self, code: int, uptime_s: float) -> Again | Finished | GiveUp:
        """What to do after an exit with this code (negative: the signal that killed it)."""
        if code == 0 and self._ends:
            return Finished()
        if code in self._fatal_codes:
            return GiveUp("cannot go on")
        if uptime_s >= STABLE_S:
            self._exits = self._crashes = 0
        self._exits += 1
        self._crashes += code not in KILLED
        if self._crashes >= CRASHES_MAX:
            return GiveUp(f"crashes again and again (the last time it {describe(code)})")
        return Again(longest_s(self._exits, RESTART_FIRST_S, RESTART_MAX_S))


def describe(code: int) -> str:
    """An exit code in words, behind the name of the program."""
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


class Program(NamedTuple):
    """A child process: what to run, and where its output goes."""

    name: str
    argv: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    on_line: Callable[[str], None] | None = None
    """called with each line of its standard output; None: the output goes to the log too"""
    on_start: Callable[[int], None] | None = None
    """called with the process id at each start"""
    fatal_codes: frozenset[int] = FATAL_CODES
    """exit codes after which a restart is useless"""
    restart: bool = True
    """whether it is ever restarted"""
    ends: bool = True
    """whether it ends by itself, with code 0; else it is restarted then, too"""
    held: bool = False
    """whether it waits for `Child.release` before it begins to work"""
    vital: bool = True
    """whether everything is stopped when it gives up; else that is said, and the rest goes on"""


class Child:
    """One supervised program and its present process."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: asyncio.subprocess.Process | None = None
        self.finished = asyncio.Event()
        """Set when the program has ended with code 0, or was stopped."""
        self.starts = 0
        self.stopping = asyncio.Event()
        self._released = not program.held
        self.tail = LogTail(program.log)

    @property
    def left_in_order(self) -> bool:
        """Whether its last process exited with code 0."""
        return self.process is not None and self.process.returncode == 0

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        process = self.process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start a process: in its own session, so that Ctrl-C reaches the supervisor alone."""
        program = self.program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        to_pipe = program.on_line is not None
        with program.log.open("ab", buffering=0) as log:
            self.process = await asyncio.create_subprocess_exec(
                *program.argv,
                stdin=asyncio.subprocess.PIPE,  # closes with us: see leash
                stdout=asyncio.subprocess.PIPE if to_pipe else log,
                stderr=log,
                env={**os.environ, **program.environment, **self._leash()},
                start_new_session=True,
                preexec_fn=leash.die_with_parent,
            )
        self.starts += 1
        if program.on_start is not None:
            program.on_start(self.process.pid)

    def _leash(self) -> dict[str, str]:
        held = {} if self._released else {leash.HELD: "1"}
        return {leash.SUPERVISED: str(os.getpid()), **held}

    def release(self) -> None:
        """Let it begin to work; later processes begin at once."""
        self._released = True
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.write(b"go\n")

    async def read_lines(self) -> None:
        """Pass on the lines that the present process prints, until it exits."""
        assert self.process is not None
        on_line, stdout = self.program.on_line, self.process.stdout
        if on_line is not None and stdout is not None:
            async for line in stdout:
                on_line(line.decode(errors="replace").rstrip())

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the present process, if there is one."""
        # Not Process.send_signal: that polls, and may take the exit code from asyncio's watcher
        # (https://github.com/python/cpython/issues/87744), which then reports 255.
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it; it is not restarted."""
        self.stopping.set()
        self.send(signal.SIGKILL)


class Supervisor:
    """Keeps children running until they finish, give up or are stopped."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.children: dict[str, Child] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the Fatal of the first child that gave up."""
        self.restarts = 0
        """How often a dead process was restarted."""

    async def start(self, program: Program) -> Child:
        """Start a program and keep it running."""
        child = self.children[program.name] = Child(program)
        await child.start()
        self._tasks[program.name] = asyncio.create_task(self._keep(child))
        return child

    async def stop(self, names: Iterable[str], patience_s: float = PATIENCE_S) -> None:
        """Stop these together: SIGTERM, and SIGKILL for what is left after `patience_s`."""
        children = [self.children[name] for name in names if name in self.children]
        for child in children:
            child.stopping.set()
            child.send(signal.SIGTERM)
        waiting = [asyncio.create_task(child.finished.wait()) for child in children]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=patience_s)
            for child in children:
                if not child.finished.is_set():
                    self._say(f"{child.program.name} did not stop in time: killed")
                    child.send(signal.SIGKILL)
            if late:
                await asyncio.wait(late)

    def kill(self) -> None:
        """Kill everything."""
        for child in self.children.values():
            child.kill()

    async def close(self) -> None:
        """Kill what still runs and wait for its exit."""
        self.kill()
        for task in self._tasks.values():
            await asyncio.wait({task}, timeout=10.0)
        if self.failed.done() and not self.failed.cancelled():
            self.failed.exception()  # retrieved, in case nobody has waited for it
        else:
            self.failed.cancel()

    async def _keep(self, child: Child) -> None:
        restarts = Restarts(child.program.fatal_codes, ends=child.program.ends)
        name = child.program.name
        try:
            while True:
                assert child.process is not None
                began_s = time.monotonic()
                await child.read_lines()
                code = await child.process.wait()
                if child.stopping.is_set():
                    return
                match restarts.judge(code, time.monotonic() - began_s):
                    case Finished():
                        return
                    case GiveUp(reason):
                        self._fail(child, reason)
                        return
                    case Again() if not child.program.restart:
                        self._fail(child, describe(code))
                        return
                    case Again(after_s):
                        self._say(f"{name} {describe(code)}: restarted")
                        if await wait_or_stop(child.stopping, after_s):
                            return
                await child.start()
                self.restarts += 1
        except OSError as error:
            self._fail(child, f"cannot be started: {error.strerror or error}")
        finally:
            child.finished.set()

    def _fail(self, child: Child, reason: str) -> None:
        last = child.tail.last_error()
        name = child.program.name
        told = f"{name}: {last}" if last else f"{name} {reason}"
        if not child.program.vital:
            self._say(f"{told}; everything else goes on without it")
        elif not self.failed.done():
            self.failed.set_exception(Fatal(told))
