"""What a receiver is: the request for some alerts, and the verdict on its answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tickbus_schemas.messages import Alert

RETRY_AFTER_MAX_S = 86_400.0


@dataclass(frozen=True)
class Post:
    """A request. Its address may hold a secret: it is never shown."""

    url: str = field(repr=False)
    body: Any
    """becomes JSON"""


class Answer(NamedTuple):
    """What came back; status 0: nothing did, and `text` says why."""

    status: int
    text: str = ""
    retry_after: str = ""
    """the header"""


class Sent(NamedTuple):
    """The receiver has it."""


class Again(NamedTuple):
    """The same later: after so long, or with growing pauses where the receiver says nothing."""

    why: str
    after_s: float | None = None


class Plainer(NamedTuple):
    """The same at once, without markup."""


class Refused(NamedTuple):
    """It will never be taken; what follows may be."""

    why: str


class Wrong(NamedTuple):
    """Nothing will be taken before somebody changes the settings."""

    why: str


Verdict = Sent | Again | Plainer | Refused | Wrong


class Receiver(ABC):
    """One place to which alerts go."""

    name: str
    """of its place in the stream, and in logs"""

    def check(self) -> Post | None:
        """A request that shows at the start whether the settings are right; None: there is none."""
        return None

    @abstractmethod
    def post(self, alerts: Sequence[Alert], *, plain: bool) -> Post:
        """The request that tells these alerts; `plain`: without markup."""

    @abstractmethod
    def judge(self, answer: Answer, *, plain: bool) -> Verdict:
        """What an answer means."""


def seconds_of(header: str) -> float | None:
    """Retry-After in seconds; None where it is absent, a date or nonsense."""
    try:
        found = float(header)
    except ValueError:
        return None
    return min(found, RETRY_AFTER_MAX_S) if found >= 0 else None


def judge_http(answer: Answer, settings: str) -> Verdict:
    """The verdict where the status says all. `settings`: what to correct if it is wrong.

    | status | verdict |
    |---|---|
    | 2xx | sent |
    | none came, 408, 425, 5xx | again, with growing pauses |
    | 429 | again, after Retry-After |
    | 3xx | wrong: redirects are not followed |
    | 401, 403, 404, 410 | wrong: nobody there takes alerts from us |
    | another 4xx | this one is refused |
    """
    status, said = answer.status, f"HTTP {answer.status} {answer.text[:200]}".strip()
    if 200 <= status < 300:
        return Sent()
    if not status:
        return Again(answer.text)
    if status == 429 or status >= 500 or status in (408, 425):
        return Again(said, seconds_of(answer.retry_after))
    if status < 400:
        return Wrong(f"it answers with a redirect ({said}): set {settings} to the new address")
    if status in (401, 403, 404, 410):
        return Wrong(f"it does not take alerts from us ({said}): correct {settings}")
    return Refused(said)
