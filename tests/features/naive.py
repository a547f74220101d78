"""Bars and features again, in plain Python: slow, and easy to believe. Nothing of ours is used."""

from __future__ import annotations

import heapq
import itertools
import math
import statistics
from dataclasses import dataclass, field
from typing import Any

from tests.features.recorded import Event

SNAPSHOT_FIRST, SNAPSHOT_LAST = 1, 4
Quote = tuple[float, float, float, float]


def order_flow(before: Quote, now: Quote) -> float:
    """e_n of Cont, Kukanov and Stoikov (2014), written out by cases."""
    bid, bid_size, ask, ask_size = now
    old_bid, old_bid_size, old_ask, old_ask_size = before
    if bid > old_bid:
        bid_side = bid_size
    elif bid == old_bid:
        bid_side = bid_size - old_bid_size
    else:
        bid_side = -old_bid_size
    if ask < old_ask:
        ask_side = ask_size
    elif ask == old_ask:
        ask_side = ask_size - old_ask_size
    else:
        ask_side = -old_ask_size
    return bid_side - ask_side


@dataclass
class Bucket:
    trades: list[Event] = field(default_factory=list)
    flows: list[float] = field(default_factory=list)
    chained: bool = True
    bids: list[tuple[float, float]] | None = None
    asks: list[tuple[float, float]] | None = None
    frozen: bool = False
    last: Event | None = None


