"""Decides what becomes of the messages of one flush; `publisher` sends them.

A message is stored at most once and never behind a later one of its flush. So one that was
certainly not stored is sent again only while no later one is; one that may have been is sent again
under the same id, which the server knows within its duplicate window, or looked up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from tickbus_runtime.answers import NO_RESPONDERS, Judgement, Verdict

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


class Outcome(NamedTuple):
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


class Flush:
    """The state of one flush: what waits, what became of the rest."""

    def __init__(self, messages: Sequence[Outgoing], max_payload: int) -> None:
        self.messages = messages
        self.outcomes: list[Outcome | None] = [None] * len(messages)
        self.waiting = list(range(len(messages)))
        """places without an outcome, in order"""
        self._doubt_s: dict[int, float] = {}
        """when a place that may be stored unknown to us was first sent"""
        self._told_to_wait: dict[int, Judgement] = {}
        """places that are not stored, and the answer that said so"""
        self._last_stored = -1
        for place, message in enumerate(messages):
            if len(message.payload) > max_payload:
                text = f"{len(message.payload)} bytes, the server takes {max_payload}"
                self._settle(place, Outcome(code=TOO_LARGE, text=text))
        self._drop_settled()

    def window(self) -> list[int]:
        """The next places to send: the first that wait, as many as may be in flight."""
        size = 0
        for count, place in enumerate(self.waiting):
            size += len(self.messages[place].payload)
            if count == WINDOW_MESSAGES or (count and size > WINDOW_BYTES):
                return self.waiting[:count]
        return self.waiting.copy()

    def attempted(self, window: list[int], answers: dict[int, Judgement], sent_s: float) -> None:
        """Take the answers of one attempt; what got none may be stored all the same."""
        for place in window:
            judgement = answers.get(place)
            if judgement is None or judgement.verdict is Verdict.IN_PROGRESS:
                self._doubt_s.setdefault(place, sent_s)
                self._told_to_wait.pop(place, None)
            else:
                self._judged(place, judgement)
        self._refuse_overtaken()
        self._drop_settled()

    def _judged(self, place: int, judgement: Judgement) -> None:
        verdict = judgement.verdict
        if verdict in (Verdict.STORED, Verdict.DUPLICATE):
            self._settle(place, Outcome(judgement.seq, verdict is Verdict.DUPLICATE))
        elif verdict is Verdict.REFUSED:
            self._settle(place, Outcome(code=judgement.code, text=judgement.text))
        elif verdict is Verdict.LOOK:
            self._doubt_s[place] = 0.0
        elif judgement.code == NO_RESPONDERS and place in self._doubt_s:
            return  # nobody looked whether the earlier attempt is there
        else:
            self._doubt_s.pop(place, None)
            self._told_to_wait[place] = judgement

    def _refuse_overtaken(self) -> None:
        """What would now be stored behind a later message is refused instead."""
        for place, judgement in list(self._told_to_wait.items()):
            if place < self._last_stored:
                text = f"{judgement.text}; a later message was stored"
                self._settle(place, Outcome(code=judgement.code or NO_RESPONDERS, text=text))

    def doubtful(self, sent_before_s: float) -> set[str]:
        """Subjects that the stream itself must tell about before anything is sent again.

        Of messages first sent so long ago that the server may have forgotten their ids, and of
        those behind one that waits: if they are stored, that one is overtaken.
        """
        first_to_wait = min(self._told_to_wait, default=len(self.messages))
        return {
            self.messages[place].subject
            for place, sent_s in self._doubt_s.items()
            if sent_s < sent_before_s or place > first_to_wait
        }

    def found(self, subject: str, last_id: str, seq: int) -> None:
        """The stream's last message of a subject has this id: what is in doubt there, is not now.

        Messages of one subject are stored in order, so up to that one they are there.
        """
        of_subject = [
            place for place, message in enumerate(self.messages) if message.subject == subject
        ]
        last = max(
            (place for place in of_subject if self.messages[place].msg_id == last_id), default=-1
        )
        for place in of_subject:
            if place not in self._doubt_s:
                continue
            if place <= last:
                self._settle(place, Outcome(seq if place == last else 0, duplicate=True))
            else:
                del self._doubt_s[place]
                self._told_to_wait[place] = Judgement(Verdict.AGAIN, text="it never arrived")
        self._refuse_overtaken()
        self._drop_settled()

    def _settle(self, place: int, outcome: Outcome) -> None:
        self.outcomes[place] = outcome
        self._doubt_s.pop(place, None)
        self._told_to_wait.pop(place, None)
        if outcome.stored:
            self._last_stored = max(self._last_stored, place)

    def _drop_settled(self) -> None:
        self.waiting = [place for place in self.waiting if self.outcomes[place] is None]
