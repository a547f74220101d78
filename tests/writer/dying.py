"""Writes a log and dies before the n-th change to the disk; a process for test_crashes.

`python -m tests.writer.dying FOLDER` writes, for each n, `FOLDER/<n>/` in a child that dies there,
then goes on in a second child as a restarted writer would, and prints `<n> <exit code>` a line.
Every system call that the target makes a change by is counted, not only its steps.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tickbus_schemas.errors import Fatal

from tests.writer.logs import LogWriter
from tests.writer.writing import LIMITS, written

DIED = 9
FINISHED = 0
BEHIND = 3
"""the log ends before the files: death came after the last block was committed"""
EARLY = 3
"""messages before the end at which the restarted writer drains in the second variant"""
EARLY_EACH = 3
"""points between two at which that is tried"""


def short_log() -> Any:
    """Two blocks of few files, so that every point can be tried."""
    log = LogWriter(5)
    log.fence()
    log.snapshot("BTCUSDT")
    for _ in range(3):
        log.deltas("BTCUSDT", 3)
        log.stored_ns += 500_000_000
    log.clock()
    for _ in range(4):
        log.trades("BTCUSDT", 2)
    return log.stored


def die_at(point: int) -> None:
    """From now on, leave at once before the change number `point`, as by kill -9."""
    made = 0

    def counted(act: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made > point:
                os._exit(DIED)
            return act(*arguments, **options)

        return counting

    for name in ("link", "unlink", "replace", "mkdir", "fsync"):
        setattr(os, name, counted(getattr(os, name)))


def in_child(work: Callable[[], None]) -> int:
    """Exit code of `work` in a forked process."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        work()
    except Fatal:
        os._exit(BEHIND)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(FINISHED)


def main() -> None:
    """Try every point until a run gets through."""
    folder = Path(sys.argv[1])
    log = short_log()
    limits = LIMITS._replace(block_s=1)
    written(folder / "warm", log, limits=limits)  # kernels are loaded once, not in each child
    point = 0
    while True:
        root, early = folder / str(point), folder / f"{point}-early"

        def dying(root: Path, point: int = point) -> None:
            die_at(point)
            written(root, log, limits=limits)

        died = in_child(partial(dying, root))
        codes = [died, in_child(partial(written, root, log, limits=limits))]
        if point % EARLY_EACH == 0:
            codes.append(in_child(partial(dying, early)))
            codes += [
                in_child(partial(written, early, part, limits=limits))
                for part in (log[:-EARLY], log)
            ]
        print(point, *codes, flush=True)
        if died == FINISHED:
            return
        point += 1


if __name__ == "__main__":
    main()
