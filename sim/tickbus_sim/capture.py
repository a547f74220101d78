"""Reads captures: JSON Lines of what a venue sent, a frame or REST body a line.

Container: captures/README.md; our own raw recordings have the same form.
"""

from __future__ import annotations

import heapq
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, Protocol
from urllib.parse import parse_qs, urlsplit

import msgspec
import zstandard
from tickbus_schemas.errors import Fatal
from tickbus_schemas.exchanges import Exchange

from tickbus_sim.dialect import DIALECTS, Dialect, Topic, channel_of, exchange_of_url, topic_of

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_COMPLAINTS_MAX = 20  # lines of complaint on a terminal; the count goes on
_READ_BYTES = 1 << 18


class Readable(Protocol):
    """Anything that bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


class Line(msgspec.Struct, gc=False):
    """One line of the container; keys that only some recorders write are left aside."""

    ts: int
    dir: Literal["connect", "out", "in", "http", "close", "disconnect"]
    url: str = ""
    data: str = ""
    data_hex: str = ""  # instead of data, where the bytes were no text

    def content(self) -> bytes:
        """What was received. Errors: ValueError when `data_hex` is not hexadecimal."""
        return Binary.fromhex(self.data_hex) if self.data_hex else self.data.encode()


class Binary(bytes):
    """A frame that is no text: it is sent as a binary one."""


class Envelope(msgspec.Struct, gc=False):
    """What every frame of a combined stream is wrapped in."""

    stream: str
    data: msgspec.Raw


@dataclass(frozen=True)
class Body:
    """A recorded REST answer and its place in the order of frames."""

    position: int  # frames recorded before it
    resource: str  # last part of the path: depth, exchangeInfo, ...
    ticker: str  # "" where the request named none
    received_ns: int
    text: bytes


@dataclass
class Capture:
    """A capture in memory: columns over frames, and the bodies between them."""

    dialect: Dialect
    texts: list[bytes]
    topic_ids: list[int]  # index into topics; 0 is "no envelope"
    received_ns: list[int]
    topics: list[Topic]
    channels: list[str]
    bodies: list[Body]
    bad_lines: int

    @property
    def tickers(self) -> list[str]:
        """Symbols in order of first appearance, as the venue spells them."""
        named = [topic.ticker for topic in self.topics] + [body.ticker for body in self.bodies]
        return list(dict.fromkeys(ticker for ticker in named if ticker))


def read_capture(paths: Sequence[Path], exchange: Exchange | None = None) -> Capture:
    """Reads files or folders (all recordings below them), merged in order of receive time.

    A line that cannot be read is told on stderr, counted and passed over.

    Errors: Fatal when there is no file, no frame, or no way to tell the exchange.
    """
    files = _files(paths)
    reader = _Reader()
    lines = [reader.lines(file) for file in files]
    merged = lines[0] if len(lines) == 1 else heapq.merge(*lines, key=lambda line: line.ts)
    loading = _Loading()
    for line in merged:
        loading.add(line)
    reader.finish()
    if not loading.texts and not loading.bodies:
        names = ", ".join(str(path) for path in paths)
        raise Fatal(f"{names}: no frame in it; a capture has one JSON object a line")
    dialect = _dialect(loading.exchanges, files, exchange)
    return loading.capture(dialect, reader.bad_lines)


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.name.endswith(SUFFIXES))
            if not found:
                raise Fatal(f"{path}: no recording (*{', *'.join(SUFFIXES)}) in this folder")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise Fatal(f"{path}: no such capture")
    return files


def _dialect(seen: set[Exchange], files: Iterable[Path], wanted: Exchange | None) -> Dialect:
    """URLs decide, then folder names, then the option; contradiction is an error, not a guess."""
    by_folder = {e for e in Exchange for file in files if e.token in file.absolute().parts}
    found = seen or by_folder
    if len(found) > 1:
        tokens = " and ".join(sorted(exchange.token for exchange in found))
        raise Fatal(f"the capture holds {tokens}: name the recordings of one exchange")
    exchange = next(iter(found)) if found else wanted
    if exchange is None:
        raise Fatal("neither URLs nor folder name tell the exchange: add --exchange")
    if wanted is not None and wanted is not exchange:
        raise Fatal(f"the capture is of {exchange.token}, not {wanted.token}: drop --exchange")
    if exchange not in DIALECTS:
        known = ", ".join(known.token for known in DIALECTS)
        raise Fatal(f"the capture is of {exchange.token}; this venue can be {known}")
    return DIALECTS[exchange]


@dataclass
class _Loading:
    """Collects lines into columns."""

    texts: list[bytes] = field(default_factory=list)
    topic_ids: list[int] = field(default_factory=list)
    received_ns: list[int] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)
    exchanges: set[Exchange] = field(default_factory=set)
    ids: dict[str, int] = field(default_factory=dict)  # stream name to topic id
    topics: list[Topic] = field(default_factory=lambda: [Topic("", "")])

    def add(self, line: Line) -> None:
        if line.url:
            exchange = exchange_of_url(line.url)
            if exchange is not None:
                self.exchanges.add(exchange)
        if line.dir == "in":
            text = line.content()
            self.texts.append(text)
            self.topic_ids.append(self._topic_id(text))
            self.received_ns.append(line.ts)
        elif line.dir == "http":
            self.bodies.append(_body(line, len(self.texts)))

    def _topic_id(self, text: bytes) -> int:
        try:
            stream = _decode_envelope(text).stream
        except msgspec.MsgspecError:
            return 0
        found = self.ids.get(stream)
        if found is None:
            topic = topic_of(stream)
            if topic not in self.topics:
                self.topics.append(topic)
            found = self.ids[stream] = self.topics.index(topic)
        return found

    def capture(self, dialect: Dialect, bad_lines: int) -> Capture:
        return Capture(
            dialect=dialect,
            texts=self.texts,
            topic_ids=self.topic_ids,
            received_ns=self.received_ns,
            topics=self.topics,
            channels=list(dict.fromkeys(map(channel_of, self.ids))),
            bodies=self.bodies,
            bad_lines=bad_lines,
        )


_decode_line = msgspec.json.Decoder(Line).decode
_decode_envelope = msgspec.json.Decoder(Envelope).decode


def _body(line: Line, position: int) -> Body:
    parts = urlsplit(line.url)
    symbol = parse_qs(parts.query).get("symbol", [""])[0]
    return Body(position, parts.path.rpartition("/")[2], symbol, line.ts, line.content())


class _Reader:
    """Turns files into lines, and says what it could not read."""

    def __init__(self) -> None:
        self.bad_lines = 0

    def lines(self, file: Path) -> Iterator[Line]:
        number = 0
        try:
            for number, raw in enumerate(_raw_lines(file), start=1):
                try:
                    line = _decode_line(raw)
                    urlsplit(line.url)
                    bytes.fromhex(line.data_hex)
                except (msgspec.MsgspecError, ValueError) as error:
                    if raw.strip():
                        self._complain(f"{file}:{number}: passed over: {error}")
                    continue
                yield line
        except (EOFError, OSError, zlib.error, zstandard.ZstdError) as error:
            if number == 0:
                raise Fatal(f"{file}: cannot be read as a capture: {_reason(error)}") from None
            # What a killed recorder leaves behind: everything before the cut is good.
            self._complain(f"{file}:{number + 1}: ends here: {_reason(error)}")
        if number == 0:
            raise Fatal(f"{file}: empty")

    def finish(self) -> None:
        """Says how many complaints were left out."""
        if self.bad_lines > _COMPLAINTS_MAX:
            print(f"{self.bad_lines - _COMPLAINTS_MAX} further bad lines", file=sys.stderr)

    def _complain(self, text: str) -> None:
        self.bad_lines += 1
        if self.bad_lines <= _COMPLAINTS_MAX:
            print(text, file=sys.stderr)


def _raw_lines(file: Path) -> Iterator[bytes]:
    """Lines of a file without their ends, whatever it is packed in; the last may be cut."""
    rest = b""
    for piece in _pieces(file):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        if file.name.endswith(".gz"):
            yield from _gunzip(stream)
        elif file.name.endswith(".zst"):
            # Each flush of a recorder may be a zstd frame of its own.
            unpack = zstandard.ZstdDecompressor()
            yield from _reads(unpack.stream_reader(stream, read_across_frames=True))
        else:
            yield from _reads(stream)


def _gunzip(stream: IO[bytes]) -> Iterator[bytes]:
    """Unpacks member by member, and what there is of the last one before it complains."""
    unpack, fresh = zlib.decompressobj(wbits=31), True
    for packed in _reads(stream):
        while packed:
            yield unpack.decompress(packed)
            packed, fresh = unpack.unused_data, False
            if unpack.eof:
                unpack, fresh = zlib.decompressobj(wbits=31), True
    if not fresh:
        raise EOFError("the file was cut")


def _reads(stream: Readable) -> Iterator[bytes]:
    while piece := stream.read(_READ_BYTES):
        yield piece


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
