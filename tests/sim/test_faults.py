"""Each kind of fault does what it says, to the frames it says, and tells the truth about it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_schemas.errors import Fatal
from tickbus_sim.capture import Body
from tickbus_sim.dialect import Binary, Topic
from tickbus_sim.faults import Fault, Faults, Frame, Schedule, corrupted, read_schedule
from tickbus_sim.pace import SECOND

from tests.sim.recordings import USDM, depth, trade

TOPICS = [Topic("", ""), Topic("BTCUSDT", "trade"), Topic("BTCUSDT", "depth"), Topic("E", "trade")]
START_NS = 10**18


def _frames(count: int = 20) -> list[Frame]:
    """Trades and depth events in turn, a second apart."""
    return [
        Frame(
            number,
            (
                depth("btcusdt", number, number + 1) if number % 2 else trade("btcusdt", number)
            ).encode(),
            2 if number % 2 else 1,
            START_NS + number * SECOND,
        )
        for number in range(count)
    ]


def _faults(*faults: Fault, seed: int = 0) -> Faults:
    return Faults(Schedule(list(faults), seed), TOPICS, START_NS, USDM.identity)


def _numbers(frames: list[Frame]) -> list[int]:
    return [frame.number for frame in frames]


def _touched(faults: Faults) -> list[int]:
    return [frame["frame"] for frame in faults.report()[0]["frames"]]


def test_drop_loses_the_first_matching_frames_from_there_on() -> None:
    faults = _faults(Fault("drop", at=5, count=3, ticker="BTCUSDT", channel="depth@0ms"))

    left = _numbers(faults.apply(_frames()))
    assert [number for number in range(20) if number not in left] == [5, 7, 9]
    assert _touched(faults) == [5, 7, 9]


def test_a_report_names_stream_and_ids_of_what_was_lost() -> None:
    faults = _faults(Fault("drop", at=3))
    faults.apply(_frames())

    entry = faults.report()[0]
    assert (entry["kind"], entry["at"], entry["touched"]) == ("drop", 3, 1)
    wanted = {"frame": 3, "stream": "btcusdt@depth@100ms", "U": 4, "u": 4, "pu": 3}
    assert entry["frames"] == [entry["frames"][0] | wanted]


def test_repeat_sends_frames_twice() -> None:
    faults = _faults(Fault("repeat", at=4, count=2))

    assert _numbers(faults.apply(_frames(8))) == [0, 1, 2, 3, 4, 4, 5, 5, 6, 7]


def test_reorder_shuffles_a_window_and_loses_nothing() -> None:
    faults = _faults(Fault("reorder", at=2, count=5))

    order = _numbers(faults.apply(_frames()))
    assert sorted(order) == list(range(20))
    assert order != list(range(20))
    assert order[:2] == [0, 1]
    assert order[7:] == list(range(7, 20))


def test_a_window_that_never_fills_is_given_back_at_the_end() -> None:
    faults = _faults(Fault("reorder", at=15, count=50))

    sent = faults.apply(_frames()) + faults.flush()
    assert _numbers(sent) == list(range(20))


@given(st.integers(0, 2**32), st.sampled_from([trade("btcusdt", 1), depth("btcusdt", 1, 2), "x"]))
def test_a_corrupted_frame_is_no_json(seed: int, text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(corrupted(text.encode(), random.Random(seed)))
    with pytest.raises(json.JSONDecodeError):
        json.loads(corrupted(text.encode(), random.Random(seed)))


def test_frames_that_a_repeat_made_alike_can_be_reordered() -> None:
    faults = _faults(Fault("repeat", at=2), Fault("reorder", at=2, count=2))
    assert _numbers(faults.apply(_frames(5))) == [0, 1, 2, 2, 3, 4]


@pytest.mark.parametrize("kind", ["corrupt", "nan"])
def test_a_damaged_binary_frame_stays_binary_and_is_told_in_hexadecimal(
    kind: Literal["corrupt", "nan"],
) -> None:
    faults = _faults(Fault(kind, at=0, count=1))
    whole = Frame(0, Binary(b"\x0a\x04\xff1.5\x10\x07"), 1, START_NS)

    (damaged,) = faults.apply([whole])

    assert type(damaged.text) is Binary
    assert damaged.text != whole.text
    assert faults.take_touched() == [{"kind": kind, "frame": 0, "hex": damaged.text.hex()}]
    if kind == "nan":
        assert damaged.text == b"\x0a\x04\xffNaN\x10\x07"


def test_corrupt_damages_just_the_frames_it_names() -> None:
    faults = _faults(Fault("corrupt", at=3, count=2))

    before, after = _frames(), faults.apply(_frames())
    damaged = [a.number for a, b in zip(after, before, strict=True) if a.text != b.text]
    assert damaged == _touched(faults) == [3, 4]


def test_nan_puts_a_word_where_the_first_number_was() -> None:
    faults = _faults(Fault("nan", at=0, value="NaN"), Fault("nan", at=2, value="1e999"))

    frames = faults.apply(_frames(4))
    assert json.loads(frames[0].text)["data"]["p"] == "NaN"
    assert json.loads(frames[2].text)["data"]["p"] == "1e999"


def test_silence_loses_everything_for_a_while() -> None:
    faults = _faults(Fault("silence", at=4.5, length_s=3.0, channel="trade"))

    left = _numbers(faults.apply(_frames(12)))
    assert [number for number in range(12) if number not in left] == [6]
    assert _touched(faults) == [6]


def test_oversize_is_a_further_frame_of_that_size_before_the_real_one() -> None:
    faults = _faults(Fault("oversize", at=6, size_bytes=100_000))

    frames = faults.apply(_frames(8))
    assert _numbers(frames) == [0, 1, 2, 3, 4, 5, 6, 6, 7]
    assert len(frames[6].text) == 100_000
    assert json.loads(frames[6].text)["stream"] == "btcusdt@trade"
    assert frames[7] == _frames()[6]


def test_disconnect_has_its_place_between_two_frames() -> None:
    faults = _faults(Fault("disconnect", at=3, length_s=2.5), Fault("disconnect", at=7.5))
    received_ns = [frame.received_ns for frame in _frames()]

    assert faults.stops(received_ns) == (3, 8)
    cuts = {frame.number: faults.cut_s(frame.number, frame.received_ns) for frame in _frames()}
    assert {number: cut for number, cut in cuts.items() if cut is not None} == {3: 2.5, 8: 1.0}
    assert faults.apply(_frames()) == _frames()


def test_late_snapshot_delays_the_tickers_next_bodies() -> None:
    faults = _faults(Fault("late_snapshot", at=4, count=1, length_s=2.0, ticker="BTCUSDT"))

    def delay_s(position: int, ticker: str) -> float:
        return faults.snapshot_delay_s(Body(position, "book", ticker, START_NS, b""))

    assert delay_s(2, "BTCUSDT") == 0
    assert delay_s(5, "ETHUSDT") == 0
    assert delay_s(5, "BTCUSDT") == 2.0
    assert delay_s(6, "BTCUSDT") == 0
    assert faults.report()[0]["frames"] == [{"frame": 5, "ticker": "BTCUSDT"}]


@given(
    seed=st.integers(0, 1000),
    cut=st.integers(0, 20),
    faults=st.lists(
        st.builds(
            Fault,
            kind=st.sampled_from(["drop", "repeat", "reorder", "corrupt", "nan", "silence"]),
            at=st.integers(0, 20),
            count=st.integers(1, 6),
            length_s=st.floats(0, 6),
            channel=st.sampled_from(["", "trade", "depth"]),
        ),
        max_size=4,
    ),
)
def test_faults_do_not_depend_on_how_the_frames_are_cut(
    seed: int, cut: int, faults: list[Fault]
) -> None:
    whole, parts = _faults(*faults, seed=seed), _faults(*faults, seed=seed)
    frames = _frames()

    once = whole.apply(frames) + whole.flush()
    twice = parts.apply(frames[:cut]) + parts.apply(frames[cut:]) + parts.flush()
    assert once == twice
    assert whole.report() == parts.report()


def test_schedules_come_from_toml_json_files_and_json_text(tmp_path: Path) -> None:
    toml = tmp_path / "faults.toml"
    toml.write_text('seed = 3\n[[faults]]\nkind = "drop"\nat = 2.0\nticker = "BTCUSDT"\n')
    wanted = Schedule([Fault("drop", at=2.0, ticker="BTCUSDT")], 3)
    content = {"seed": 3, "faults": [{"kind": "drop", "at": 2.0, "ticker": "BTCUSDT"}]}
    path = tmp_path / "faults.json"
    path.write_text(json.dumps(content))

    assert read_schedule(str(toml)) == read_schedule(str(path)) == wanted
    assert read_schedule(json.dumps(content)) == wanted
    bare = read_schedule(json.dumps(content["faults"]))
    assert bare == Schedule(wanted.faults, 0)
    assert isinstance(bare.faults[0].at, float)


@pytest.mark.parametrize(
    "wrong",
    [
        [{"kind": "explode"}],
        [{"kind": "drop", "att": 3}],
        [{"kind": "drop", "at": -1}],
        [{"kind": "drop", "count": 0}],
        [{}],
        {"seed": 1},
    ],
)
def test_a_wrong_schedule_is_refused_in_one_line(wrong: Any) -> None:
    with pytest.raises(Fatal, match="--faults") as refused:
        read_schedule(json.dumps(wrong))
    assert "\n" not in str(refused.value)


def test_an_absent_schedule_file_is_named() -> None:
    with pytest.raises(Fatal, match="nowhere"):
        read_schedule("nowhere.toml")


def test_delayed_frames_come_later_and_none_of_their_topic_overtakes_them() -> None:
    faults = _faults(Fault("delay", at=2, count=3, length_s=3.5, channel="trade"))

    arrived: list[tuple[int, int]] = []
    for frame in _frames(16):
        seconds = (frame.received_ns - START_NS) // SECOND
        arrived += [(one.number, seconds) for one in faults.apply([frame])]
        arrived += [(one.number, seconds) for one in faults.release(frame.received_ns)]
    trades = [(number, seconds) for number, seconds in arrived if number % 2 == 0]
    assert trades == [(0, 0), (2, 6), (4, 8), (6, 10), (8, 10), (10, 10), (12, 12), (14, 14)]
    assert [number for number, seconds in arrived if number % 2] == list(range(1, 16, 2))
    assert _touched(faults) == [2, 4, 6]


def test_faults_of_one_client_are_kept_apart() -> None:
    faults = _faults(Fault("drop", at=1, client="127.0.0.2"), Fault("drop", at=3))
    own = faults.clients["127.0.0.2"]

    assert _numbers(faults.apply(_frames(5))) == [0, 1, 2, 4]
    assert _numbers(own.apply(_frames(5))) == [0, 2, 3, 4]
    assert faults.take_touched() == [
        {"kind": "drop", "frame": 3},
        {"kind": "drop", "frame": 1, "client": "127.0.0.2"},
    ]
    assert [one.get("client", "") for one in faults.report()] == ["", "127.0.0.2"]
