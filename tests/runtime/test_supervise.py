"""Children are restarted, drained in order, and never outlive their supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tickbus_runtime.local.supervise import Again, Finished, GiveUp, Program, Restarts, Supervisor
from tickbus_schemas.errors import Fatal

STEADY = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("up", flush=True)
while True: time.sleep(0.01)
"""


def test_an_exit_with_code_0_is_the_end() -> None:
    assert Restarts().judge(0, 1.0) == Finished()


def test_a_program_that_never_ends_by_itself_is_started_again_after_code_0() -> None:
    assert isinstance(Restarts(ends=False).judge(0, 60.0), Again)


@pytest.mark.parametrize("code", [1, 2])
def test_a_program_that_says_it_cannot_go_on_is_not_started_again(code: int) -> None:
    assert isinstance(Restarts().judge(code, 100.0), GiveUp)


def test_a_killed_program_is_started_again_however_often_with_growing_waits() -> None:
    restarts = Restarts()
    waits = []
    for _ in range(20):
        verdict = restarts.judge(-signal.SIGKILL, 0.1)
        assert isinstance(verdict, Again)
        waits.append(verdict.after_s)
    assert waits == sorted(waits)
    assert waits[0] < 1 < waits[-1] <= 5


def test_a_program_that_crashes_again_and_again_is_given_up() -> None:
    restarts = Restarts()
    verdicts = [restarts.judge(70, 0.1) for _ in range(5)]
    assert [type(verdict) for verdict in verdicts] == [Again] * 4 + [GiveUp]


def test_crashes_with_work_between_them_do_not_add_up() -> None:
    restarts = Restarts()
    assert all(isinstance(restarts.judge(-signal.SIGSEGV, 60.0), Again) for _ in range(20))


class Stage:
    """A supervisor, and small programs for it to run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.printed: dict[str, list[str]] = {}
        self.news = asyncio.Event()
        self.supervisor = Supervisor(self.said.append)

    def program(self, name: str, code: str) -> Program:
        lines = self.printed.setdefault(name, [])

        def printed(line: str) -> None:
            lines.append(line)
            self.news.set()

        script = [sys.executable, "-c", code]
        return Program(name, script, self.folder / f"{name}.jsonl", {}, printed)

    async def until_printed(self, name: str, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.printed[name]) < count:
                self.news.clear()
                await self.news.wait()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    await stage.supervisor.close()


@pytest.mark.connected
async def test_a_child_that_is_killed_comes_back(stage: Stage) -> None:
    child = await stage.supervisor.start(stage.program("book", STEADY))
    await stage.until_printed("book", 1)
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await stage.until_printed("book", 2)
    assert child.pid not in (None, first)
    assert child.starts == 2
    assert stage.said == ["book was killed by SIGKILL: restarted"]
    assert not stage.supervisor.failed.done()


@pytest.mark.connected
async def test_a_child_that_somebody_else_stops_comes_back_and_one_that_we_stop_does_not(
    stage: Stage,
) -> None:
    child = await stage.supervisor.start(stage.program("nats", STEADY)._replace(ends=False))
    await stage.until_printed("nats", 1)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGTERM)
    await stage.until_printed("nats", 2)
    assert stage.said == ["nats ended with exit code 0: restarted"]
    await stage.supervisor.stop(["nats"])
    assert (child.starts, child.left_in_order) == (2, True)


@pytest.mark.connected
async def test_a_held_child_begins_when_released_and_its_later_lives_at_once(stage: Stage) -> None:
    code = """
import os, time
from tickbus_runtime.service import leash
leash.hold()
print("started", flush=True)
while not leash.released(): time.sleep(0.01)
print("begun", flush=True)
time.sleep(60)
"""
    child = await stage.supervisor.start(stage.program("ingest", code)._replace(held=True))
    await stage.until_printed("ingest", 1)
    await asyncio.sleep(0.2)
    assert stage.printed["ingest"] == ["started"]
    child.release()
    await stage.until_printed("ingest", 2)
    child.send(signal.SIGKILL)
    await stage.until_printed("ingest", 4)
    assert stage.printed["ingest"] == ["started", "begun"] * 2


@pytest.mark.connected
async def test_a_child_that_gives_up_fails_the_run_with_its_last_error(stage: Stage) -> None:
    code = """
