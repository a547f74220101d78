"""A venue's vectors: frames, and what its documents say that they mean. See README.md here.

A file is a story: its steps go through one decoder and one session in their order. `reading` and
`playing` do that, `comparing` tells what differs from what is expected. A file is read once, so
nobody changes what these functions give.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType
from tickbus_ingest.exchanges import load
from tickbus_ingest.venue.contract import Venue
from tickbus_ingest.venue.instruments import Instrument, understood

FOLDER = Path(__file__).parent
Row = dict[str, Any]


class Step(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One line of a file."""

    name: str = ""
    frame: Raw | UnsetType = UNSET
    """the wire text: a JSON value as it stands here, or a JSON text that holds it"""
    hex: str | None = None
    """the frame's bytes, where they are no text"""
    line: int = 0
    snapshot_of: str | None = None
    """ticker of a REST book, which is in `body`"""
    poll: str | None = None
    """path of a polled REST body"""
    body: Raw | UnsetType = UNSET
    reconnect: int | None = None
    """this line broke, and is open again"""
    wait_s: float | None = None
    """so much time passes"""
    names: bool = False
    """an answer that gives a channel its number: without it the frames behind mean nothing"""
    setup: Setup | None = None
    """other tickers and feeds than those of setup.json: only in a file's first line"""

    rows: dict[str, list[Row]] | None = None
    reject: str | None = None
    ignored: str | list[str] | None = None
    control: Row | list[Row] | None = None
    replies: list[Raw] | None = None
    lost: str | None = None

    publishes: dict[str, list[Row]] | None = None
    asks: list[str] | None = None
    resubscribes: list[str] | None = None

    @property
    def is_frame(self) -> bool:
        """Whether it comes over a connection."""
        return isinstance(self.frame, Raw) or self.hex is not None

    @property
    def is_body(self) -> bool:
        """Whether it is the answer to a REST request."""
        return isinstance(self.body, Raw)

    @property
    def data(self) -> bytes:
        """The bytes of the frame or the body."""
        if self.hex is not None:
            return bytes.fromhex(self.hex)
        text = self.frame if isinstance(self.frame, Raw) else self.body
        assert isinstance(text, Raw), f"{self.name!r} is no frame and no body"
        return wire_text(text)


class Setup(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What ingest is told to take."""

    tickers: tuple[str, ...]
    feeds: tuple[str, ...]


class Listed(msgspec.Struct, forbid_unknown_fields=True):
    """instruments.json: the venue's answers to `instruments_requests`, and what they list."""

    bodies: list[Raw]
    instruments: list[Row]


class Address(msgspec.Struct, forbid_unknown_fields=True):
    """address.json: an answer to `Route.address`, the URL in it, and answers that hold none."""

    body: Raw
    url: str
    refused: list[Raw]


@dataclass(slots=True)
class Story:
    """The steps of one file."""

    token: str
    file: str
    setup: Setup
    steps: list[Step]
    instruments: list[Instrument] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.token}/{self.file}"

    def venue(self) -> Venue:
        """The venue as ingest makes it for this story."""
        chosen = {one.ticker: one for one in self.instruments}
        missing = [ticker for ticker in self.setup.tickers if ticker not in chosen]
        if missing:
            raise AssertionError(f"{self}: instruments.json does not list {', '.join(missing)}")
        return load(self.token)([chosen[ticker] for ticker in self.setup.tickers], self.setup.feeds)


def tokens() -> list[str]:
    """The venues that have a folder of vectors."""
    return sorted(path.name for path in FOLDER.iterdir() if (path / "setup.json").is_file())


@cache
def listed(token: str) -> tuple[list[bytes], list[Row]]:
    """The bodies of a venue's list of instruments, and the rows expected of them."""
    found = msgspec.json.decode((FOLDER / token / "instruments.json").read_bytes(), type=Listed)
    return [wire_text(body) for body in found.bodies], found.instruments


def address(token: str) -> Address | None:
    """Where the WebSocket is, of a venue that must be asked."""
    file = FOLDER / token / "address.json"
    return msgspec.json.decode(file.read_bytes(), type=Address) if file.exists() else None


@cache
def files() -> list[str]:
    """All stories of all venues, as `<token>/<file>`."""
    found = [path for token in tokens() for path in sorted((FOLDER / token).glob("*.jsonl"))]
    return [f"{path.parent.name}/{path.name}" for path in found]


@cache
def story(file: str) -> Story:
    """The steps of one file."""
    token, _, name = file.partition("/")
    setup = msgspec.json.decode((FOLDER / token / "setup.json").read_bytes(), type=Setup)
    steps = list(_steps(FOLDER / file))
    if steps and steps[0].setup:
        setup = steps.pop(0).setup or setup
    return Story(
        token, name, setup, steps, understood(load(token).parse_instruments(listed(token)[0]))
    )


def _steps(path: Path) -> Iterator[Step]:
    decoder = msgspec.json.Decoder(Step)
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise AssertionError(f"{path.parent.name}/{path.name}:{number}: {error}") from None


def wire_text(value: Raw) -> bytes:
    """What goes over the wire: the text in a JSON string, any other JSON value as it stands."""
    text = bytes(value).strip()
    return str(msgspec.json.decode(text)).encode() if text.startswith(b'"') else text


class Capture(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A recording, and what it holds."""

    name: str
    tickers: tuple[str, ...]
    fates: dict[str, int]
    """frames by what became of them; `rows` are those that gave one, once or again"""
    feeds: tuple[str, ...] = ("trade", "l2", "bbo", "ticker", "derivative", "liquidation")
    books: dict[str, str] = {}
    """ticker -> the name of its book in the answers"""
    quotes: str = ""
    """name of the best quotes of the first ticker in the answers"""
    newest_first: bool = False
    """trades of a frame stand in the answers as on the wire: the newest first"""
    refused: str = ""
    """what each refusal says"""
    venue: str = ""
    """the token of its folder"""

    def __str__(self) -> str:
        return self.name


class Compared(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A recording whose books are compared with independent answers."""

    events: int
    """of books; the best levels are compared after each of them, or where the answers hold no more
    every 100 ms, and the whole book at the end"""
    by: str = "test_venue_captures.py"
    """the test in tests/ingest that does it"""


class Captures(msgspec.Struct, forbid_unknown_fields=True):
    """A venue's captures.json: see README.md."""

    captures: list[Capture] = []
    single: dict[str, dict[str, int]] = {}
    """capture of single frames -> what becomes of them"""
    folds: dict[str, tuple[int, int]] = {}
    """capture -> frames of books, and how many of them from the first on leave a whole book"""
    compared: dict[str, Compared] = {}
    """capture -> how far its whole books are compared: the status word rests on it"""
    notes: dict[str, str] = {}
    """capture -> why it is so"""


def captures_of_venues() -> dict[str, Captures]:
    """Of each venue that has such a file."""
    found = {}
    for token in tokens():
        file = FOLDER / token / "captures.json"
        if file.exists():
            held = found[token] = msgspec.json.decode(file.read_bytes(), type=Captures)
            held.captures = [msgspec.structs.replace(one, venue=token) for one in held.captures]
    return found
