"""What an answer means, and that no order of answers stores a message twice or out of order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_runtime.bus.answers import NO_RESPONDERS, Judgement, PublishVerdict, judge_answer
from tickbus_runtime.bus.in_flight import (
    TOO_LARGE,
    WINDOW_BYTES,
    WINDOW_MESSAGES,
    InFlight,
    Outgoing,
)


def _error(err_code: int, code: int = 400) -> dict[str, Any]:
    return {"error": {"code": code, "err_code": err_code, "description": "why"}, "stream": "S"}


@pytest.mark.parametrize(
    ("answer", "verdict", "seq", "code"),
    [
        ({"stream": "S", "seq": 7}, PublishVerdict.STORED, 7, 0),
        ({"stream": "S", "seq": 7, "duplicate": True}, PublishVerdict.DUPLICATE, 7, 0),
        ({"stream": "S", "seq": 7, "domain": "hub"}, PublishVerdict.STORED, 7, 0),
        (_error(10071), PublishVerdict.LOOK, 0, 10071),
        (_error(10077, 503), PublishVerdict.AGAIN, 0, 10077),
        (_error(10158, 409), PublishVerdict.IN_PROGRESS, 0, 10158),
        (_error(10164), PublishVerdict.AGAIN, 0, 10164),
        (_error(10167, 429), PublishVerdict.AGAIN, 0, 10167),
        (_error(10023, 503), PublishVerdict.AGAIN, 0, 10023),
        (_error(10047, 500), PublishVerdict.AGAIN, 0, 10047),
        (_error(10008, 503), PublishVerdict.AGAIN, 0, 10008),
        (_error(10009, 503), PublishVerdict.AGAIN, 0, 10009),
        (_error(10201), PublishVerdict.DUPLICATE, 0, 10201),
        (_error(10999, 500), PublishVerdict.AGAIN, 0, 10999),
        (_error(10054), PublishVerdict.REFUSED, 0, 10054),
        (_error(10109, 400), PublishVerdict.REFUSED, 0, 10109),
        ({"stream": "S"}, PublishVerdict.AGAIN, 0, 0),
        ({"stream": "S", "seq": 0}, PublishVerdict.AGAIN, 0, 0),
    ],
)
def test_each_answer_has_one_meaning(
    answer: dict[str, Any], verdict: PublishVerdict, seq: int, code: int
) -> None:
    judged = judge_answer(None, json.dumps(answer).encode())
    assert (judged.verdict, judged.seq, judged.code) == (verdict, seq, code)


def test_a_wrong_last_sequence_means_fenced_where_the_fence_is_checked() -> None:
    payload = json.dumps(_error(10071)).encode()
    assert judge_answer(None, payload).verdict is PublishVerdict.LOOK
    judgement = judge_answer(None, payload, fenced=True)
    assert (judgement.verdict, judgement.code) == (PublishVerdict.FENCED, 10071)
    full = json.dumps(_error(10077, 503)).encode()
    assert judge_answer(None, full, fenced=True).verdict is PublishVerdict.AGAIN


def test_nobody_listening_means_again() -> None:
    judged = judge_answer(b"NATS/1.0 503\r\n\r\n", b"")
    assert (judged.verdict, judged.code) == (PublishVerdict.AGAIN, NO_RESPONDERS)


@given(st.binary(max_size=40))
def test_no_bytes_break_the_judge(payload: bytes) -> None:
    assert judge_answer(None, payload).verdict in PublishVerdict


def _messages(count: int, size: int = 1) -> list[Outgoing]:
    return [Outgoing(f"s.{n % 3}", b"x" * size, f"id{n}") for n in range(count)]


class Model:
    """A stream that knows ids: what it was sent, in the order it was stored."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def store(self, message: Outgoing) -> Judgement:
        if message.msg_id in self.log:
            return Judgement(PublishVerdict.DUPLICATE, self.log.index(message.msg_id) + 1)
        self.log.append(message.msg_id)
        return Judgement(PublishVerdict.STORED, len(self.log))


