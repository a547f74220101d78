"""Publishes to JetStream in flushes: pipelined, answered one by one, in order, nothing twice.

`js.publish_async` of nats-py is not used: it never resolves a publish that is answered with an
error or whose answer is lost (nats-io/nats.py#985).
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec
import nats.errors
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError
from tickbus.connection import Connection
from tickbus_schemas.errors import Reject, Retry

from tickbus_runtime.answers import Judgement, Verdict, judge_answer
from tickbus_runtime.telemetry import Telemetry

WINDOW_MESSAGES = 4_000
"""In flight at most; the server drops what is over 10,000 of a stream (429)."""
WINDOW_BYTES = 16 * 1024**2
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.02, 1.0
DUPLICATE_WINDOW_S = 120.0
TOO_LARGE = 10054


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One message to be stored."""

    subject: str
    payload: bytes
    msg_id: str
    """same id, same message: the server stores it once within its duplicate window"""
    headers: dict[str, str] | None = None


class Outcome(NamedTuple):
    """What became of a message: stored (`code` is 0), or refused for good."""

    seq: int = 0
    """0 where only its being stored is known"""
    duplicate: bool = False
    """an earlier attempt had stored it"""
    code: int = 0
    """the server's err_code of a refusal"""
    text: str = ""

    @property
    def stored(self) -> bool:
        """Whether it is in the stream."""
        return self.code == 0


