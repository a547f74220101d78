"""Faults as data on a schedule: a pure stage between a source of frames and the sockets.

Every applied fault is reported with the frames it touched, so that a test knows the truth.
"""

from __future__ import annotations

import random
import re
import tomllib
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import msgspec
from tickbus_schemas.errors import Fatal

from tickbus_sim.capture import Body
from tickbus_sim.dialect import Binary, Topic
from tickbus_sim.pace import SECOND

REPORTED_FRAMES_MAX = 1000  # a report names so many frames of a fault; its count goes on
_FRACTION = re.compile(rb'"-?\d+\.\d+"|(?<=[:\[,])-?\d+\.\d+(?=[,}\]])')
"""A decimal text or JSON number with a fraction: a price or a quantity, not an id or a time."""
_IN_TEXT = re.compile(rb'(?<=")-?\d+\.\d+(?=,)')
"""The same, where a longer text begins with it."""
_NUMBER = re.compile(rb'"-?\d+"')
_DECIMAL = re.compile(rb"\d+\.\d+")

Kind = Literal[
    "drop",
    "repeat",
    "reorder",
    "delay",
    "corrupt",
    "silence",
    "disconnect",
    "mute",
    "late_snapshot",
    "oversize",
    "nan",
]


_OF_CONNECTIONS: tuple[Kind, ...] = ("disconnect", "mute")


class Fault(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One entry of the schedule.

    `at`: a whole number is a frame number (the first frame is 0), a decimal number is seconds
    after the first frame, in the source's time. It touches the first `count` frames (disconnect,
    mute and silence: none, late_snapshot: bodies) from there on that match `ticker` and `channel`.
    With `client` it befalls the connections from that address alone.
    """

    kind: Kind
    at: int | float = 0
    count: int = 1
    length_s: float = 1.0  # of a silence, of a refusal to connect, of a snapshot's or frame's delay
    ticker: str = ""
    channel: str = ""
    client: str = ""
    value: str = "NaN"  # kind nan: what stands where the first number was
    size_bytes: int = 10_000_000  # kind oversize

    def __post_init__(self) -> None:
        if self.at < 0 or self.count < 1 or self.length_s < 0 or self.size_bytes < 1:
            raise ValueError("at, length_s >= 0 and count, size_bytes >= 1")
        if self.client and self.kind == "late_snapshot":
            raise ValueError("late_snapshot knows no client")


class Schedule(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What `--faults` reads."""

    faults: list[Fault]
    seed: int = 0


class Fate(Enum):
    """When a frame arrives: a connection that counts what it is sent counts it in its turn."""

    ARRIVES = "in its turn"
    LOST = "never"
    HELD = "later"
    LATE = "now, and its turn was before"

    @property
    def is_sent(self) -> bool:
        """Whether the frame goes out now."""
        return self in (Fate.ARRIVES, Fate.LATE)


@dataclass(frozen=True)
class Frame:
    """A frame on its way to the sockets."""

    number: int  # place in the source
    text: bytes
    topic_id: int
    received_ns: int
    fate: Fate = Fate.ARRIVES


def read_schedule(source: str) -> Schedule:
    """A schedule from a TOML file, a JSON file or JSON text; a bare JSON list holds the faults.

    Errors: Fatal with what is wrong in it.
    """
    try:
        parsed: Any
        if source.lstrip().startswith(("{", "[")):
            parsed = msgspec.json.decode(source)
        elif source.endswith(".json"):
            parsed = msgspec.json.decode(Path(source).read_bytes())
        else:
            parsed = tomllib.loads(Path(source).read_text())
        return msgspec.convert({"faults": parsed} if isinstance(parsed, list) else parsed, Schedule)
    except OSError as error:
        raise Fatal(f"--faults {source}: {error.strerror}") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise Fatal(f"--faults: {error}") from None


@dataclass
class _Armed:
    """A fault with what is left of it."""

    fault: Fault
    left: int
    touched: int = 0
    started: bool = False
    end_ns: int | None = None
    window: list[Frame] = field(default_factory=list)
    frames: list[dict[str, Any]] = field(default_factory=list)


