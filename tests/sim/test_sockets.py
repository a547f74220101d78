"""Frames as bytes on the wire."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from tickbus_sim.capture import Binary
from tickbus_sim.sockets import encode_frames, unwrap
from websockets.frames import Frame, Opcode

from tests.sim.recordings import envelope


@example([b"", b"x" * 125, b"x" * 126, b"x" * 65_535, b"x" * 65_536, Binary(b"y" * 126)])
@given(st.lists(st.binary(max_size=300) | st.binary(max_size=300).map(Binary), max_size=20))
def test_a_run_of_frames_is_what_a_websocket_library_would_send(payloads: list[bytes]) -> None:
    frames = [
        Frame(Opcode.BINARY if isinstance(payload, Binary) else Opcode.TEXT, payload)
        for payload in payloads
    ]

    assert encode_frames(payloads) == b"".join(frame.serialize(mask=False) for frame in frames)


def test_raw_streams_get_the_payload_byte_for_byte() -> None:
    text = '{"stream":"a@trade","data": {"p" : 1.50,"x":"\\u00e9"} }'

    assert unwrap(text.encode()) == b'{"p" : 1.50,"x":"\\u00e9"}'
    assert unwrap(envelope("a@trade").encode()) == b"{}"
    assert unwrap(b"no envelope") == b"no envelope"
