"""Frames as bytes on the wire."""

from __future__ import annotations

import gzip

from hypothesis import example, given
from hypothesis import strategies as st
from tickbus_sim.dialect import Binary, Line, Topic
from tickbus_sim.wire_frames import encode_frames, packed
from websockets.frames import Frame, Opcode

from tests.sim.recordings import SPOT, envelope


@example([b"", b"x" * 125, b"x" * 126, b"x" * 65_535, b"x" * 65_536, Binary(b"y" * 126)])
@given(st.lists(st.binary(max_size=300) | st.binary(max_size=300).map(Binary), max_size=20))
def test_a_run_of_frames_is_what_a_websocket_library_would_send(payloads: list[bytes]) -> None:
    frames = [
        Frame(Opcode.BINARY if isinstance(payload, Binary) else Opcode.TEXT, payload)
        for payload in payloads
    ]

    assert encode_frames(payloads) == b"".join(frame.serialize(mask=False) for frame in frames)


@given(st.binary(max_size=300))
def test_a_frame_of_a_venue_that_packs_is_binary_and_the_same_each_time(text: bytes) -> None:
    assert gzip.decompress(packed(text)) == text
    assert packed(text) == packed(text)
    opcode = encode_frames([packed(text)])[0] & 0x0F
    assert opcode == Opcode.BINARY


def _on_wire(path: str, text: bytes, topic: Topic) -> bytes:
    line = SPOT.open(path, {})
    assert isinstance(line, Line)
    return SPOT.on_wire(line, text, topic)


def test_raw_streams_get_the_payload_byte_for_byte() -> None:
    text = b'{"stream":"a@trade","data": {"p" : 1.50,"x":"\\u00e9"} }'
    topic, garbage = Topic("A", "trade", "trade"), Topic("", "")

    assert _on_wire("/ws", text, topic) == b'{"p" : 1.50,"x":"\\u00e9"}'
    assert _on_wire("/ws", envelope("a@trade").encode(), topic) == b"{}"
    assert _on_wire("/ws", b"no envelope", garbage) == b"no envelope"


def test_combined_streams_put_a_recorded_payload_into_an_envelope() -> None:
    bare, topic = b'{ "e":"trade","s":"BTCUSDT" }', Topic("BTCUSDT", "trade", "trade")

    assert _on_wire("/ws", bare, topic) == bare
    wrapped = b'{"stream":"btcusdt@trade","data":{ "e":"trade","s":"BTCUSDT" }}'
    assert _on_wire("/stream", bare, topic) == wrapped
    assert _on_wire("/stream", wrapped, topic) == wrapped
    assert _on_wire("/stream", b"no envelope", Topic("", "")) == b"no envelope"
    assert _on_wire("/stream", b'{"stre', topic) == b'{"stre'