class Faults:
    """Carries out a schedule on frames that come in order.

    Frames that a fault touched are told twice: of each fault the first ones with their ids
    (`report`, at the end), and all of them in order (`take_touched`, as it happens).
    """

    def __init__(
        self,
        schedule: Schedule,
        topics: list[Topic],
        start_ns: int,
        identity: Callable[[bytes], dict[str, Any]],
        client: str = "",
    ) -> None:
        """`start_ns`: the source's time from which seconds are counted; `identity`: a frame's ids.

        Each fault is reported with the ids of the frames that it touched. `client`: only the faults
        of this one; without it those of nobody, and `clients` has the others'.
        """
        self.client = client
        own = [fault for fault in schedule.faults if fault.client == client]
        names = {fault.client for fault in schedule.faults} - {""}
        self.clients: dict[str, Faults] = {
            name: Faults(schedule, topics, start_ns, identity, name)
            for name in sorted(names if not client else ())
        }
        self._identity = identity
        self._armed = [_Armed(fault, fault.count) for fault in own]
        self._topics = topics
        self._start_ns = start_ns
        self._random = random.Random(schedule.seed)
        self._touched: list[dict[str, Any]] = []
        self._late: deque[tuple[int, Frame]] = deque()
        """delayed frames, and when they are due, in the order in which they came"""

    def begin(self, start_ns: int) -> None:
        """A source that did not know when it would begin: its seconds are counted from here."""
        self._start_ns = start_ns
        for one in self.clients.values():
            one.begin(start_ns)

    def stops(self, received_ns: Sequence[int]) -> tuple[int, ...]:
        """Positions in a recorded source before which connections are cut or fall silent."""
        armed = chain(self._armed, *(one._armed for one in self.clients.values()))
        cuts = [one.fault for one in armed if one.fault.kind in _OF_CONNECTIONS]
        return tuple(
            fault.at
            if isinstance(fault.at, int)
            else bisect_left(received_ns, self._start_ns + int(fault.at * SECOND))
            for fault in cuts
        )

    def cut_s(self, number: int, received_ns: int) -> float | None:
        """Whether all connections break before frame `number`; for how long none is accepted."""
        cut = self._befalls("disconnect", number, received_ns)
        return None if cut is None else cut.length_s

    def mutes(self, number: int, received_ns: int) -> bool:
        """Whether all connections fall silent before frame `number`, as dead ones do."""
        return self._befalls("mute", number, received_ns) is not None

    def _befalls(self, kind: Kind, number: int, received_ns: int) -> Fault | None:
        """The next fault of connections, if it is due."""
        for armed in self._armed:
            is_next = armed.fault.kind == kind and armed.left > 0
            if is_next and self._reached(armed.fault, number, received_ns):
                armed.left = 0
                self._record(armed, {"frame": number})
                return armed.fault
        return None

    def apply(self, frames: Iterable[Frame]) -> list[Frame]:
        """What arrives of frames; kept back are those that wait for others to be reordered with."""
        return [frame for frame in self.pass_on(frames) if frame.fate.is_sent]

    def pass_on(self, frames: Iterable[Frame]) -> list[Frame]:
        """What becomes of frames; those that are lost or come later have their turns, too."""
        outcome: list[Frame] = []
        for frame in frames:
            passing = [frame]
            for armed in self._armed:
                if self._is_on(armed, frame):
                    passing = [out for one in passing for out in self._touch(armed, one)]
            outcome += [one for one in passing if not self._is_kept(one)]
        return outcome

    def release(self, now_ns: int) -> list[Frame]:
        """Delayed frames that are due at this time of the source."""
        due = []
        while self._late and self._late[0][0] <= now_ns:
            due.append(self._late.popleft()[1])
        return due

    def _is_kept(self, frame: Frame) -> bool:
        """Whether a frame waits behind a delayed one of its topic: none overtakes another."""
        waits = any(one.topic_id == frame.topic_id for _, one in self._late)
        if waits and self._late[-1][1] is not frame:
            self._late.append((max(self._late[-1][0], frame.received_ns), frame))
        return waits

    def flush(self) -> list[Frame]:
        """Frames still kept back, in their own order: the source pauses or has ended."""
        kept = [_late(frame) for armed in self._armed for frame in armed.window]
        kept += [frame for _, frame in self._late]
        self._late.clear()
        for armed in self._armed:
            armed.window = []
        return kept

    def snapshot_delay_s(self, body: Body) -> float:
        """By how much a depth answer is late."""
        for armed in self._armed:
            fault = armed.fault
            if fault.kind != "late_snapshot" or not armed.left:
                continue
            if fault.ticker not in ("", body.symbol):
                continue
            if self._reached(fault, body.position, body.received_ns):
                armed.left -= 1
                self._record(armed, {"frame": body.position, "ticker": body.symbol})
                return fault.length_s
        return 0.0

    def take_touched(self) -> list[dict[str, Any]]:
        """What was done since the last call: `kind`, `frame`, of a damaged one `text` or `hex`."""
        touched, self._touched = self._touched, []
        for one in self.clients.values():
            touched += [fact | {"client": one.client} for fact in one.take_touched()]
        return touched

    def report(self) -> list[dict[str, Any]]:
        """What was done, a fault an entry in the schedule's order; each client's behind."""
        client = {"client": self.client} if self.client else {}
        own = [
            {"kind": a.fault.kind, "at": a.fault.at, "touched": a.touched, "frames": a.frames}
            | client
            for a in self._armed
        ]
        return own + [fact for one in self.clients.values() for fact in one.report()]

    def _reached(self, fault: Fault, number: int, received_ns: int) -> bool:
        if isinstance(fault.at, int):
            return number >= fault.at
        return received_ns >= self._start_ns + int(fault.at * SECOND)

    def _is_on(self, armed: _Armed, frame: Frame) -> bool:
        """Whether the fault has begun and is not over, whatever the frame is."""
        if not armed.left or armed.fault.kind in ("late_snapshot", *_OF_CONNECTIONS):
            return False
        if not armed.started and self._reached(armed.fault, frame.number, frame.received_ns):
            armed.started = True
            armed.end_ns = frame.received_ns + int(armed.fault.length_s * SECOND)
        return armed.started

    def _touch(self, armed: _Armed, frame: Frame) -> list[Frame]:
        fault = armed.fault
        if fault.kind == "silence":
            assert armed.end_ns is not None
            if frame.received_ns >= armed.end_ns:
                armed.left = 0
                return [frame]
        if not armed.left or not frame.fate.is_sent or not self._matches(fault, frame):
            return [frame]
        if fault.kind != "silence":
            armed.left -= 1
        changed = self._change(armed, frame)
        self._record(armed, {"frame": frame.number}, frame)
        if fault.kind in ("corrupt", "nan"):
            self._touched[-1] |= _told(changed[0].text)
        return changed

    def _change(self, armed: _Armed, frame: Frame) -> list[Frame]:
        fault = armed.fault
        match fault.kind:
            case "repeat":
                return [frame, frame]
            case "reorder":
                armed.window.append(frame)
                turn = [] if frame.fate is Fate.LATE else [replace(frame, fate=Fate.HELD)]
                return turn if armed.left else turn + self._shuffled(armed)
            case "delay":
                due_ns = frame.received_ns + int(fault.length_s * SECOND)
                last_ns = self._late[-1][0] if self._late else 0
                self._late.append((max(due_ns, last_ns), frame))
                return [frame]
            case "corrupt":
                return [_with_text(frame, corrupted(frame.text, self._random))]
            case "nan":
                return [_with_text(frame, with_a_word(frame.text, fault.value))]
            case "oversize":
                return [_with_text(frame, padded(frame.text, fault.size_bytes)), frame]
            case _:  # drop, silence
                return [replace(frame, fate=Fate.LOST)]

    def _shuffled(self, armed: _Armed) -> list[Frame]:
        window, armed.window = list(map(_late, armed.window)), []
        order = list(window)
        self._random.shuffle(order)
        # Frames that a repeat made alike have no other order.
        return order if order != window else window[1:] + window[:1]

    def _matches(self, fault: Fault, frame: Frame) -> bool:
        topic = self._topics[frame.topic_id]
        if fault.ticker not in ("", topic.symbol):
            return False
        return fault.channel.partition("@")[0] in ("", topic.family)

    def _record(self, armed: _Armed, place: dict[str, Any], frame: Frame | None = None) -> None:
        armed.touched += 1
        self._touched.append({"kind": armed.fault.kind} | place)
        if len(armed.frames) < REPORTED_FRAMES_MAX:
            ids = {} if frame is None else self._identity(frame.text)
            armed.frames.append(place | ids)


