"""What goes to a receiver, and when: whatever it answers, nothing is lost, repeated or hurried."""

from __future__ import annotations

from math import inf

import hypothesis.strategies as st
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from tickbus_alerts.letters import Letter, Letters
from tickbus_alerts.receivers.receiver import Again, Plainer, Refused, Sent, Verdict

from tests.alerts.receiving import alert

PER_MINUTE = 4


class Receiving(RuleBasedStateMachine):
    """Alerts come, time passes, and the receiver answers as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = Letters(PER_MINUTE, lambda low, high: high)
        self.now_s, self.added = 1000.0, 0
        self.told: list[str] = []
        self.requests: list[float] = []
        self.not_before_s = 0.0
        self.plain = False

    @rule(count=st.integers(1, 5))
    def come(self, count: int) -> None:
        for _ in range(count):
            self.added += 1
            self.letters.add(self.added, alert(self.added))

    @rule(passed_s=st.sampled_from([0.0, 0.5, 3.0, 20.0, 70.0]))
    def time_passes(self, passed_s: float) -> None:
        self.now_s += passed_s

    @rule()
    def the_wait_is_long_enough(self) -> None:
        step = self.letters.next(self.now_s)
        if not isinstance(step, Letter) and step < inf:
            assert step > 0
            self.now_s += step
            assert isinstance(self.letters.next(self.now_s), Letter)

    @precondition(lambda self: self.letters.waiting)
    @rule(
        verdict=st.sampled_from(
            [Sent(), Sent(), Refused("no"), Again("busy"), Again("wait", 33.0), Plainer()]
        ),
        meanwhile=st.integers(0, 2),
    )
    def send(self, verdict: Verdict, meanwhile: int) -> None:
        letter = self.letters.next(self.now_s)
        if not isinstance(letter, Letter):
            return
        assert self.now_s >= self.not_before_s
        assert letter.plain == self.plain
        assert len([s for s in self.requests if s > self.now_s - 60.0]) < PER_MINUTE
        self.requests.append(self.now_s)
        if meanwhile:
            self.come(meanwhile)
        causes = [one.cause for one in letter.alerts]
        done = self.letters.ended(letter, verdict, self.now_s)
        assert done == isinstance(verdict, Sent | Refused)
        if done:
            assert letter.last_seq == len(self.told) + len(causes)
            self.told += causes
            self.plain = False
        elif isinstance(verdict, Again):
            self.not_before_s = self.now_s + (verdict.after_s or 1.0)
        else:
            self.plain = True

    def teardown(self) -> None:
        while isinstance(step := self.letters.next(self.now_s), Letter) or step < inf:
            if isinstance(step, Letter):
                self.letters.ended(step, Sent(), self.now_s)
                self.told += [one.cause for one in step.alerts]
            else:
                self.now_s += step
        assert self.told == [f"seen {n + 1}" for n in range(self.added)]


TestReceiving = Receiving.TestCase


@given(st.integers(1, 30), st.integers(1, 60))
def test_many_at_once_are_told_one_by_one_and_then_together(per_minute: int, count: int) -> None:
    letters = Letters(per_minute)
    for number in range(count):
        letters.add(number, alert(number))
    sizes = []
    while isinstance(letter := letters.next(0.0), Letter):
        sizes.append(len(letter.alerts))
        letters.ended(letter, Sent(), 0.0)
    assert sum(sizes) == count
    assert len(sizes) == min(per_minute, count)
    assert all(size == 1 for size in sizes[:-1])


def test_pauses_grow_while_nothing_is_taken_and_then_one_letter_tells_all() -> None:
    letters = Letters(100, lambda low, high: high)
    letters.add(1, alert(1))
    now_s, pauses = 0.0, []
    for _ in range(8):
        letter = letters.next(now_s)
        assert isinstance(letter, Letter)
        letters.ended(letter, Again("no answer"), now_s)
        wait_s = letters.next(now_s)
        assert isinstance(wait_s, float)
        pauses.append(wait_s)
        now_s += wait_s
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    letters.add(2, alert(2))
    letter = letters.next(now_s)
    assert isinstance(letter, Letter)
    assert len(letter.alerts) == 2
