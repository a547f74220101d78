"""One run of the whole stack: start, run until the input ends, a time or Ctrl-C, drain, report."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

from tickbus_runtime.local.progress import report_progress
from tickbus_runtime.local.run_report import RunReport
from tickbus_runtime.local.stack import Plan, Stack

Watcher = Callable[[Stack], Awaitable[None]]
"""Runs beside the stack once it is ready: a screen, progress lines."""


async def local_run(
    plan: Plan,
    *,
    duration_s: float | None,
    say: Callable[[str], None],
    beside: Watcher | None = None,
) -> tuple[RunReport | None, bool]:
    """The report (None when told to stop before ingest began), and whether Ctrl-C ended it."""
    stack = Stack(plan, say)
    told = asyncio.Event()
    _obey_signals(stack, told)
    stopping = asyncio.create_task(told.wait())
    watcher: asyncio.Task[None] | None = None
    try:
        if not await _before(stopping, stack.start()):
            return None, True
        if await _before(stopping, stack.ready()):
            watcher = asyncio.create_task(_run(beside or report_progress, stack))
            await _before(stopping, stack.ended(duration_s))
        if told.is_set():
            say("stopping: received data is still being stored and written; Ctrl-C again to abort")
        return await stack.finish(), told.is_set()
    finally:
        for task in (watcher, stopping):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        if watcher is not None and not watcher.cancelled() and (bug := watcher.exception()):
            say(f"the run was not shown to its end, please report it: {bug!r}")
        await stack.close()


async def _run(watcher: Watcher, stack: Stack) -> None:
    await watcher(stack)


async def _before(stopping: asyncio.Task[bool], work: Awaitable[None]) -> bool:
    """Do `work` unless told to stop before it is done; whether it was done."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
        return False
    task.result()
    return True


def _obey_signals(stack: Stack, told: asyncio.Event) -> None:
    def signalled(number: int) -> None:
        if told.is_set():
            stack.supervisor.kill()
            os._exit(128 + number)
        told.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, signalled, number)
