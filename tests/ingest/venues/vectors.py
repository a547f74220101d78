"""A venue's vectors: frames, and what its documents say that they mean. See README.md here.

A file is a story: its steps go through one decoder and one session in their order. `read` loads
it, `Story.decode` and `wrong_rows` compare what the venue's file makes of it with what is expected.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Raw, UnsetType
from tickbus_ingest.exchanges import load
from tickbus_ingest.session.decoding import Decoded, FrameDecoder
from tickbus_ingest.venue.contract import Get, Line, Poll, Venue
from tickbus_ingest.venue.instruments import Instrument
from tickbus_ingest.venue.rows import Control
from tickbus_schemas.messages import ABSENT

FOLDER = Path(__file__).parent
RECEIVED_MS = 1_760_000_000_000
"""2025-10-09: the first frame of a story arrives then, each next one a millisecond later."""
FRAME_BYTES = 4 * 2**20
NOT_COMPARED = {"frame", "ticker", "number", "event_us", "whole"}
"""Columns that an expected row names in another way, or only if it likes to."""

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


class Setup(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What ingest is told to take."""

    tickers: tuple[str, ...]
    feeds: tuple[str, ...]


class Listed(msgspec.Struct, forbid_unknown_fields=True):
    """instruments.json: the venue's answers to `instruments_requests`, and what they list."""

    bodies: list[Raw]
    instruments: list[Row]


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

    def frames(self) -> Iterator[tuple[Step, bytes]]:
        """The steps that are frames, with their bytes."""
        for step in self.steps:
            if step.frame is not UNSET or step.hex is not None:
                yield step, frame_of(step)


def tokens() -> list[str]:
    """The venues that have a folder of vectors."""
    return sorted(path.name for path in FOLDER.iterdir() if (path / "setup.json").is_file())


def listed(token: str) -> tuple[list[bytes], list[Row]]:
    """The bodies of a venue's list of instruments, and the rows expected of them."""
    found = msgspec.json.decode((FOLDER / token / "instruments.json").read_bytes(), type=Listed)
    return [wire_text(body) for body in found.bodies], found.instruments


def files() -> list[str]:
    """All stories of all venues, as `<token>/<file>`."""
    found = [path for token in tokens() for path in sorted((FOLDER / token).glob("*.jsonl"))]
    return [f"{path.parent.name}/{path.name}" for path in found]


def story(file: str) -> Story:
    """The steps of one file."""
    token, _, name = file.partition("/")
    setup = msgspec.json.decode((FOLDER / token / "setup.json").read_bytes(), type=Setup)
    steps = list(_steps(FOLDER / file))
    if steps and steps[0].setup:
        setup = steps.pop(0).setup or setup
    return Story(token, name, setup, steps, load(token).parse_instruments(listed(token)[0]))


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


def frame_of(step: Step) -> bytes:
    """The bytes of a frame."""
    if step.hex is not None:
        return bytes.fromhex(step.hex)
    assert isinstance(step.frame, Raw)
    return wire_text(step.frame)


# ------------------------------------------------------------------- decoding


class Reader:
    """Decodes a story's frames as a session would, several at a time if wanted."""

    def __init__(self, story: Story) -> None:
        self.venue = story.venue()
        self.decoder = FrameDecoder(self.venue, FRAME_BYTES)
        self.routes = self.venue.routes()
        self.lines: dict[int, Line] = {}
        self.received_us = RECEIVED_MS * 1000
        for number in range(max((step.line for step in story.steps), default=0) + 1):
            self.connect(number)

    def connect(self, number: int) -> None:
        """The line is open, for the first time or again."""
        line = self.lines.get(number)
        route = line.route if line else self.routes[min(number, len(self.routes) - 1)]
        self.lines[number] = line or Line(number, route)
        self.venue.connected(self.lines[number])

    def frames(self, frames: Sequence[bytes], lines: Sequence[int]) -> Decoded:
        """What the frames hold."""
        first = self.received_us + 1000
        self.received_us += 1000 * len(frames)
        return self.decoder.frames(
            frames,
            [self.lines[number] for number in lines],
            np.arange(first, self.received_us + 1, 1000, dtype=np.int64),
            max(map(len, frames), default=0),
        )

    def body(self, step: Step) -> Decoded:
        """What a REST body holds."""
        assert isinstance(step.body, Raw)
        body = wire_text(step.body)
        self.received_us += 1000
        if step.snapshot_of is not None:
            ticker = step.snapshot_of
            return self.decoder.body(
                lambda rows: self.venue.parse_snapshot(body, ticker, rows), self.received_us
            )
        get = self._poll(step).get
        return self.decoder.body(
            lambda rows: self.venue.parse_poll(body, get, rows), self.received_us
        )

    def _poll(self, step: Step) -> Poll:
        for poll in self.venue.polls():
            if poll.get.path == step.poll:
                return poll
        known = [poll.get.path for poll in self.venue.polls()]
        raise AssertionError(f"no poll of {step.poll}: the venue polls {known}")

    def step(self, step: Step) -> Decoded | None:
        """What one step holds; None for a step that is no data."""
        if step.frame is not UNSET or step.hex is not None:
            return self.frames([frame_of(step)], [step.line])
        if step.body is not UNSET:
            return self.body(step)
        if step.reconnect is not None:
            self.connect(step.reconnect)
        return None


