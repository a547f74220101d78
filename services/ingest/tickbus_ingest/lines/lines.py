"""All connections to a venue, and what the session wishes of them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
from tickbus_schemas.errors import Fatal

from tickbus_ingest.lines.connection import Connection
from tickbus_ingest.lines.dialer import Dialer
from tickbus_ingest.lines.keeper import Keeper, Uniform
from tickbus_ingest.lines.watch import Moves
from tickbus_ingest.venue.contract import Limit, Route, Stream, What


class Lines:
    """Keeps every route open with as many lines as the settings want."""

    def __init__(
        self,
        dialer: Dialer,
        per_route: int = 1,
        *,
        stop_at_end: bool = False,
        uniform: Uniform = random.uniform,
    ) -> None:
        """Fatal when the venue allows fewer connections than are needed.

        `stop_at_end`: the simulated venue tells by a close code that its input has ended.
        """
        self._dialer, self._per_route = dialer, per_route
        self._stop_at_end, self._uniform = stop_at_end, uniform
        self.routes: list[Route] = []
        self._keepers: list[Keeper] = []
        self._unbegun: list[Keeper] = []
        self._begin = asyncio.Event()
        self._l2_of: dict[str, list[Stream]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.add(dialer.venue.routes())
        self._moves = Moves()

    @property
    def streams(self) -> list[Stream]:
        """Of all routes."""
        return [stream for route in self.routes for stream in route.streams]

    def add(self, routes: Sequence[Route]) -> None:
        """Keep these open, too; Fatal when the venue allows fewer connections."""
        needed = sum(1 for route in (*self.routes, *routes) if route.streams) * self._per_route
        _check_count(needed, self._dialer.venue.limits)
        first = len(self.routes)
        self.routes += routes
        keepers = [
            keeper
            for number, route in enumerate(routes, start=first)
            for keeper in self._keepers_of(number, route)
        ]
        self._keepers += keepers
        self._unbegun += keepers
        self._l2_of = _streams_of_books(self.routes)
        self._begin.set()

    def _keepers_of(self, number: int, route: Route) -> list[Keeper]:
        turn = asyncio.Lock()
        return [
            Keeper(
                route, self._dialer, place=place, name=f"{number}.{place}", turn=turn,
                stop_at_end=self._stop_at_end, uniform=self._uniform,
            )
            for place in range(self._per_route)
        ]  # fmt: skip

    def drop(self, tickers: Collection[str]) -> None:
        """End the subscriptions of these; a connection that carries nothing else is closed."""
        for number, route in enumerate(self.routes):
            ended = [stream for stream in route.streams if stream.ticker in tickers]
            if ended:
                left = tuple(stream for stream in route.streams if stream not in ended)
                self.routes[number] = msgspec.structs.replace(route, streams=left)
                self._drop(ended, route, self.routes[number])
        self._l2_of = _streams_of_books(self.routes)

    def _drop(self, ended: list[Stream], old: Route, new: Route) -> None:
        for keeper in self._keepers:
            if keeper.route is old:
                keeper.route = new
                if not new.streams:
                    keeper.end()
        for connection in list(self._dialer.connections.values()):
            if connection.line.route is old:
                connection.line.route = new
                if new.streams:
                    connection.outbox.request(self._dialer.venue.unsubscribe(ended))
                else:
                    closing = asyncio.ensure_future(connection.close())
                    self._closing.add(closing)
                    closing.add_done_callback(self._closing.discard)

    async def run(self) -> None:
        """Keep all lines open; returns when the venue says that all input has ended."""
        running: set[asyncio.Future[Any]] = set()
        try:
            while running or self._unbegun:
                running |= {asyncio.ensure_future(keeper.run()) for keeper in self._unbegun}
                self._unbegun.clear()
                self._begin.clear()
                more = asyncio.ensure_future(self._begin.wait())
                await asyncio.wait({*running, more}, return_when=asyncio.FIRST_COMPLETED)
                more.cancel()
                for one in [one for one in running if one.done()]:
                    running.discard(one)
                    one.result()  # a bug in a keeper ends all
        finally:
            for one in running:
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def close(self) -> None:
        """Hang up."""
        for connection in list(self._dialer.connections.values()):
            await connection.close()

    def hold(self, paused: bool) -> None:
        """Stop reading everywhere, or read on."""
        self._dialer.paused = paused
        for connection in self._dialer.connections.values():
            (connection.socket.pause if paused else connection.socket.resume)()

    def heard(self, numbers: Iterable[int]) -> None:
        """These lines brought rows."""
        now_s = time.monotonic()
        for number in numbers:
            connection = self._dialer.connections.get(number)
            if connection is not None:
                connection.rows_s = now_s

    # --------------------------------------------------------------- wishes

    def reply(self, replies: Iterable[tuple[int, bytes]]) -> None:
        """Send these over their lines; a line that is gone has nobody to reply to."""
        for number, frame in replies:
            connection = self._dialer.connections.get(number)
            if connection is not None:
                connection.outbox.reply(frame)

    def answered(self, numbers: Iterable[int]) -> None:
        """The venue answered requests of these lines."""
        for number in numbers:
            connection = self._dialer.connections.get(number)
            if connection is not None:
                connection.answers.came()

    def give_up(self, streams: Iterable[tuple[int, str]]) -> None:
        """The venue will never give these, (line, name): only a new connection asks for them."""
        for number, name in streams:
            connection = self._dialer.connections.get(number)
            if connection is not None:
                connection.refused.add(name)

    def is_refused(self, stream: Stream) -> bool:
        """Whether asking for it again is no use: a connection that carries it was refused."""
        connection = self._carrying(stream)
        return connection is not None and stream.name in connection.refused

    def may_speak(self, stream: Stream) -> bool:
        """Whether a connection carries it, and the venue did not refuse it for good."""
        return self._carrying(stream) is not None and not self.is_refused(stream)

    def replace(self, numbers: Iterable[int]) -> None:
        """These lines are to be opened anew, before the old ones are closed."""
        for number in numbers:
            connection = self._dialer.connections.get(number)
            if connection is not None:
                connection.told.set()

    def renew_books(self, tickers: Iterable[int]) -> None:
        """Ask for the pushed books of these anew; one request at a time for each."""
        venue = self._dialer.venue
        for number in tickers:
            ticker = venue.tickers[number]
            for stream in self._l2_of.get(ticker, ()):
                connection = self._carrying(stream)
                if connection is None or stream.name in connection.refused:
                    continue  # who connects asks for it by itself
                self._ask_anew(connection, stream)

    def subscribe_again(self, streams: Iterable[Stream]) -> None:
        """These streams are silent: ask for them anew, over each line that carries them."""
        for stream in streams:
            for connection in self._dialer.connections.values():
                if stream in connection.line.route.streams:
                    self._ask_anew(connection, stream)

    def _ask_anew(self, connection: Connection, stream: Stream) -> None:
        """End a subscription and begin it again: a second one beside it some venues refuse.

        One at a time, so that what waits to be sent is never more than the streams.
        """
        outbox, venue = connection.outbox, self._dialer.venue
        if outbox.holds(stream.name) or connection.answers.waits_for(stream.name):
            return
        outbox.request(venue.unsubscribe([stream]), stream.name)
        outbox.request(venue.subscribe([stream]), stream.name)

    def move(self, stream: Stream, now_s: float) -> bool:
        """Have another connection carry its route; False when that was done a short while ago."""
        for number, route in enumerate(self.routes):
            if stream in route.streams:
                if not self._moves.allows(number, now_s):
                    return False
                connections = self._dialer.connections.values()
                self.replace([one.line.number for one in connections if one.line.route is route])
                return True
        return False

    def _carrying(self, stream: Stream) -> Connection | None:
        for connection in self._dialer.connections.values():
            if stream in connection.line.route.streams:
                return connection
        return None


def _streams_of_books(routes: Sequence[Route]) -> dict[str, list[Stream]]:
    found: dict[str, list[Stream]] = {}
    for route in routes:
        for stream in route.streams:
            if "l2" in stream.feeds:
                found.setdefault(stream.ticker, []).append(stream)
    return found


def _check_count(needed: int, limits: Sequence[Limit]) -> None:
    most = min((one.n for one in limits if one.what is What.CONNECTIONS), default=needed)
    if needed > most:
        raise Fatal(
            f"{needed} connections are needed, and the venue allows {most}: name fewer tickers, "
            "fewer feeds, or spread them over shards"
        )
