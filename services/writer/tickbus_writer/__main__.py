"""The writer service: every stream of its shard into one Parquet dataset."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tickbus_runtime.alerts.disk import DiskWatch
from tickbus_runtime.bus.publisher import Publisher
from tickbus_runtime.service import process
from tickbus_runtime.service.process import Context

from tickbus_writer.stream_files import Limits
from tickbus_writer.stream_service import StreamService
from tickbus_writer.warm import warm


async def serve(context: Context) -> None:
    """Write the streams named in the settings side by side until told to stop."""
    _allow_many_files()
    warm()
    settings, shards = context.settings.writer, context.settings.of_shards
    limits = Limits(
        block_s=settings.block_s,
        row_group_rows=settings.row_group_rows,
        memory_bytes=settings.memory_bytes_max // (len(settings.streams) * len(shards)),
        zstd_level=settings.zstd_level,
    )
    waiting = set(settings.streams)
    watched = context.watched
    watched.streams = watched.full_streams = True
    watched.watchers.append(DiskWatch(Path(settings.root or context.settings.data_dir)).look)
    publisher = Publisher(context.nc, stopping=context.stopping, telemetry=context.telemetry)

    def starts(kind: str) -> Callable[[], None]:
        def started() -> None:
            waiting.discard(kind)
            if not waiting:
                context.set_ready()

        return started

    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="encode") as pool:
        try:
            async with asyncio.TaskGroup() as streams:
                for kind in settings.streams:
                    one = StreamService(
                        context, context.shard.stream(kind), limits, publisher, pool
                    )
                    streams.create_task(one.run(starts(kind)))
        except* Exception as several:
            raise several.exceptions[0] from None  # one line for the user, not a group of them
        finally:
            await publisher.close()


def _allow_many_files() -> None:
    """A file is open for each ticker and feed once memory was emptied: more than 1,024 of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else max(soft, 65_536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> None:
    """Console script `tickbus-writer`."""
    process.run("writer", process.each_shard(serve))


if __name__ == "__main__":
    main()
