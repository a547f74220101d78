"""What a served capture sends next: order, holds at bodies, pauses, pace."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st
from tickbus_sim.capture import Body, Capture
from tickbus_sim.dialect import Topic
from tickbus_sim.pace import SECOND, Wait
from tickbus_sim.playout import End, Playout, Send, Step
from tickbus_sim.snapshots import Answer, AnswerBook

from tests.sim.recordings import MS, START_NS, Recording, body, depth, quote, trade

DEPTH, TRADE, QUOTE = (Topic("BTCUSDT", family) for family in ("depth", "trade", "bookTicker"))
ALL = frozenset({DEPTH, TRADE, QUOTE})
AnyStep = TypeVar("AnyStep", bound=Step)


class Driver:
    """Drives a play-out by hand: a clock that stands still, and what was sent so far."""

    def __init__(self, playout: Playout) -> None:
        self.playout = playout
        self.now_ns = 10**15
        self.sent: list[bytes] = []
        self._audience: frozenset[Topic] = frozenset()

    def subscribe(self, topics: frozenset[Topic]) -> Driver:
        joined, self._audience = topics - self._audience, topics
        self.playout.subscribed(topics, joined, self.now_ns)
        return self

    def request(self, ticker: str = "BTCUSDT") -> int:
        return self.playout.snapshots.request(ticker)

    def fetch(self, ticket: int, ticker: str = "BTCUSDT") -> None:
        self.playout.snapshots.fetched(ticket, ticker)

    def later(self, seconds: float) -> Driver:
        self.now_ns += int(seconds * SECOND)
        return self

    def until(self, kind: type[AnyStep]) -> AnyStep:
        """Plays on to the first step of a kind; the ones before must be frames."""
        while True:
            step = self.playout.step(self.now_ns)
            if isinstance(step, Send):
                assert step.start < step.stop
                self.sent += self.playout.capture.texts[step.start : step.stop]
            if isinstance(step, kind):
                return step
            assert isinstance(step, Send), step

    def waits(self) -> Wait:
        return self.until(Wait)


def _capture(folder: Path) -> Capture:
    """Two depth events, a body, and what follows."""
    recording = Recording().frames(
        trade("btcusdt", 1), depth("btcusdt", 4, 5), depth("btcusdt", 5, 7), quote("btcusdt", 7)
    )
    recording.body("BTCUSDT", body(6, [["1.0", "3"]]))
    return recording.frames(depth("btcusdt", 7, 9, [["2.0", "4"]]), trade("btcusdt", 2)).capture(
        folder
    )


def _driver(capture: Capture, *, speed: float | None = None) -> Driver:
    return Driver(Playout(capture, speed=speed))


def test_nothing_is_sent_before_every_recorded_topic_has_a_subscriber(tmp_path: Path) -> None:
    driver = _driver(_capture(tmp_path))

    assert driver.waits().until_ns is None
    assert driver.subscribe(frozenset({DEPTH})).waits().until_ns is not None
    assert driver.sent == []
    driver.subscribe(ALL).waits()
    assert len(driver.sent) == 4


def test_missing_subscribers_are_not_waited_for_for_ever(tmp_path: Path) -> None:
    recording = Recording().frames(trade("btcusdt", 1), trade("ethusdt", 1))
    driver = _driver(recording.capture(tmp_path)).subscribe(frozenset({TRADE}))

    wait = driver.waits()
    assert wait.until_ns == driver.now_ns + 5 * SECOND
    driver.later(5).until(End)
    assert len(driver.sent) == 2


def test_channels_that_a_client_leaves_out_cost_half_a_second(tmp_path: Path) -> None:
    driver = _driver(_capture(tmp_path)).subscribe(frozenset({DEPTH}))

    wait = driver.waits()
    assert wait.until_ns == driver.now_ns + SECOND // 2


def test_frames_after_a_body_wait_until_it_was_fetched(tmp_path: Path) -> None:
    driver = _driver(_capture(tmp_path)).subscribe(ALL)
    driver.waits()
    assert len(driver.sent) == 4

    ticket = driver.request()
    answer = driver.until(Answer)
    assert (answer.ticket, answer.body.text) == (ticket, body(6, [["1.0", "3"]]).encode())
    driver.later(3600).waits()
    assert len(driver.sent) == 4

    driver.fetch(ticket)
    driver.until(End)
    assert driver.sent == driver.playout.capture.texts
    assert driver.playout.snapshots.counts.fetched == 1


def test_an_early_request_is_held_until_the_frames_before_the_body_are_sent(
    tmp_path: Path,
) -> None:
    driver = _driver(_capture(tmp_path))
    ticket = driver.request()

    driver.waits()
    driver.subscribe(ALL)
    answer = driver.until(Answer)
    assert answer.ticket == ticket
    assert len(driver.sent) == 4


def test_a_body_whose_requester_died_is_answered_to_the_next_one(tmp_path: Path) -> None:
    driver = _driver(_capture(tmp_path)).subscribe(ALL)
    first = driver.request()
    driver.until(Answer)
    driver.playout.snapshots.withdraw(first)
    driver.subscribe(frozenset()).waits()

    driver.subscribe(ALL).waits()
    second = driver.request()
    answer = driver.until(Answer)
    assert (answer.ticket, answer.body.position) == (second, 4)


def test_a_body_that_nobody_asks_for_holds_up_the_rest_only_for_a_while(tmp_path: Path) -> None:
    driver = _driver(_capture(tmp_path)).subscribe(ALL)

    wait = driver.waits()
    assert wait.until_ns == driver.now_ns + 30 * SECOND
    driver.later(30).until(End)
    assert len(driver.sent) == 6
    assert driver.playout.snapshots.counts.not_fetched == 1


def test_a_client_that_wants_more_events_before_it_asks_still_gets_the_recorded_body(
    tmp_path: Path,
) -> None:
    recording = Recording().frames(depth("btcusdt", 4, 5)).body("BTCUSDT", body(5))
    capture = recording.frames(depth("btcusdt", 5, 7), depth("btcusdt", 7, 8)).capture(tmp_path)
    driver = _driver(capture).subscribe(frozenset({DEPTH}))

    wait = driver.waits()
    assert wait.until_ns == driver.now_ns + SECOND
    driver.later(1).until(End)
    driver.request()
    answer = driver.until(Answer)
    assert answer.body.text == body(5).encode()
    driver.fetch(answer.ticket)
    counts = driver.playout.snapshots.counts
    assert (counts.fetched, counts.not_fetched) == (1, 0)


def test_bodies_of_tickers_that_nobody_follows_are_passed_over(tmp_path: Path) -> None:
    capture = _capture(tmp_path)
    driver = _driver(capture).subscribe(frozenset({TRADE, QUOTE})).later(1)

    driver.until(End)
    assert driver.sent == capture.texts
    assert driver.playout.snapshots.counts.unsubscribed == 1


def test_without_a_further_body_the_venues_own_book_answers(tmp_path: Path) -> None:
    driver = _driver(_capture(tmp_path)).subscribe(ALL)
    driver.fetch(_answered(driver))
    driver.until(End)

    ticket = driver.request()
    reply = driver.until(AnswerBook)
    assert (reply.ticket, reply.ticker, reply.position) == (ticket, "BTCUSDT", 6)
    book = driver.playout.snapshots.books.at("BTCUSDT", reply.position)
    assert (book.last_id, book.bids, book.whole) == (9, {"1.0": "3", "2.0": "4"}, True)


def _answered(driver: Driver) -> int:
    driver.request()
    return driver.until(Answer).ticket


def test_a_resync_is_answered_at_once_when_the_next_body_is_far_ahead(tmp_path: Path) -> None:
    recording = Recording().frames(depth("btcusdt", 4, 5), depth("btcusdt", 5, 6))
    recording.body("BTCUSDT", body(6)).frames(depth("btcusdt", 6, 7)).pause(60)
    capture = recording.frames(depth("btcusdt", 7, 8)).body("BTCUSDT", body(8)).capture(tmp_path)
    driver = _driver(capture, speed=1).subscribe(frozenset({DEPTH}))
    driver.waits()
    driver.later(0.01).waits()
    driver.later(0.01)
    driver.fetch(_answered(driver))
    driver.waits()

    ticket = driver.request()
    assert driver.until(AnswerBook).position == 3
    driver.fetch(ticket)
    # The recorder's second body is nothing that this client needs.
    driver.waits()
    driver.later(60.02).waits()
    driver.later(1).until(End)


def test_a_gap_in_the_recording_is_healed_by_the_body_recorded_after_it(tmp_path: Path) -> None:
    recording = Recording().frames(depth("btcusdt", 4, 5), depth("btcusdt", 5, 6))
    recording.body("BTCUSDT", body(6)).frames(depth("btcusdt", 100, 101)).pause(60)
    capture = (
        recording.frames(depth("btcusdt", 101, 102)).body("BTCUSDT", body(102)).capture(tmp_path)
    )
    driver = _driver(capture, speed=1).subscribe(frozenset({DEPTH}))
    driver.waits()
    driver.later(0.01).waits()
    driver.fetch(_answered(driver))
    driver.waits()
    assert len(driver.sent) == 3

    driver.request()
    driver.waits()
    answer = driver.later(60.01).until(Answer)
    assert answer.body.text == body(102).encode()
    assert len(driver.sent) == 4


def test_the_play_out_stands_still_while_nobody_is_connected(tmp_path: Path) -> None:
    recording = Recording()
    for number in range(1_000):
        recording.frames(trade("btcusdt", number))
    driver = _driver(recording.capture(tmp_path)).subscribe(frozenset({TRADE}))
    first = driver.until(Send)

    driver.subscribe(frozenset()).later(3600).waits()
    assert len(driver.sent) == first.stop < 1_000
    driver.subscribe(frozenset({TRADE})).until(End)
    assert driver.sent == driver.playout.capture.texts


def test_after_a_pause_all_lines_are_waited_for_that_were_there_before(tmp_path: Path) -> None:
    aggregate = Topic("BTCUSDT", "aggTrade")
    recording = Recording()
    for number in range(1_000):
        recording.frames(trade("btcusdt", number), trade("btcusdt", number))
    recording.frames(quote("btcusdt", 1)).raw(
        Recording().frames(trade("btcusdt", 0).replace("@trade", "@aggTrade")).lines[0]
    )
    both = frozenset({TRADE, aggregate})
    driver = _driver(recording.capture(tmp_path)).subscribe(both).later(1)
    driver.until(Send)

    driver.subscribe(frozenset({TRADE})).subscribe(frozenset()).waits()
    assert driver.subscribe(frozenset({TRADE})).waits().until_ns is not None
    driver.subscribe(both).until(End)


def test_real_time_sends_each_frame_when_it_is_due_at_any_speed(tmp_path: Path) -> None:
    recording = Recording()
    for number in range(20):
        recording.frames(trade("btcusdt", number))  # 10 ms apart
    driver = _driver(recording.capture(tmp_path), speed=4).subscribe(frozenset({TRADE}))

    assert driver.waits().until_ns == driver.now_ns + 10 * MS // 4 + 1
    assert len(driver.sent) == 1
    driver.later(0.025).waits()
    assert len(driver.sent) == 11
    driver.later(1).until(End)
    assert len(driver.sent) == 20


def test_a_hold_shifts_the_frames_after_it_instead_of_crowding_them(tmp_path: Path) -> None:
    capture = _capture(tmp_path)
    driver = _driver(capture, speed=1).subscribe(ALL)
    driver.waits()
    driver.later(0.03).waits()
    driver.request()
    ticket = driver.until(Answer).ticket
    driver.later(20).waits()
    driver.fetch(ticket)

    driver.waits()
    assert len(driver.sent) == 5
    driver.later(0.01).until(End)
    assert len(driver.sent) == 6


def test_receive_times_that_step_back_change_nothing_in_the_order(tmp_path: Path) -> None:
    recording = Recording()
    for number, ts in enumerate((0, 50, 20, 60)):
        line = Recording().frames(trade("btcusdt", number)).lines[0]
        recording.raw(line.replace(str(START_NS + 10 * MS), str(START_NS + ts * MS)))
    driver = _driver(recording.capture(tmp_path), speed=1).subscribe(frozenset({TRADE}))

    driver.waits()
    assert len(driver.sent) == 1
    driver.later(0.05).waits()
    assert len(driver.sent) == 3
    driver.later(0.01).until(End)
    assert driver.sent == [trade("btcusdt", number).encode() for number in range(4)]


def test_a_late_snapshot_is_answered_so_much_later_in_the_captures_time(tmp_path: Path) -> None:
    recording = Recording().frames(depth("btcusdt", 4, 5)).body("BTCUSDT", body(5))
    for number in range(5, 25):
        recording.frames(depth("btcusdt", number, number + 1))
    delays: list[Body] = []

    def delay_s(late: Body) -> float:
        delays.append(late)
        return 0.1

    playout = Playout(recording.capture(tmp_path), speed=None, snapshot_delay_s=delay_s)
    driver = Driver(playout).subscribe(frozenset({DEPTH}))
    driver.request()

    assert driver.until(Answer).body.text == body(5).encode()
    assert len(driver.sent) == 1 + 10
    assert len(delays) == 1


@given(data=st.data())
def test_whatever_clients_do_frames_keep_their_order_and_bodies_their_place(
    data: st.DataObject,
) -> None:
    recording, last_id = Recording(), 4
    for _ in range(data.draw(st.integers(1, 30))):
        if data.draw(st.integers(0, 5)):
            recording.frames(depth("btcusdt", last_id, last_id + 1))
            last_id += 1
        else:
            recording.body("BTCUSDT", body(last_id))
    capture = recording.frames(depth("btcusdt", last_id, last_id + 1)).memory()
    driver = _driver(capture, speed=data.draw(st.sampled_from([None, 1.0, 50.0])))
    tickets: list[int] = []
    answered: set[int] = set()
    sent = 0
    for _ in range(2_000):
        step = driver.playout.step(driver.now_ns)
        match step:
            case Send(start, stop):
                assert start == sent
                assert not any(start < b.position < stop for b in capture.bodies)
                sent = stop
            case Answer(ticket, recorded):
                assert ticket in tickets
                assert ticket not in answered
                assert recorded.position <= sent
                answered.add(ticket)
            case AnswerBook(ticket, _, position):
                assert position == sent
                answered.add(ticket)
            case End():
                break
            case Wait():
                _disturb(data, driver, tickets, answered)
    else:
        raise AssertionError("the play-out does not end")
    assert sent == len(capture.texts)


def _disturb(data: st.DataObject, driver: Driver, tickets: list[int], answered: set[int]) -> None:
    """Something that a client or the clock may do while the venue waits."""
    match data.draw(st.integers(0, 5)):
        case 0 if len(tickets) < 20:
            tickets.append(driver.request())
        case 1:
            driver.subscribe(frozenset())
        case 2 if answered:
            ticket = data.draw(st.sampled_from(sorted(answered)))
            settle = data.draw(st.sampled_from([driver.fetch, driver.playout.snapshots.withdraw]))
            settle(ticket)
        case _:
            driver.subscribe(frozenset({DEPTH})).later(31)
            for ticket in answered:
                driver.fetch(ticket)
