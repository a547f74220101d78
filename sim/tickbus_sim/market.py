"""A seeded market of several tickers: time in, frames out, in the words of a dialect."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

import msgspec

from tickbus_sim.book import NaiveBook
from tickbus_sim.dialect import Books, Dialect, Topic
from tickbus_sim.events import (
    Change,
    Derivative,
    Event,
    Liquidation,
    Quote,
    Statistics,
    Told,
    Trade,
)
from tickbus_sim.ladder import instrument
from tickbus_sim.pace import SECOND
from tickbus_sim.ticker_market import Shared, TickerMarket

BOOK_INTERVAL_NS = SECOND // 10
STATISTICS_INTERVAL_NS = SECOND

_FRAMES_PER_ORDER = 0.61  # measured: trades and quotes that one order makes, on average


@dataclass(frozen=True)
class MarketFrame:
    """A frame and when it is sent."""

    time_ns: int  # since the market opened
    topic_id: int
    text: bytes


@dataclass(frozen=True)
class Burst:
    """A time in which orders and book updates are `times` as frequent."""

    at_s: float
    """since the market opened"""
    length_s: float
    times: float

    def factor(self, time_ns: int) -> float:
        """How much more frequent they are at this time."""
        within = self.at_s <= time_ns / SECOND < self.at_s + self.length_s
        return self.times if within else 1.0


class Season(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a ticker is listed, in seconds after the market opened."""

    ticker: str
    from_s: float = 0.0
    until_s: float | None = None
    """None: to the end"""


CALM = Burst(0.0, 0.0, 1.0)