class Naive:
    """One ticker and one interval, event by event."""

    def __init__(self, interval_us: int, grace_us: int = 100_000) -> None:
        self.interval_us, self.grace_us = interval_us, grace_us
        self.buckets: dict[int, Bucket] = {}
        self.next_close: int | None = None
        self.quote: Quote | None = None
        self.from_bbo = False
        self.book: dict[int, dict[float, float]] = {1: {}, -1: {}}
        self.valid = False
        self.close_before = math.nan
        self.last: Event | None = None
        self.late: list[Event] = []
        self.rows: list[dict[str, Any]] = []
        self.mids: list[float | None] = []
        self.ofis: list[float | None] = []

    def take(self, event: Event) -> None:
        if event.feed == "clock":
            if self.next_close is not None:
                while self.next_close + self.interval_us + 1_000_000 <= event.timestamp:
                    self.close()
            return
        at = event.timestamp
        start = at - at % self.interval_us
        if self.next_close is None:
            self.next_close = start
        while self.next_close + self.interval_us + self.grace_us <= at:
            self.close()
        for each in range(self.next_close, start + 1, self.interval_us):
            self.bucket(each)
        getattr(self, event.feed)(event, max(start, self.next_close))

    def bucket(self, start: int) -> Bucket:
        if start not in self.buckets:
            self.buckets[start] = Bucket(chained=self.quote is not None)
        return self.buckets[start]

    def trade(self, event: Event, start: int) -> None:
        assert self.next_close is not None
        if event.timestamp < self.next_close:
            self.late.append(event)
            return
        bucket = self.bucket(start)
        bucket.trades.append(event)
        bucket.last = event

    def bbo(self, event: Event, start: int) -> None:
        if not self.from_bbo:
            self.from_bbo = True
            self.quote = None
            for bucket in self.buckets.values():
                bucket.chained = False
        fields = event.fields
        self.best((fields["bid_px"], fields["bid_sz"], fields["ask_px"], fields["ask_sz"]), start)
        self.bucket(start).last = event

    def best(self, quote: Quote, start: int) -> None:
        if self.quote is not None:
            self.bucket(start).flows.append(order_flow(self.quote, quote))
        self.quote = quote

    def l2(self, event: Event, start: int) -> None:
        for begin, bucket in self.buckets.items():
            if begin + self.interval_us <= event.timestamp and not bucket.frozen:
                self.freeze(bucket)
        flags = event.fields["flags"]
        if flags & SNAPSHOT_FIRST:
            self.book = {1: {}, -1: {}}
        for side, price, size in event.fields["levels"]:
            if size:
                self.book[side][price] = size
            else:
                self.book[side].pop(price, None)
        self.valid |= bool(flags & SNAPSHOT_LAST)
        # A late update is in no book that is frozen: its packet belongs to the next one.
        holder = min(
            begin for begin, bucket in self.buckets.items() if begin >= start and not bucket.frozen
        )
        self.bucket(holder).last = event
        if self.valid and not self.from_bbo:
            bid, ask = max(self.book[1]), min(self.book[-1])
            self.best((bid, self.book[1][bid], ask, self.book[-1][ask]), start)

    def freeze(self, bucket: Bucket) -> None:
        bucket.frozen = True
        if self.valid:
            bucket.bids = heapq.nlargest(10, self.book[1].items())
            bucket.asks = heapq.nsmallest(10, self.book[-1].items())

    def close(self) -> None:
        assert self.next_close is not None
        start = self.next_close
        bucket = self.bucket(start)
        if not bucket.frozen:
            self.freeze(bucket)
        del self.buckets[start]
        self.last = bucket.last or self.last
        self.next_close = start + self.interval_us
        self.rows.append(self.bar(bucket, start) | self.features(bucket))
        self.late = []

    def bar(self, bucket: Bucket, start: int) -> dict[str, Any]:
        assert self.last is not None
        prices = [one.fields["price"] for one in bucket.trades]
        sizes = [one.fields["qty"] for one in bucket.trades]
        buys = sum(one.fields["qty"] for one in bucket.trades if one.fields["side"] > 0)
        sells = sum(one.fields["qty"] for one in bucket.trades if one.fields["side"] < 0)
        filled = [self.close_before]
        self.close_before = (prices or filled)[-1]
        turnover = sum(price * size for price, size in zip(prices, sizes, strict=True))
        return {
            "timestamp": start,
            "end_timestamp": start + self.interval_us,
            "packet_id": self.last.packet_id,
            "rcv_timestamp": self.last.rcv_timestamp,
            "open": (prices or filled)[0],
            "high": max(prices or filled),
            "low": min(prices or filled),
            "close": self.close_before,
            "volume": sum(sizes),
            "vwap": turnover / sum(sizes) if prices else None,
            "trade_count": len(prices),
            "taker_buy_volume": buys,
            "taker_sell_volume": sells,
            "signed_volume": buys - sells,
            "late_count": len(self.late),
            "late_volume": sum(one.fields["qty"] for one in self.late),
        }

    def features(self, bucket: Bucket) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        mid = None
        if bucket.bids and bucket.asks:
            (bid, bid_size), (ask, ask_size) = bucket.bids[0], bucket.asks[0]
            mid = (bid + ask) / 2
            found["spread"] = ask - bid
            found["spread_bps"] = (ask - bid) / mid * 10_000
            found["weighted_mid"] = (bid * ask_size + ask * bid_size) / (bid_size + ask_size)
            for depth in (1, 5, 10):
                bids = sum(size for _, size in bucket.bids[:depth])
                asks = sum(size for _, size in bucket.asks[:depth])
                found[f"imbalance_{depth}"] = (bids - asks) / (bids + asks)
                found[f"liquidity_{depth}"] = bids + asks
            for level in range(5):
                of_bid, of_ask = bucket.bids[level][1], bucket.asks[level][1]
                found[f"queue_imb_{level + 1}"] = (of_bid - of_ask) / (of_bid + of_ask)
        found["mid"] = mid
        found["ofi"] = sum(bucket.flows) if bucket.chained else None
        self.mids.append(mid)
        self.ofis.append(found["ofi"])
        found["ofi_10"] = _sum(self.ofis[-10:])
        returns = [
            math.log(now / before) if now and before else None
            for before, now in itertools.pairwise(self.mids[-101:])
        ]
        found["returns"] = returns[-1] if returns else None
        for window in (20, 100):
            last = [value for value in returns[-window:] if value is not None]
            found[f"volatility_{window}"] = statistics.stdev(last) if len(last) == window else None
        return found


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == 10 else None
