"""A seeded market: time in, frames out, in the form of Binance's streams.

Orders arrive in bursts that excite further ones (Hawkes: https://doi.org/10.1093/biomet/58.1.83);
the fair price walks with clustering volatility, trades take the best levels, makers follow.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass
from math import exp, log, sqrt

from tickbus_schemas.exchanges import Exchange

from tickbus_sim.dialect import Dialect, Topic
from tickbus_sim.ladder import Instrument, Ladder, instrument

SECOND = 1_000_000_000
DEPTH_INTERVAL_NS = SECOND // 10
CHANNELS = ("trade", "depth@100ms", "bookTicker")

_BRANCHING = 0.7  # further orders that each order excites, on average
_DECAY_PER_S = 6.0  # how fast the excitement fades
_VOLATILITY_MEMORY_S = 20.0
_VOLATILITY_SPREAD = 0.7  # standard deviation of log volatility
_FAIR_TICKS_PER_ORDER = 0.4  # standard deviation of the fair price's step from order to order
_FRAMES_PER_ORDER = 0.61  # measured: trades and quotes that one order makes, on average
_ID_STEP_MAX = 7  # USD-M counts the updates of all its symbols in one series


@dataclass(frozen=True)
class MarketFrame:
    """A frame and when it is sent."""

    time_ns: int  # since the market opened
    topic_id: int
    text: bytes


class Market:
    """All tickers of one exchange; `advance` plays up to a time."""

    def __init__(
        self, dialect: Dialect, tickers: list[str], *, seed: int, rate: float, start_ms: int = 0
    ) -> None:
        """Sets up the books; `rate`: frames a second of all tickers together, on average."""
        rng = random.Random(seed)
        self.dialect = dialect
        self.instruments = [instrument(ticker) for ticker in tickers]
        self.topics = [Topic("", "")]
        self._shared = _Shared(
            dialect.exchange is Exchange.BINANCE_USDM, rng.randrange(10**12, 10**13), start_ms
        )
        self._tickers: list[_Ticker] = []
        weights = [1 / (1 + place) for place in range(len(tickers))]
        for listed, weight in zip(self.instruments, weights, strict=True):
            frames_per_s = rate * weight / sum(weights)
            orders_per_s = max(1.0, frames_per_s - 10) / _FRAMES_PER_ORDER
            ticker_rng = random.Random(rng.randrange(2**62))
            self._tickers.append(_Ticker(listed, ticker_rng, orders_per_s, self._shared))
            self.topics += [
                Topic(listed.ticker.lower(), channel.partition("@")[0]) for channel in CHANNELS
            ]
        self._events: list[tuple[int, int, bool]] = []  # time, place of ticker, is a depth frame
        for place, ticker in enumerate(self._tickers):
            self._events += [
                (ticker.next_order_ns(), place, False),
                (DEPTH_INTERVAL_NS, place, True),
            ]
        heapq.heapify(self._events)

    @property
    def start_ms(self) -> int:
        """Venue time at which the market opens."""
        return self._shared.start_ms

    def open(self, start_ms: int) -> None:
        """Sets the opening time, before the first `advance`."""
        self._shared.start_ms = start_ms

    def advance(self, until_ns: int) -> list[MarketFrame]:
        """Frames up to and including `until_ns`; the same ones however the time is cut."""
        frames: list[MarketFrame] = []
        while self._events[0][0] <= until_ns:
            time_ns, place, is_depth = self._events[0]
            ticker = self._tickers[place]
            if is_depth:
                texts = ticker.depth(time_ns)
                following = time_ns + DEPTH_INTERVAL_NS
            else:
                texts = ticker.order(time_ns)
                following = ticker.next_order_ns()
            heapq.heapreplace(self._events, (following, place, is_depth))
            first_topic = 1 + place * len(CHANNELS)
            frames += [MarketFrame(time_ns, first_topic + kind, text) for kind, text in texts]
        return frames

    def snapshot(self, ticker: str, limit: int) -> bytes:
        """The REST depth body after everything sent so far. Errors: KeyError, no such ticker."""
        for candidate in self._tickers:
            if candidate.instrument.ticker == ticker:
                return candidate.snapshot(limit)
        raise KeyError(ticker)


class _Shared:
    """What the tickers of one exchange share: the opening time and, on USD-M, the update ids."""

    def __init__(self, is_usdm: bool, first_id: int, start_ms: int) -> None:
        self.is_usdm = is_usdm
        self.last_id = first_id
        self.start_ms = start_ms

    def following(self, own_last: int, rng: random.Random) -> int:
        """The id after `own_last`: dense per ticker on Spot, one sparse series on USD-M."""
        if not self.is_usdm:
            return own_last + 1
        self.last_id += 1 + int(rng.random() * _ID_STEP_MAX)
        return self.last_id


class _Arrivals:
    """Times of orders: self-exciting, by thinning (Ogata 1981)."""

    def __init__(self, rng: random.Random, orders_per_s: float) -> None:
        self._rng = rng
        self._calm_per_s = orders_per_s * (1 - _BRANCHING)
        self._excited_per_s = orders_per_s * _BRANCHING
        self._time_s = 0.0

    def next_s(self, activity: float) -> float:
        """The next order's time; `activity` scales the calm rate, 1 on average."""
        calm = self._calm_per_s * activity
        while True:
            bound = calm + self._excited_per_s
            wait_s = -log(1.0 - self._rng.random()) / bound
            self._time_s += wait_s
            self._excited_per_s *= exp(-_DECAY_PER_S * wait_s)
            if self._rng.random() * bound <= calm + self._excited_per_s:
                self._excited_per_s += _BRANCHING * _DECAY_PER_S
                return self._time_s


