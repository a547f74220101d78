"""The input of every benchmark: the frames of a real capture, in memory."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec
from tickbus_schemas.errors import Fatal

DEFAULT = "frames/binance_usdm/btcusdt_20240808.jsonl.gz"
_HOSTS = {"//fapi.binance": "binance_usdm", "//api.binance": "binance_spot"}
"""The first that stands in the address of a REST body names the exchange."""


class Line(msgspec.Struct):
    """One line of a capture."""

    ts: int
    dir: str
    data: str
    url: str = ""


@dataclass(frozen=True)
class Frames:
    """A capture's frames as bytes, in order, and its REST bodies."""

    path: Path
    wire: list[bytes]
    bodies: list[bytes]

    @property
    def text_bytes(self) -> int:
        return sum(map(len, self.wire)) + sum(map(len, self.bodies))

    def of(self, channel: bytes) -> list[bytes]:
        """The frames of one channel, e.g. `@depth`."""
        return [frame for frame in self.wire if channel in frame[:60]]


def find(path: str | None) -> Path:
    """The capture named, else the default one in TICKBUS_CAPTURES or beside the project."""
    if path:
        return Path(path)
    folder = os.environ.get("TICKBUS_CAPTURES") or str(
        Path(__file__).resolve().parents[3] / "shared" / "captures"
    )
    found = Path(folder) / DEFAULT
    if not found.exists():
        raise Fatal(
            "no capture to measure with: name one with --capture FILE, or set TICKBUS_CAPTURES "
            "to the folder that holds frames/"
        )
    return found


@lru_cache(maxsize=2)
def lines(path: Path) -> tuple[Line, ...]:
    """All lines of a `.jsonl.gz` capture."""
    decode = msgspec.json.Decoder(Line).decode
    try:
        with gzip.open(path, "rb") as file:
            return tuple(map(decode, file))
    except (OSError, EOFError, msgspec.MsgspecError) as error:
        raise Fatal(f"cannot read the capture {path}: {error}") from None


def is_book(line: Line) -> bool:
    """Whether a line is the body of a book snapshot."""
    return line.dir == "http" and "lastUpdateId" in line.data[:40]


def exchange(path: Path) -> str:
    """The exchange of a capture, by the address of its first REST body."""
    for line in lines(path):
        for host, name in _HOSTS.items():
            if is_book(line) and host in line.url:
                return name
    known = " or ".join(_HOSTS.values())
    raise Fatal(f"{path} cannot be measured with: it holds no book snapshot of {known}")


@lru_cache(maxsize=2)
def load(path: Path) -> Frames:
    """All frames of a capture, and the depth snapshots among its REST bodies."""
    recorded = lines(path)
    return Frames(
        path,
        [line.data.encode() for line in recorded if line.dir == "in"],
        [line.data.encode() for line in recorded if is_book(line)],
    )
