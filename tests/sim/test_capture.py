"""Reading captures: containers, merging, exchange, and what is wrong with a file."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from tickbus_schemas.errors import Fatal
from tickbus_schemas.exchanges import Exchange
from tickbus_sim import dialects
from tickbus_sim.capture import read_capture
from tickbus_sim.dialect import Topic

from tests.sim.recordings import USDM, Recording, body, depth, envelope, quote, trade


def _recording() -> Recording:
    made = Recording().frames(trade("btcusdt", 1), depth("btcusdt", 4, 5))
    return made.body("BTCUSDT", body(5)).frames(trade("ethusdt", 2))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_every_container_gives_the_same_frames_and_bodies(tmp_path: Path, name: str) -> None:
    capture = read_capture([_recording().write(tmp_path / name)])

    assert capture.texts == [
        text.encode() for text in (trade("btcusdt", 1), depth("btcusdt", 4, 5), trade("ethusdt", 2))
    ]
    assert [(b.position, b.kind, b.symbol, b.text) for b in capture.bodies] == [
        (2, "book", "BTCUSDT", body(5).encode())
    ]
    assert capture.tickers == ["BTCUSDT", "ETHUSDT"]
    assert capture.channels == ["trade", "depth@100ms"]
    assert capture.dialect.exchange is Exchange.BINANCE_USDM
    assert capture.bad_lines == 0


def test_a_folder_of_recordings_is_merged_in_order_of_receive_time(tmp_path: Path) -> None:
    folder = tmp_path / "_raw" / "binance_usdm"
    odd, even = Recording(), Recording().pause(0.005)
    for number in range(0, 20, 2):
        even.frames(trade("btcusdt", number + 1))
        odd.frames(trade("btcusdt", number))
    even.write(folder / "10" / "1.jsonl.zst")
    odd.write(folder / "11" / "0.jsonl")

    capture = read_capture([tmp_path])

    assert capture.texts == [trade("btcusdt", number).encode() for number in range(20)]
    assert capture.received_ns == sorted(set(capture.received_ns))


def test_bad_lines_are_named_and_counted_and_the_rest_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = ["{half a line", '{"ts": "late", "dir": "in"}', "[]", '{"ts":1,"dir":"sideways"}']
    bad.append('{"ts":1,"dir":"in","data_hex":"xyz"}')
    recording = Recording().frames(trade("btcusdt", 1))
    for line in bad:
        recording.raw(line)
    path = recording.frames(trade("btcusdt", 2)).write(tmp_path / "binance_usdm" / "c.jsonl")

    capture = read_capture([path])

    told = capsys.readouterr().err.splitlines()
    assert capture.bad_lines == len(bad)
    assert capture.first_bad_line == told[0]
    assert len(capture.texts) == 2
    assert [line.split(": ")[0] for line in told] == [f"{path}:{n}" for n in (2, 3, 4, 5, 6)]


def test_a_recording_cut_short_is_read_up_to_the_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = Recording()
    for number in range(5_000):
        recording.frames(quote("btcusdt", number))
    path = recording.write(tmp_path / "binance_usdm" / "killed.jsonl.gz")
    path.write_bytes(path.read_bytes()[:-2_000])

    capture = read_capture([path])

    assert 1_000 < len(capture.texts) < 5_000
    assert capture.texts == [quote("btcusdt", n).encode() for n in range(len(capture.texts))]
    assert capture.bad_lines >= 1
    assert str(path) in capsys.readouterr().err


def test_what_cannot_be_a_capture_is_refused_in_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    no_gzip = tmp_path / "text.jsonl.gz"
    no_gzip.write_text("plain text\n")
    no_zstd = tmp_path / "text.jsonl.zst"
    no_zstd.write_text("plain text, long enough for a header\n")
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    garbage = tmp_path / "garbage.jsonl"
    garbage.write_text("no JSON\nat all\n")

    for path in (empty, no_gzip, no_zstd, nothing, garbage, tmp_path / "absent.jsonl"):
        with pytest.raises(Fatal, match=path.name) as refused:
            read_capture([path])
        assert "\n" not in str(refused.value)


def test_a_folder_of_an_exchange_may_hold_another_market_of_it(tmp_path: Path) -> None:
    file = Recording().frames(trade("btcusdt", 1)).write(tmp_path / "bitget" / "f.jsonl")

    assert read_capture([file]).dialect.exchange is Exchange.BITGET
    other = read_capture([file], Exchange.BITGET_FUTURES)
    assert other.dialect.exchange is Exchange.BITGET_FUTURES
    with pytest.raises(Fatal, match="drop --exchange"):
        read_capture([file], Exchange.BYBIT_SPOT)


def test_the_exchange_comes_from_urls_then_folder_then_option(tmp_path: Path) -> None:
    frames = Recording().frames(trade("btcusdt", 1))
    by_url = Recording().body("BTCUSDT", body(1)).write(tmp_path / "binance_spot" / "u.jsonl")
    by_folder = frames.write(tmp_path / "binance_spot" / "f.jsonl")
    unknown = frames.write(tmp_path / "else" / "x.jsonl")

    assert read_capture([by_url]).dialect.exchange is Exchange.BINANCE_USDM
    assert read_capture([by_folder]).dialect.exchange is Exchange.BINANCE_SPOT
    assert read_capture([unknown], Exchange.BINANCE_USDM).dialect.exchange is Exchange.BINANCE_USDM
    with pytest.raises(Fatal, match="--exchange"):
        read_capture([unknown])
    with pytest.raises(Fatal, match="drop --exchange"):
        read_capture([by_folder], Exchange.BINANCE_USDM)


def test_recordings_of_two_exchanges_or_of_a_stranger_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = Recording().frames(trade("btcusdt", 1))
    frames.write(tmp_path / "both" / "binance_spot" / "a.jsonl")
    frames.write(tmp_path / "both" / "binance_usdm" / "b.jsonl")
    stranger = frames.write(tmp_path / "kucoin" / "c.jsonl")
    known = tuple(one for one in dialects.exchanges() if one is not Exchange.KUCOIN)
    monkeypatch.setattr(dialects, "exchanges", lambda: known)
    monkeypatch.setattr(dialects, "load", dialects.load.__wrapped__)

    with pytest.raises(Fatal, match="one exchange"):
        read_capture([tmp_path / "both"])
    with pytest.raises(Fatal, match="does not speak kucoin"):
        read_capture([stranger])


def test_a_recording_of_this_very_venue_is_known_by_its_path(tmp_path: Path) -> None:
    line = '{"ts":1,"dir":"connect","url":"ws://127.0.0.1:4242/public/stream?tickbus_times=1"}'
    path = Recording().raw(line).frames(trade("btcusdt", 1)).write(tmp_path / "own.jsonl")

    assert read_capture([path]).dialect.exchange is Exchange.BINANCE_USDM


def test_garbage_frames_are_kept_as_they_are(tmp_path: Path) -> None:
    texts = ["no JSON {", '{"stream":7,"data":{}}', '{"e":[]}', "", "é☂"]
    capture = Recording().frames(*texts).capture(tmp_path)

    assert capture.texts == [text.encode() for text in texts]
    assert capture.topic_ids == [0] * len(texts)


def test_recorded_answers_are_counted_and_not_played(tmp_path: Path) -> None:
    answers = ['{"result":null,"id":1}', '{"error":{"code":2,"msg":"no"},"id":7}']
    capture = Recording().frames(*answers, trade("btcusdt", 1)).capture(tmp_path)

    assert capture.texts == [trade("btcusdt", 1).encode()]
    assert capture.control_frames == 2


def test_update_speeds_of_depth_are_one_topic() -> None:
    names = ["btcusdt@depth", "btcusdt@depth@0ms", "btcusdt@depth@100ms"]

    def topic_of(name: str) -> Topic | None:
        return USDM.topic_of(envelope(name).encode())

    assert {topic_of(name) for name in names} == {Topic("BTCUSDT", "depth")}
    partial, everything = topic_of("btcusdt@depth5@100ms"), topic_of("!bookTicker")
    assert partial is not None
    assert partial.family == "depth5"
    assert everything == Topic("", "!bookTicker")


def test_real_captures_are_read_whole(captures: Path) -> None:
    path = captures / "frames" / "binance_usdm" / "btcusdt_20240808.jsonl.gz"
    capture = read_capture([path])

    with gzip.open(path, "rt") as lines:
        wanted = sum('"dir":"in"' in line[:80] for line in lines)
    assert len(capture.texts) == wanted == 93_953
    assert capture.tickers == ["BTCUSDT"]
    assert capture.channels == ["depth@0ms", "bookTicker", "trade"]
    assert [body.position for body in capture.bodies] == [54]