def _late(frame: Frame) -> Frame:
    return replace(frame, fate=Fate.LATE)


def with_a_word(text: bytes, word: str) -> bytes:
    """A frame with a word in place of its first price or quantity.

    In a binary frame the word is as long as the number, with blanks behind it: there lengths are
    told.
    """
    if isinstance(text, Binary):
        return _DECIMAL.sub(lambda m: word.encode().ljust(len(m[0]))[: len(m[0])], text, count=1)
    for pattern, value in ((_FRACTION, f'"{word}"'), (_IN_TEXT, word), (_NUMBER, f'"{word}"')):
        found = pattern.search(text)
        if found:
            return text[: found.start()] + value.encode() + text[found.end() :]
    return text


def corrupted(text: bytes, rng: random.Random) -> bytes:
    """A frame that is no JSON any more: cut short, or with a piece of garbage in it."""
    cut = rng.randrange(1, max(2, len(text)))
    if rng.random() < 0.5:
        return text[:cut]
    return text[:cut] + b"\x01garbage{" + text[cut:]


def padded(text: bytes, size_bytes: int) -> bytes:
    """The same frame grown to `size_bytes` by a member that no venue sends."""
    body = text.rstrip().removesuffix(b"}")
    room = size_bytes - len(body) - len(b',"pad":""}')
    return body + b',"pad":"' + b"x" * max(0, room) + b'"}'


def _with_text(frame: Frame, text: bytes) -> Frame:
    """The same kind of frame: what was binary stays so."""
    return replace(frame, text=type(frame.text)(text))


def _told(text: bytes) -> dict[str, str]:
    """What was sent: its text, or in hexadecimal where it was no text."""
    if isinstance(text, Binary):
        return {"hex": text.hex()}
    return {"text": text.decode(errors="replace")}
