"""Publishes to JetStream in flushes: pipelined, in order, each message acknowledged and once.

`js.publish_async` of nats-py is not used: it never resolves a publish that is answered with an
error or whose answer is lost (nats-io/nats.py#985).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import nats.errors
from nats.aio.subscription import Subscription
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError
from tickbus.log.connection import Connection
from tickbus.log.wire import Messages
from tickbus.retry import backoff_s
from tickbus_schemas.errors import Reject, Retry

from tickbus_runtime.bus.answers import Judgement, judge_answer
from tickbus_runtime.bus.fence_check import FenceCheck, Fenced
from tickbus_runtime.bus.in_flight import InFlight, Outgoing, PublishOutcome
from tickbus_runtime.telemetry.metrics import Telemetry

RETRY_FIRST_S, RETRY_MAX_S = 0.02, 1.0
LOOK_BACK = 1_000
"""A lookup goes back by this many sequences more than the flush has, if no stored message of the
subject is known: others may have published meanwhile."""


class Publisher:
    """Stores messages in the order given; one flush at a time.

    `deadline_s`: after this time without any answer, unanswered messages are looked up in the
    stream, and sent again, in order, if they are not there. `stopping`: once set, a flush without
    progress for `give_up_s` raises Retry; until then a flush never gives up. `fence`: the server
    checks it with each message; a flush raises Fenced when another publisher has written one.
    """

    def __init__(
        self,
        nc: Connection,
        *,
        deadline_s: float = 2.0,
        stopping: asyncio.Event | None = None,
        give_up_s: float = 10.0,
        telemetry: Telemetry | None = None,
        fence: FenceCheck | None = None,
    ) -> None:
        self._nc = nc
        self._fenced = fence is not None
        self._fence_lines = _lines(fence.headers()) if fence else ""
        self._deadline_s = deadline_s
        self._stopping = stopping
        self._give_up_s = give_up_s
        self._telemetry = telemetry or Telemetry()
        self._inbox = f"{nc.new_inbox()}."
        self._places: dict[int, int] = {}  # number of a sent message -> place in the flush
        self._sent = 0
        self._answers: dict[int, Judgement] = {}
        self._unanswered = 0
        self._stored_seqs: dict[str, int] = {}  # of the last message known to be stored, by subject
        self._progress_s = 0.0
        self._settled: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._subscription: Subscription | None = None
        self._end_listening: Callable[[], None] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def flush(self, messages: Sequence[Outgoing]) -> list[PublishOutcome]:
        """Store these; returns the outcome of each, once all are known.

        A message is refused for good when the server refuses it. It is also refused when the server
        asks to send it again but has stored a later message of the flush: the order would change.
        """
        if not messages:
            return []
        async with self._one_at_a_time:
            if self._subscription is None:
                await self._start()
            flush = InFlight(messages, self._nc.max_payload)
            attempt, progress_s = 0, time.monotonic()
            while flush.waiting:
                waited = len(flush.waiting)
                complete = await self._look(flush)
                if complete and flush.waiting:
                    complete = await self._attempt(flush, attempt)
                if flush.fenced:
                    raise Fenced(
                        "another publisher has taken this shard over: this one stops "
                        f"({flush.fenced})"
                    )
                if len(flush.waiting) < waited:
                    attempt, progress_s = 0, time.monotonic()
                if not complete:
                    attempt += 1
                    self._give_up(flush, progress_s)
                    await self._back_off(attempt)
            return self._counted(flush)

    async def close(self) -> None:
        """End the subscription to the answers."""
        if self._subscription is not None and self._end_listening is not None:
            self._end_listening()
            await self._nc.stop(self._subscription)

    async def _start(self) -> None:
        self._subscription = await self._nc.pour(self._inbox + "*", self._on_answers)
        self._end_listening = self._nc.on_change(self._wake)

    def _on_answers(self, answers: Messages) -> None:
        for subject, payload, headers in answers.each():
            self._on_answer(subject, payload, headers)

    def _on_answer(self, subject: bytes, payload: bytes, headers: bytes | None) -> None:
        number = subject[len(self._inbox) :]
        if not number.isdigit():
            return  # not an answer to our messages, which are numbered
        place = self._places.pop(int(number), None)
        if place is None or place in self._answers:
            return  # an answer to an earlier attempt; the message is settled
        self._answers[place] = judge_answer(headers, payload, fenced=self._fenced)
        self._unanswered -= 1
        self._progress_s = time.monotonic()
        if self._unanswered == 0:
            self._wake()

    def _wake(self) -> None:
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    async def _attempt(self, flush: InFlight, attempt: int) -> bool:
        """Send one window and take the answers; whether all of it is settled."""
        nc, window = self._nc, flush.window()
        self._answers = {}
        self._unanswered = len(window)
        losses = nc.losses
        commands: list[bytes] = []
        for place in window:
            self._sent += 1
            self._places[self._sent] = place
            reply = f"{self._inbox}{self._sent}"
            commands += _command(flush.messages[place], reply, self._fence_lines)
        loop = asyncio.get_running_loop()
        self._settled = loop.create_future()
        self._timer = loop.call_later(self._deadline_s, self._expire, loop)
        self._progress_s = time.monotonic()
        try:
            if await nc.post(commands):
                if attempt:
                    self._telemetry.count("publish_retries", len(window))
                if self._unanswered and nc.losses == losses and nc.is_connected:
                    await self._settled
                flush.attempted(window, self._answers)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._settled = None
            self._places.clear()
        return not flush.waiting or flush.waiting[0] > window[-1]

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop waiting if no answer came for the whole deadline; else wait on."""
        left_s = self._progress_s + self._deadline_s - time.monotonic()
        if left_s <= 0:
            self._wake()
        else:
            self._timer = loop.call_later(left_s, self._expire, loop)

    async def _back_off(self, attempt: int) -> None:
        """Wait before the next attempt, and until there is a connection."""
        # A stop does not end this wait: a flush goes on until `give_up_s` pass without progress.
        await asyncio.sleep(backoff_s(attempt, RETRY_FIRST_S, RETRY_MAX_S))
        if not self._nc.is_connected:
            self._settled = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait_for(self._settled, RETRY_MAX_S)
            except TimeoutError:
                return
            finally:
                self._settled = None

    def _give_up(self, flush: InFlight, progress_s: float) -> None:
        stopping = self._stopping is not None and self._stopping.is_set()
        if self._nc.is_closed or (stopping and time.monotonic() - progress_s > self._give_up_s):
            raise Retry(
                f"{len(flush.waiting)} messages are not stored: no answer from the bus; "
                "start again when it is back"
            )

    async def _look(self, flush: InFlight) -> bool:
        """Look up messages without a clear answer in the stream; False if it does not answer."""
        for subject, ids in flush.doubtful().items():
            try:
                back = LOOK_BACK + len(flush.messages)
                flush.found(subject, await self._stored(subject, ids, back))
            except (nats.errors.Error, TimeoutError, OSError):
                return False
        return True

    async def _stored(self, subject: str, ids: set[str], back: int) -> dict[str, int]:
        """Id -> sequence of these messages as far as the stream holds them, and perhaps of others.

        The search begins after the last message known to be stored, or `back` sequences ago.
        """
        js = self._nc.jetstream(timeout=self._deadline_s)
        found: dict[str, int] = {}
        # NotFound: no stream, no message of the subject, or the rest has expired.
        with contextlib.suppress(NotFoundError):
            stream = await js.find_stream_name_by_subject(subject)
            last = await js.get_last_msg(stream, subject)
            last_seq = last.seq or 0
            found[_id_of(last)] = last_seq
            behind = self._stored_seqs.get(subject, max(0, last_seq - back))
            while behind < last_seq and not ids <= found.keys():
                one = await js.get_msg(stream, seq=behind + 1, subject=subject, next=True)
                behind = one.seq or last_seq
                found[_id_of(one)] = behind
        return found

    def _counted(self, flush: InFlight) -> list[PublishOutcome]:
        telemetry = self._telemetry
        outcomes = [outcome for outcome in flush.outcomes if outcome is not None]
        messages, size = 0, 0
        for message, outcome in zip(flush.messages, outcomes, strict=True):
            if outcome.code:
                telemetry.count("publish_refused", code=str(outcome.code))
                continue
            messages += 1
            size += len(message.payload)
            if outcome.seq:
                self._stored_seqs[message.subject] = outcome.seq
            if outcome.duplicate:
                telemetry.count("publish_duplicates")
        telemetry.count("flushes")
        telemetry.count("messages_published", messages)
        telemetry.count("bytes_published", size)
        return outcomes


