"""When to connect, ask and give up waiting: decisions without I/O; times are monotonic seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

BACKOFF_BASE_S = 0.5
BACKOFF_MAX_S = 30.0
WINDOW_S = 300.0
HELD_AFTER_BAN_S = 60.0
"""When the venue refuses without saying for how long."""


def backoff_s(attempt: int, uniform: Callable[[float, float], float]) -> float:
    """How long to wait before attempt 1, 2, ...: full jitter below a doubling limit.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return uniform(0.0, min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2.0 ** min(attempt, 10)))


@dataclass
class Budget:
    """At most `limit` units within any `window_s`: connection attempts, request weights."""

    limit: int
    window_s: float = WINDOW_S
    _spent: deque[tuple[float, int]] = field(default_factory=deque)
    _held_until_s: float = 0.0

    def wait_s(self, now_s: float, units: int = 1) -> float:
        """How long to wait until `units` may be spent; 0 when now."""
        while self._spent and self._spent[0][0] <= now_s - self.window_s:
            self._spent.popleft()
        held_s = max(self._held_until_s - now_s, 0.0)
        excess = sum(spent for _, spent in self._spent) + units - self.limit
        for spent_s, spent in self._spent:
            if excess <= 0:
                break
            excess -= spent
            held_s = max(held_s, spent_s + self.window_s - now_s)
        return held_s

    def spend(self, now_s: float, units: int = 1) -> None:
        """Note that units were spent now."""
        self._spent.append((now_s, units))

    def correct(self, now_s: float, used: int) -> None:
        """The venue says that `used` units count against us: believe it if it is more."""
        known = sum(spent for _, spent in self._spent)
        if used > known:
            self._spent.append((now_s, used - known))

    def hold(self, until_s: float) -> None:
        """The venue wants nothing from us before this time."""
        self._held_until_s = max(self._held_until_s, until_s)


def refusal_hold_s(status: int, retry_after: str | None) -> float | None:
    """How long HTTP `status` forbids all requests; None when it does not.

    429: too many requests. 418: banned for ignoring 429. Both name the seconds in Retry-After.
    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
    """
    if status not in (429, 418):
        return None
    try:
        return max(float(retry_after or HELD_AFTER_BAN_S), 0.0)
    except ValueError:
        return HELD_AFTER_BAN_S


@dataclass
class Silence:
    """Tells that something which should deliver has not for `limit_s`; once per silence."""

    limit_s: float
    _seen: int = -1
    _since_s: float = 0.0

    def check(self, delivered: int, now_s: float) -> bool:
        """`delivered` counts what came so far; True when the limit has just passed."""
        if delivered != self._seen:
            self._seen, self._since_s = delivered, now_s
            return False
        if now_s - self._since_s < self.limit_s:
            return False
        self._since_s = now_s
        return True
