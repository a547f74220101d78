"""Serves a synthetic market, which once open goes on whether anybody listens or not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import IO, Any

from tickbus_sim.capture import Body
from tickbus_sim.dialect import Books, Listing, Resource, Topic
from tickbus_sim.faults import Faults
from tickbus_sim.journal import Journal
from tickbus_sim.market import Market
from tickbus_sim.pace import SECOND, Gate, Pace, Wait
from tickbus_sim.rest import RestBody
from tickbus_sim.sockets import Connection
from tickbus_sim.venue import Serving, Venue

SLICE_NS = SECOND // 500  # of market time played at once


class MarketVenue(Venue):
    """Serves a market from its first subscriber on."""

    def __init__(
        self,
        market: Market,
        serving: Serving,
        faults: Faults | None,
        *,
        duration_s: float | None = None,
        start_ms: int | None = None,
        journal: IO[bytes] | None = None,
    ) -> None:
        """`start_ms`: the market's opening time (UTC); None: when the first subscriber is there.

        `journal`: what happens is written there, a JSON line an event, before it is sent.
        """
        listed = [
            Listing(one.ticker, one.price_decimals, one.qty_decimals, market.dialect.contract_size)
            for one in market.instruments
        ]
        super().__init__(market.dialect, market.topics, listed, serving, faults)
        self._market = market
        self._end_ns = None if duration_s is None else int(duration_s * SECOND)
        self._start_ms = start_ms
        self._journal = None if journal is None else Journal(journal)
        self._time_ns = 0
        self._number = 0
        self._bodies = 0
        self._tickets = 0
        self._gate = Gate(
            topics=frozenset(
                topic
                for topic in market.topics[1:]
                if topic.family in market.families and market.is_listed(topic.symbol, 0)
            ),
            played=frozenset(market.topics[1:]),
            route_of=market.dialect.route_of,
            wait_ns=int(serving.subscribe_wait_s * SECOND),
        )

    def facts(self) -> dict[str, Any]:
        return {
            "tickers": [one.ticker for one in self.listed_now()],
            "feeds": self._market.feeds,
            "channels": self._market.families,
            "frames": None,
            "rest_bodies": None,
        }

    def summary(self) -> dict[str, Any]:
        return super().summary() | {
            "frames": self._number,
            "rest_bodies": self._bodies,
            "bad_lines": 0,
        }

    def listed_now(self) -> list[Listing]:
        return [one for one in self._listed if self._market.is_listed(one.ticker, self._time_ns)]

    def now_ns(self) -> int:
        """The market's time; before it opens, when it would."""
        return (self._market.start_ms or self._opening_ms()) * 1_000_000 + self._time_ns

    async def play(self) -> None:
        """Plays slices of the market as their time comes, for ever or for its duration."""
        while (wait := self._gate.shut(time.monotonic_ns())) is not None:
            await self._wait(wait)
        self._market.open(self._opening_ms())
        if self._faults is not None:
            self._faults.begin(self.now_ns())
        self._write_books()
        pace = None if self._serving.speed is None else Pace(self._serving.speed)
        while self._end_ns is None or self._time_ns < self._end_ns:
            following_ns = self._time_ns + SLICE_NS
            if pace is not None and pace.source_ns(time.monotonic_ns(), 0) < following_ns:
                await self._wait(Wait(pace.wall_ns(following_ns), "the market"))
                continue
            await self._play_until(following_ns)
            await asyncio.sleep(0)
        self._write_books()
        await self._end()

    def end(self) -> bool:
        self._end_ns = 0
        self._changed.set()
        return True

    async def book(self, symbol: str, levels: int) -> tuple[RestBody, int]:
        self._tickets += 1
        received_ns = self.now_ns()
        body = RestBody(self._market.snapshot(symbol, levels), received_ns, is_own=True)
        if self._faults is not None:
            fact = Body(self._number, "book", symbol, received_ns, body.text)
            await asyncio.sleep(self._faults.snapshot_delay_s(fact))
        return body, self._tickets

    def other(self, resource: Resource) -> RestBody | None:
        known = super().other(resource)
        if known is not None:
            return known
        now_ns = self.now_ns()
        text = self._market.polled(resource.kind, resource.symbol, now_ns // 1_000_000)
        return None if text is None else RestBody(text, now_ns, is_own=True)

    def settle(self, ticket: int, symbol: str, *, reached: bool) -> None:
        self._bodies += reached

    def _subscribed(
        self, audience: frozenset[Topic], joined: frozenset[Topic], by: Connection | None
    ) -> None:
        self._gate.change(audience, time.monotonic_ns())
        super()._subscribed(audience, joined, by)

    def first_book(self, symbol: str) -> tuple[bytes, int] | None:
        """The market's; where every frame is a whole book, the next one is soon there."""
        if self.dialect.books is not Books.PUSHED or symbol not in self.tickers():
            return None
        now_ns = self.now_ns()
        now_ms = now_ns // 1_000_000
        book = replace(self._market.book(symbol), event_ms=now_ms, engine_ms=now_ms)
        return self.dialect.write_book(symbol, book), now_ns

    async def _play_until(self, until_ns: int) -> None:
        frames = self._market.advance(until_ns)
        self._time_ns = until_ns
        number, self._number = self._number, self._number + len(frames)
        told = self._market.take_told()
        if self._journal is not None:
            self._journal.events(told, number)
        await self._send(
            [frame.text for frame in frames],
            [frame.topic_id for frame in frames],
            [self._received_ns(frame.time_ns) for frame in frames],
            number,
            self._received_ns(until_ns),
        )
        await self._befall(self._number, self._received_ns(until_ns))

    def _note(self, sent: Iterable[tuple[int, int]]) -> None:
        touched = [] if self._faults is None else self._faults.take_touched()
        if self._journal is not None:
            self._journal.faults(touched)
            heard = self._lobby.has_listener
            self._journal.unheard([number for number, topic in sent if not heard(topic)])

    def _write_books(self) -> None:
        if self._journal is not None:
            books = [(ticker, self._market.book(ticker)) for ticker in self.tickers()]
            self._journal.books(books, self.now_ns() // 1_000_000)

    def _received_ns(self, time_ns: int) -> int:
        return self._market.start_ms * 1_000_000 + time_ns

    def _opening_ms(self) -> int:
        if self._start_ms is not None:
            return self._start_ms
        now_ms = time.time_ns() // 1_000_000
        # As fast as possible: the end, not the start, is now, so that no time is in the future.
        ahead_ns = self._end_ns if self._serving.speed is None and self._end_ns is not None else 0
        return now_ms - ahead_ns // 1_000_000