def _id_of(message: RawStreamMsg) -> str:
    return str((message.headers or {}).get("Nats-Msg-Id", ""))


def _command(message: Outgoing, reply: str, more_lines: str) -> tuple[bytes, bytes, bytes]:
    """The publish command of https://docs.nats.io/reference/reference-protocols/nats-protocol.

    more_lines: header lines of every message.
    """
    head = f"NATS/1.0\r\nNats-Msg-Id: {_one_line(message.msg_id)}\r\n{more_lines}"
    if message.headers:
        head += _lines(message.headers)
    block = head.encode() + b"\r\n"
    size = len(block) + len(message.payload)
    verb = f"HPUB {_checked_subject(message.subject)} {reply} {len(block)} {size}\r\n"
    return verb.encode() + block, message.payload, b"\r\n"


def _lines(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}: {_one_line(value)}\r\n" for name, value in headers.items())


def _one_line(value: str) -> str:
    if "\n" in value or "\r" in value:
        raise Reject(f"a header value with a line break: {value[:80]!r}")
    return value


@lru_cache(maxsize=65_536)
def _checked_subject(subject: str) -> str:
    # The server would store a message on a wildcard, and take a space for the end of the subject.
    if not _SUBJECT.fullmatch(subject):
        raise Reject(f"{subject[:120]!r} is not a subject to publish on")
    return subject


_SUBJECT = re.compile(r"[^\s.*>]+(?:\.[^\s.*>]+)*")