class Publisher:
    """Stores messages in the order given; one flush at a time.

    `deadline_s`: without any answer for so long, what is unanswered is sent again, same ids, in
    order. `stopping`: once set, a flush that makes no progress for `give_up_s` raises Retry;
    before that it goes on for ever. `duplicate_window_s`: the streams', within which the server
    knows an id again; later the stream itself is read.
    """

    def __init__(
        self,
        nc: Connection,
        *,
        deadline_s: float = 2.0,
        stopping: asyncio.Event | None = None,
        give_up_s: float = 10.0,
        duplicate_window_s: float = DUPLICATE_WINDOW_S,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._nc = nc
        self._deadline_s = deadline_s
        self._stopping = stopping
        self._give_up_s = give_up_s
        self._duplicate_window_s = duplicate_window_s
        self._telemetry = telemetry or Telemetry()
        self._inbox = f"{nc.new_inbox()}."
        self._started: asyncio.Task[None] | None = None
        self._numbers: dict[int, int] = {}  # of the sent -> place in the flush
        self._sent = 0
        self._answers: dict[int, Judgement] = {}
        self._unanswered = 0
        self._progress_s = 0.0
        self._settled: asyncio.Future[None] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def flush(self, messages: Sequence[Outgoing]) -> list[Outcome]:
        """Store these; returns when the fate of each is known, with an outcome for each.

        A message is refused for good when the server says so, or when it asks to wait but a later
        message of the flush was stored meanwhile: sent again, it would stand behind that one.
        """
        if not messages:
            return []
        async with self._one_at_a_time:
            if self._started is None:
                self._started = asyncio.create_task(self._start())
            await self._started
            flush = _Flush(messages, self._nc.max_payload)
            attempt, progress_s = 0, time.monotonic()
            while flush.waiting:
                before = len(flush.waiting)
                window = flush.window()
                await self._send(flush, window)
                flush.settle(window, self._answers)
                if len(flush.waiting) < before:
                    attempt, progress_s = 0, time.monotonic()
                if flush.waiting and not flush.clean(window):
                    attempt += 1
                    self._count_retries(flush)
                    self._give_up(flush, progress_s)
                    await self._back_off(attempt)
                    await self._look(flush)
            self._count(flush)
            return [outcome for outcome in flush.outcomes if outcome is not None]

    async def close(self) -> None:
        """End the subscription to the answers."""
        if self._started is not None:
            await self._started
            await self._nc.stop(self._subscription)
            self._end_listening()

    async def _start(self) -> None:
        self._subscription = await self._nc.pour(self._inbox + "*", self._on_answer)
        self._end_listening = self._nc.on_change(self._wake)

    def _on_answer(
        self, subject: bytes, reply: bytes, payload: bytes, headers: bytes | None
    ) -> None:
        number = int(subject[len(self._inbox) :])
        place = self._numbers.pop(number, None)
        if place is None or place in self._answers:
            return  # of an attempt whose message is settled by now
        self._answers[place] = judge_answer(headers, payload)
        self._unanswered -= 1
        self._progress_s = time.monotonic()
        if self._unanswered == 0:
            self._wake()

    def _wake(self) -> None:
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    async def _send(self, flush: _Flush, window: list[int]) -> None:
        """Send these places and wait until all are answered, or it makes no sense to wait."""
        nc = self._nc
        self._answers = {}
        self._unanswered = len(window)
        losses = nc.losses
        commands: list[bytes] = []
        for place in window:
            self._sent += 1
            self._numbers[self._sent] = place
            commands += _publish(flush.messages[place], f"{self._inbox}{self._sent}")
        loop = asyncio.get_running_loop()
        self._settled = loop.create_future()
        now_s = self._progress_s = time.monotonic()
        if await nc.post(commands):
            flush.sent(window, now_s)
            timer = loop.call_later(self._deadline_s, self._expire, loop)
            try:
                if self._unanswered and nc.losses == losses and nc.is_connected:
                    await self._settled
            finally:
                self._timer = timer
                self._timer.cancel()
        self._settled = None
        self._numbers.clear()

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing answered for the whole deadline: stop waiting. Else wait on."""
        left_s = self._progress_s + self._deadline_s - time.monotonic()
        if left_s <= 0:
            self._wake()
        else:
            self._timer = loop.call_later(left_s, self._expire, loop)

    async def _back_off(self, attempt: int) -> None:
        """Wait before the next attempt, and until there is a connection."""
        limit_s = min(BACKOFF_FIRST_S * 2 ** min(attempt - 1, 10), BACKOFF_MAX_S)
        await asyncio.sleep(random.uniform(limit_s / 2, limit_s))
        if not self._nc.is_connected:
            self._settled = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait_for(self._settled, BACKOFF_MAX_S)
            except TimeoutError:
                return
            finally:
                self._settled = None

    def _give_up(self, flush: _Flush, progress_s: float) -> None:
        stopping = self._stopping is not None and self._stopping.is_set()
        if self._nc.is_closed or (stopping and time.monotonic() - progress_s > self._give_up_s):
            raise Retry(
                f"{len(flush.waiting)} messages are not stored: no answer from the bus; "
                "start again when it is back"
            )

    async def _look(self, flush: _Flush) -> None:
        """Read from the stream what the server's memory of ids can no longer tell."""
        for place in flush.doubtful(time.monotonic() - 0.75 * self._duplicate_window_s):
            message = flush.messages[place]
            try:
                js = self._nc.jetstream(timeout=self._deadline_s)
                stream = await js.find_stream_name_by_subject(message.subject)
                last = await js.get_last_msg(stream, message.subject)
                last_id, seq = (last.headers or {}).get("Nats-Msg-Id", ""), last.seq or 0
            except NotFoundError:
                last_id, seq = "", 0
            except (nats.errors.Error, JetStreamError, TimeoutError, OSError):
                return  # as doubtful as before; the next attempt looks again
            flush.found(place, last_id, seq)

    def _count_retries(self, flush: _Flush) -> None:
        self._telemetry.count("publish_retries", len(flush.waiting))

    def _count(self, flush: _Flush) -> None:
        telemetry = self._telemetry
        telemetry.count("flushes")
        stored = [
            len(message.payload)
            for message, outcome in zip(flush.messages, flush.outcomes, strict=True)
            if outcome is not None and outcome.stored
        ]
        telemetry.count("messages_published", len(stored))
        telemetry.count("bytes_published", sum(stored))
        for outcome in flush.unusual():
            if outcome.stored:
                telemetry.count("publish_duplicates")
            else:
                telemetry.count("publish_refused", code=str(outcome.code))


class _Flush:
    """The state of one flush: what waits, what became of the rest. No I/O."""

    def __init__(self, messages: Sequence[Outgoing], max_payload: int) -> None:
        self.messages = messages
        self.outcomes: list[Outcome | None] = [None] * len(messages)
        self.waiting = list(range(len(messages)))
        self._first_sent_s: dict[int, float] = {}  # of those that may be stored unknown to us
        self._asked_to_wait: dict[int, Judgement] = {}
        for place, message in enumerate(messages):
            if len(message.payload) > max_payload:
                text = f"{len(message.payload)} bytes, the server takes {max_payload}"
                self._settle(place, Outcome(code=TOO_LARGE, text=text))
        self._drop_settled()

    def window(self) -> list[int]:
        """The next places to send: the first that wait, as many as may be in flight."""
        size = 0
        for count, place in enumerate(self.waiting):
            size += len(self.messages[place].payload)
            if count == WINDOW_MESSAGES or (count and size > WINDOW_BYTES):
                return self.waiting[:count]
        return self.waiting.copy()

    def sent(self, window: list[int], now_s: float) -> None:
        """They are on their way: from now on each may be stored without our knowing."""
        for place in window:
            self._first_sent_s.setdefault(place, now_s)

    def settle(self, window: list[int], answers: dict[int, Judgement]) -> None:
        """Take the answers of one attempt."""
        for place, judgement in answers.items():
            verdict = judgement.verdict
            if verdict in (Verdict.STORED, Verdict.DUPLICATE):
                self._settle(place, Outcome(judgement.seq, verdict is Verdict.DUPLICATE))
            elif verdict is Verdict.REFUSED:
                self._settle(place, Outcome(code=judgement.code, text=judgement.text))
            elif verdict is Verdict.AGAIN:
                self._asked_to_wait[place] = judgement
                self._first_sent_s.pop(place, None)  # the answer says that it is not stored
            elif verdict is Verdict.LOOK:
                self._first_sent_s[place] = 0.0
        self._refuse_overtaken()
        self._drop_settled()

    def _refuse_overtaken(self) -> None:
        """What would now be stored behind a later message is refused instead."""
        last = max(
            (place for place, one in enumerate(self.outcomes) if one and one.stored), default=-1
        )
        for place, judgement in list(self._asked_to_wait.items()):
            if place < last and self.outcomes[place] is None and place not in self._first_sent_s:
                text = f"{judgement.text}; a later message was stored"
                self._settle(place, Outcome(code=judgement.code or 500, text=text))

    def clean(self, window: list[int]) -> bool:
        """Whether all of the window is settled: the next may follow at once."""
        return all(self.outcomes[place] is not None for place in window)

    def doubtful(self, sent_before_s: float) -> list[int]:
        """Places that may be stored, where sending again might store them twice or out of order."""
        behind_one_that_waits = min(
            (place for place in self._asked_to_wait if self.outcomes[place] is None),
            default=len(self.messages),
        )
        return [
            place
            for place in self.waiting
            if place in self._first_sent_s
            and (self._first_sent_s[place] < sent_before_s or place > behind_one_that_waits)
        ]

    def found(self, place: int, last_id: str, seq: int) -> None:
        """The last stored message of its subject has this id: is it this one, or a later one?"""
        subject = self.messages[place].subject
        behind = [
            later
            for later in range(place, len(self.messages))
            if self.messages[later].subject == subject and self.messages[later].msg_id == last_id
        ]
        if behind:
            self._settle(place, Outcome(seq if behind[0] == place else 0, duplicate=True))
        else:
            self._first_sent_s.pop(place, None)
            self._asked_to_wait.setdefault(place, Judgement(Verdict.AGAIN, text="it was lost"))
        self._refuse_overtaken()
        self._drop_settled()

    def unusual(self) -> list[Outcome]:
        """Outcomes other than stored at the first attempt."""
        return [one for one in self.outcomes if one is not None and (one.duplicate or one.code)]

    def _settle(self, place: int, outcome: Outcome) -> None:
        self.outcomes[place] = outcome
        self._first_sent_s.pop(place, None)
        self._asked_to_wait.pop(place, None)

    def _drop_settled(self) -> None:
        self.waiting = [place for place in self.waiting if self.outcomes[place] is None]


def _publish(message: Outgoing, reply: str) -> tuple[bytes, bytes, bytes]:
    """The protocol's publish command: https://docs.nats.io/reference/reference-protocols/nats-protocol

    The check of the fence on every publish (DESIGN section 6) will add its two headers here.
    """
    lines = [f"NATS/1.0\r\nNats-Msg-Id: {_one_line(message.msg_id)}\r\n"]
    for name, value in (message.headers or {}).items():
        lines.append(f"{name}: {_one_line(value)}\r\n")
    block = "".join(lines).encode() + b"\r\n"
    size = len(block) + len(message.payload)
    head = f"HPUB {_checked_subject(message.subject)} {reply} {len(block)} {size}\r\n".encode()
    return head + block, message.payload, b"\r\n"


def _one_line(value: str) -> str:
    if "\n" in value or "\r" in value:
        raise Reject(f"a header of two lines: {value[:80]!r}")
    return value


@lru_cache(maxsize=65_536)
def _checked_subject(subject: str) -> str:
    # The server would store a message on a wildcard, and take a space for the end of the subject.
    if not _SUBJECT.fullmatch(subject):
        raise Reject(f"{subject[:120]!r} is not a subject to publish on")
    return subject


_SUBJECT = re.compile(r"[^\s.*>]+(?:\.[^\s.*>]+)*")
