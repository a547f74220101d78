"""What became of every frame, added up over flushes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tickbus_ingest.publish.accounts import CHANNELS_MAX, FATES, OTHERS, REASONS_MAX, Accounts
from tickbus_ingest.session.tables import Flush, Refused
from tickbus_ingest.wire.buffer import Buffer, Frames, Overflow
from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_runtime.telemetry.names import METRICS

from tests.ingest import wire
from tests.ingest.wire import Transcript, depth, quote, trade


class Books:
    """Accounts of a transcript's session."""

    def __init__(self) -> None:
        self.script = Transcript()
        self.status: dict[str, Any] = {}
        self.telemetry = Telemetry("ingest")
        self.accounts = Accounts(self.telemetry, self.status)

    def say(self, *frames: bytes) -> Books:
        self.script.say(*frames)
        size = sum(map(len, frames))
        self.accounts.received(Frames(list(frames), [1] * len(frames), [], [], size))
        self.accounts.read(self.script.out)
        return self

    def shown(self) -> dict[str, int]:
        self.accounts.show(self.script.session, Buffer(9, 9), None)
        frames: dict[str, int] = self.status["frames"]
        return frames


FRAMES = st.one_of(
    st.builds(trade, st.integers(1, 9), st.integers(0, 9)),
    st.builds(quote, st.integers(1, 9), st.integers(0, 9)),
    st.builds(lambda n: depth(n, n, n - 1, n), st.integers(1, 30)),
    st.sampled_from(
        [b"", b"{}", b'{"result":null,"id":1}', b'{"error":{"code":2}}', b"\xff\xfe",
         wire.envelope("btcusdt@kline_1m", {}), wire.envelope("other@trade", {"e": "trade"})]
    ),
)  # fmt: skip


@given(st.lists(st.lists(FRAMES, min_size=1, max_size=8), max_size=6), st.booleans())
def test_every_frame_is_accounted_for_whatever_came(flushes: list[list[bytes]], book: bool) -> None:
    books = Books()
    for n, frames in enumerate(flushes):
        books.say(*frames)
        if book and n == 1:
            books.script.answer(wire.book(5, 5))
            books.accounts.read(books.script.out)
    shown = books.shown()
    assert set(shown) == {"received", "waiting", *FATES}
    assert shown.pop("received") == sum(map(len, flushes)) == sum(shown.values())


def test_frames_without_room_were_received_too() -> None:
    books = Books().say(trade(1, 1))
    books.script.notice(Overflow(7, books.script.received_ns))
    books.accounts.read(books.script.out)
    shown = books.shown()
    assert (shown["received"], shown["published"], shown["dropped"]) == (8, 1, 7)
    assert books.telemetry.counters["frames", (("source", "websocket"),)] == 8


def test_a_book_without_a_snapshot_is_shown_with_its_updates() -> None:
    books = Books().say(*(depth(n, n, n - 1, n) for n in range(1, 8)))
    assert books.shown()["waiting"] == 7
    assert books.status["books_without_snapshot"] == {"BTCUSDT": 7}
    books.script.answer(wire.book(3, 3))
    books.accounts.read(books.script.out)
    assert books.shown()["waiting"] == 0
    assert books.status["books_without_snapshot"] == {}
    # A book that was whole and lost an update is without a snapshot like one that never had any.
    books.say(*(depth(n, n, n - 1, n) for n in range(20, 25)))
    assert books.shown()["waiting"] == 5
    assert books.status["books_without_snapshot"] == {"BTCUSDT": 5}


def refusing(*reasons: str) -> Flush:
    return Flush(refused=[Refused(1, 1, reason, b"") for reason in reasons])


def test_the_first_reasons_of_refusals_are_told_once_and_counted() -> None:
    books = Books()
    assert [one.reason for one in books.accounts.read(refusing("a", "b", "a"))] == ["a", "b"]
    many = ["of kind " + "x" * n for n in range(3 * REASONS_MAX)]
    assert len(books.accounts.read(refusing("a", *many))) == REASONS_MAX - 2
    books.shown()
    refusals = books.status["refusals"]
    assert (refusals["a"], refusals["b"]) == (3, 1)
    assert refusals[OTHERS] == 2 * REASONS_MAX + 2
    assert sum(refusals.values()) == 4 + len(many)


def test_reasons_that_differ_by_their_values_are_counted_together() -> None:
    books = Books()
    books.accounts.read(refusing("time 17 us is too late", "time 18 us is too late"))
    books.accounts.read(refusing("ticker 'A' was not asked for", "ticker 'B' was not asked for"))
    books.shown()
    assert books.status["refusals"] == {
        "time N us is too late": 2, "ticker N was not asked for": 2,
    }  # fmt: skip


def test_channels_that_the_venue_makes_up_are_counted_together() -> None:
    books, out = Books(), Flush()
    for n in range(1_000):
        out.fates["ignored", f"made-up-{n}"] += 1
    books.accounts.read(out)
    labels = [key for key in books.telemetry.counters if key[0] == "ignored_frames"]
    assert len(labels) == CHANNELS_MAX + 1
    assert books.telemetry.counters["ignored_frames", (("channel", "others"),)] > 900


def test_every_counter_is_declared() -> None:
    books = Books().say(trade(1, 1), trade(9, 2), trade(1, 1), quote(3, 1), quote(1, 1), b"x")
    books.say(*(depth(n, n, n - 1, n) for n in range(1, 8)))
    for _ in range(2):
        books.script.answer(wire.book(3, None))
        books.accounts.read(books.script.out)
    books.script.wait(60, settle=True)
    books.shown()
    assert {name for name, _ in books.telemetry.counters} <= set(METRICS)
    assert {name for name, _ in books.telemetry.gauges} <= set(METRICS)
