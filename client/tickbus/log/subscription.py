"""Subscribe to a subject from now, from a time or from a sequence, without hole or repeat.

History comes from the streams. Live messages are buffered meanwhile and follow it. After a lost
connection, or when the buffer was full, the missing messages are read from the streams.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import Literal, TypeAlias

from nats.errors import Error as NatsError
from nats.js.api import StreamInfo
from tickbus_schemas import codec
from tickbus_schemas.errors import Fatal, Reject, Retry

from tickbus.log.batch import Batch
from tickbus.log.connection import Connection, connect
from tickbus.log.live import Live, LiveFeed
from tickbus.log.reader import Reader
from tickbus.log.stored import Missing, Stored

Start: TypeAlias = Literal["live"] | datetime | int | None
"""Where to begin: "live" or None (now), a time, or a stream sequence."""

_log = logging.getLogger("tickbus")


def subscribe(
    subject: str,
    start: Start = "live",
    *,
    nc: Connection | None = None,
    url: str | None = None,
    until: datetime | None = None,
) -> Subscription:
    """Batches of a subject such as `md.binance_usdm.BTCUSDT.trade` (wildcards `*` and `>`).

        async for batch in tickbus.subscribe("md.binance_usdm.*.trade"):
            for row in batch.rows(): ...

    A leading `live.` makes no difference. `until` ends it with the last message stored before that
    time. Messages of one stream come in its order, each once; streams are read one after the other
    until each has caught up. `nc`: the connection to use; without one the subscription makes its
    own and closes it at the end.
    """
    return Subscription(subject.removeprefix("live."), start, nc=nc, url=url, until=until)


class Subscription:
    """Iterate over it; `async with` or leaving the loop closes it."""

    def __init__(
        self,
        subject: str,
        start: Start,
        *,
        nc: Connection | None,
        url: str | None,
        until: datetime | None,
    ) -> None:
        self.subject = subject
        self.rejected = 0
        """messages that were left out because they could not be read (logged)"""
        self.refills = 0
        """how often missing live messages were read from a stream"""
        self._start: Start = start
        self._until_ns = int(until.timestamp() * 1_000_000) * 1_000 if until else None
        self._own = nc is None
        self._nc = nc
        self._url = url
        self._floor: dict[str, int] = {}
        """of each stream: everything of the subject up to this sequence was handed over"""
        self._above: dict[str, dict[str, int]] = {}
        """of each stream and subject: the last sequence handed over above the floor"""
        self.expired: list[Missing] = []
        """requested sequences that a stream no longer holds"""
        self._batches: AsyncGenerator[Batch] | None = None

    def __aiter__(self) -> AsyncIterator[Batch]:
        self._batches = self._run()
        return self._batches

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End it, also in the middle of its iteration."""
        batches = self._batches
        if batches is not None:
            await batches.aclose()

    async def _run(self) -> AsyncGenerator[Batch]:
        nc = self._nc or await connect(self._url, name="tickbus-subscribe")
        try:
            streams = await self._find_streams(nc)
            feed = LiveFeed(nc, self.subject)
            await (
                feed.open()
            )  # before history is read, so that live messages are buffered meanwhile
            try:
                async with contextlib.aclosing(self._ordered(nc, feed, streams)) as ordered:
                    async for stream, stored in ordered:
                        if self._until_ns is not None and stored.stored_ns >= self._until_ns:
                            return
                        batch = self._decoded(stream, stored)
                        if batch is not None:
                            yield batch
            finally:
                await feed.close()
        finally:
            if self._own:
                await nc.close()

    async def _find_streams(self, nc: Connection) -> dict[str, StreamInfo]:
        """The streams that store the subject; with `live` as the start, where each ends now."""
        request = json.dumps({"subject": self.subject}).encode()
        try:
            answer = await nc.request("$JS.API.STREAM.NAMES", request, timeout=5)
            names = json.loads(answer.data).get("streams") or []
            found = {name: await nc.jsm().stream_info(name) for name in names}
        except (NatsError, TimeoutError, OSError) as error:
            raise Retry(f"the bus does not say where {self.subject} is stored: {error}") from None
        if not found:
            raise Fatal(f"no stream stores {self.subject}: 'tickbus streams' lists what there is")
        if self._start in ("live", None):
            self._floor = {name: info.state.last_seq for name, info in found.items()}
        return found

    async def _ordered(
        self, nc: Connection, feed: LiveFeed, streams: dict[str, StreamInfo]
    ) -> AsyncGenerator[tuple[str, Stored]]:
        """History, then live messages; history again wherever live messages are missing."""
        for name, info in streams.items():
            async with contextlib.aclosing(self._history(nc, name)) as history:
                async for stored in history:
                    yield name, stored
            if info.config.republish is None:
                start_seq = self._floor[name] + 1
                feed.follow(Reader(nc, name, start_seq=start_seq, subject_filter=self.subject))
        while True:
            await feed.wait()
            for live in () if feed.torn else feed.take():
                if self._is_missing(live):
                    feed.tear()
                    break
                if self._is_new(live.stream, live.stored):
                    yield live.stream, live.stored
            if feed.torn:
                self.refills += 1
                feed.mend()
                for name in streams:
                    async with contextlib.aclosing(self._history(nc, name)) as history:
                        async for stored in history:
                            yield name, stored

    async def _history(self, nc: Connection, stream: str) -> AsyncGenerator[Stored]:
        """The subject's messages in the stream that were not handed over, up to now."""
        start_seq, start_time_ns = self._floor.get(stream), None
        if start_seq is not None:
            start_seq += 1
        elif isinstance(self._start, datetime):
            start_time_ns = int(self._start.timestamp() * 1_000_000) * 1_000
        elif isinstance(self._start, int):
            start_seq = self._start
        reader = Reader(
            nc,
            stream,
            start_seq=start_seq,
            start_time_ns=start_time_ns,
            subject_filter=self.subject,
            only_history=True,
        )
        async with contextlib.aclosing(reader.groups()) as groups:
            async for batch in groups:
                for stored in batch:
                    if self._is_new(stream, stored):
                        yield stored
        assert reader.info is not None
        state = reader.info.state
        if start_seq is not None and start_seq < state.first_seq:
            gone = Missing(start_seq, state.first_seq - 1)
            self.expired.append(gone)
            _log.warning("%s no longer has %d to %d", stream, *gone)
        # The end was read before the reader began, so everything up to it was handed over.
        floor = max(state.last_seq, (reader.next_seq or 1) - 1)
        self._floor[stream] = max(floor, self._floor.get(stream, 0))
        self._above[stream] = {}

    def _is_new(self, stream: str, stored: Stored) -> bool:
        """Whether it is handed over for the first time; notes it."""
        above = self._above.setdefault(stream, {})
        if stored.seq <= max(self._floor.get(stream, 0), above.get(stored.subject, 0)):
            return False
        above[stored.subject] = stored.seq
        return True

    def _is_missing(self, live: Live) -> bool:
        """Whether the message before it on its subject was never handed over."""
        floor = self._floor.setdefault(live.stream, live.last_seq)  # a stream that is new
        above = self._above.setdefault(live.stream, {})
        return live.last_seq > max(floor, above.get(live.stored.subject, 0))

    def _decoded(self, stream: str, stored: Stored) -> Batch | None:
        try:
            message = codec.decode(stored.data, stored.subject)
        except Reject as error:
            self.rejected += 1
            _log.warning("%s %d is left out: %s", stream, stored.seq, error)
            return None
        return Batch(message, stored.subject, stream, stored.seq, stored.stored_ns)
