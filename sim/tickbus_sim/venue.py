"""What every running venue does: its sockets, its REST desk, its end."""

from __future__ import annotations

import asyncio
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tickbus_sim.dialect import Books, Dialect, Line, Listing, Resource, Topic
from tickbus_sim.faults import Faults, Frame
from tickbus_sim.pace import SECOND, Wait
from tickbus_sim.rest import RestBody, RestServer
from tickbus_sim.sockets import END_OF_INPUT, Connection, Lobby
from tickbus_sim.wire_frames import on_the_way

_LINGER_S = 1.0  # REST outlives the last client by this
_VANISHED_LINGER_S = 10.0  # and by this when it left without a word: it may have been killed


@dataclass(frozen=True)
class Serving:
    """How a venue is run, whatever it plays."""

    port: int = 0
    rest_port: int = 0
    speed: float | None = 1.0  # None: as fast as the reader takes it
    subscribe_wait_s: float = 5.0
    has_times: bool = False
    ping_interval_s: float | None = None  # None: the venue's own
    idle_s: float | None = None  # None: the venue's own
    messages_per_s: float | None = None  # None: the venue's own


class Venue(ABC):
    """Sockets and REST around one source of frames. It is the REST server's desk."""

    def __init__(
        self,
        dialect: Dialect,
        topics: list[Topic],
        listed: list[Listing],
        serving: Serving,
        faults: Faults | None,
    ) -> None:
        self.dialect = dialect
        self.done = False
        self._listed = listed
        self._serving = serving
        self._faults = faults
        self._ws_url = ""
        self._waiting_for = ""
        self._changed = asyncio.Event()
        self._is_sending = False
        self._owed: list[tuple[str, Connection]] = []
        """symbols and clients to whom a book is due"""
        self._lobby = Lobby(
            dialect, topics, self._subscribed, ask=self._owe, has_times=serving.has_times
        )
        if serving.messages_per_s is not None:
            self._lobby.messages_per_s = serving.messages_per_s
        if faults is not None:
            self._lobby.faults = faults.clients
        self._rest = RestServer(dialect, self, has_times=serving.has_times)

    async def open(self) -> dict[str, Any]:
        """Listens; returns the facts of the ready line."""
        ws_port = await self._lobby.listen(self._serving.port)
        try:
            rest_port = await self._rest.listen(self._serving.rest_port)
        except BaseException:
            await self._lobby.stop()
            raise
        self._ws_url = f"ws://127.0.0.1:{ws_port}"
        return {
            "event": "ready",
            "exchange": self.dialect.exchange.token,
            "ws": self._ws_url,
            "rest": f"http://127.0.0.1:{rest_port}",
        } | self.facts()

    async def run(self) -> None:
        """Plays to the end, then serves REST until every client has gone."""
        play = asyncio.create_task(self.play())
        gone = asyncio.create_task(self._all_gone())
        tasks = [play, gone]
        if self._serving.speed is not None:
            tasks.append(asyncio.create_task(self._lobby.ping_all(self._serving.ping_interval_s)))
            tasks.append(asyncio.create_task(self._lobby.watch_all(self._serving.idle_s)))
        try:
            await asyncio.wait((play, gone), return_when=asyncio.FIRST_COMPLETED)
            if not gone.done():
                await play  # raises what went wrong, if anything did
                await gone
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Ends the servers."""
        self._lobby.close_all(1001, "venue stops")
        await self._lobby.stop()
        await self._rest.stop()

    def summary(self) -> dict[str, Any]:
        """The facts of the end line."""
        return {
            "event": "end",
            "sent": self._lobby.sent,
            "unsubscribed": self._lobby.unsubscribed,
            "faults": self._faults.report() if self._faults else [],
        }

    def status(self) -> Mapping[str, Any]:
        """For the supervisor: counts so far, and what is waited for."""
        return self.summary() | {
            "event": "status",
            "done": self.done,
            "connections": len(self._lobby.connections),
            "waiting_for": self._waiting_for,
        }

    def end(self) -> bool:
        """Play no further, as if all were played; False where what is played ends by itself."""
        return False

    def tickers(self) -> list[str]:
        """All tickers, as the venue spells them."""
        return [listing.ticker for listing in self._listed]

    def listed_now(self) -> list[Listing]:
        """What the instrument list holds: a market may list and delist."""
        return self._listed

    def instruments(self, resource: Resource) -> RestBody:
        """The instrument list."""
        now_ns = self.now_ns()
        listed = self.listed_now()
        text = self.dialect.write_instruments(listed, now_ns // 1_000_000, resource)
        return RestBody(text, now_ns, is_own=True)

    def other(self, resource: Resource) -> RestBody | None:
        """What the venue itself knows, such as its clock."""
        now_ns = self.now_ns()
        if resource.kind == "address":
            return RestBody(self.dialect.write_address(self._ws_url), now_ns, is_own=True)
        text = self.dialect.own_answer(resource, now_ns // 1_000_000)
        return None if text is None else RestBody(text, now_ns, is_own=True)

    @abstractmethod
    def now_ns(self) -> int:
        """The source's time, UTC: that of what was played last."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What is played: tickers, channels, frames, REST bodies."""

    @abstractmethod
    async def play(self) -> None:
        """Plays everything."""

    @abstractmethod
    async def book(self, symbol: str, levels: int) -> tuple[RestBody, int]:
        """A book and the ticket to settle it by; BadRequest where there is none."""

    @abstractmethod
    def first_book(self, symbol: str) -> tuple[bytes, int] | None:
        """The frame of a whole book that a subscription begins with, and when it was received.

        None where what is played has its own at this place, or nobody knows a whole book.
        """

    @abstractmethod
    def settle(self, ticket: int, symbol: str, *, reached: bool) -> None:
        """Whether a snapshot reached whoever asked."""

    def _note(self, sent: Iterable[tuple[int, int]]) -> None:
        """Frames of these numbers and topics are about to be sent, after the faults."""
        if self._faults is not None:
            self._faults.take_touched()  # the end line tells it

    def _subscribed(
        self, audience: frozenset[Topic], joined: frozenset[Topic], by: Connection | None
    ) -> None:
        self._changed.set()
        dialect = self.dialect
        if by is not None and dialect.books is not Books.PULLED and not dialect.books_are_asked_for:
            self._owe([one.symbol for one in joined if one.family == dialect.book_family], by)
        if self.done and audience:
            # Came back after the end (a restarted ingest): nothing more will follow.
            self._lobby.close_all(END_OF_INPUT, "end of input")

    def _owe(self, symbols: Sequence[str], client: Connection) -> None:
        """A client gets these books, behind the frames that are being sent."""
        self._owed += [(symbol, client) for symbol in symbols]
        if not self._is_sending:
            self._push_books()

    def _push_books(self) -> None:
        owed, self._owed = self._owed, []
        for symbol, client in owed:
            book = self.first_book(symbol)
            if book is not None and isinstance(client.line, Line):
                text, received_ns = book
                topic = Topic(symbol, self.dialect.book_family)
                client.say(self.dialect.on_wire(client.line, text, topic), received_ns)

    async def _wait(self, wait: Wait) -> None:
        """Sleeps until the wait is over or an input has changed something."""
        self._waiting_for = wait.reason
        if wait.until_ns is None:
            await self._changed.wait()
        else:
            delay_s = max(0, wait.until_ns - time.monotonic_ns()) / SECOND
            try:
                async with asyncio.timeout(delay_s):
                    await self._changed.wait()
            except TimeoutError:
                pass
        self._changed.clear()
        self._waiting_for = ""

    async def _send(
        self,
        texts: list[bytes],
        topic_ids: list[int],
        received_ns: list[int],
        number: int,
        until_ns: int,
    ) -> None:
        """Puts frames on the sockets, through the faults if there are any; then those due by now.

        until_ns: the source's time behind them.
        """
        sent: Iterable[tuple[int, int]] = enumerate(topic_ids, start=number)
        numbers: list[int] = []
        if self._faults is not None:
            columns = enumerate(zip(texts, topic_ids, received_ns, strict=True), start=number)
            frames = self._faults.pass_on(Frame(n, *column) for n, column in columns)
            frames += self._faults.release(until_ns)
            numbers = [frame.number for frame in frames]
            texts = [on_the_way(frame) for frame in frames]
            topic_ids = [frame.topic_id for frame in frames]
            received_ns = [frame.received_ns for frame in frames]
            sent = [(frame.number, frame.topic_id) for frame in frames if frame.fate.is_sent]
        self._note(sent)
        # A book that is pushed holds all these frames: it comes behind the last of them.
        self._is_sending = True
        try:
            await self._lobby.deliver_in_order(texts, topic_ids, received_ns, numbers)
            self._lobby.release(until_ns)
        finally:
            self._is_sending = False
        self._push_books()
        await self._lobby.room()

    async def _befall(self, number: int, received_ns: int) -> None:
        """What happens to all connections before the next frame."""
        if self._faults is None:
            return
        for faults in (self._faults, *self._faults.clients.values()):
            if faults.mutes(number, received_ns):
                self._note(())
                self._lobby.mute(faults.client)
            refuse_s = faults.cut_s(number, received_ns)
            if refuse_s is not None:
                self._note(())
                await self._cut(refuse_s, faults.client)

    async def _cut(self, refuse_s: float, client: str) -> None:
        """Breaks the connections of a client or of all, and stays away for a while."""
        await self._lobby.flushed()
        self._refuse(client, True)
        await self._lobby.cut(client)
        asyncio.get_running_loop().call_later(refuse_s, self._refuse, client, False)

    def _refuse(self, client: str, refuses: bool) -> None:
        if not client:
            self._lobby.refuses = refuses
        elif refuses:
            self._lobby.refused_clients.add(client)
        else:
            self._lobby.refused_clients.discard(client)

    async def _end(self) -> None:
        """All input is played: every byte out, then the close that says so."""
        for frame in self._faults.flush() if self._faults else ():
            one = [on_the_way(frame)], [frame.topic_id], [frame.received_ns], [frame.number]
            self._lobby.deliver(*one)
        self._lobby.release(sys.maxsize)
        await self._lobby.flushed()
        self.done = True
        self._lobby.close_all(END_OF_INPUT, "end of input")

    async def _all_gone(self) -> None:
        """Returns when the end was played and no client is left that could come back."""
        quiet_s = 0.0
        while quiet_s < (_VANISHED_LINGER_S if self._lobby.has_vanished else _LINGER_S):
            await asyncio.sleep(0.05)
            busy = not self.done or self._lobby.connections or self._rest.requests_open
            quiet_s = 0.0 if busy else quiet_s + 0.05
