"""Raw frames on disk: exactly what came, readable again, bounded."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from tickbus_ingest.wire.buffer import Frames
from tickbus_ingest.wire.raw_lines import encode_frames, one_line
from tickbus_ingest.wire.recorder import QUEUE_BYTES_MAX, Recorder
from tickbus_schemas.errors import Fatal


def frames(*data: bytes, ns: int = 1_723_161_255_000_000_000) -> Frames:
    count = len(data)
    return Frames(
        list(data), list(range(ns, ns + count)), [0] * count, [3] * count, sum(map(len, data))
    )


def read(folder: Path) -> list[dict[str, Any]]:
    """All lines of all files, as the sim reads them: concatenated zstd frames."""
    lines: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.jsonl.zst")):
        with path.open("rb") as file:
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            lines += [json.loads(line) for line in io.TextIOWrapper(reader, "utf-8")]
    return lines


def recorder(folder: Path, dropped: list[int] | None = None, **limits: Any) -> Recorder:
    limits = {"rotate_s": 3600, "rotate_bytes": 2**30} | limits
    lost = dropped if dropped is not None else []
    return Recorder(folder, "binance_usdm", dropped=lost.append, failed=pytest.fail, **limits)


@given(
    st.lists(st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)), max_size=8)
)
def test_a_line_holds_the_frame_byte_for_byte(data: list[bytes]) -> None:
    lines = [json.loads(line) for line in bytes(encode_frames(frames(*data))).splitlines()]
    back = [
        bytes.fromhex(line["data_hex"]) if "data_hex" in line else line["data"].encode()
        for line in lines
    ]
    assert back == data
    assert [line["ts"] for line in lines] == [
        1_723_161_255_000_000_000 + n for n in range(len(data))
    ]
    assert all(line["conn"] == 3 and line["dir"] == "in" for line in lines)


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    one = recorder(tmp_path / "raw")
    one.line(one_line(1, 0, "connect", b"", "ws://x/stream"))
    for n in range(50):
        one.frames(frames(b'{"n":%d}' % n, b'{"q":"\\u00e9"}'))
    one.line(one_line(9, 0, "http", b'{"lastUpdateId":1}', "http://x/depth"))
    one.close()
    lines = read(tmp_path / "raw")
    assert [line["dir"] for line in lines] == ["connect", *["in"] * 100, "http"]
    assert lines[0]["url"] == "ws://x/stream"
    assert [json.loads(line["data"])["n"] for line in lines[1:-1:2]] == list(range(50))
    assert lines[-1] == {
        "ts": 9, "conn": 0, "dir": "http", "url": "http://x/depth", "data": '{"lastUpdateId":1}',
    }  # fmt: skip


def test_a_new_file_begins_after_so_many_bytes(tmp_path: Path) -> None:
    one = recorder(tmp_path, rotate_bytes=1_000_000)
    for _ in range(4):
        one.frames(frames(b"x" * 3_000_000))
    one.close()
    assert len(list(tmp_path.glob("*.jsonl.zst"))) == 4
    assert len(read(tmp_path)) == 4


def test_a_killed_recorder_leaves_whole_blocks(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    one.frames(frames(*[b"x" * 1000] * 3000))
    one.close()
    (path,) = tmp_path.glob("*.jsonl.zst")
    path.write_bytes(path.read_bytes() * 2)  # two whole blocks behind one another
    assert len(read(tmp_path)) == 6000


def test_what_finds_no_room_is_dropped_and_counted(tmp_path: Path) -> None:
    dropped: list[int] = []
    one = recorder(tmp_path, dropped)
    block = frames(*[b"x" * 2**20] * 64)
    with threading.Lock():
        for _ in range(QUEUE_BYTES_MAX // block.size + 3):
            one.frames(block)
    one.close()
    assert sum(dropped) % 64 == 0
    assert len(read(tmp_path)) + sum(dropped) == 64 * (QUEUE_BYTES_MAX // block.size + 3)


def test_a_folder_that_cannot_be_made_stops_the_service_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Fatal, match="cannot keep raw frames"):
        recorder(tmp_path / "file" / "raw")


FULL_DISK = """
import random, resource, sys
from pathlib import Path
from tickbus_ingest.wire.buffer import Frames
from tickbus_ingest.wire.recorder import Recorder

resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))  # a write stops in its middle
dropped, failed = [], []
one = Recorder(
    Path(sys.argv[1]), "raw", rotate_s=3600, rotate_bytes=2**30,
    dropped=dropped.append, failed=failed.append,
)
for block in range(8):
    data = [random.randbytes(1_000) for _ in range(300)]
    one.frames(Frames(data, [1] * 300, [], [0] * 300, 3_000_000))
one.close()
print(sum(dropped), len(failed))
"""


def test_what_a_full_disk_did_not_take_is_counted_and_the_rest_is_read_back(
    tmp_path: Path,
) -> None:
    found = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    dropped, failures = map(int, found.stdout.split())
    assert failures >= 1
    assert 0 < dropped < 8 * 300
    assert len(read(tmp_path)) == 8 * 300 - dropped


def test_an_idle_run_leaves_no_file(tmp_path: Path) -> None:
    recorder(tmp_path).close()
    assert list(tmp_path.iterdir()) == []
