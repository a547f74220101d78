"""Ingest as a process: what it needs before the first frame, its loop, what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from tickbus_runtime.alerts.alarms import Holding
from tickbus_runtime.service.process import Context
from tickbus_schemas.errors import Fatal, Reject, Retry

from tickbus_ingest import exchanges
from tickbus_ingest.lines.dialer import Dialer
from tickbus_ingest.lines.fetcher import Fetcher, fetcher_of
from tickbus_ingest.lines.following import Changes, Following
from tickbus_ingest.lines.limits import Limits, NoLimits
from tickbus_ingest.lines.lines import Lines
from tickbus_ingest.lines.listing import Listed, Listing
from tickbus_ingest.lines.polls import Polls
from tickbus_ingest.lines.tickers import chosen, gone
from tickbus_ingest.lines.watch import DataWatch, Step
from tickbus_ingest.publish.accounts import Accounts
from tickbus_ingest.publish.flusher import Flusher
from tickbus_ingest.publish.line_reports import LineReports
from tickbus_ingest.publish.owner import Owner, own_version
from tickbus_ingest.publish.severe import Facts, Severe, Unlisted
from tickbus_ingest.session.book_rules import SnapshotRule
from tickbus_ingest.session.session import Session
from tickbus_ingest.session.tables import Flush
from tickbus_ingest.venue.contract import Get, Limit, Poll, Venue, What
from tickbus_ingest.venue.guard import Failures, guard, made
from tickbus_ingest.venue.instruments import Instrument
from tickbus_ingest.warm import warm
from tickbus_ingest.wire.buffer import Buffer, Failed
from tickbus_ingest.wire.raw_lines import one_line
from tickbus_ingest.wire.recorder import Recorder
from tickbus_ingest.wire.rest import Answer, Rest
from tickbus_ingest.wire.socket import check_local, choose_client

TICK_S = 0.1
LOOK_S = 1.0
DELAYS_S = 0.25
YOUNG_MAX = 100_000
"""Objects of one flush are fewer: they are gone when it is, and the collector need not look."""
SWITCH_S = 0.0005
"""The recorder's thread gives the interpreter back after this time; 5 ms is Python's own."""
LAST_BODIES_S = 5.0
"""At the end of the input, answers that are still to come are waited for so long."""
NO_DATA_SILENCES = 2.0
"""A silent connection is replaced; when that does not help either there is no data."""
ATTEMPTS_S = 300.0
"""`ingest.connection_attempts_per_5min`."""


async def serve(ctx: Context) -> None:
    """Run until told to stop or until the input has ended; everything received is stored."""
    settings = ctx.settings.ingest
    kind = exchanges.load(settings.exchange)
    choose_client(settings.websocket_client)
    check_local(settings.bind)
    nobody = made(kind, [], settings.feeds)  # Fatal for feeds that the venue does not have
    failures = Failures()
    guard(nobody, failures)
    attempts = Limit(What.ATTEMPTS, settings.connection_attempts_per_5min, ATTEMPTS_S)
    limits = Limits(kind, attempts) if settings.limits else NoLimits(kind)
    rest = Rest(_rest_urls(ctx, kind), capture_times=settings.capture_times)
    fetcher = fetcher_of(nobody, rest, limits, ctx.telemetry, ctx.log)
    warming = _beside(warm)  # while the list is waited for
    try:
        async with _recorder(ctx) as recorder:
            listing = Listing(kind, fetcher, ctx.log, lambda body: _record(recorder, body))
            silence_s = NO_DATA_SILENCES * settings.silence_s
            unlisted = Unlisted(settings.exchange, silence_s, time.monotonic())
            ctx.watched.watchers.append(unlisted.look)
            listed = await listing.first(ctx.stopping)
            if listed is None:
                return
            unlisted.has_come = True
            instruments = chosen(settings.tickers, listed.instruments, settings.exchange)
            venue = made(kind, instruments, settings.feeds)
            guard(venue, failures)
            told = asyncio.ensure_future(ctx.stopping.wait())
            either: list[asyncio.Future[Any]] = [warming, told]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
            if not warming.done():  # kernels may compile for a minute: a stop does not wait
                return
            warming.result()
            ingest = Ingest(ctx, venue, failures, limits, fetcher, recorder)
            await ingest.run(listing, listed)
    except Retry as error:  # only when told to stop: before that the bus is waited for
        raise Fatal(f"stopped with data that the bus did not take: {error}") from None
    finally:
        warming.cancel()
        await fetcher.close()


class Ingest:
    """Lines, session and flusher of one venue, and the loop that drives them."""

    def __init__(
        self,
        ctx: Context,
        venue: Venue,
        failures: Failures,
        limits: Limits,
        fetcher: Fetcher,
        recorder: Recorder | None,
    ) -> None:
        settings = self._settings = ctx.settings.ingest
        self._ctx, self._venue, self._fetcher, self._recorder = ctx, venue, fetcher, recorder
        self._buffer = Buffer(
            settings.buffer_frames,
            settings.buffer_bytes,
            # A capture is served by a venue that waits for us; a live one would cut us off.
            self._hold_back if settings.stop_at_end else None,
        )
        self._session = Session(
            venue,
            max_frame_bytes=settings.max_frame_bytes,
            rule=SnapshotRule(interval_us=int(settings.snapshot_interval_s * 1e6)),
            wait_us=int(settings.reorder_wait_ms * 1000),
        )
        self._failures = failures
        self._accounts = Accounts(ctx.telemetry, ctx.status)
        dialer = Dialer(
            venue=venue,
            urls=[settings.ws_url or url for url in venue.websocket_urls],
            client=choose_client(settings.websocket_client),
            buffer=self._buffer,
            limits=limits,
            silence_s=settings.silence_s,
            max_frame_bytes=settings.max_frame_bytes,
            telemetry=ctx.telemetry,
            log=ctx.log,
            recorder=recorder,
            fetch=self._fetched,
            bind=settings.bind,
            hosts=settings.hosts,
            query="tickbus_times=1" if settings.capture_times else "",
        )
        self._client = dialer.client
        self._lines = Lines(dialer, settings.connections, stop_at_end=settings.stop_at_end)
        self._reports = LineReports(ctx.telemetry, ctx.status)
        self._next_report_s = time.monotonic() + settings.lines_report_s
        self._watch = DataWatch(self._lines.streams, venue, settings.ticker_silence_s)
        self._polls = Polls(venue.polls(), fetcher, self._buffer)
        self._following = Following(
            settings.tickers, venue.exchange.token, venue.instruments.values()
        )
        self._limits, self._gone, self._checksums = limits, list[str](), 0
        self._severe = Severe(
            venue.exchange.token,
            sum(len(stream.feeds) for stream in self._lines.streams),
            NO_DATA_SILENCES * (venue.silence_s or settings.silence_s),
            of_recording=settings.stop_at_end,
        )
        self._next_look_s = self._next_delays_s = 0.0
        self._timer: asyncio.TimerHandle
        self._flusher: Flusher

    async def run(self, listing: Listing, listed: Listed) -> None:
        """Announce ourselves, open the lines, flush until the end."""
        owner = await self._begin(listed)
        await self._ctx.released()
        running = asyncio.ensure_future(self._lines.run())
        refresh_s = self._settings.instruments_refresh_s
        beside = {
            "the refresh of the list of instruments": asyncio.create_task(
                listing.keep(refresh_s, self._list_instruments)
            ),
            "the polls of REST bodies": asyncio.create_task(self._polls.run()),
        }
        ended = asyncio.create_task(self._until_ended(running, *beside.values()))
        self._wake_regularly()
        self._ctx.readiness.fresh_within_s = self._venue.silence_s or self._settings.silence_s
        self._ctx.watched.watchers.append(self._severe_now)
        self._ctx.set_ready()
        try:
            while not ended.done():
                await self._buffer.arrived.wait()
                if self._settings.linger_ms and not self._flusher.is_full:
                    await asyncio.sleep(self._settings.linger_ms / 1000)
                await self._flush()
            if running.done():
                running.result()  # a bug in a line is not an end of the input
            died = [_last_word(name, task) for name, task in beside.items() if task.done()]
            await _cancelled(running, *beside.values())
            await self._lines.close()
            await self._finish()
            if died:
                raise Fatal("; ".join(died))
        finally:
            await _cancelled(running, ended, *beside.values())
            await self._lines.close()
            self._timer.cancel()
            await self._flusher.abandon()
            await owner.close()

    async def _begin(self, listed: Listed) -> Owner:
        ctx = self._ctx
        owner = await Owner.announced(ctx, self._venue)
        known = await owner.resume(self._session)
        self._flusher = Flusher(
            ctx, self._session, self._buffer, owner, self._accounts, self._recorder
        )
        self._list_instruments(listed)
        sys.setswitchinterval(SWITCH_S)
        gc.freeze()  # what is loaded by now stays; the collector need not look at it again
        gc.set_threshold(YOUNG_MAX, *gc.get_threshold()[1:])
        ctx.log.info(
            "begins",
            epoch=owner.epoch,
            known_subjects=known,
            client=self._client,
            version=own_version(),
        )
        return owner

    def _list_instruments(self, listed: Listed) -> None:
        """The venue's list has come: checksums need its precisions, readers its ticks."""
        instruments = listed.instruments
        if self._following.is_needed:
            instruments = [*instruments, *self._follow(self._following.look(instruments))]
        else:
            self._gone = gone(self._venue.tickers, instruments)
        ours = self._venue.instruments
        ours |= {one.ticker: one for one in instruments if one.ticker in ours}
        self._flusher.list_instruments(instruments, listed.received_ns)

    def _follow(self, changes: Changes) -> list[Instrument]:
        """Tickers come and go; the instruments of those that the venue does not list any more.

        New ones get connections of their own, so those that are open go on as they are.
        """
        if changes.why_not:
            self._ctx.log.warning("the list of instruments changes nothing", why=changes.why_not)
        if changes.gone:
            self._lines.drop(changes.gone)
            self._flusher.leave(changes.gone, "the venue lists it no more")
            self._ctx.log.info("tickers go", tickers=", ".join(changes.gone))
        if changes.come:
            self._take(changes.come)
            names = ", ".join(one.ticker for one in changes.come)
            self._ctx.log.info("tickers come", tickers=names)
        if changes.gone or changes.come:
            self._watch = self._watch.of(self._lines.streams, self._venue)
            self._polls.change(self._polls_of_taken())
        return changes.ended

    def _take(self, instruments: list[Instrument]) -> None:
        venue = self._venue
        new = [one for one in instruments if one.ticker not in venue.index]
        if new:
            venue.extend(new)
            self._session.grow()
            self._flusher.grow(venue.tickers)
        beside = made(type(venue), instruments, venue.wanted)
        guard(beside, self._failures)
        routes = [
            replace(route, streams=tuple(one for one in route.streams if one.ticker))
            for route in beside.routes()
        ]  # streams of the whole market carry the new ones already
        try:
            self._lines.add([route for route in routes if route.streams])
        except Fatal as error:
            self._ctx.log.error("no connection for new tickers", why=str(error))

    def _polls_of_taken(self) -> list[Poll]:
        beside = made(type(self._venue), self._following.taken, self._venue.wanted)
        guard(beside, self._failures)
        return beside.polls()

    async def _fetched(self, get: Get) -> bytes:
        return (await self._fetcher.get(get, "address")).data

    def _hold_back(self, paused: bool) -> None:
        self._lines.hold(paused)

    async def _until_ended(
        self, running: asyncio.Future[None], *beside: asyncio.Future[None]
    ) -> None:
        """Ends when all lines have, when what should never end has, or when told to stop.

        Wakes the flusher to see it.
        """
        told = asyncio.ensure_future(self._ctx.stopping.wait())
        either: list[asyncio.Future[Any]] = [running, told, *beside]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        self._buffer.arrived.set()

    def _wake_regularly(self) -> None:
        """Time passes for the session even when nothing arrives."""
        self._buffer.arrived.set()
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._wake_regularly)

    # ---------------------------------------------------------------- flush

    async def _flush(self, *, final: bool = False, last_call: bool = False) -> None:
        """Read what has arrived; do what the session wishes; have it published.

        In this order: a venue that waits for its answer must not wait for the bus.
        """
        reading = self._flusher.read(final=final, last_call=last_call)
        self._carry_out(reading.flush)
        self._say_failures()
        self._look_around()
        self._report_lines(reading.flush, last=final)
        await self._flusher.publish(reading)

    def _carry_out(self, flush: Flush) -> None:
        lines = self._lines
        lines.reply(flush.replies)
        lines.answered(flush.answers)
        lines.heard(flush.heard_lines)
        lines.give_up(flush.refused_streams)
        lines.replace(flush.closing_lines | flush.broken_lines)
        lines.renew_books(flush.subscriptions_wanted)
        self._checksums += sum("checksum" in row.reason for row in flush.statuses)
        self._note_delays(flush)
        for ticker in flush.snapshots_wanted:
            self._ask_for_book(self._venue.tickers[ticker])

    def _ask_for_book(self, ticker: str) -> None:
        try:
            request = self._venue.snapshot_request(ticker, self._settings.snapshot_limit)
        except Reject as error:
            self._buffer.notice(Failed(Get("", book_of=ticker), str(error), for_good=True))
            return
        if request is not None:
            self._fetcher.begin(request, self._buffer)

    def _say_failures(self) -> None:
        """What the venue's file fails to do: each kind of failure once, all of them counted."""
        counts, lines = self._failures.take()
        for function, times in counts.items():
            self._ctx.telemetry.count("venue_failures", times, function=function)
        for line in lines:
            self._ctx.log.error(line)

    def _report_lines(self, flush: Flush, *, last: bool) -> None:
        """How the lines did, where several carry the same; one that falls behind is replaced."""
        now_s = time.monotonic()
        if now_s < self._next_report_s and not last:
            return
        self._next_report_s = now_s + self._settings.lines_report_s
        reports = self._session.report_lines(time.time_ns() // 1000, flush)
        behind = self._reports.show(reports, now_s)
        for report in behind:
            self._ctx.log.warning("a line falls behind; it is replaced", **report.facts)
        self._lines.replace(report.line for report in behind)

    def _look_around(self) -> None:
        """Once a second: silent streams, gauges."""
        now_s = time.monotonic()
        if now_s < self._next_look_s:
            return
        self._next_look_s = now_s + LOOK_S
        silent = self._watch.look(self._session.heard, now_s, self._lines.may_speak)
        for stream, silent_s, step in silent:
            if step is Step.ASK or not self._lines.move(stream, now_s):
                step = Step.ASK
                self._lines.subscribe_again([stream])
            told = f"silent for {silent_s:.0f} s; {step.value}"
            self._flusher.say_silent(stream, f"{stream.name} is {told}")
        if silent:
            such_as = ", ".join(one.stream.name for one in silent[:3])
            self._ctx.log.warning("silent; asked for again", streams=len(silent), such_as=such_as)
        self._accounts.show(self._session, self._buffer, self._recorder)

    def _note_delays(self, flush: Flush) -> None:
        """Of some flushes: a median costs as much as a small flush."""
        now_s = time.monotonic()
        delays_us = [wire_us for wire_us in flush.wire_us if len(wire_us)]
        if delays_us and now_s >= self._next_delays_s:
            self._next_delays_s = now_s + DELAYS_S
            delay_us = np.concatenate(delays_us)
            self._severe.note_delays(int(delay_us.min()), int(np.median(delay_us)), now_s)

    def _severe_now(self, now_s: float) -> Holding:
        """What becomes an alert; asked from outside, so that a stalled flush is seen too."""
        counters, limits = self._ctx.telemetry.counters, self._limits
        facts = Facts(
            frames=int(counters.get(("frames", (("source", "websocket"),)), 0)),
            stored=int(counters.get(("flushes", ()), 0)),
            waiting=len(self._buffer),
            gaps=int(sum(n for (name, _), n in counters.items() if name == "gaps")),
            checksums=self._checksums,
            held_s={
                "request": limits.weight.held_s(now_s),
                "connection": max(bucket.held_s(now_s) for bucket in limits.attempts),
            },
            gone=self._gone,
            silent=self._watch.mute,
        )
        return self._severe.look(facts, now_s)

    async def _finish(self) -> None:
        """The input has ended: take the last bodies, say the final time, have all of it stored."""
        await self._fetcher.settle(LAST_BODIES_S)
        while self._buffer:
            await self._flush()
        if not self._ctx.stopping.is_set():
            await self._flush(last_call=True)
            await self._fetcher.settle(LAST_BODIES_S)
        while self._buffer:
            await self._flush()
        await self._flush(final=True)
        await self._flusher.stored()
        self._accounts.show(self._session, self._buffer, self._recorder)
        self._ctx.log.info("ends", packets=self._session.packets, **self._accounts.work())


def _beside(work: Callable[[], object]) -> asyncio.Future[None]:
    """Do this in a thread that no end of the process waits for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        caught: BaseException | None = None
        try:
            work()
        except BaseException as error:
            caught = error
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(tell, caught)

    threading.Thread(target=run, name="warm", daemon=True).start()
    return done


def _rest_urls(ctx: Context, venue: type[Venue]) -> list[str]:
    """Where REST is: the venue's addresses unless the settings name another."""
    return [ctx.settings.ingest.rest_url or url for url in venue.rest_urls]


@contextlib.asynccontextmanager
async def _recorder(ctx: Context) -> AsyncIterator[Recorder | None]:
    """Keeps raw frames, if that is wanted; its last block is written at the end."""
    settings = ctx.settings.ingest
    if not settings.raw:
        yield None
        return
    recorder = Recorder(
        Path(ctx.settings.data_dir) / "_raw" / ctx.shard.exchange.token,
        ctx.shard.name,
        rotate_s=settings.raw_rotate_s,
        rotate_bytes=settings.raw_rotate_bytes,
        dropped=lambda frames: ctx.telemetry.count("raw_dropped", frames),
        failed=lambda why: ctx.log.error(why),
    )
    try:
        yield recorder
    finally:
        await asyncio.to_thread(recorder.close)


def _record(recorder: Recorder | None, body: Answer) -> None:
    """A list of instruments, as it came."""
    if recorder is not None:
        recorder.line(one_line(body.received_ns, 0, "http", body.data, body.url))


def _last_word(name: str, task: asyncio.Future[None]) -> str:
    """Why a task ended that should run as long as the service."""
    error = None if task.cancelled() else task.exception()
    why = "" if error is None else f": {type(error).__name__}: {error}"
    return f"stopped, because {name} ended{why}"


async def _cancelled(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
