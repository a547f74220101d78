"""When something that should come does not, and how often one says so. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

SAY_FIRST_S, SAY_MAX_S = 60.0, 3600.0


@dataclass
class Silence:
    """Tells that something which should deliver has not for `limit_s`; once a silence."""

    limit_s: float
    heard_s: float = 0.0
    """when something was seen to have come last; 0 before the first look"""
    _seen: int = -1
    _since_s: float = 0.0

    def check(self, delivered: int, now_s: float) -> bool:
        """`delivered` counts what came so far; True when the limit has just passed."""
        if delivered != self._seen:
            self._seen, self._since_s, self.heard_s = delivered, now_s, now_s
            return False
        if now_s - self._since_s < self.limit_s:
            return False
        self._since_s = now_s
        return True


@dataclass
class _Trouble:
    since_s: float
    times: int
    say_at_s: float
    pause_s: float


class Troubles:
    """What goes wrong again and again is said at once, then at growing distances."""

    def __init__(self) -> None:
        self._known: dict[str, _Trouble] = {}

    def again(self, what: str, now_s: float) -> dict[str, float] | None:
        """It went wrong once more: facts to say, or None when it was said a short while ago."""
        known = self._known.get(what)
        if known is None:
            self._known[what] = _Trouble(now_s, 1, now_s + SAY_FIRST_S, SAY_FIRST_S)
            return {}
        known.times += 1
        if now_s < known.say_at_s:
            return None
        known.pause_s = min(known.pause_s * 2, SAY_MAX_S)
        known.say_at_s = now_s + known.pause_s
        return {"times": known.times, "for_s": round(now_s - known.since_s)}

    def over(self, what: str) -> bool:
        """It works now; whether it had gone wrong."""
        return self._known.pop(what, None) is not None