class _Ticker:
    """One ticker's book, price process and frames."""

    def __init__(
        self,
        listed: Instrument,
        rng: random.Random,
        orders_per_s: float,
        shared: _Shared,
    ) -> None:
        self.instrument = listed
        self._rng = rng
        self._shared = shared
        self._is_usdm = shared.is_usdm
        self._arrivals = _Arrivals(rng, orders_per_s)
        self._fair_ticks_per_sqrt_s = _FAIR_TICKS_PER_ORDER * sqrt(orders_per_s)
        self._ladder = Ladder(listed, rng)
        self._fair = listed.price_ticks + 0.5
        self._log_volatility = 0.0
        self._last_s = 0.0
        self._trade_id = rng.randrange(10**8, 10**9)
        self._update_id = self._prev_depth_id = shared.last_id
        self._first_id = 0  # of the coming depth frame; 0: nothing changed yet
        self._change_ns = 0
        self._stream = listed.ticker.lower()

    def next_order_ns(self) -> int:
        activity = exp(self._log_volatility - _VOLATILITY_SPREAD**2 / 2)
        return int(self._arrivals.next_s(activity) * SECOND)

    def order(self, time_ns: int) -> list[tuple[int, bytes]]:
        """One order arrives: its trades, and the quote if it changed (place of channel, text)."""
        self._walk(time_ns / SECOND)
        ladder = self._ladder
        before = ladder.best()
        trades = self._act()
        self._change_ns = time_ns
        self._update_id = self._shared.following(self._update_id, self._rng)
        self._first_id = self._first_id or self._update_id
        texts = [(0, self._trade(*trade)) for trade in trades]
        if ladder.best() != before:
            texts.append((2, self._quote()))
        return texts

    def depth(self, time_ns: int) -> list[tuple[int, bytes]]:
        """The coming 100 ms' depth frame; none when nothing changed."""
        bids, asks = self._ladder.take_changes()
        if not self._first_id:
            return []
        event_ms = self._venue_ms(time_ns)
        text = (
            f'{{"stream":"{self._stream}@depth@100ms","data":{{"e":"depthUpdate","E":{event_ms},'
            + (f'"T":{self._venue_ms(self._change_ns)},' if self._is_usdm else "")
            + f'"s":"{self.instrument.ticker}","U":{self._first_id},"u":{self._update_id},'
            + (f'"pu":{self._prev_depth_id},' if self._is_usdm else "")
            + f'"b":{bids},"a":{asks}}}}}'
        )
        self._prev_depth_id, self._first_id = self._update_id, 0
        return [(1, text.encode())]

    def snapshot(self, limit: int) -> bytes:
        bids, asks = self._ladder.top(limit)
        ms = self._venue_ms(self._change_ns)
        times = f'"E":{ms},"T":{ms},' if self._is_usdm else ""
        text = f'{{"lastUpdateId":{self._update_id},{times}"bids":{bids},"asks":{asks}}}'
        return text.encode()

    def _venue_ms(self, time_ns: int) -> int:
        return self._shared.start_ms + time_ns // 1_000_000

    def _walk(self, now_s: float) -> None:
        """The fair price moves by its volatility, which itself is drawn back to its mean."""
        step_s, self._last_s = now_s - self._last_s, now_s
        keep = exp(-step_s / _VOLATILITY_MEMORY_S)
        shock = self._rng.gauss(0.0, 1.0) * sqrt(1 - keep * keep)
        self._log_volatility = keep * self._log_volatility + _VOLATILITY_SPREAD * shock
        sigma = self._fair_ticks_per_sqrt_s * exp(self._log_volatility)
        self._fair += sigma * sqrt(step_s) * self._rng.gauss(0.0, 1.0)
        self._fair = max(self._fair, self.instrument.price_ticks * 0.1)

    def _act(self) -> list[tuple[int, int, bool]]:
        """What the order does; its trades as (price ticks, lots, taker sells)."""
        ladder, draw = self._ladder, self._rng.random()
        lean = self._fair - ladder.mid()
        eager = abs(lean) > ladder.spread()
        if draw < (0.45 if eager else 0.12):
            sells = lean < 0 if eager else self._rng.random() < 0.5
            return ladder.take(sells)
        if draw < 0.7:
            # Makers fill in behind the price and leave the side that is about to be hit.
            ladder.add(is_bid=self._rng.random() < (0.8 if lean > 0 else 0.2))
        elif draw < 0.92:
            ladder.cancel(is_bid=self._rng.random() < (0.2 if lean > 0 else 0.8))
        else:
            ladder.deep()
        return []

    def _trade(self, price_ticks: int, lots: int, taker_sells: bool) -> bytes:
        self._trade_id += 1
        listed, ms = self.instrument, self._venue_ms(self._change_ns)
        kind = '"X":"MARKET",' if self._is_usdm else ""
        tail = ("true" if taker_sells else "false") + ("" if self._is_usdm else ',"M":true')
        return (
            f'{{"stream":"{self._stream}@trade","data":{{"e":"trade","E":{ms},"T":{ms},'
            f'"s":"{listed.ticker}","t":{self._trade_id},"p":"{listed.price_text(price_ticks)}",'
            f'"q":"{listed.qty_text(lots)}",{kind}"m":{tail}}}}}'
        ).encode()

    def _quote(self) -> bytes:
        listed, ms = self.instrument, self._venue_ms(self._change_ns)
        bid, bid_lots, ask, ask_lots = self._ladder.best()
        kind = '"e":"bookTicker",' if self._is_usdm else ""
        times = f',"T":{ms},"E":{ms}' if self._is_usdm else ""
        return (
            f'{{"stream":"{self._stream}@bookTicker","data":{{{kind}"u":{self._update_id},'
            f'"s":"{listed.ticker}","b":"{listed.price_text(bid)}","B":"{listed.qty_text(bid_lots)}",'
            f'"a":"{listed.price_text(ask)}","A":"{listed.qty_text(ask_lots)}"{times}}}}}'
        ).encode()
