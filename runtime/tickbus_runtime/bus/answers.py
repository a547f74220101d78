"""What the server's answer to a publish means for the message: one pure rule.

Codes: https://github.com/nats-io/nats-server/blob/main/server/errors.json
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import msgspec

NO_RESPONDERS = 503
WRONG_LAST_SEQUENCE = 10071


class PublishVerdict(Enum):
    """What to do with the message."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """an earlier attempt had stored it"""
    AGAIN = "again"
    """not stored; may be sent again unless a later message is stored"""
    IN_PROGRESS = "in progress"
    """the server is still storing an earlier attempt: send again to learn the outcome"""
    LOOK = "look"
    """stored or not: read the stream"""
    REFUSED = "refused"
    """it will never be stored"""
    FENCED = "fenced"
    """another publisher has taken over: stop"""


class Judgement(NamedTuple):
    """A verdict, with the sequence of a stored message or the code and text of an error."""

    verdict: PublishVerdict
    seq: int = 0
    code: int = 0
    text: str = ""


class _Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    seq: int = 0
    duplicate: bool = False
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Answer).decode

_VERDICTS = {
    WRONG_LAST_SEQUENCE: PublishVerdict.LOOK,
    10158: PublishVerdict.IN_PROGRESS,
    10201: PublishVerdict.DUPLICATE,
    10077: PublishVerdict.AGAIN,
    10164: PublishVerdict.AGAIN,
    10167: PublishVerdict.AGAIN,
    10023: PublishVerdict.AGAIN,
    10047: PublishVerdict.AGAIN,
    10008: PublishVerdict.AGAIN,
    10009: PublishVerdict.AGAIN,
}


def judge_answer(headers: bytes | None, payload: bytes, *, fenced: bool = False) -> Judgement:
    """The verdict on a message, from the answer to its publish.

    fenced: the message asked for the check of the fence (`fence_check`).

    | answer | verdict | because |
    |---|---|---|
    | a sequence | stored | |
    | a sequence and `duplicate` | duplicate | the id is known within the duplicate window |
    | 503 without payload | again | no stream or no leader listens |
    | 10071 wrong last sequence | look | one replica compares before it checks the id |
    | the same, if the fence is checked | fenced | another publisher wrote a fence |
    | 10077 store failed: a limit | again | space comes back as messages expire |
    | 10158 duplicate in progress | in progress | R3: the earlier attempt is being committed |
    | 10164 same subject in progress | again | R3: one checked publish at a time |
    | 10167 too many, 10023 and 10047 resources, 10008 and 10009 availability | again | it passes |
    | 10201 batch already stored | duplicate | the whole batch is there |
    | another error of class 5xx | again | the server has failed |
    | another error (too large, sealed, bad header) | refused | the same again would fail |
    | no sequence, not JSON | again | the answer did not come from a stream |
    """
    if headers is not None and headers.startswith(b"NATS/1.0 503"):
        return Judgement(PublishVerdict.AGAIN, code=NO_RESPONDERS, text="no stream listens")
    try:
        answer = _decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Judgement(PublishVerdict.AGAIN, text="not an answer of JetStream")
    error = answer.error
    if error is None:
        if answer.seq <= 0:
            return Judgement(PublishVerdict.AGAIN, text="no sequence in the answer")
        return Judgement(
            PublishVerdict.DUPLICATE if answer.duplicate else PublishVerdict.STORED, answer.seq
        )
    code = error.err_code or error.code
    if fenced and code == WRONG_LAST_SEQUENCE:
        return Judgement(PublishVerdict.FENCED, code=code, text=error.description)
    verdict = _VERDICTS.get(code) or (
        PublishVerdict.AGAIN if error.code >= 500 else PublishVerdict.REFUSED
    )
    return Judgement(verdict, code=code, text=error.description)
