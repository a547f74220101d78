"""What an answer means, and that no order of answers stores a message twice or out of order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_runtime.answers import NO_RESPONDERS, Judgement, Verdict, judge_answer
from tickbus_runtime.flush import TOO_LARGE, WINDOW_BYTES, WINDOW_MESSAGES, Flush, Outgoing


def _error(err_code: int, code: int = 400) -> dict[str, Any]:
    return {"error": {"code": code, "err_code": err_code, "description": "why"}, "stream": "S"}


@pytest.mark.parametrize(
    ("answer", "verdict", "seq", "code"),
    [
        ({"stream": "S", "seq": 7}, Verdict.STORED, 7, 0),
        ({"stream": "S", "seq": 7, "duplicate": True}, Verdict.DUPLICATE, 7, 0),
        ({"stream": "S", "seq": 7, "domain": "hub"}, Verdict.STORED, 7, 0),
        (_error(10071), Verdict.LOOK, 0, 10071),
        (_error(10077, 503), Verdict.AGAIN, 0, 10077),
        (_error(10158, 409), Verdict.IN_PROGRESS, 0, 10158),
        (_error(10164), Verdict.AGAIN, 0, 10164),
        (_error(10167, 429), Verdict.AGAIN, 0, 10167),
        (_error(10023, 503), Verdict.AGAIN, 0, 10023),
        (_error(10047, 500), Verdict.AGAIN, 0, 10047),
        (_error(10008, 503), Verdict.AGAIN, 0, 10008),
        (_error(10009, 503), Verdict.AGAIN, 0, 10009),
        (_error(10201), Verdict.DUPLICATE, 0, 10201),
        (_error(10999, 500), Verdict.AGAIN, 0, 10999),
        (_error(10054), Verdict.REFUSED, 0, 10054),
        (_error(10109, 400), Verdict.REFUSED, 0, 10109),
        ({"stream": "S"}, Verdict.AGAIN, 0, 0),
        ({"stream": "S", "seq": 0}, Verdict.AGAIN, 0, 0),
    ],
)
def test_each_answer_has_one_meaning(
    answer: dict[str, Any], verdict: Verdict, seq: int, code: int
) -> None:
    judged = judge_answer(None, json.dumps(answer).encode())
    assert (judged.verdict, judged.seq, judged.code) == (verdict, seq, code)


def test_nobody_listening_means_again() -> None:
    judged = judge_answer(b"NATS/1.0 503\r\n\r\n", b"")
    assert (judged.verdict, judged.code) == (Verdict.AGAIN, NO_RESPONDERS)


@given(st.binary(max_size=40))
def test_no_bytes_break_the_judge(payload: bytes) -> None:
    assert judge_answer(None, payload).verdict in Verdict


def _messages(count: int, size: int = 1) -> list[Outgoing]:
    return [Outgoing(f"s.{n % 3}", b"x" * size, f"id{n}") for n in range(count)]


class Model:
    """A stream that knows ids: what it was sent, in the order it was stored."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def store(self, message: Outgoing) -> Judgement:
        if message.msg_id in self.log:
            return Judgement(Verdict.DUPLICATE, self.log.index(message.msg_id) + 1)
        self.log.append(message.msg_id)
        return Judgement(Verdict.STORED, len(self.log))


@given(st.integers(1, 8), st.data())
def test_whatever_happens_each_message_is_stored_once_and_in_order(
    count: int, data: st.DataObject
) -> None:
    """An attempt is answered in full, some refused or told to wait; or cut off somewhere."""
    messages = _messages(count)
    flush, stream = Flush(messages, 1_000), Model()
    for _ in range(20):
        window = flush.window()
        answers: dict[int, Judgement] = {}
        if data.draw(st.booleans()):
            for place in window:
                known = messages[place].msg_id in stream.log
                choices = ["store"] if known else ["store", "again", "refuse", "nobody"]
                match data.draw(st.sampled_from(choices)):
                    case "store":
                        answers[place] = stream.store(messages[place])
                    case "again":
                        answers[place] = Judgement(Verdict.AGAIN, code=10077)
                    case "nobody":
                        answers[place] = Judgement(Verdict.AGAIN, code=NO_RESPONDERS)
                    case _:
                        answers[place] = Judgement(Verdict.REFUSED, code=TOO_LARGE)
        else:
            arrived = data.draw(st.integers(0, len(window)))
            answered = data.draw(st.integers(0, arrived))
            for n, place in enumerate(window[:arrived]):
                answer = stream.store(messages[place])
                if n < answered:
                    answers[place] = answer
        flush.attempted(window, answers, 1.0)
        for subject in flush.doubtful(sent_before_s=data.draw(st.sampled_from([0.0, 2.0]))):
            of_subject = [m.msg_id for m in messages if m.subject == subject]
            last = [one for one in stream.log if one in of_subject][-1:]
            flush.found(subject, last[0] if last else "", 9)
        if not flush.waiting:
            break
    else:
        flush.attempted(flush.window(), {p: stream.store(messages[p]) for p in flush.waiting}, 1.0)
    order = [int(one[2:]) for one in stream.log]
    assert order == sorted(order)
    stored = {place for place, one in enumerate(flush.outcomes) if one is not None and one.stored}
    assert stored == set(order)
    assert not flush.waiting


def test_a_message_told_to_wait_is_refused_once_a_later_one_is_stored() -> None:
    flush = Flush(_messages(3), 1_000)
    again = Judgement(Verdict.AGAIN, code=10077, text="maximum messages exceeded")
    stored = Judgement(Verdict.STORED, 1)
    flush.attempted([0, 1, 2], {0: again, 1: stored, 2: again}, 1.0)
    assert flush.waiting == [2]
    refused = flush.outcomes[0]
    assert refused is not None
    assert (refused.stored, refused.code) == (False, 10077)


def test_behind_one_that_waits_the_stream_is_asked_before_anything_is_sent_again() -> None:
    flush = Flush(_messages(3), 1_000)
    flush.attempted([0, 1, 2], {0: Judgement(Verdict.AGAIN, code=10077)}, 5.0)
    assert flush.doubtful(sent_before_s=0.0) == {"s.1", "s.2"}
    flush.found("s.1", "id1", 44)
    assert flush.waiting == [2]
    assert [one and one.seq for one in flush.outcomes] == [0, 44, None]


def test_an_old_doubt_is_for_the_stream_to_settle() -> None:
    flush = Flush(_messages(2), 1_000)
    flush.attempted([0, 1], {}, 5.0)
    assert flush.doubtful(sent_before_s=4.0) == set()
    assert flush.doubtful(sent_before_s=6.0) == {"s.0", "s.1"}
    flush.attempted([0, 1], {0: Judgement(Verdict.AGAIN, code=NO_RESPONDERS)}, 9.0)
    assert flush.doubtful(sent_before_s=6.0) == {
        "s.0",
        "s.1",
    }  # nobody looked whether it was stored


def test_what_is_in_flight_is_bounded_by_messages_and_by_bytes() -> None:
    assert len(Flush(_messages(WINDOW_MESSAGES + 1), 1_000).window()) == WINDOW_MESSAGES
    big = Flush(_messages(20, size=1024**2), 2 * 1024**2)
    assert sum(len(big.messages[place].payload) for place in big.window()) <= WINDOW_BYTES


def test_a_message_larger_than_the_server_takes_is_refused_without_being_sent() -> None:
    flush = Flush([Outgoing("s", b"x" * 11, "a"), Outgoing("s", b"x", "b")], 10)
    assert flush.waiting == [1]
    assert flush.outcomes[0] is not None
    assert flush.outcomes[0].code == TOO_LARGE
