"""Frames and notices waiting for the bus: in one order, bounded, never lost without a word."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tickbus_ingest.venue.contract import Get, Line, Route
from tickbus_ingest.wire.buffer import Body, Buffer, Connected, Frames, Overflow
from tickbus_ingest.wire.capture_times import strip_times


def connected(number: int) -> Connected:
    return Connected(Line(number, Route("", ())), number)


def fill(buffer: Buffer, *frames: bytes) -> None:
    for n, frame in enumerate(frames):
        buffer.add(0, frame, n, n)


async def test_frames_come_out_in_order_and_in_the_sizes_asked_for() -> None:
    buffer = Buffer(100, 1000)
    fill(buffer, b"a", b"bb", b"ccc")
    assert buffer.arrived.is_set()
    first, _ = buffer.take(2)
    assert (first.data, first.size, buffer.size) == ([b"a", b"bb"], 3, 3)
    assert buffer.arrived.is_set()
    rest, _ = buffer.take(9)
    assert (rest.data, rest.received_ns) == ([b"ccc"], [2])
    assert not buffer.arrived.is_set()


async def test_a_notice_keeps_its_place_among_the_frames() -> None:
    buffer = Buffer(100, 1000)
    one, other = connected(0), connected(1)
    buffer.notice(one)
    fill(buffer, b"a", b"b")
    buffer.notice(other)
    fill(buffer, b"c")
    taken = []
    while buffer:
        frames, notice = buffer.take(10)
        taken.append((frames.data, notice))
    assert taken == [([], one), ([b"a", b"b"], other), ([b"c"], None)]


@given(
    st.lists(st.one_of(st.binary(min_size=1, max_size=9), st.none()), max_size=40),
    st.integers(1, 7),
)
async def test_whatever_is_put_in_comes_out_in_order(items: list[bytes | None], size: int) -> None:
    buffer = Buffer(1000, 10_000)
    expected: list[object] = []
    for n, item in enumerate(items):
        if item is None:
            notice = connected(n)
            buffer.notice(notice)
            expected.append(notice)
        else:
            buffer.add(0, item, n, n)
            expected.append(item)
    got: list[object] = []
    while buffer:
        frames, taken = buffer.take(size)
        assert len(frames) <= size
        assert frames.size == sum(map(len, frames.data))
        got += frames.data
        if taken is not None:
            got.append(taken)
    assert got == expected


async def test_what_finds_no_room_is_dropped_and_said_where_it_happened() -> None:
    buffer = Buffer(2, 1000)
    fill(buffer, b"a", b"b", b"lost", b"lost")
    frames, notice = buffer.take(1)
    assert (frames.data, notice) == ([b"a"], None)
    fill(buffer, b"c")
    frames, notice = buffer.take(10)
    assert (frames.data, notice) == ([b"b"], Overflow(2, 3))
    assert buffer.take(10)[0].data == [b"c"]


async def test_dropped_frames_are_said_even_if_nothing_follows() -> None:
    buffer = Buffer(1, 1000)
    fill(buffer, b"a", b"lost")
    buffer.take(1)
    assert buffer
    assert buffer.take(1)[1] == Overflow(1, 1)
    assert not buffer


async def test_the_byte_limit_counts_too() -> None:
    buffer = Buffer(100, 10)
    fill(buffer, b"x" * 20, b"lost")
    assert len(buffer) == 1


async def test_a_patient_sender_is_held_back_and_released() -> None:
    held: list[bool] = []
    buffer = Buffer(8, 10_000, held.append)
    fill(buffer, *[b"x"] * 5)
    assert held == [True]
    fill(buffer, *[b"x"] * 3)
    assert held == [True]
    buffer.take(4)
    assert held == [True]
    buffer.take(3)
    assert held == [True, False]
    frames, notice = buffer.take(10)
    assert (len(frames), notice) == (1, None)


def test_receive_times_of_a_capture_are_taken_off_the_frames() -> None:
    frames = Frames(
        [b'1723161255030314667 {"a":1}', b'{"b":2}', b"x y"], [5, 6, 7], [1, 2, 3], [0] * 3
    )
    strip_times(frames)
    assert frames.data == [b'{"a":1}', b'{"b":2}', b"x y"]
    assert frames.received_ns == [1723161255030314667, 6, 7]
    assert frames.size == 17


def test_of_each_request_the_last_answer_waits() -> None:
    buffer = Buffer(10, 1000)
    one, other = Get("/interest/A"), Get("/interest/B")
    for n in range(100):
        buffer.notice(Body(one, b"%d" % n, n, n))
        buffer.notice(Body(other, b"%d" % n, n, n))
        buffer.add(0, b"x", n, n) if n == 50 else None
    found = []
    while buffer:
        frames, notice = buffer.take(100)
        found += [*frames.data, notice.data if isinstance(notice, Body) else notice]
    assert found == [b"x", b"99", b"99"]
