"""Ingest as a process: what it needs before the first frame, and what it gives back at the end."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from tickbus_runtime.service.process import Context
from tickbus_schemas.errors import Fatal, Reject, Retry

from tickbus_ingest import exchanges, instruments
from tickbus_ingest.connection import Rest, choose_client
from tickbus_ingest.flusher import Ingest, jitter
from tickbus_ingest.wire.raw_lines import one_line
from tickbus_ingest.reconnect import backoff_s
from tickbus_ingest.wire.recorder import Recorder
from tickbus_ingest.snapshots import Fetcher
from tickbus_ingest.venue.contract import Venue


async def serve(ctx: Context) -> None:
    """Run until told to stop or until the input has ended; everything received is stored."""
    wanted = exchanges.load(ctx.settings.ingest.exchange)
    choose_client(ctx.settings.ingest.websocket_client)
    recorder = _recorder(ctx)
    rest = Rest(
        rest_url(ctx, wanted),
        capture_times=ctx.settings.ingest.capture_times,
    )
    fetcher = Fetcher(wanted, rest, telemetry=ctx.telemetry, log=ctx.log)
    try:
        tickers = await _tickers(ctx, wanted, fetcher, recorder)
        if tickers is not None:
            venue = wanted(tickers, ctx.settings.ingest.channels)
            await Ingest(ctx, venue, fetcher, recorder).run()
    except Retry as error:  # only when told to stop: before that the bus is waited for
        raise Fatal(f"stopped with data that the bus did not take: {error}") from None
    finally:
        await fetcher.close()
        if recorder is not None:
            await asyncio.to_thread(recorder.close)


def rest_url(ctx: Context, venue: type[Venue]) -> str:
    """Where REST is: the venue's address unless the settings name another."""
    return (ctx.settings.ingest.rest_url or venue.rest_url).rstrip("/")


def _recorder(ctx: Context) -> Recorder | None:
    settings = ctx.settings.ingest
    if not settings.raw:
        return None
    return Recorder(
        Path(ctx.settings.data_dir) / "_raw" / ctx.shard.exchange.token,
        ctx.shard.name,
        rotate_s=settings.raw_rotate_s,
        rotate_bytes=settings.raw_rotate_bytes,
        dropped=lambda frames: ctx.telemetry.count("raw_dropped", frames),
        failed=lambda why: ctx.log.error(why),
    )


async def _tickers(
    ctx: Context, venue: type[Venue], fetcher: Fetcher, recorder: Recorder | None
) -> list[str] | None:
    """The tickers to take, by the venue's list; None when told to stop before it came."""
    attempt = 0
    while not ctx.stopping.is_set():
        try:
            answer = await fetcher.get(venue.instruments_request())
            if recorder is not None:
                url = rest_url(ctx, venue) + venue.instruments_request().path
                recorder.line(one_line(answer.received_ns, 0, "http", answer.data, url))
            listed = venue.parse_instruments(answer.data)
            return instruments.chosen(
                ctx.settings.ingest.tickers, listed, ctx.settings.ingest.exchange
            )
        except (Retry, Reject) as error:
            ctx.log.warning("waiting for the venue's list of instruments", why=str(error))
        attempt += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ctx.stopping.wait(), backoff_s(attempt, jitter))
    return None
