"""Coinbase: a frame means the same whether its list of levels is cut out of it or decoded with it.

A blank before a frame is what keeps it from being cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tickbus_ingest.exchanges import _coinbase as wire
from tickbus_ingest.exchanges import coinbase
from tickbus_ingest.session.decoding import FrameDecoder
from tickbus_ingest.venue.contract import Line
from tickbus_ingest.venue.instruments import Instrument

VENUE = coinbase.Venue([Instrument(ticker="BTC-USD")], ["l2"])
DECODER = FrameDecoder(VENUE, 2**20)
TIME = "2026-08-24T22:34:13.483122Z"
BID = f'{{"side":"bid","event_time":"{TIME}","price_level":"1.5","new_quantity":"2"}}'
ASK = f'{{"side":"offer","event_time":"{TIME}","price_level":"2.5","new_quantity":"0"}}'
HEAD = f'{{"channel":"l2_data","timestamp":"{TIME}","sequence_num":7,"events":['
EVENT = '{"type":"update","product_id":"BTC-USD","updates":['
FRAME = f"{HEAD}{EVENT}{BID},{ASK}]}}]}}"

PIECES = st.sampled_from(
    ["[", "]", "{", "}", ",", ":", '"', "0", "\\", " ", BID, ASK, EVENT, f"{EVENT}{BID}]}}",
     '"updates":[', '"updates":0', '"updates":', '"u\\u0070dates":0,', '"x":"]"', '"x":[1],',
     '"x":{"updates":[1]},', '"x":"],"', '"type":"snapshot",', '"product_id":"BTC-USD",', "]}",
     "]}]}"]
)  # fmt: skip


def read(frame: str) -> tuple[dict[str, Any], list[Any], dict[str, Any]] | None:
    """Columns, levels and the line's memory; None: refused."""
    line = Line(0, VENUE.routes()[0])
    received_us = np.array([1_787_610_853_000_000])
    found = DECODER.frames([frame.encode()], [line], received_us, len(frame))
    if found.refused:
        return None
    levels = found.levels
    own = (
        [] if levels is None else [levels.side.tolist(), levels.price.tolist(), levels.qty.tolist()]
    )
    columns = found.tables.get("l2", {})
    return {name: column.tolist() for name, column in columns.items()}, own, line.memory


@st.composite
def frames(draw: st.DrawFn) -> str:
    """A good frame with a part of it exchanged, or something put in."""
    start = draw(st.integers(len('{"channel":"l2_data",'), len(FRAME)))
    stop = draw(st.integers(start, min(len(FRAME), start + 30)) | st.just(start))
    return FRAME[:start] + "".join(draw(st.lists(PIECES, max_size=4))) + FRAME[stop:]


@settings(max_examples=500)
@given(frames())
@example(f'{HEAD}{EVENT}{{"x":"]","side":"bid","price_level":"1","new_quantity":"2"}}]}}]}}')
@example(f'{HEAD}{EVENT}{{"x":[1],"side":"bid","price_level":"1","new_quantity":"2"}}]}}]}}')
@example(f'{HEAD}{{"x":{{"updates":[]}},{EVENT[1:]}{BID}]}}]}}')
@example(f'{HEAD}{{"x":{{"updates":[{ASK}]}},{EVENT[1:-11]}"u\\u0070dates":[{BID}]}}]}}')
@example(f'{HEAD[:-10]}"x":{{"updates":[{ASK}]}},"events":[]}}')
@example(f"{HEAD}{EVENT}{BID}]}},{EVENT}{ASK}]}}]}}")
@example(f"{HEAD}{EVENT}]}}]}}")
@example(f"{HEAD}]}}")
def test_a_frame_that_is_cut_means_what_it_means_whole(frame: str) -> None:
    assert read(frame) == read(f" {frame}")


def test_a_frame_as_the_venue_sends_it_is_cut() -> None:
    one = wire.one_book(FRAME.encode())
    assert one is not None
    message, start, end = one
    assert message.sequence_num == 7
    assert FRAME[start:end] == f"[{BID},{ASK}]"
    columns, levels, memory = read(FRAME) or pytest.fail("refused")
    assert columns["engine_timestamp"] == [1_787_610_853_483_122]
    assert levels == [[1, -1], [1.5, 2.5], [2.0, 0.0]]
    assert memory == {coinbase.NUMBER: 7}


@pytest.mark.parametrize("frame", [f" {FRAME}", FRAME[:-1], FRAME.replace("l2_data", "ticker"), ""])
def test_any_other_frame_is_left_to_the_decoder(frame: str) -> None:
    assert wire.one_book(frame.encode()) is None