class Market:
    """All tickers of one exchange; `advance` plays up to a time."""

    def __init__(
        self,
        dialect: Dialect,
        tickers: list[str],
        *,
        seed: int,
        rate: float,
        start_ms: int = 0,
        burst: Burst = CALM,
        seasons: Sequence[Season] = (),
    ) -> None:
        """Sets up the books; `rate`: frames a second of all tickers together, on average.

        seasons: of tickers that are not listed all the time. They live on unheard besides.
        """
        self._seasons = {one.ticker: one for one in seasons}
        rng = random.Random(seed)
        self._burst = burst
        self.dialect = dialect
        self.instruments = [dialect.instrument(one, instrument(one)) for one in tickers]
        self.topics = [Topic("", "")]
        self._topic_ids: dict[Topic, int] = {}
        self._told: list[Told] = []
        first_id = rng.randrange(10**12, 10**13)
        self._shared = Shared(dialect.ids_are_shared, first_id, start_ms)
        self._tickers: list[TickerMarket] = []
        weights = [1 / (1 + place) for place in range(len(tickers))]
        for listed, weight in zip(self.instruments, weights, strict=True):
            frames_per_s = rate * weight / sum(weights)
            orders_per_s = max(1.0, frames_per_s - 10) / _FRAMES_PER_ORDER
            ticker_rng = random.Random(rng.randrange(2**62))
            self._tickers.append(
                TickerMarket(listed, ticker_rng, orders_per_s, self._shared, dialect)
            )
            for family in dialect.feeds:
                self._topic_id(listed.ticker, family)
        self._events: list[tuple[int, int, int]] = []  # time, place of ticker, what is due
        for place, ticker in enumerate(self._tickers):
            self._events += [
                (ticker.next_order_ns(), place, _ORDER),
                (BOOK_INTERVAL_NS, place, _BOOK),
                (STATISTICS_INTERVAL_NS, place, _STATISTICS),
            ]
        heapq.heapify(self._events)

    @property
    def start_ms(self) -> int:
        """Venue time at which the market opens."""
        return self._shared.start_ms

    @property
    def families(self) -> list[str]:
        """The channels that carry its main feeds."""
        return [
            family
            for family, feeds in self.dialect.feeds.items()
            if not {"trade", "l2", "bbo"}.isdisjoint(feeds.split())
        ]

    @property
    def feeds(self) -> list[str]:
        """Our feeds that the venue sends."""
        told = " ".join(self.dialect.feeds.values()).split()
        plain = [feed for feed in told if ":" not in feed]
        return [*dict.fromkeys(plain), "instrument"]

    def is_listed(self, symbol: str, time_ns: int) -> bool:
        """Whether a ticker is traded at a time after the opening."""
        season = self._seasons.get(symbol)
        if season is None:
            return True
        until_s = inf if season.until_s is None else season.until_s
        return season.from_s <= time_ns / SECOND < until_s

    def open(self, start_ms: int) -> None:
        """Sets the opening time, before the first `advance`."""
        self._shared.start_ms = start_ms

    def take_told(self) -> list[Told]:
        """What happened since the last call, in the order of the frames."""
        told, self._told = self._told, []
        return told

    def take_events(self) -> list[Event]:
        """The events of it."""
        return [one.event for one in self.take_told()]

    def advance(self, until_ns: int) -> list[MarketFrame]:
        """Frames up to and including `until_ns`; the same ones however the time is cut."""
        frames: list[MarketFrame] = []
        while self._events[0][0] <= until_ns:
            time_ns, place, due = self._events[0]
            ticker = self._tickers[place]
            factor = self._burst.factor(time_ns)
            if due == _BOOK:
                interval_ns = round(BOOK_INTERVAL_NS / factor)
                events, following = ticker.change(time_ns), time_ns + interval_ns
            elif due == _STATISTICS:
                events, following = ticker.statistics(time_ns), time_ns + STATISTICS_INTERVAL_NS
            else:
                events, following = ticker.order(time_ns), ticker.next_order_ns(factor)
            heapq.heapreplace(self._events, (following, place, due))
            if not self.is_listed(ticker.instrument.ticker, time_ns):
                self._told += [Told(event, 0) for event in events]
                continue
            for event in events:
                made = [
                    MarketFrame(time_ns, self._topic_id(event.ticker, family), text)
                    for family, text in self.written(event)
                    if text
                ]
                frames += made
                self._told.append(Told(event, len(made)))
        return frames

    def snapshot(self, symbol: str, levels: int) -> bytes:
        """The REST answer after everything sent so far. Errors: KeyError, no such ticker.

        Where a client joins updates to it, it is ahead of the last one, as on the venues; but not
        where updates are counted: the numbers of the coming ones are not known yet.
        """
        ticker, dialect = self._of(symbol), self.dialect
        is_ahead = dialect.books is Books.PULLED and not dialect.counts_updates
        book = ticker.now() if is_ahead else ticker.shown
        return self.dialect.write_body(symbol, book, levels)

    def polled(self, kind: str, symbol: str, now_ms: int) -> bytes | None:
        """The answer, at `now_ms` of the venue, to a request for what no channel carries."""
        of_ticker = [one for one in self._tickers if one.instrument.ticker == symbol]
        if not of_ticker:
            return None
        return self.dialect.polled(kind, replace(of_ticker[0].derivative, time_ms=now_ms))

    def book(self, symbol: str) -> NaiveBook:
        """The book as the last update left it."""
        return self._of(symbol).shown

    def _of(self, symbol: str) -> TickerMarket:
        for candidate in self._tickers:
            if candidate.instrument.ticker == symbol:
                return candidate
        raise KeyError(symbol)

    def _topic_id(self, symbol: str, family: str) -> int:
        topic = Topic(symbol, family)
        found = self._topic_ids.get(topic)
        if found is None:
            found = self._topic_ids[topic] = len(self.topics)
            self.topics.append(topic)
        return found

    def written(self, event: Event) -> Iterator[tuple[str, bytes]]:
        """Family and frame of an event; an empty frame is not sent."""
        dialect = self.dialect
        match event:
            case Trade():
                yield dialect.family_of("trade"), dialect.trade(event)
            case Change():
                yield dialect.book_family, dialect.change(event)
            case Quote():
                yield dialect.family_of("bbo"), dialect.quote(event)
            case Statistics():
                yield dialect.family_of("ticker"), dialect.statistics(event)
            case Derivative():
                yield from dialect.derivative(event)
            case Liquidation():
                yield dialect.family_of("liquidation"), dialect.liquidation(event)


_ORDER, _BOOK, _STATISTICS = range(3)
