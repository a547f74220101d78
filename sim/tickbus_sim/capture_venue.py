"""Serves a capture: carries out on real sockets what the play-out decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from tickbus_sim.book import depths
from tickbus_sim.capture import Capture
from tickbus_sim.dialect import Resource, Topic
from tickbus_sim.faults import Faults
from tickbus_sim.instruments import listings
from tickbus_sim.pace import Wait
from tickbus_sim.playout import End, Playout, Send
from tickbus_sim.rest import RestBody
from tickbus_sim.snapshots import Answer, AnswerBook
from tickbus_sim.sockets import Connection
from tickbus_sim.venue import Serving, Venue

_PARSE_S = 0.03
"""A client has its time to take a body in before the frames behind it are sent."""


class CaptureVenue(Venue):
    """Serves a capture."""

    def __init__(self, capture: Capture, serving: Serving, faults: Faults | None) -> None:
        super().__init__(capture.dialect, capture.topics, listings(capture), serving, faults)
        self._capture = capture
        if capture.dialect.drops_silently:
            self._lobby.depths = depths(capture)
        self._playout = Playout(
            capture,
            speed=serving.speed,
            subscribe_wait_s=serving.subscribe_wait_s,
            stops=faults.stops(capture.received_ns) if faults else (),
            snapshot_delay_s=faults.snapshot_delay_s if faults else lambda body: 0.0,
        )
        self._waiting: dict[int, asyncio.Future[RestBody]] = {}
        self._levels: dict[int, int] = {}
        self._pushed = 0

    def facts(self) -> dict[str, Any]:
        return capture_facts(self._capture)

    def summary(self) -> dict[str, Any]:
        counts = self._playout.snapshots.counts
        return super().summary() | {
            "position": self._playout.position,
            "frames": len(self._capture.texts),
            "rest_bodies": counts.fetched,
            "rest_own_books": counts.own_books,
            "rest_unsubscribed": counts.unsubscribed,
            "rest_not_fetched": counts.not_fetched,
            "pushed_own_books": self._pushed,
            "control_frames": self._capture.control_frames,
            "bad_lines": self._capture.bad_lines,
        }

    def now_ns(self) -> int:
        received_ns, position = self._capture.received_ns, self._playout.position
        if received_ns:
            return received_ns[max(position - 1, 0)]
        return max((body.received_ns for body in self._capture.bodies), default=0)

    async def play(self) -> None:
        """Carries out the play-out's steps, and answers at the desk, until it is cancelled."""
        playout = self._playout
        while True:
            match playout.step(time.monotonic_ns()):
                case Send(start, stop):
                    await self._play_run(start, stop)
                    await asyncio.sleep(0)  # requests and answers have their turn
                case Wait() as wait:
                    await self._wait(wait)
                case End():
                    await self._end()  # the desk stays open
                case reply:
                    await self._reply(reply)

    async def book(self, symbol: str, levels: int) -> tuple[RestBody, int]:
        ticket = self._playout.snapshots.request(symbol)
        self._levels[ticket] = levels
        future = self._waiting[ticket] = asyncio.get_running_loop().create_future()
        self._changed.set()
        try:
            return await future, ticket
        except asyncio.CancelledError:
            self._playout.snapshots.withdraw(ticket)
            raise
        finally:
            del self._waiting[ticket], self._levels[ticket]

    def settle(self, ticket: int, symbol: str, *, reached: bool) -> None:
        if reached:
            # The client has the bytes. Frames that are sent at once would overtake its parser, and
            # the book would begin at another packet in every run.
            asyncio.get_running_loop().call_later(_PARSE_S, self._fetched, ticket, symbol)
        else:
            self._playout.snapshots.withdraw(ticket)
        self._changed.set()

    def _fetched(self, ticket: int, ticker: str) -> None:
        self._playout.snapshots.fetched(ticket, ticker)
        self._changed.set()

    def instruments(self, resource: Resource) -> RestBody:
        """The recorded list where it names every ticker, else one made of what was recorded."""
        recorded = self._recorded("instruments", resource.symbol)
        if recorded is not None and _names_all(recorded.text, self.tickers()):
            return recorded
        return super().instruments(resource)

    def other(self, resource: Resource) -> RestBody | None:
        return super().other(resource) or self._recorded(resource.kind, resource.symbol)

    def _recorded(self, kind: str, symbol: str) -> RestBody | None:
        body = self._playout.snapshots.recorded.get((kind, symbol))
        return None if body is None else RestBody(body.text, body.received_ns)

    def _subscribed(
        self, audience: frozenset[Topic], joined: frozenset[Topic], by: Connection | None
    ) -> None:
        self._playout.subscribed(audience, joined, time.monotonic_ns())
        super()._subscribed(audience, joined, by)

    def first_book(self, symbol: str) -> tuple[bytes, int] | None:
        """Ours, where the recording has none at this place: only a book that is whole.

        Else the client waits for the next one that was recorded.
        """
        position = self._playout.position
        book = self._playout.snapshots.books.at(symbol, position)
        if not position or not book.whole:
            return None
        self._pushed += 1
        return self.dialect.write_book(symbol, book), self.now_ns()

    async def _play_run(self, start: int, stop: int) -> None:
        capture = self._capture
        await self._send(
            capture.texts[start:stop],
            capture.topic_ids[start:stop],
            capture.received_ns[start:stop],
            start,
            capture.received_ns[stop - 1],
        )
        if stop < len(capture.texts):
            await self._befall(stop, capture.received_ns[stop])

    async def _reply(self, reply: Answer | AnswerBook) -> None:
        await self._lobby.read()  # every frame before the body
        future = self._waiting.get(reply.ticket)
        if future is None or future.done():
            self._playout.snapshots.withdraw(reply.ticket)
        elif isinstance(reply, Answer):
            future.set_result(RestBody(reply.body.text, reply.body.received_ns))
        else:
            book = self._playout.snapshots.books.at(reply.ticker, reply.position)
            if not book.whole:
                # Nobody sent it: it must not become somebody's snapshot.
                self._playout.snapshots.withdraw(reply.ticket)
                future.set_exception(self.dialect.no_book())
                return
            text = self.dialect.write_body(reply.ticker, book, self._levels[reply.ticket])
            future.set_result(RestBody(text, self.now_ns(), is_own=True))


def _names_all(text: bytes, tickers: Iterable[str]) -> bool:
    """Whether a list of instruments names every ticker."""
    return all(f'"{ticker}"'.encode() in text for ticker in tickers)


def capture_facts(capture: Capture) -> dict[str, Any]:
    """What a capture holds, for the ready line and `--describe`."""
    times = capture.received_ns
    lists = [body.text for body in capture.bodies if body.kind == "instruments"]
    return {
        "tickers": capture.tickers,
        "feeds": capture.feeds,
        "channels": capture.channels,
        "other": capture.other,
        "frames": len(capture.texts),
        "rest_bodies": len(capture.bodies),
        "instrument_lists": len(lists),
        "lists_instruments": any(_names_all(text, capture.tickers) for text in lists),
        "bad_lines": capture.bad_lines,
        "first_bad_line": capture.first_bad_line,
        "control_frames": capture.control_frames,
        "untold_frames": capture.topic_ids.count(0),
        "strange_bodies": capture.strange_bodies,
        "first_ns": min(times, default=None),
        "last_ns": max(times, default=None),
    }
