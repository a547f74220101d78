"""The features service: `python -m tickbus_features --help`."""

from __future__ import annotations

from tickbus_runtime.service.fold import serve_fold
from tickbus_runtime.service.process import Context, each_shard, run
from tickbus_schemas import subjects

from tickbus_features.fold import FeatureFold
from tickbus_features.warm import warm


async def serve(context: Context) -> None:
    """Bars and features of the shard until told to stop."""
    warm()
    settings, shard = context.settings.features, context.shard
    streams = shard.stream("bar"), shard.stream("feature")
    fold = FeatureFold(
        sorted({subjects.interval_ms(interval) for interval in settings.intervals}),
        grace_ms=settings.grace_ms,
        bar_stream=streams[0],
        feature_stream=streams[1],
        count=context.telemetry.count,
    )
    context.status["catalogue"] = fold.tickers.catalogue.hash
    await serve_fold(
        context, fold, out_streams=streams, stage="feature", checkpoint_s=settings.checkpoint_s
    )


def main() -> None:
    """Entry point of `tickbus-features`."""
    run("features", each_shard(serve))


if __name__ == "__main__":
    main()
