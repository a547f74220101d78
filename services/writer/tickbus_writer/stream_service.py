"""One stream from the bus into files, for as long as the service runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

from nats.js.api import StreamInfo
from nats.js.errors import NotFoundError
from tickbus.columns.assembler import Assembler
from tickbus.columns.group import Group
from tickbus.log.connection import BUS_AWAY
from tickbus.log.reader import Reader
from tickbus.log.stored import Stored
from tickbus.retry import Attempts
from tickbus_runtime.bus.publisher import Publisher
from tickbus_runtime.bus.streams import incarnation
from tickbus_runtime.service.process import Context

from tickbus_writer.dead_letters import dead_letters
from tickbus_writer.local_target import LocalTarget
from tickbus_writer.report import Report
from tickbus_writer.stream_files import Limits, StreamFiles

GATHER_S = 0.05
"""Once caught up, a look at the stream this often. Nobody waits for a row here: fewer and larger
groups leave the cores to those for whom somebody does."""
Result = TypeVar("Result")


class StreamService:
    """Reads one stream whole and commits it block by block."""

    def __init__(
        self, context: Context, stream: str, limits: Limits, publisher: Publisher, pool: Executor
    ) -> None:
        self._context = context
        self._stream = stream
        self._publisher = publisher
        settings = context.settings
        self._target = LocalTarget(Path(settings.writer.root or settings.data_dir))
        self._files = StreamFiles(stream, context.shard.exchange, self._target, limits, pool)
        self._report = Report(context, stream)
        # Disk and compression wait in a thread of their own; the loop goes on reading.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"write-{stream}")

    async def run(self, started: Callable[[], None]) -> None:
        """Read and write until told to stop, then commit the rest. `started`: told when it reads.

        Fatal when the disk or the stream does not let the job go on.
        """
        try:
            info = await self._stream_info()
            if info is None:
                return
            await self._in_thread(self._files.start, incarnation(info), info.state.last_seq)
            if not info.state.messages:
                self._context.position(self._stream, info.state.last_seq)
            elif self._files.next_seq:
                self._context.position(self._stream, self._files.next_seq - 1)
            if self._files.next_seq:
                self._context.committed(self._stream, self._files.next_seq - 1)
            started()
            while not self._context.stopping.is_set():
                await self._read_on()
            outcome = await self._in_thread(self._files.drain)
            if outcome is not None:
                self._report.committed(outcome)
        finally:
            await self._in_thread(self._files.abandon)
            self._thread.shutdown()
            self._target.close()

    async def _read_on(self) -> None:
        """Read from where the files end until told to stop, or until another writer was faster."""
        start_seq = self._files.next_seq
        reader = Reader(self._context.nc, self._stream, start_seq=start_seq or None)
        assembler = Assembler()
        if start_seq:
            assembler.resume(start_seq - 1)
        # Closed here and now, so that its consumer is gone when the next one is made.
        async with aclosing(reader.groups()) as arrivals:
            async for arrived in until(self._context.stopping, arrivals):
                received_ns = time.time_ns()
                group = assembler.add(arrived)
                if group is None:
                    continue
                self._report.read(group, received_ns, reader.pending)
                await self._keep_rejected(group)
                outcomes = await self._in_thread(self._files.take, group)
                for outcome in outcomes:
                    self._report.committed(outcome)
                if outcomes and not outcomes[-1].won:
                    self._report.overtaken(outcomes[-1])
                    await self._in_thread(self._files.abandon)
                    return
                self._context.position(self._stream, group.last_seq)
                if not reader.pending:
                    await asyncio.sleep(GATHER_S)

    async def _keep_rejected(self, group: Group) -> None:
        """Store what could not be read among the dead letters, before its sequence is committed."""
        if group.rejected:
            await self._publisher.flush(
                dead_letters(self._stream, self._context.shard.exchange, group.rejected)
            )

    async def _stream_info(self) -> StreamInfo | None:
        """The stream as it is now; waits until there is one; None when told to stop meanwhile."""
        said = False
        async for _ in Attempts(self._context.stopping):
            try:
                return await self._context.nc.jsm().stream_info(self._stream)
            except NotFoundError:
                if not said:
                    self._context.log.warning("waiting for the stream", stream=self._stream)
                    said = True
            except BUS_AWAY:
                continue  # the connection repairs itself
        return None

    async def _in_thread(self, act: Callable[..., Result], *arguments: Any) -> Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, act, *arguments)


async def until(
    stopping: asyncio.Event, arrivals: AsyncIterator[list[Stored]]
) -> AsyncIterator[list[Stored]]:
    """What arrives before `stopping` is set."""
    stopped = asyncio.ensure_future(stopping.wait())
    try:
        while not stopping.is_set():
            arrival = asyncio.ensure_future(anext(arrivals))
            await asyncio.wait({arrival, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not arrival.done():
                arrival.cancel()
                await asyncio.wait({arrival})
                return
            yield arrival.result()
    finally:
        stopped.cancel()
