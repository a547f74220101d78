"""The venue's own books, against the oracle and against themselves."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_sim.book import CaptureBooks
from tickbus_sim.capture import read_capture

from tests.sim.recordings import Recording, body, depth


@pytest.mark.parametrize("name", ["binance_usdm/btcusdt_20240808", "binance_spot/btcusdt_20240808"])
def test_the_last_book_of_a_real_capture_is_the_oracles(captures: Path, name: str) -> None:
    capture = read_capture([captures / "frames" / f"{name}.jsonl.gz"])
    path = captures / "expected" / f"{name}.oracle.book_final.jsonl.gz"
    with gzip.open(path) as lines:
        expected = json.loads(lines.readline())

    book = CaptureBooks(capture).at("BTCUSDT", len(capture.texts))

    assert book.whole
    assert book.last_id == expected["last_u"]
    answer = dict(zip(("bids", "asks"), book.top(0), strict=True))
    for side in ("bids", "asks"):
        levels = [[Decimal(price), Decimal(qty)] for price, qty in answer[side]]
        assert levels == [[Decimal(price), Decimal(qty)] for price, qty in expected[side]]


def test_a_body_older_than_the_frames_before_it_is_joined_with_them() -> None:
    recording = Recording().frames(
        depth("btcusdt", 4, 5, [["1", "1"]]),
        depth("btcusdt", 5, 8, [["2", "2"]]),
        depth("btcusdt", 8, 9, [["3", "3"]]),
    )
    books = CaptureBooks(recording.body("BTCUSDT", body(7, [["9", "9"]])).memory())

    book = books.at("BTCUSDT", 3)
    assert (book.last_id, book.bids, book.whole) == (9, {"9": "9", "2": "2", "3": "3"}, True)


def test_a_break_in_the_links_is_known() -> None:
    recording = (
        Recording()
        .body("BTCUSDT", body(5))
        .frames(depth("btcusdt", 5, 6), depth("btcusdt", 7, 8), depth("btcusdt", 8, 9))
    )
    books = CaptureBooks(recording.memory())

    assert books.at("BTCUSDT", 1).whole
    assert not books.at("BTCUSDT", 3).whole
    assert books.at("BTCUSDT", 3).last_id == 9


def test_without_a_recorded_book_no_book_of_ours_is_whole() -> None:
    recording = Recording().frames(depth("btcusdt", 41, 45, [["1", "1"]]), depth("btcusdt", 45, 46))
    books = CaptureBooks(recording.memory())

    assert [books.at("BTCUSDT", position).whole for position in range(3)] == [False] * 3
    assert books.at("BTCUSDT", 2).bids == {"1": "1"}


def test_a_recorded_error_answer_is_no_book() -> None:
    recording = Recording().frames(depth("btcusdt", 4, 5))
    books = CaptureBooks(recording.body("BTCUSDT", '{"code":-1003,"msg":"slow down"}').memory())

    assert not books.at("BTCUSDT", 1).whole


def test_a_snapshot_is_sorted_by_number_and_cut_to_the_limit() -> None:
    bids = [["9", "1"], ["10.5", "1"], ["10.25", "1"], ["0.00000001", "7"]]
    asks = [["11", "1"], ["100", "2"], ["20", "3.0"]]
    capture = Recording().frames(depth("btcusdt", 1, 2, bids, asks)).memory()
    book = CaptureBooks(capture).at("BTCUSDT", 1)
    answer = json.loads(capture.dialect.write_body("BTCUSDT", book, 2))

    assert answer["bids"] == [["10.5", "1"], ["10.25", "1"]]
    assert answer["asks"] == [["11", "1"], ["20", "3.0"]]
    assert (answer["lastUpdateId"], answer["E"], answer["T"]) == (2, 2, 2)


def test_damaged_levels_and_frames_leave_the_book_standing() -> None:
    recording = (
        Recording()
        .body("BTCUSDT", body(1, [["1", "1"]]))
        .frames(
            depth("btcusdt", 1, 2, [["NaN", "1"], ["2", "x"], ["3", "3"]]),
            depth("btcusdt", 2, 3)[:-2] + ',"u":"no number"}}',
        )
    )

    book = CaptureBooks(recording.memory()).at("BTCUSDT", 2)
    assert book.bids == {"1": "1", "3": "3"}


_level = st.tuples(st.integers(1, 9).map(str), st.integers(0, 3).map(str)).map(list)


@given(
    updates=st.lists(st.lists(_level, max_size=4), max_size=20),
    cuts=st.lists(st.integers(0, 20), max_size=5).map(sorted),
)
def test_the_book_is_the_same_however_often_it_was_asked_for(
    updates: list[list[list[str]]], cuts: list[int]
) -> None:
    recording = Recording().body("BTCUSDT", body(0, [["5", "5"]]))
    wanted = {"5": "5"}
    for number, levels in enumerate(updates):
        recording.frames(depth("btcusdt", number, number + 1, levels))
        for price, qty in levels:
            wanted[price] = qty
            if not Decimal(qty):
                del wanted[price]
    books = CaptureBooks(recording.memory())
    for cut in cuts:
        books.at("BTCUSDT", min(cut, len(updates)))

    assert books.at("BTCUSDT", len(updates)).bids == wanted
