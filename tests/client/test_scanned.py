"""The message kernel reads what the codec reads, and nothing else."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus.columns.homes import SUBJECTS_MAX, Homes
from tickbus.columns.kernels.message import START, scan
from tickbus.columns.rules import FIELD_RULES, FIELDS, TAGS, TYPE_RULES
from tickbus.columns.scanned import Scanned
from tickbus.log.stored import Stored
from tickbus_schemas import codec
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import MAX_MESSAGE_BYTES, MESSAGES, FeatureBatch, Header, Message

from tests.client.logs import runs, stored, subject_of
from tests.schemas.strategies import messages


def _odd(parts: list[bytes]) -> int:
    """How many of these the kernel does not take."""
    found = np.empty((len(parts), FIELD_RULES.shape[1] + 1, 2), np.int64)
    sizes = np.array([len(part) for part in parts], np.int64)
    data = np.frombuffer(bytearray(b"".join(parts)), np.uint8)
    return int(scan(data, sizes, MAX_MESSAGE_BYTES, FIELD_RULES, TYPE_RULES, found)[0])


@pytest.mark.parametrize("kind", MESSAGES)
@given(data=st.data())
def test_all_fields_of_all_that_the_codec_writes_are_found(
    kind: type[Header], data: st.DataObject
) -> None:
    log = data.draw(st.lists(messages(kind), min_size=1, max_size=3))
    encoded = [codec.encode(message) for message in log]
    assert _odd(encoded) == 0
    scanned = Scanned([Stored(1, 1, subject_of(log[0]), one) for one in encoded])
    for place, one in enumerate(encoded):
        plain = msgspec.msgpack.decode(one)
        assert scanned.tags[place] == plain[0] == TAGS[kind]
        for field in FIELDS[kind].values():
            _assert_found(scanned, place, field, plain[field])


def _assert_found(scanned: Scanned, place: int, field: int, value: Any) -> None:
    start, size = scanned.found[place, field].tolist()
    if isinstance(value, int):
        assert scanned.found[place, field, START] == value
    elif isinstance(value, float):
        assert bytes(scanned.data[start : start + size]) == struct.pack(">d", value)
    elif isinstance(value, bytes | str):
        wanted = value if isinstance(value, bytes) else value.encode()
        assert bytes(scanned.data[start : start + size]) == wanted
    elif value and isinstance(value[0], bytes):
        elements, step = scanned.found[place, -1].tolist()
        starts = [start + n * step for n in range(elements)]
        assert [bytes(scanned.data[at : at + size]) for at in starts] == value
    else:
        assert bytes(scanned.data[start : start + size]) == b"".join(
            map(msgspec.msgpack.encode, value)
        )


def _wide(value: Any) -> bytes:
    """msgpack as a stranger may write it: every length and number in its widest form."""
    match value:
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            return b"\xd3" + struct.pack(">q", value)
        case float():
            whole = value.is_integer() and 0 < abs(value) < 2**53
            return _wide(int(value)) if whole else b"\xcb" + struct.pack(">d", value)
        case str():
            return b"\xdb" + struct.pack(">I", len(value.encode())) + value.encode()
        case bytes():
            return b"\xc6" + struct.pack(">I", len(value)) + value
        case _:
            return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(_wide, value))


@given(runs(), st.booleans())
def test_sound_messages_in_another_form_are_read_as_ours_are(
    log: list[Message], with_more_fields: bool
) -> None:
    plain = stored(log)
    strange = []
    for one in plain:
        fields = msgspec.msgpack.decode(one.data)
        fields += ["of a later version", 7] if with_more_fields else []
        strange.append(Stored(one.seq, one.stored_ns, one.subject, _wide(fields)))
    assert _odd([one.data for one in strange]) == len(strange)
    scanned, wanted = Scanned(strange), Scanned(plain)
    assert not scanned.reasons
    assert bytes(scanned.data) == bytes(wanted.data)
    assert scanned.closed == wanted.closed


@given(st.sampled_from(MESSAGES).flatmap(messages), st.data())
def test_a_damaged_message_is_taken_only_if_the_codec_takes_it(
    message: Message, data: st.DataObject
) -> None:
    whole = codec.encode(message)
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(len(damaged), 200) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.none() | st.integers(0, len(damaged)))
    one = Stored(1, 1, subject_of(message), bytes(damaged[:end]))
    if not one.data or _odd([one.data]):
        return  # the codec has the word on it
    # Left to where they are looked at: texts to those who decode them, exchange and interval to the
    # subject that they must agree with, names to their table.
    allowed = ("unknown exchange", "features:", "interval")
    reason = _refusal(one.data)
    assert reason.startswith(allowed) or "utf-8" in reason.lower() or not reason, reason


def _refusal(data: bytes) -> str:
    """Why the codec refuses it; nothing where it does not."""
    try:
        codec.decode(data, values=False)
    except Reject as why:
        return str(why)
    return ""


def test_a_message_above_the_limit_is_refused() -> None:
    size = MAX_MESSAGE_BYTES // 8
    batch = FeatureBatch(
        exchange=2,
        ticker="BTCUSDT",
        epoch=0,
        message_no=0,
        interval_ms=1_000,
        catalogue="1",
        names=[],
        values=[],
        timestamp=bytes(8 * size),
        end_timestamp=bytes(8 * size),
        rcv_timestamp=bytes(8 * size),
        packet_id=bytes(8 * size),
        flags=bytes(2 * size),
    )
    scanned = Scanned([Stored(1, 1, subject_of(batch), codec._encode(batch))])
    assert "at most" in scanned.reasons[0]


def test_subjects_that_somebody_makes_up_do_not_fill_the_memory() -> None:
    homes = Homes()
    for n in range(SUBJECTS_MAX + 1):
        homes[f"md.binance_usdm.T{n}.trade"]
    homes.forget_too_many()
    assert len(homes) == 0
    assert homes["md.binance_usdm.BTCUSDT.trade"] == 0
    begin, end = homes.wanted[0, 3:].tolist()
    assert bytes(homes.tickers[begin:end]) == b"BTCUSDT"
