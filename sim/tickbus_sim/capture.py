"""Reads captures: JSON Lines of what a venue sent, a frame or REST body a line.

Container: captures/README.md; our own raw recordings have the same form.
"""

from __future__ import annotations

import heapq
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, compress, islice
from pathlib import Path
from typing import IO, Literal, Protocol
from urllib.parse import urlsplit

import msgspec
import zstandard
from tickbus_schemas.errors import Fatal
from tickbus_schemas.exchanges import Exchange

from tickbus_sim import dialects
from tickbus_sim.dialect import CONTROL, BadRequest, Binary, Dialect, Topic, split_url

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_COMPLAINTS_MAX = 20  # lines of complaint on a terminal; the count goes on
_READ_BYTES = 1 << 18
_HERE = ("127.0.0.1", "localhost", "::1")
_CONTROL = -1  # place of what is not played
_SAMPLE_FRAMES = 200  # that tell the exchange where nothing else does


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


@dataclass(frozen=True)
class Body:
    """A recorded REST answer and its place in the order of frames."""

    position: int  # frames recorded before it
    kind: str
    """`book`, `instruments`, or the venue's own word"""
    symbol: str  # "" where the request named none
    received_ns: int
    text: bytes


@dataclass
class Capture:
    """A capture in memory: columns over frames, and the bodies between them."""

    dialect: Dialect
    texts: list[bytes]
    topic_ids: list[int]  # index into topics; 0 is "does not tell"
    received_ns: list[int]
    topics: list[Topic]
    bodies: list[Body]
    bad_lines: int
    control_frames: int = 0
    """recorded answers, heartbeats and notices, which are not played"""
    strange_bodies: int = 0
    """bodies that were fetched elsewhere than at the venue, which are not served"""
    first_bad_line: str = ""
    """file, number and what is wrong with the first of `bad_lines`"""

    @property
    def tickers(self) -> list[str]:
        """Symbols in order of first appearance, as the venue spells them."""
        indexes = self.dialect.index_families
        named = [topic.symbol for topic in self.topics if topic.family not in indexes]
        named += [body.symbol for body in self.bodies if body.kind != "instruments"]
        return list(dict.fromkeys(symbol for symbol in named if symbol))

    @property
    def channels(self) -> list[str]:
        """Channels in order of first appearance, as the venue's clients name them."""
        return list(dict.fromkeys(topic.channel for topic in self.topics if topic.channel))

    @property
    def feeds(self) -> list[str]:
        """Our feeds that are in it; of several channels of one feed, the dialect's first."""
        return [feed for feeds in self.families.values() for feed in feeds]

    @property
    def other(self) -> dict[str, int]:
        """Frames of families that are no feed of ours, or that say again what another one says."""
        played = self.families
        found: Counter[str] = Counter()
        for topic_id, frames in Counter(self.topic_ids).items():
            family = self.topics[topic_id].family
            if family and family not in played:
                found[family] += frames
        return dict(found)

    @property
    def families(self) -> dict[str, list[str]]:
        """Family -> feeds that it is the one to carry, in the dialect's order.

        What is known of a derivative may come in several families.
        """
        there = {topic.family for topic in self.topics}
        found: dict[str, list[str]] = {}
        taken: set[str] = set()
        for family, feeds in self.dialect.feeds.items():
            for feed in feeds.split() if family in there else ():
                base = feed.partition(":")[0]
                if base not in taken:
                    found.setdefault(family, []).append(feed)
                    taken.add(base)
                elif base == "derivative":
                    found.setdefault(family, [])
        return found


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
    dialect = _dialect(loading, files, exchange)
    return loading.capture(dialect, reader.bad_lines, reader.first_bad_line)


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


def _dialect(loading: _Loading, files: Iterable[Path], wanted: Exchange | None) -> Dialect:
    """URLs decide, then folders, then the option, then the frames; contradiction is an error.

    Where the URLs are of nobody here, it may be another company, or another market, that speaks the
    same protocol: only the option decides. A folder may be named after the first market of an
    exchange and hold others of it, too: those of spot some of futures.
    """
    by_folder = {e for e in Exchange for file in files if e.token in file.absolute().parts}
    if wanted is not None and wanted.token.startswith(tuple(f"{e.token}_" for e in by_folder)):
        by_folder = {wanted}
    is_told = wanted is not None or loading.exchanges or by_folder - {*dialects.exchanges()}
    if loading.strangers and not is_told:
        shown = ", ".join(sorted(loading.strangers)[:3])
        raise Fatal(f"{shown} is no address of a known venue: add --exchange if it speaks as one")
    found = loading.exchanges or by_folder
    if len(found) > 1 and wanted in found:
        found = {wanted} if wanted is not None else found
    if len(found) > 1:
        tokens = " and ".join(sorted(exchange.token for exchange in found))
        raise Fatal(f"the capture holds {tokens}: name the recordings of one exchange")
    if not found and wanted is None:
        found = _by_frames(loading.texts)
        if len(found) != 1:
            fits = " or ".join(sorted(exchange.token for exchange in found))
            shown = f" (its frames are those of {fits})" if fits else ""
            raise Fatal(f"neither URLs nor folder name tell the exchange: add --exchange{shown}")
    exchange = next(iter(found)) if found else wanted
    assert exchange is not None
    if wanted is not None and wanted is not exchange:
        raise Fatal(f"the capture is of {exchange.token}, not {wanted.token}: drop --exchange")
    return dialects.load(exchange)