# ----------------------------------------------------------------- comparison


def found_rows(decoded: Decoded, tickers: Sequence[str]) -> dict[str, list[Row]]:
    """The decoded events by feed, each a row as `rows` spells it."""
    return {
        feed: [_row(decoded, feed, columns, n, tickers) for n in range(len(columns["frame"]))]
        for feed, columns in decoded.tables.items()
    }


def _row(decoded: Decoded, feed: str, columns: Any, n: int, tickers: Sequence[str]) -> Row:
    row: Row = {name: column[n].item() for name, column in columns.items()}
    row["ticker"] = tickers[row["ticker"]]
    if feed == "trade":
        number = row["number"]
        row["trade_id"] = str(number) if decoded.ids is None else decoded.ids[n]
    if feed == "l2":
        assert decoded.levels is not None
        levels = decoded.levels
        own = slice(int(levels.ends[n]), int(levels.ends[n + 1]))
        row["snapshot"] = row["whole"]
        row["levels"] = [
            list(level)
            for level in zip(
                levels.side[own].tolist(),
                levels.price[own].tolist(),
                levels.qty[own].tolist(),
                strict=True,
            )
        ]
    return row


def _nothing(name: str, value: Any) -> bool:
    """Whether this is what a column holds when the venue says nothing of it."""
    if isinstance(value, float):
        return math.isnan(value)
    return value in (0, ABSENT, False, "", []) or name in NOT_COMPARED


def same_value(expected: Any, found: Any) -> bool:
    """Whether a value is the expected one; null stands for unknown."""
    if expected is None:
        return found == ABSENT or (isinstance(found, float) and math.isnan(found))
    if isinstance(expected, list):
        return len(expected) == len(found) and all(map(same_value, expected, found))
    if isinstance(expected, bool) or isinstance(found, bool):
        return bool(expected) is bool(found)
    return bool(expected == found)


def differences(expected: Row, found: Row, first_ticker: str, *, all_of_it: bool) -> list[str]:
    """What differs between a row and the expected one. `all_of_it`: nothing else may be said."""
    expected = {"ticker": first_ticker} | expected
    wrong = [
        f"{name}: expected {value!r}, found {found.get(name, 'no such column')!r}"
        for name, value in expected.items()
        if name not in found or not same_value(value, found[name])
    ]
    if all_of_it:
        wrong += [
            f"{name}: found {value!r}, nothing expected"
            for name, value in found.items()
            if name not in expected and not _nothing(name, value)
        ]
    return wrong


def wrong_rows(step: Step, decoded: Decoded, tickers: Sequence[str]) -> list[str]:
    """Every difference between what a step should hold and what was read."""
    wrong = []
    rows, expected = found_rows(decoded, tickers), step.rows or {}
    for feed in sorted(set(rows) | set(expected)):
        ours, theirs = rows.get(feed, []), expected.get(feed, [])
        if len(ours) != len(theirs):
            wrong.append(f"{feed}: expected {len(theirs)} rows, found {len(ours)}: {ours}")
            continue
        for n, (own, wanted) in enumerate(zip(ours, theirs, strict=True)):
            found = differences(wanted, own, tickers[0], all_of_it=True)
            wrong += [f"{feed}[{n}].{difference}" for difference in found]
    why = decoded.refused.get(0)
    if (step.reject is None) != (why is None) or (why and step.reject and step.reject not in why):
        wrong.append(f"refused: expected {step.reject!r}, found {why!r}")
    channels = step.ignored if isinstance(step.ignored, list) else [step.ignored]
    if sorted({one for one in channels if one}) != sorted({one for _, one in decoded.ignored}):
        wrong.append(f"ignored: expected {channels}, found {decoded.ignored}")
    replies = [wire_text(one) for one in step.replies or []]
    if replies != [text for _, text in decoded.replies]:
        wrong.append(f"replies: expected {replies}, found {decoded.replies}")
    losses = [reason for _, reason in decoded.losses]
    if len(losses) != (step.lost is not None) or (step.lost and step.lost not in losses[0]):
        wrong.append(f"lost: expected {step.lost!r}, found {losses}")
    return wrong + _wrong_controls(step, decoded.controls)


def _wrong_controls(step: Step, found: Sequence[Control]) -> list[str]:
    wanted = step.control if isinstance(step.control, list) else [step.control]
    expected = [one for one in wanted if one is not None]
    if len(expected) != len(found):
        return [f"control: expected {expected}, found {list(found)}"]
    wrong = []
    for own, theirs in zip(found, expected, strict=True):
        flags = ("error", "fatal", "closing", "answer", "stream")
        same = all(
            getattr(own, name) == theirs.get(name, type(getattr(own, name))()) for name in flags
        )
        if not same or str(theirs.get("text", "")) not in own.text:
            wrong.append(f"control: expected {theirs}, found {own}")
    return wrong