import json, sys
print(json.dumps({"level": "info", "event": "hello"}), file=sys.stderr)
print(json.dumps({"level": "critical", "event": "no ticker BTCUSD", "fatal": True}),
      file=sys.stderr)
sys.exit(1)
"""
    await stage.supervisor.start(stage.program("ingest", code))
    with pytest.raises(Fatal, match=r"^ingest: no ticker BTCUSD$"):
        await asyncio.wait_for(stage.supervisor.failed, 20)


@pytest.mark.connected
async def test_a_child_that_crashes_at_once_ends_the_run_with_its_last_line(stage: Stage) -> None:
    code = "import os, sys; print('engine on fire', file=sys.stderr, flush=True); os._exit(70)"
    await stage.supervisor.start(stage.program("writer", code))
    with pytest.raises(Fatal, match=r"^writer: engine on fire$"):
        await asyncio.wait_for(stage.supervisor.failed, 30)


@pytest.mark.connected
async def test_a_program_that_is_not_there_is_said_at_once(stage: Stage, tmp_path: Path) -> None:
    missing = Program("nats", [str(tmp_path / "no-such")], tmp_path / "nats.jsonl", {})
    with pytest.raises(FileNotFoundError):
        await stage.supervisor.start(missing)


@pytest.mark.connected
async def test_stopping_waits_for_one_group_before_the_next(stage: Stage) -> None:
    slow = STEADY.replace("sys.exit(0)", "(time.sleep(0.3), print('drained'), sys.exit(0))")
    await stage.supervisor.start(stage.program("ingest", slow))
    await stage.supervisor.start(stage.program("writer", STEADY))
    await stage.until_printed("ingest", 1)
    await stage.until_printed("writer", 1)
    await stage.supervisor.stop(["ingest"])
    assert stage.printed["ingest"] == ["up", "drained"]
    assert stage.supervisor.children["writer"].pid is not None
    await stage.supervisor.stop(["writer"])
    assert stage.supervisor.children["writer"].pid is None
    assert stage.said == []


@pytest.mark.connected
async def test_a_child_that_does_not_listen_is_killed(stage: Stage) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', "
    deaf += "flush=True); time.sleep(60)"
    child = await stage.supervisor.start(stage.program("deaf", deaf))
    await stage.until_printed("deaf", 1)
    await stage.supervisor.stop(["deaf"], patience_s=0.2)
    assert child.pid is None
    assert stage.said == ["deaf did not stop in time: killed"]


@pytest.mark.connected
async def test_stopping_while_a_restart_is_waited_for_does_not_start_it_again(stage: Stage) -> None:
    code = "import os; print('up', flush=True); os.kill(os.getpid(), 9)"
    child = await stage.supervisor.start(stage.program("book", code))
    await stage.until_printed("book", 3)
    await stage.supervisor.stop(["book"])
    starts = child.starts
    await asyncio.sleep(0.5)
    assert child.starts == starts
    assert child.pid is None


SUPERVISOR_TO_KILL = """
import asyncio, sys
from pathlib import Path
from tickbus_runtime.local.supervise import Program, Supervisor

async def main():
    supervisor = Supervisor(print)
    child = await supervisor.start(
        Program("child", [sys.executable, "-c", {code!r}], Path(sys.argv[1]), {{}})
    )
    print(child.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
LEASHED = "from tickbus_runtime.service import leash; import time; leash.hold(); time.sleep(60)"


@pytest.mark.connected
@pytest.mark.parametrize("code", ["import time; time.sleep(60)", LEASHED])
def test_no_child_outlives_a_killed_supervisor(tmp_path: Path, code: str) -> None:
    script = SUPERVISOR_TO_KILL.format(code=code)
    arguments = [sys.executable, "-c", script, str(tmp_path / "child.jsonl")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert _runs(pid)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 20
    while _runs(pid):
        assert time.monotonic() < deadline, "the child is an orphan"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    """Whether a process exists and is not just waiting to be reaped by whoever inherited it."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