@lru_cache(maxsize=4096)
def _is_known(url: str) -> bool:
    """Whether a URL is one of a venue's, or of this machine, which may serve any."""
    host, path, query = split_url(url)
    owners = [one for one in map(dialects.load, dialects.exchanges()) if host in one.hosts]
    able = [one for one in owners if not one.path_decides or one.owns(path, query)]
    return host in ("", *_HERE) or bool(able)


def _by_frames(texts: Iterable[bytes]) -> set[Exchange]:
    """The exchanges whose dialects understand the first frames."""
    sample = list(islice(texts, _SAMPLE_FRAMES))
    able = set()
    for exchange in dialects.exchanges():
        topics = map(dialects.load(exchange).topic_of, sample)
        if any(topic is not None and topic != CONTROL for topic in topics):
            able.add(exchange)
    return able


@dataclass
class _Loading:
    """Collects lines, in their order."""

    texts: list[bytes] = field(default_factory=list)
    received_ns: list[int] = field(default_factory=list)
    bodies: list[tuple[int, Line]] = field(default_factory=list)
    """with the number of frames before it"""
    exchanges: set[Exchange] = field(default_factory=set)
    strangers: set[str] = field(default_factory=set)
    """addresses that belong to no venue here"""

    def add(self, line: Line) -> None:
        if line.url:
            exchange = dialects.of_url(line.url)
            if exchange is not None:
                self.exchanges.add(exchange)
            elif not _is_known(line.url):
                self.strangers.add("".join(split_url(line.url)[:2]))
        if line.dir == "in":
            self.texts.append(line.content())
            self.received_ns.append(line.ts)
        elif line.dir == "http":
            self.bodies.append((len(self.texts), line))

    def capture(self, dialect: Dialect, bad_lines: int, first_bad_line: str) -> Capture:
        topics, topic_ids = self._topics(dialect)
        played = [place != _CONTROL for place in topic_ids]
        before = list(accumulate(played, initial=0))
        bodies = [one for one in self.bodies if not self._is_strange(one[1])]
        # Some venues take symbols in any case: frames spell the ticker as the venue does.
        spelled = {topic.symbol.upper(): topic.symbol for topic in topics}
        return Capture(
            dialect,
            list(compress(self.texts, played)),
            list(compress(topic_ids, played)),
            list(compress(self.received_ns, played)),
            topics,
            [_body(line, before[place], dialect, spelled) for place, line in bodies],
            bad_lines,
            control_frames=played.count(False),
            strange_bodies=len(self.bodies) - len(bodies),
            first_bad_line=first_bad_line,
        )

    def _topics(self, dialect: Dialect) -> tuple[list[Topic], list[int]]:
        """The topics in order of first appearance, and the place of each frame's among them."""
        nobody = Topic("", "")
        topics, places, topic_ids = [nobody], {nobody: 0, CONTROL: _CONTROL}, []
        topic_of, known = dialect.topic_of, places.get
        for text in self.texts:
            topic = topic_of(text) or nobody
            place = known(topic)
            if place is None:
                place = places[topic] = len(topics)
                topics.append(topic)
            topic_ids.append(place)
        return topics, topic_ids

    def _is_strange(self, line: Line) -> bool:
        """Whether a body was fetched elsewhere than at the venue: it says nothing of its books."""
        return bool(self.exchanges) and not _is_known(line.url)


_decode_line = msgspec.json.Decoder(Line).decode


def _body(line: Line, position: int, dialect: Dialect, spelled: Mapping[str, str]) -> Body:
    _, path, query = split_url(line.url)
    try:
        resource = dialect.resource(path, query)
    except BadRequest:
        resource = None
    kind, symbol = (resource.kind, resource.symbol) if resource else (path.rpartition("/")[2], "")
    symbol = spelled.get(symbol.upper(), symbol)
    return Body(position, kind, symbol, line.ts, line.content())


class _Reader:
    """Turns files into lines, and says what it could not read."""

    def __init__(self) -> None:
        self.bad_lines = 0
        self.first_bad_line = ""

    def lines(self, file: Path) -> Iterator[Line]:
        number = 0
        try:
            for number, raw in enumerate(_raw_lines(file), start=1):
                try:
                    line = _decode_line(raw)
                    if line.url:
                        urlsplit(line.url)
                    if line.data_hex:
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
        self.first_bad_line = self.first_bad_line or text
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
