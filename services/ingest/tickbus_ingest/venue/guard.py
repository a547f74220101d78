"""What a venue's file fails to do ends in one line, never in a traceback or a stopped service.

Frames and bodies that it fails on are refused where they are read (`session/decoding.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tickbus_schemas.errors import Fatal, Reject
from tickbus_schemas.messages import ABSENT

from tickbus_ingest.venue.contract import Line, Venue
from tickbus_ingest.venue.instruments import Instrument

FAILED = "the venue's file failed"
"""How a line begins that the exchange is not to blame for."""
TEXT_MAX = 200


def failure(venue: Venue | type[Venue], function: str, error: Exception) -> str:
    """One line: the venue, the function, the exception."""
    name = f"{venue.exchange.token}.{function}"
    return f"{FAILED}: {name}: {type(error).__name__}: {error}"[:TEXT_MAX].replace("\n", " ")


class Failures:
    """Failures of one venue's file since somebody took them."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lines: dict[tuple[str, str], str] = {}
        self._told: set[tuple[str, str]] = set()

    def note(self, venue: Venue, function: str, error: Exception) -> str:
        """A function failed: the line about it, which is kept if it is of a new kind."""
        text = failure(venue, function, error)
        self._counts[function] += 1
        kind = function, type(error).__name__
        if kind not in self._told:
            self._told.add(kind)
            self._lines[kind] = text
        return text

    def take(self) -> tuple[Counter[str], list[str]]:
        """How often each function failed, and lines of new kinds."""
        counts, lines = self._counts, list(self._lines.values())
        self._counts, self._lines = Counter(), {}
        return counts, lines


def made(kind: type[Venue], instruments: Sequence[Instrument], feeds: Sequence[str]) -> Venue:
    """A venue of its file; Fatal where that fails."""
    try:
        return kind(instruments, feeds)
    except Fatal:
        raise
    except Exception as error:  # a venue's file must not end in a traceback
        raise Fatal(failure(kind, "__init__", error)) from None


def guard(venue: Venue, failures: Failures) -> None:
    """From now on no function of this venue raises anything but Reject, or Fatal from `routes`.

    A failure is noted in `failures`. What a failing function gives instead: no requests, polls or
    greetings; no checksum; the common reading of HTTP answers; a new connection's empty memory.
    """

    def instead(name: str, fallback: Any, kind: Callable[[Any], Any] = _as_is) -> None:
        function = getattr(venue, name)

        def guarded(*values: Any) -> Any:
            try:
                return kind(function(*values))
            except Exception as error:
                return fallback(failures.note(venue, name, error), error, *values)

        setattr(venue, name, guarded)

    for name in ("greet", "subscribe", "unsubscribe", "polls"):
        instead(name, lambda *_: [], list)
    for name in ("snapshot_request", "address"):
        instead(name, _reject)
    instead("routes", _fatal, list)
    instead("checksum", lambda *_: ABSENT, int)
    instead("connected", _forget)
    instead("hold_s", lambda _text, _error, *values: Venue.hold_s(venue, *values), _seconds)


def _as_is(value: Any) -> Any:
    return value


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)


def _reject(text: str, error: Exception, *_: Any) -> None:
    raise Reject(str(error) if isinstance(error, Reject) else text)


def _fatal(text: str, error: Exception) -> None:
    raise error if isinstance(error, Fatal) else Fatal(text)


def _forget(_text: str, _error: Exception, line: Line) -> None:
    line.memory.clear()
