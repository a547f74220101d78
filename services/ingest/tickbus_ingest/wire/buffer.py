"""What came off the sockets and waits for the bus: bounded, in one order, with receive times."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tickbus_ingest.venue.contract import Get, Line

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
NEARLY_FULL = 0.5
"""Share of the limits from which reading stops, where the venue tolerates that."""
RELEASED = 0.25
"""Share below which reading goes on."""


@dataclass(frozen=True, slots=True)
class Connected:
    """A line is open; everything with its number came over it."""

    line: Line
    received_ns: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A line is gone and no other one delivers what it did."""

    line: int
    reason: str
    received_ns: int


@dataclass(frozen=True, slots=True)
class Body:
    """A REST body that was asked for; it is a packet like a frame."""

    get: Get
    data: bytes
    received_ns: int
    monotonic_ns: int
    url: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """A REST body could not be fetched."""

    get: Get
    reason: str
    for_good: bool = False
    """the venue will answer the same again: it refuses this request"""


@dataclass(frozen=True, slots=True)
class Replaced:
    """A line was closed after another one had taken its place, or broke while another delivers."""

    line: int
    by: int
    reason: str = ""
    """why it broke; "" where we closed it"""
    received_ns: int = 0


@dataclass(frozen=True, slots=True)
class Overflow:
    """Frames had no room and were dropped."""

    frames: int
    received_ns: int


BufferNotice = Connected | Disconnected | Replaced | Body | Failed | Overflow


@dataclass(slots=True)
class Frames:
    """Frames in order of arrival, column by column."""

    data: list[bytes] = field(default_factory=list)
    received_ns: list[int] = field(default_factory=list)
    monotonic_ns: list[int] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    size: int = 0
    """bytes of all frames"""
    _joined: tuple[U8, I64] | None = None

    def __len__(self) -> int:
        return len(self.data)

    def joined(self) -> tuple[U8, I64]:
        """The frames behind one another; frame i is text[ends[i]:ends[i+1]]."""
        if self._joined is None:
            self._joined = join(self.data)
        return self._joined


def join(frames: list[bytes]) -> tuple[U8, I64]:
    """Frames behind one another as u8; frame i is text[ends[i]:ends[i+1]]."""
    ends = np.zeros(len(frames) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, frames), np.int64, len(frames)), out=ends[1:])
    return np.frombuffer(b"".join(frames), np.uint8), ends


class Buffer:
    """Frames and notices between the sockets and the flusher.

    `add` is called once a frame and does nothing that can wait. A notice keeps its place among
    the frames: `take` returns the frames before it first. With `hold_back` the sockets are told to
    stop reading when it is nearly full (True) and to read on later (False); without it, or when
    that does not help, frames are dropped and one Overflow stands for them.
    """

    def __init__(
        self, frames_max: int, bytes_max: int, hold_back: Callable[[bool], None] | None = None
    ) -> None:
        self.frames_max = frames_max
        self.bytes_max = bytes_max
        self.arrived = asyncio.Event()
        self._hold_back = hold_back
        self._held = False
        share = NEARLY_FULL if hold_back else 1.0
        self._frames_mark, self._bytes_mark = int(frames_max * share), int(bytes_max * share)
        self._frames = Frames()
        self._notices: deque[tuple[int, BufferNotice]] = deque()
        """of each REST request one; what happens to connections is bounded by their attempts"""
        self._dropped = 0
        self._dropped_ns = 0

    def add(self, line: int, data: bytes, received_ns: int, monotonic_ns: int) -> None:
        """Keep one frame."""
        frames = self._frames
        if (
            len(frames.data) >= self._frames_mark or frames.size >= self._bytes_mark
        ) and not self._has_room(received_ns):
            return
        if self._dropped:
            self._note_overflow()
        frames.data.append(data)
        frames.received_ns.append(received_ns)
        frames.monotonic_ns.append(monotonic_ns)
        frames.line.append(line)
        frames.size += len(data)
        if not self.arrived.is_set():
            self.arrived.set()

    def _has_room(self, received_ns: int) -> bool:
        """Past the mark: hold the sender back, and drop when it is really full."""
        if self._hold_back and not self._held:
            self._held = True
            self._hold_back(True)
        if len(self._frames.data) < self.frames_max and self._frames.size < self.bytes_max:
            return True
        self._dropped += 1
        self._dropped_ns = received_ns
        return False

    def notice(self, notice: BufferNotice) -> None:
        """Keep something that happened between two frames.

        What a request brought earlier and nobody has taken yet is forgotten: it is out of date.
        """
        if isinstance(notice, Body | Failed):
            self._notices = deque(
                one for one in self._notices if not _is_of_request(one[1], notice.get)
            )
        self._notices.append((len(self._frames.data), notice))
        self.arrived.set()

    @property
    def fill(self) -> float:
        """Share of the limits in use."""
        return max(len(self._frames.data) / self.frames_max, self._frames.size / self.bytes_max)

    @property
    def size(self) -> int:
        """Bytes waiting."""
        return self._frames.size

    def __len__(self) -> int:
        return len(self._frames.data)

    def __bool__(self) -> bool:
        return bool(self._frames.data or self._notices or self._dropped)

    def take(self, frames_max: int) -> tuple[Frames, BufferNotice | None]:
        """Up to `frames_max` frames, and the notice that follows them, if one does."""
        if self._dropped and not self._frames.data:
            self._note_overflow()
        count = min(frames_max, len(self._frames.data))
        notice: BufferNotice | None = None
        if self._notices and self._notices[0][0] <= count:
            count, notice = self._notices.popleft()
        taken = self._split(count)
        if self._notices and count:
            self._notices = deque((place - count, one) for place, one in self._notices)
        if not self:
            self.arrived.clear()
        if self._held and self._hold_back and self.fill < RELEASED:
            self._held = False
            self._hold_back(False)
        return taken, notice

    def _split(self, count: int) -> Frames:
        """Take the first `count` frames out."""
        frames = self._frames
        if count == len(frames.data):
            self._frames = Frames()
            return frames
        columns = (frames.data, frames.received_ns, frames.monotonic_ns, frames.line)
        taken = Frames(*(column[:count] for column in columns))  # type: ignore[arg-type]  # one of each
        for column in columns:
            del column[:count]
        taken.size = sum(map(len, taken.data))
        frames.size -= taken.size
        return taken

    def _note_overflow(self) -> None:
        self._notices.append((len(self._frames.data), Overflow(self._dropped, self._dropped_ns)))
        self._dropped = 0


def _is_of_request(notice: BufferNotice, get: Get) -> bool:
    return isinstance(notice, Body | Failed) and notice.get == get
