"""Decides what to do with the messages of one flush; `publisher` sends them.

A message is stored at most once, and never after a later message of its flush. If an answer is
missing, we read the stream before we send anything again. A message that is not in the stream is
sent again only if no later message is. It keeps its id: if an old attempt still arrives, the server
stores one of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from tickbus_runtime.bus.answers import NO_RESPONDERS, Judgement, PublishVerdict

WINDOW_MESSAGES = 4_000
"""Most messages in flight; the server drops more than 10,000 of a stream (429)."""
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
    """The result of a publish: stored (`code` is 0), or refused for good."""

    seq: int = 0
    """0 if the sequence is unknown"""
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
    """One flush while it is being published: which messages wait, and the outcome of the others."""

    def __init__(self, messages: Sequence[Outgoing], max_payload: int) -> None:
        self.messages = messages
        self.outcomes: list[PublishOutcome | None] = [None] * len(messages)
        self.waiting = list(range(len(messages)))
        """places without an outcome, in order"""
        self._doubtful: set[int] = set()
        """places without a clear answer: they may be stored or not"""
        self._told_to_wait: dict[int, Judgement] = {}
        """places that are not stored, each with the answer that said so"""
        self._last_stored = -1
        self.fenced = ""
        """what the server said when another publisher had taken over"""
        for place, message in enumerate(messages):
            if len(message.payload) > max_payload:
                text = f"{len(message.payload)} bytes, the server takes at most {max_payload}"
                self._settle(place, PublishOutcome(code=TOO_LARGE, text=text))
        self._drop_settled()

    def window(self) -> list[int]:
        """The next places to send: the first waiting ones, as many as may be in flight."""
        size = 0
        for count, place in enumerate(self.waiting):
            size += len(self.messages[place].payload)
            if count == WINDOW_MESSAGES or (count and size > WINDOW_BYTES):
                return self.waiting[:count]
        return self.waiting.copy()

    def attempted(self, window: list[int], answers: dict[int, Judgement]) -> None:
        """Take the answers of one attempt; a message without an answer may be stored or not."""
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
        """Refuse waiting messages that would be stored after a later one."""
        for place, judgement in list(self._told_to_wait.items()):
            if place < self._last_stored:
                text = f"{judgement.text}; a later message was stored"
                self._settle(place, PublishOutcome(code=judgement.code or NO_RESPONDERS, text=text))

    def doubtful(self) -> dict[str, set[str]]:
        """Subject -> ids of messages to look up in the stream before anything is sent again."""
        ids: dict[str, set[str]] = {}
        for place in sorted(self._doubtful):
            message = self.messages[place]
            ids.setdefault(message.subject, set()).add(message.msg_id)
        return ids

    def found(self, subject: str, seqs: Mapping[str, int]) -> None:
        """Take a lookup of a subject: id -> sequence. Ids not in `seqs` are not stored."""
        for place in sorted(self._doubtful):
            message = self.messages[place]
            if message.subject != subject:
                continue
            if message.msg_id in seqs:
                self._settle(place, PublishOutcome(seqs[message.msg_id], duplicate=True))
            else:
                self._doubtful.remove(place)
                self._told_to_wait[place] = Judgement(PublishVerdict.AGAIN, text="it never arrived")
        # Wait until all lookups are done: a later message may prove to be stored.
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
