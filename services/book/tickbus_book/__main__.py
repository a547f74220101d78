"""The book service: `python -m tickbus_book --help`."""

from __future__ import annotations

from tickbus_runtime.service.fold import serve_fold
from tickbus_runtime.service.process import Context, each_shard, run
from tickbus_runtime.settings.sections import BookSettings
from tickbus_schemas import subjects

from tickbus_book.fold import BookFold
from tickbus_book.warm import warm


def intervals_ms(settings: BookSettings) -> list[int]:
    """Grids without doubles, shortest first; 0 in front where each change is asked for."""
    grids = {subjects.interval_ms(interval) for interval in settings.intervals}
    return sorted(grids | {0} if settings.on_change else grids)


async def serve(context: Context) -> None:
    """Books of the shard until told to stop."""
    warm()
    settings = context.settings.book
    stream = context.shard.stream("book")
    fold = BookFold(
        intervals_ms(settings), settings.depth, stream=stream, count=context.telemetry.count
    )
    await serve_fold(
        context, fold, out_streams=[stream], stage="book", checkpoint_s=settings.checkpoint_s
    )


def main() -> None:
    """Entry point of `tickbus-book`."""
    run("book", each_shard(serve))


if __name__ == "__main__":
    main()
