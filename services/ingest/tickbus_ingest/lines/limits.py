"""A venue's limits, kept by one kind of bucket. No I/O: times are monotonic seconds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf

from tickbus_ingest.venue.contract import Limit, Venue, What

PONGS = 1
"""Messages a period that are left to the WebSocket library: it answers pings by itself, and venues
count the answers (Binance:
https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams)."""


@dataclass(slots=True)
class _Rule:
    """At most `n` units within `per_s`, or at once where `per_s` is 0."""

    n: int
    per_s: float
    spent: deque[tuple[float, int]] = field(default_factory=deque)
    total: int = 0

    def expire(self, now_s: float) -> None:
        while self.per_s and self.spent and self.spent[0][0] <= now_s - self.per_s:
            self.total -= self.spent.popleft()[1]

    def wait_s(self, now_s: float, units: int) -> float:
        self.expire(now_s)
        excess = self.total + units - self.n
        if excess <= 0 or not self.total:  # more than the limit at once: as soon as nothing counts
            return 0.0
        if not self.per_s:
            return inf
        at_s = now_s
        for spent_s, spent in self.spent:
            at_s = spent_s
            excess -= spent
            if excess <= 0:
                break
        return at_s + self.per_s - now_s

    def take(self, now_s: float, units: int) -> None:
        self.total += units
        if self.per_s:
            self.spent.append((now_s, units))


class Bucket:
    """Tells how long to wait until more may be done; without limits, never.

    Every window of `per_s` seconds sees at most `n` units: a bucket that fills drop by drop would
    let twice as many through within one.
    """

    def __init__(self, *limits: Limit) -> None:
        self._rules = [_Rule(limit.n, limit.per_s) for limit in limits]
        self._held_until_s = 0.0

    def wait_s(self, now_s: float, units: int = 1) -> float:
        """How long to wait until `units` may be taken: 0 now; inf until some are given back."""
        waits = [rule.wait_s(now_s, units) for rule in self._rules]
        return max([self._held_until_s - now_s, 0.0, *waits])

    def take(self, now_s: float, units: int = 1) -> None:
        """So many are used now."""
        for rule in self._rules:
            rule.take(now_s, units)

    def give_back(self, units: int = 1) -> None:
        """So many of what is limited at once are free again."""
        for rule in self._rules:
            if not rule.per_s:
                rule.total -= units

    def correct(self, now_s: float, used: int) -> None:
        """The venue says that `used` units count against us: believed if it is more."""
        for rule in self._rules:
            rule.expire(now_s)
            if used > rule.total:
                rule.take(now_s, used - rule.total)

    def hold(self, until_s: float) -> None:
        """The venue wants nothing from us before this time."""
        self._held_until_s = max(self._held_until_s, until_s)

    def held_s(self, now_s: float) -> float:
        """For how much longer the venue wants nothing from us."""
        return max(self._held_until_s - now_s, 0.0)


class Limits:
    """The buckets of one venue: some for all connections, some for each."""

    def __init__(self, venue: type[Venue], attempts: Limit | None = None) -> None:
        """`attempts`: a further limit of ours for connection attempts."""
        self._limits = venue.limits
        more = [attempts] if attempts else []
        self.attempts = [
            Bucket(*self._of(What.ATTEMPTS), *more)
            for _ in range(max(len(venue.websocket_urls), 1))
        ]
        """by `Route.host`"""
        self.connections = Bucket(*self._of(What.CONNECTIONS))
        self.weight = Bucket(*self._of(What.WEIGHT))

    def messages(self) -> Bucket:
        """Of a new connection: frames that we send."""
        return Bucket(
            *(Limit(one.what, max(one.n - PONGS, 1), one.per_s) for one in self._of(What.MESSAGES))
        )

    def subscriptions(self) -> Bucket:
        """Of a new connection: requests to subscribe."""
        return Bucket(*self._of(What.SUBSCRIPTIONS))

    def _of(self, what: What) -> list[Limit]:
        return [limit for limit in self._limits if limit.what is what]


class NoLimits(Limits):
    """Of a venue on this machine: it has none."""

    def _of(self, what: What) -> list[Limit]:
        return []
