"""Reads a stream from a given sequence or time, in order, without hole or repeat.

An ephemeral pull consumer without acknowledgements feeds one subscription; the position is ours.
After any failure (server restarted, consumer deleted, silence) a new consumer begins after the last
message handed over. nats-py's own `fetch` is several times slower and hides such failures.
https://docs.nats.io/nats-concepts/jetstream/consumers
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamInfo
from nats.js.errors import NotFoundError
from tickbus_schemas.errors import Fatal

from tickbus.log.connection import BUS_AWAY, Connection
from tickbus.log.delivery import Deliveries
from tickbus.log.stored import Missing, Stored
from tickbus.log.wire import Messages
from tickbus.retry import Attempts

BATCH_MESSAGES = 1_024
BATCH_BYTES = 8 * 1024**2
"""Of one pull request. Two are open at a time, so the server never waits for the next one."""
REQUESTS_OPEN = 2
BUFFER_MESSAGES = 3 * BATCH_MESSAGES
BUFFER_BYTES = 3 * BATCH_BYTES
"""No further request is sent while this much waits here."""
GATHER_S = 0.004
"""While the reader lags, it waits this long for a fuller group: a group has a fixed cost."""
EXPIRES_S = 30
HEARTBEAT_S = 1.0
SILENT_HEARTBEATS = 3
INACTIVE_S = 60
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Reader:
    """Messages of one stream.

    Begins at `start_seq`, at the first message stored at `start_time_ns` or later, or at the
    stream's first. `subject_filter` costs the server dearly on large streams: services read whole
    streams. Fatal when the stream does not exist, or is another one than before.
    """

    def __init__(
        self,
        nc: Connection,
        stream: str,
        *,
        start_seq: int | None = None,
        start_time_ns: int | None = None,
        subject_filter: str | None = None,
        only_history: bool = False,
    ) -> None:
        self._nc = nc
        self._js = nc.jetstream(timeout=5)
        self.stream = stream
        self.next_seq = start_seq
        """next sequence to read; None before the first message if the start is not a sequence"""
        self._start_time_ns = start_time_ns
        self._filter = subject_filter
        self._only_history = only_history
        self.pending = 0
        """messages in the stream after the last one that arrived"""
        self.missing: list[Missing] = []
        """runs of sequences that the stream no longer had (never filled when filtered)"""
        self.consumers = 0
        """how many consumers were made; more than one: something failed"""
        self.info: StreamInfo | None = None
        """of the stream, as the last consumer found it"""
        self._arrived: list[Stored] = []
        self._arrived_bytes = 0
        self._behind = 0  # messages in the stream after the last of these
        self._wake_at = 1
        self._waiter: asyncio.Future[None] | None = None
        self._requested = 0  # messages that open requests brought or may still bring, not yet taken
        self._broken = True
        self._stopping = asyncio.Event()
        self._heard = 0  # messages taken and statuses; does not change while the server is silent
        self._subscription: Subscription | None = None
        self._consumer = ""

    async def groups(self) -> AsyncGenerator[list[Stored]]:
        """The messages that arrived since the last turn; waits until there are some.

        Ends after `stop`; with `only_history` also at the end of the stream.
        """
        end_listening = self._nc.on_change(self._break)
        ticking = asyncio.create_task(self._tick())
        try:
            while not self._stopping.is_set():
                if self._broken and not self._arrived:
                    await self._begin()
                if self._only_history and not (self.pending or self._arrived or self._broken):
                    return
                await self._request()
                await self._gather()
                batch = self._take()
                if batch:
                    yield batch
        finally:
            ticking.cancel()
            end_listening()
            await self._end()

    def stop(self) -> None:
        """End `groups` after its present item."""
        self._stopping.set()
        self._wake()

    async def _begin(self) -> None:
        """Make a consumer that begins after the last message; try until it succeeds."""
        async for _ in Attempts(self._stopping):
            await self._end()
            try:
                await self._create()
                return
            except NotFoundError:
                raise Fatal(
                    f"there is no stream {self.stream}: 'tickbus init' creates it, or name another"
                ) from None
            except BUS_AWAY:
                continue

    async def _create(self) -> None:
        info = await self._js.stream_info(self.stream)
        if self.info is not None and info.created != self.info.created:
            raise Fatal(f"stream {self.stream} was deleted and made again: start again")
        self.info = info
        inbox = self._nc.new_inbox()
        self._requested, self._broken = len(self._arrived), False
        self._subscription = await self._nc.pour(inbox, self._on_messages)
        config = ConsumerConfig(
            ack_policy=AckPolicy.NONE,
            mem_storage=True,
            num_replicas=1,
            inactive_threshold=INACTIVE_S,
            filter_subject=self._filter,
            **self._start(),
        )
        consumer = await self._js.add_consumer(self.stream, config)
        self._consumer, self.pending = consumer.name, consumer.num_pending or 0
        self._inbox = inbox
        self.consumers += 1

    def _start(self) -> dict[str, Any]:
        if self.next_seq is not None:
            return {
                "deliver_policy": DeliverPolicy.BY_START_SEQUENCE,
                "opt_start_seq": max(self.next_seq, 1),
            }
        if self._start_time_ns is not None:
            # Rounded down to a microsecond, so that no message of that time is left out.
            time = _EPOCH + timedelta(microseconds=self._start_time_ns // 1_000)
            return {"deliver_policy": DeliverPolicy.BY_START_TIME, "opt_start_time": time}
        return {"deliver_policy": DeliverPolicy.ALL}

    async def _end(self) -> None:
        """Delete the present consumer; without a connection the server does it after INACTIVE_S."""
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        await self._nc.stop(subscription)
        if self._nc.is_connected and not self._broken:
            with contextlib.suppress(*BUS_AWAY):
                await self._js.delete_consumer(self.stream, self._consumer)

    async def _request(self) -> None:
        """Keep requests open, unless the buffer is full."""
        while (
            not self._broken
            and self._requested - len(self._arrived) <= (REQUESTS_OPEN - 1) * BATCH_MESSAGES
            and self._requested < BUFFER_MESSAGES
            and self._arrived_bytes < BUFFER_BYTES
        ):
            request = json.dumps(
                {
                    "batch": BATCH_MESSAGES,
                    "max_bytes": BATCH_BYTES,
                    "expires": EXPIRES_S * 1_000_000_000,
                    "idle_heartbeat": int(HEARTBEAT_S * 1_000_000_000),
                }
            ).encode()
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self._consumer}"
            head = f"PUB {subject} {self._inbox} {len(request)}\r\n".encode()
            self._requested += BATCH_MESSAGES
            if not await self._nc.post([head, request, b"\r\n"]):
                self._break()

    async def _gather(self) -> None:
        """Wait for the first message; while the reader lags, a little longer for more."""
        if not (self._arrived or self._broken or self._stopping.is_set()):
            await self._wait(1, None)
        if self._arrived and not (self._broken or self._stopping.is_set()):
            wanted = min(len(self._arrived) + self._behind, BATCH_MESSAGES)
            if len(self._arrived) < wanted and self._arrived_bytes < BATCH_BYTES:
                await self._wait(wanted, GATHER_S)

    async def _wait(self, messages: int, seconds: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._wake_at = messages
        self._waiter = loop.create_future()
        timer = loop.call_later(seconds, self._wake) if seconds else None
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _break(self) -> None:
        """Mark the present consumer as lost."""
        self._broken = True
        self._wake()

    async def _tick(self) -> None:
        """Notice silence: the server sends heartbeats while a request is open.

        Ticks are counted, not time: a process that was busy must first read what has arrived.
        """
        heard, silent = -1, 0
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            now_heard = self._heard + len(self._arrived)
            silent = silent + 1 if now_heard == heard and not self._arrived else 0
            heard = now_heard
            if silent > SILENT_HEARTBEATS and self._requested > 0:
                silent = 0
                self._break()

    def _on_messages(self, messages: Messages) -> None:
        if messages.deliveries is not None:
            self._on_deliveries(messages, messages.deliveries)
            return
        for headers in messages.headers:
            if headers is not None and headers.startswith(b"NATS/1.0 "):
                self._on_status(headers)

    def _on_deliveries(self, messages: Messages, deliveries: Deliveries) -> None:
        subjects = map(_text, messages.subjects)
        seqs, times = deliveries.seqs, deliveries.stored_ns
        self._arrived += map(Stored, seqs, times, subjects, messages.data, messages.headers)
        self._arrived_bytes += sum(map(len, messages.data))
        self._behind = deliveries.pending
        if len(self._arrived) >= self._wake_at:
            self._wake()

    def _on_status(self, headers: bytes) -> None:
        """A message about a request (ADR-13 of nats-io/nats-architecture-and-design)."""
        self._heard += 1
        status = headers[9:12]
        if status == b"100":  # heartbeat
            return
        left = _header_int(headers, b"Nats-Pending-Messages")
        if status in (b"408", b"409") and left is not None:  # expired, or its byte limit is reached
            self._requested -= left
        else:  # consumer deleted, leader changed, no responder
            self._broken = True
        self._wake()

    def _take(self) -> list[Stored]:
        """The messages that arrived, in order, each once."""
        batch, self._arrived, self._arrived_bytes = self._arrived, [], 0
        if not batch:
            return []
        self._requested -= len(batch)
        self._heard += len(batch)
        self.pending = self._behind
        expected = self.next_seq if self.next_seq is not None else batch[0].seq
        last = batch[-1].seq
        if batch[0].seq != expected or last != expected + len(batch) - 1:
            batch = self._in_order(batch, expected)
        if batch:
            self.next_seq = batch[-1].seq + 1
        return batch

    def _in_order(self, batch: list[Stored], expected: int) -> list[Stored]:
        """Drop repeats; note missing sequences."""
        kept = []
        for stored in batch:
            if stored.seq < expected:
                continue
            if stored.seq > expected and self._filter is None:
                self.missing.append(Missing(expected, stored.seq - 1))
            kept.append(stored)
            expected = stored.seq + 1
        return kept


@lru_cache(maxsize=65_536)
def _text(subject: bytes) -> str:
    return subject.decode("utf-8", "replace")


def _header_int(headers: bytes, name: bytes) -> int | None:
    start = headers.find(name + b": ")
    if start < 0:
        return None
    start += len(name) + 2
    return int(headers[start : headers.find(b"\r\n", start)])
