"""Manifest entries and names: what is written is read back, what is damaged is said."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus.lake import manifest
from tickbus.lake.manifest import DataFile, EmptyPacket, Entry, EpochRange, SnapshotStart
from tickbus_schemas.errors import Fatal
from tickbus_schemas.exchanges import Exchange

FILE = DataFile(
    path="feed=trade/venue=okx/symbol=BTC-USDT/date=2024-08-08/x.parquet",
    feed="trade",
    exchange="okx",
    ticker="BTC-USDT",
    date="2024-08-08",
    rows=3,
    size=99,
    checksum="c",
    row_hash="r",
    first_seq_id=1,
    last_seq_id=3,
    first_timestamp=5,
    last_timestamp=7,
    table="t",
)
ENTRY = Entry(
    stream="MD_OKX",
    incarnation="0abc",
    first_seq=1,
    last_seq=1_048_575,
    first_stored_ns=1,
    last_stored_ns=2,
    cut="sequence",
    files=[FILE],
    messages_with_rows=1_048_574,
    without_rows={"clock": 1},
    epochs=[EpochRange(epoch=1, first_message_no=0, last_message_no=8, messages=9)],
    snapshots=[SnapshotStart(exchange="okx", ticker="BTC-USDT", seq_id=7)],
    empty_packets=[
        EmptyPacket(
            exchange="okx",
            ticker="BTC-USDT",
            seq_id=9,
            timestamp=1,
            packet_id=2,
            prev_update_id=3,
            update_id=4,
            flags=0,
        )
    ],
    previous="",
    previous_hash="",
)


def keep(root: Path, entry: Entry) -> None:
    folder = root / manifest.stream_folder(entry.stream)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / entry.name).write_bytes(manifest.encode(entry))


def test_an_entry_is_read_back_as_it_was() -> None:
    assert manifest.decode(manifest.encode(ENTRY), "here") == ENTRY


def test_an_entry_of_a_later_writer_with_further_fields_is_still_read() -> None:
    grown = msgspec.json.decode(manifest.encode(ENTRY)) | {"colour": "blue"}
    assert manifest.decode(msgspec.json.encode(grown), "here") == ENTRY


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"stream": 1}', b"\xff\xfe"])
def test_what_is_no_entry_is_said_with_its_place(data: bytes) -> None:
    with pytest.raises(Fatal, match=r"^x\.json is not a manifest entry"):
        manifest.decode(data, "x.json")


def test_an_entry_of_an_unknown_format_is_refused() -> None:
    data = manifest.encode(msgspec.structs.replace(ENTRY, format=2))
    with pytest.raises(Fatal, match="format 2 is unknown here: update tickbus"):
        manifest.decode(data, "x.json")


def test_entries_come_in_log_order_whatever_their_incarnation(tmp_path: Path) -> None:
    for incarnation, first in (("ff", 1), ("aa", 1_000), ("cc", 10_000_000)):
        keep(
            tmp_path,
            msgspec.structs.replace(
                ENTRY, incarnation=incarnation, first_seq=first, last_seq=first + 9
            ),
        )
    found = manifest.entries(tmp_path, "MD_OKX")
    assert [entry.first_seq for entry in found] == [1, 1_000, 10_000_000]


def test_files_of_replaced_entries_are_no_longer_in_the_dataset(tmp_path: Path) -> None:
    one = msgspec.structs.replace(ENTRY, last_seq=9)
    other = msgspec.structs.replace(ENTRY, first_seq=10, last_seq=19)
    merged = msgspec.structs.replace(
        ENTRY,
        first_seq=1,
        last_seq=19,
        files=[msgspec.structs.replace(FILE, path="merged.parquet")],
        replaces=[one.name, other.name],
    )
    for entry in (one, other, merged):
        keep(tmp_path, entry)
    assert [file.path for file in manifest.committed_files(tmp_path)] == ["merged.parquet"]


@given(
    st.from_regex(r"[A-Z][A-Z0-9_]{0,20}", fullmatch=True),
    st.from_regex(r"[0-9a-f]{8}", fullmatch=True),
    st.integers(0, 2**43 - 1),
    st.integers(0, 2**43 - 1),
)
def test_a_data_file_says_stream_and_range_in_its_name(
    stream: str, incarnation: str, first: int, last: int
) -> None:
    name = f"{stream}-{manifest.range_name(incarnation, first, last)}"
    for tail in ("", "-2"):
        found = manifest.parse_data_file(f"{name}{tail}.parquet")
        assert found == (stream, incarnation, first, last)


@given(st.integers(0, 2**43 - 1), st.integers(0, 2**43 - 1))
def test_names_sort_as_the_log_does(one: int, other: int) -> None:
    names = [manifest.range_name("aa", first, 2**43 - 1) for first in (one, other)]
    assert (names[0] < names[1]) == (one < other)


@pytest.mark.parametrize("name", ["x.parquet", "MD_X-0abc-1-2.parquet", "copy of MD_X.parquet", ""])
def test_other_names_are_not_ours(name: str) -> None:
    assert manifest.parse_data_file(name) is None


def test_folders_are_safe_for_any_ticker() -> None:
    folder = manifest.data_folder("feature", Exchange.OKX, "../ETC=1", "2024-08-08", "c0ffee")
    assert str(folder) == (
        "feed=feature/set=c0ffee/venue=okx/symbol=%2E%2E%2FETC%3D1/date=2024-08-08"
    )
