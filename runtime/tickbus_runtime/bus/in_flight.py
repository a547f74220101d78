"""Decides what becomes of the messages of one flush; `publisher` sends them.

A message is stored at most once and never behind a later one of its flush. So one that may have
been stored unknown to us is looked for in the stream before anything is sent again, and one that
was not stored is sent again only while no later one is. It keeps its id: should an old attempt
still be on its way, the server stores one of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from tickbus_runtime.bus.answers import NO_RESPONDERS, Judgement, PublishVerdict

WINDOW_MESSAGES = 4_000
"""In flight at most; the server drops what is over 10,000 of a stream (429)."""
WINDOW_BYTES = 16 * 1024**2
TOO_LARGE = 10054


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One message to be stored."""

    subject: str
    payload: bytes
    msg_id: str
    """same id, same message: the server stores it once within its duplicate window"""
    headers: dict[str, str] | None = None


class PublishOutcome(NamedTuple):
    """What became of a message: stored (`code` is 0), or refused for good."""

    seq: int = 0
    """0 where only its being stored is known"""
    duplicate: bool = False
    """an earlier attempt had stored it"""
    code: int = 0
    """the server's err_code of a refusal"""
    text: str = ""

    @property
    def stored(self) -> bool:
        """Whether it is in the stream."""
        return self.code == 0


class InFlight:
    """The state of one flush: what waits, what became of the rest."""

    def __init__(self, messages: Sequence[Outgoing], max_payload: int) -> None:
        self.messages = messages
        self.outcomes: list[PublishOutcome | None] = [None] * len(messages)
        self.waiting = list(range(len(messages)))
        """places without an outcome, in order"""
        self._doubtful: set[int] = set()
        """places that may be stored unknown to us"""
        self._told_to_wait: dict[int, Judgement] = {}
        """places that are not stored, and the answer that said so"""
        self._last_stored = -1
        self.fenced = ""
        """what the server said when another publisher had taken over"""
        for place, message in enumerate(messages):
            if len(message.payload) > max_payload:
                text = f"{len(message.payload)} bytes, the server takes {max_payload}"
                self._settle(place, PublishOutcome(code=TOO_LARGE, text=text))
        self._drop_settled()

    def window(self) -> list[int]:
        """The next places to send: the first that wait, as many as may be in flight."""
        size = 0
        for count, place in enumerate(self.waiting):
            size += len(self.messages[place].payload)
            if count == WINDOW_MESSAGES or (count and size > WINDOW_BYTES):
                return self.waiting[:count]
        return self.waiting.copy()

    def attempted(self, window: list[int], answers: dict[int, Judgement]) -> None:
        """Take the answers of one attempt; what got none may be stored all the same."""
        for place in window:
            self._judged(place, answers.get(place))
        self._refuse_overtaken()
        self._drop_settled()

    def _judged(self, place: int, judgement: Judgement | None) -> None:
        verdict = judgement.verdict if judgement else PublishVerdict.LOOK
        if judgement is None or verdict in (PublishVerdict.LOOK, PublishVerdict.IN_PROGRESS):
            self._doubtful.add(place)
            self._told_to_wait.pop(place, None)
        elif verdict in (PublishVerdict.STORED, PublishVerdict.DUPLICATE):
            self._settle(place, PublishOutcome(judgement.seq, verdict is PublishVerdict.DUPLICATE))
        elif verdict is PublishVerdict.FENCED:
            self.fenced = judgement.text or verdict.value
        elif verdict is PublishVerdict.REFUSED:
            self._settle(place, PublishOutcome(code=judgement.code, text=judgement.text))
        else:
            self._told_to_wait[place] = judgement

    def _refuse_overtaken(self) -> None:
        """What would now be stored behind a later message is refused instead."""
        for place, judgement in list(self._told_to_wait.items()):
            if place < self._last_stored:
                text = f"{judgement.text}; a later message was stored"
                self._settle(place, PublishOutcome(code=judgement.code or NO_RESPONDERS, text=text))

    def doubtful(self) -> dict[str, set[str]]:
        """Subjects that the stream itself must tell about before anything is sent again: ids."""
        ids: dict[str, set[str]] = {}
        for place in sorted(self._doubtful):
            message = self.messages[place]
            ids.setdefault(message.subject, set()).add(message.msg_id)
        return ids

    def found(self, subject: str, seqs: Mapping[str, int]) -> None:
        """Take which messages of a subject the stream holds, by id; others are not there."""
        for place in sorted(self._doubtful):
            message = self.messages[place]
            if message.subject != subject:
                continue
            if message.msg_id in seqs:
                self._settle(place, PublishOutcome(seqs[message.msg_id], duplicate=True))
            else:
                self._doubtful.remove(place)
                self._told_to_wait[place] = Judgement(PublishVerdict.AGAIN, text="it never arrived")
        # Not while others are in doubt: a later one may turn out to be stored.
        if not self._doubtful:
            self._refuse_overtaken()
        self._drop_settled()

    def _settle(self, place: int, outcome: PublishOutcome) -> None:
        self.outcomes[place] = outcome
        self._doubtful.discard(place)
        self._told_to_wait.pop(place, None)
        if outcome.stored:
            self._last_stored = max(self._last_stored, place)

    def _drop_settled(self) -> None:
        self.waiting = [place for place in self.waiting if self.outcomes[place] is None]
