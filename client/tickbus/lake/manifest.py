"""The manifest of a dataset: which stream sequences are in which files.

A stream's log is cut into blocks. A block is committed by its *link*: a file named by the block's
first sequence and created without replacing, so of two writers that cut differently only one wins.
The link's bytes are the *entry*, which then gets its public name; `.chain/<first>` and the entry
have the same bytes. Each entry holds the name and the hash of the one before it. So a lost entry is
noticed: in the middle by its successor, at the end by its link.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import msgspec
from tickbus_schemas import subjects
from tickbus_schemas.errors import Fatal
from tickbus_schemas.exchanges import Exchange

FORMAT = 1
FOLDER = "_manifest"
CHAIN = ".chain"
_SEQ_DIGITS = 13
"""stream sequences end at 2**43, because `seq_id` is sequence * 2**20 + row"""
_RANGE = re.compile(r"([0-9a-z]+)-(\d{13})-(\d{13})")
_DATA_FILE = re.compile(r"([A-Z0-9_]+)-([0-9a-z]+)-(\d{13})-(\d{13})(?:-(\d+))?\.parquet")


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Base of what is kept in JSON."""


class DataFile(_Record, frozen=True, kw_only=True):
    """One committed Parquet file."""

    path: str
    """below the root, with `/`"""
    feed: str
    exchange: str
    """the token, e.g. `binance_usdm`"""
    ticker: str
    date: str
    """UTC day of the rows' `timestamp`"""
    rows: int
    size: int
    """bytes"""
    checksum: str
    """XXH3-128 of the file's bytes"""
    row_hash: str
    """of the rows' values, as `tickbus.lake.rowhash` defines it"""
    first_seq_id: int
    last_seq_id: int
    first_timestamp: int
    """least and greatest venue time of the rows (us UTC)"""
    last_timestamp: int
    table: str
    """XXH3-64 of its columns' names and types: files of one table can be read as one"""
    catalogue: str = ""
    """of a feature file"""


class EpochRange(_Record, frozen=True, kw_only=True):
    """Messages of one publisher's epoch in a block; no hole when `last - first + 1 == messages`."""

    epoch: int
    first_message_no: int
    last_message_no: int
    messages: int


class SnapshotStart(_Record, frozen=True, kw_only=True):
    """A book can be built from this l2 row on."""

    exchange: str
    ticker: str
    seq_id: int


class EmptyPacket(_Record, frozen=True, kw_only=True):
    """An l2 packet without levels: it has no row, but links of later rows may name it."""

    exchange: str
    ticker: str
    seq_id: int
    """the level row that follows it, in its message or at the message's end, has this number"""
    timestamp: int
    packet_id: int
    prev_update_id: int
    update_id: int
    flags: int


class Entry(_Record, frozen=True, kw_only=True):
    """A block: sequences [first_seq, last_seq] of one incarnation of a stream, and their files."""

    format: int = FORMAT
    stream: str
    incarnation: str
    first_seq: int
    last_seq: int
    first_stored_ns: int
    """the server's store time of the first and last message read (0: none was read)"""
    last_stored_ns: int
    cut: str
    """why the block ends: sequence, time, drain, expired, recreated"""
    files: list[DataFile]
    messages_with_rows: int
    without_rows: dict[str, int]
    """sequences without a row by reason: clock, fence, reject, empty, missing (not in the stream),
    expired (gone before they were read), recreated (the stream was made anew behind them)"""
    epochs: list[EpochRange]
    snapshots: list[SnapshotStart]
    empty_packets: list[EmptyPacket]
    previous: str
    """name of the entry before, '' for the first one of a stream"""
    previous_hash: str
    replaces: list[str] = []
    """names of entries that this one replaces (compaction)"""

    @property
    def name(self) -> str:
        """File name of the entry."""
        return f"{range_name(self.incarnation, self.first_seq, self.last_seq)}.json"


class FileName(NamedTuple):
    """What the name of a data file says."""

    stream: str
    incarnation: str
    first_seq: int
    last_seq: int


def range_name(incarnation: str, first_seq: int, last_seq: int) -> str:
    """`<incarnation>-<first>-<last>`, padded so that names sort in log order."""
    return f"{incarnation}-{first_seq:0{_SEQ_DIGITS}d}-{last_seq:0{_SEQ_DIGITS}d}"


def link_name(first_seq: int) -> str:
    """Name of a block's link in `.chain`."""
    return f"{first_seq:0{_SEQ_DIGITS}d}"


def stream_folder(stream: str) -> PurePosixPath:
    """Folder of a stream's entries, below the root."""
    return PurePosixPath(FOLDER) / stream


def data_folder(
    feed: str, exchange: Exchange, ticker: str, date: str, catalogue: str = ""
) -> PurePosixPath:
    """`feed=<feed>[/set=<catalogue>]/venue=<exchange>/symbol=<ticker token>/date=<day>`."""
    folder = PurePosixPath(f"feed={feed}")
    if catalogue:
        folder /= f"set={catalogue}"
    return folder / f"venue={exchange.token}" / f"symbol={subjects.escape(ticker)}" / f"date={date}"


def parse_data_file(name: str) -> FileName | None:
    """The stream and range in a data file's name; None for a name that is not one of ours."""
    match = _DATA_FILE.fullmatch(name)
    return FileName(match[1], match[2], int(match[3]), int(match[4])) if match else None


def encode(entry: Entry) -> bytes:
    """The bytes of an entry: the same for every writer of the same block."""
    return msgspec.json.format(msgspec.json.encode(entry), indent=1) + b"\n"


_decode = msgspec.json.Decoder(Entry).decode


def decode(data: bytes, where: str) -> Entry:
    """The entry in `data`; Fatal when it cannot be read."""
    try:
        entry = _decode(data)
    except msgspec.MsgspecError as error:
        raise Fatal(f"{where} is not a manifest entry ({error}): restore it from a copy") from None
    if entry.format != FORMAT:
        raise Fatal(f"{where}: manifest format {entry.format} is unknown here: update tickbus")
    return entry


def streams(root: Path) -> list[str]:
    """Names of the streams that have a manifest below `root`."""
    folder = root / FOLDER
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def entries(root: Path, stream: str) -> list[Entry]:
    """The entries of one stream in log order, as they are now; Fatal for an unreadable one."""
    return [entry for _, entry in read_entries(root, stream)]


def read_entries(root: Path, stream: str) -> Iterator[tuple[Path, Entry]]:
    """Each entry file of a stream and what it says, in log order."""
    paths = [
        path
        for path in (root / stream_folder(stream)).glob("*.json")
        if _RANGE.fullmatch(path.stem)
    ]
    for path in sorted(paths, key=lambda path: path.stem.split("-")[1]):
        yield path, decode(path.read_bytes(), str(path))


def committed_files(root: Path) -> list[DataFile]:
    """Files of the dataset at this moment: those of entries that no other entry replaces."""
    files: list[DataFile] = []
    for stream in streams(root):
        held = list(read_entries(root, stream))
        replaced = {name for _, entry in held for name in entry.replaces}
        files += [file for path, entry in held if path.name not in replaced for file in entry.files]
    return files