@given(st.integers(1, 8), st.data())
def test_whatever_happens_each_message_is_stored_once_and_in_order(
    count: int, data: st.DataObject
) -> None:
    """Any message may be stored or not, and answered or not; the stream may be mute for a while."""
    messages = _messages(count)
    flush, stream = InFlight(messages, 1_000), Model()
    for trouble in [True] * 12 + [False]:
        window = flush.window()
        answers: dict[int, Judgement] = {}
        for place in window:
            known = messages[place].msg_id in stream.log
            choices = ["store", "stored unknown"]
            if not known:
                choices += ["again", "refuse", "nobody", "lost"]
            fate = data.draw(st.sampled_from(choices)) if trouble else "store"
            if fate.startswith("store"):
                answer = stream.store(messages[place])
                if fate == "store":
                    answers[place] = answer
            elif fate == "again":
                answers[place] = Judgement(PublishVerdict.AGAIN, code=10077)
            elif fate == "nobody":
                answers[place] = Judgement(PublishVerdict.AGAIN, code=NO_RESPONDERS)
            elif fate == "refuse":
                answers[place] = Judgement(PublishVerdict.REFUSED, code=TOO_LARGE)
        flush.attempted(window, answers)
        for subject in flush.doubtful():
            flush.found(subject, {one: n for n, one in enumerate(stream.log, 1)})
        if not flush.waiting:
            break
    order = [int(one[2:]) for one in stream.log]
    assert order == sorted(order)
    stored = {place for place, one in enumerate(flush.outcomes) if one is not None and one.stored}
    assert stored == set(order)
    assert not flush.waiting


def test_a_message_told_to_wait_is_refused_once_a_later_one_is_stored() -> None:
    flush = InFlight(_messages(3), 1_000)
    again = Judgement(PublishVerdict.AGAIN, code=10077, text="maximum messages exceeded")
    stored = Judgement(PublishVerdict.STORED, 1)
    flush.attempted([0, 1, 2], {0: again, 1: stored, 2: again})
    assert flush.waiting == [2]
    refused = flush.outcomes[0]
    assert refused is not None
    assert (refused.stored, refused.code) == (False, 10077)


def test_what_is_in_doubt_is_looked_for_before_anything_is_sent_again() -> None:
    flush = InFlight(_messages(4), 1_000)
    flush.attempted([0, 1, 2, 3], {0: Judgement(PublishVerdict.AGAIN, code=10077)})
    assert flush.doubtful() == {"s.1": {"id1"}, "s.2": {"id2"}, "s.0": {"id3"}}
    flush.found("s.0", {"old": 40})
    assert flush.outcomes == [None] * 4  # whether a later one is stored is not known yet
    flush.found("s.1", {"id1": 44})
    flush.found("s.2", {})
    assert flush.waiting == [2, 3]
    assert [one and (one.stored, one.seq) for one in flush.outcomes[:2]] == [(False, 0), (True, 44)]


def test_one_in_doubt_is_not_taken_for_stored_because_a_later_one_is() -> None:
    flush = InFlight([Outgoing("s", b"x", "a"), Outgoing("s", b"x", "b")], 1_000)
    flush.attempted([0, 1], {1: Judgement(PublishVerdict.STORED, 8)})
    flush.found("s", {"b": 8})
    assert [one and one.stored for one in flush.outcomes] == [False, True]


def test_what_is_in_flight_is_bounded_by_messages_and_by_bytes() -> None:
    assert len(InFlight(_messages(WINDOW_MESSAGES + 1), 1_000).window()) == WINDOW_MESSAGES
    big = InFlight(_messages(20, size=1024**2), 2 * 1024**2)
    assert sum(len(big.messages[place].payload) for place in big.window()) <= WINDOW_BYTES


def test_a_message_larger_than_the_server_takes_is_refused_without_being_sent() -> None:
    flush = InFlight([Outgoing("s", b"x" * 11, "a"), Outgoing("s", b"x", "b")], 10)
    assert flush.waiting == [1]
    assert flush.outcomes[0] is not None
    assert flush.outcomes[0].code == TOO_LARGE
