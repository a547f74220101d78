"""Frames and REST bodies as received, kept in files that the simulated venue reads back.

A thread of its own compresses and writes; its queue is bounded by bytes, and what finds no room is
dropped and counted: recording never stands in the way of publishing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import zstandard
from tickbus_schemas.errors import Fatal

from tickbus_ingest.wire.buffer import Frames
from tickbus_ingest.wire.raw_lines import Line, encode_frames, encode_lines

QUEUE_BYTES_MAX = 128 * 2**20
BLOCK_BYTES = 2 * 2**20
"""Text that is compressed together; each block is a zstd frame, whole on disk or absent."""
BATCH_FRAMES = 1024
"""Smaller batches are put together: the flusher waits less for the interpreter's lock."""
BLOCK_S = 1.0
"""The most that a kill may lose."""
LEVEL = 3


class Recorder:
    """Writes `<folder>/<name>_<UTC time>.jsonl.zst`, a new file after so many s or bytes."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        rotate_s: float,
        rotate_bytes: int,
        dropped: Callable[[int], None],
        failed: Callable[[str], None],
    ) -> None:
        """`dropped` and `failed` are called from the recorder's thread."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Fatal(f"cannot keep raw frames in {folder}: {error.strerror}") from None
        self._folder, self._name = folder, name
        self._rotate_s, self._rotate_bytes = rotate_s, rotate_bytes
        self._dropped, self._failed = dropped, failed
        self._queue: deque[Frames | Line] = deque()
        self._queued_bytes = 0
        self._wake = threading.Event()
        self._closing = False
        self.text_bytes = 0
        """of all lines written"""
        self._thread = threading.Thread(target=self._run, name="raw-recorder", daemon=True)
        self._thread.start()

    def frames(self, frames: Frames) -> None:
        """Keep a batch; it must not change any more."""
        self._add(frames, frames.size, len(frames.data))

    def line(self, line: Line) -> None:
        """Keep one line of another kind: connect, out, http."""
        self._add(line, len(line.data or ""), 1)

    def close(self) -> None:
        """Write what waits and end the file."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _add(self, one: Frames | Line, size: int, count: int) -> None:
        if self._queued_bytes + size > QUEUE_BYTES_MAX:
            self._dropped(count)
            return
        self._queued_bytes += size
        self._queue.append(one)
        if self._queued_bytes >= BLOCK_BYTES:
            self._wake.set()

    def _run(self) -> None:
        file = _File(self._folder, self._name)
        try:
            while not (self._closing and not self._queue):
                self._wake.wait(BLOCK_S)
                self._wake.clear()
                if self._queue and not self._write_block(file):
                    file = _File(self._folder, self._name)
                if self._queue:
                    self._wake.set()
                if file.is_due(self._rotate_s, self._rotate_bytes):
                    file.close()
                    file = _File(self._folder, self._name)
        finally:
            file.close()

    def _take_frames(self) -> Frames:
        """The next batch; small ones that follow one another as one, to encode them at once."""
        first = self._queue.popleft()
        assert isinstance(first, Frames)
        if len(first.data) >= BATCH_FRAMES:
            return first
        merged = Frames(list(first.data), list(first.received_ns), [], list(first.line), first.size)
        while self._queue and len(merged.data) < BATCH_FRAMES and merged.size < BLOCK_BYTES:
            more = self._queue[0]
            if isinstance(more, Line):
                break
            self._queue.popleft()
            merged.data += more.data
            merged.received_ns += more.received_ns
            merged.line += more.line
            merged.size += more.size
        return merged

    def _write_block(self, file: _File) -> bool:
        """Write some of what waits; False when that failed: nothing of it is kept then."""
        size = count = 0
        while self._queue and size < BLOCK_BYTES:
            if isinstance(self._queue[0], Line):
                line = self._queue.popleft()
                assert isinstance(line, Line)
                size += file.add(encode_lines([line]))
                count += 1
                self._queued_bytes -= len(line.data or "")
            else:
                frames = self._take_frames()
                size += file.add(encode_frames(frames))
                count += len(frames.data)
                self._queued_bytes -= frames.size
        try:
            file.end_block()
        except OSError as error:
            self._failed(f"raw frames are not kept: {error}")
            self._dropped(count)
            file.close()
            return False
        self.text_bytes += size
        return True


class _File:
    """One file; opened with its first block, so that an idle run leaves none."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._file: BinaryIO | None = None
        self._bytes = 0
        self._opened_s = 0.0
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._block = self._compressor.compressobj()
        self._parts: list[bytes] = []

    def is_due(self, rotate_s: float, rotate_bytes: int) -> bool:
        if self._file is None:
            return False
        return time.monotonic() - self._opened_s >= rotate_s or self._bytes >= rotate_bytes

    def add(self, text: bytes | memoryview) -> int:
        """Compress one more piece of the block; its bytes."""
        self._parts.append(self._block.compress(text))
        self._bytes += len(text)
        return len(text)

    def end_block(self) -> None:
        """Append the block to the file, whole."""
        parts, self._parts = [*self._parts, self._block.flush()], []
        self._block = self._compressor.compressobj()
        if self._file is None:
            self._file = self._create()
            self._opened_s = time.monotonic()
        begins = self._file.tell()
        try:
            rest = memoryview(b"".join(parts))
            while rest:
                rest = rest[self._file.write(rest) :]  # a full disk takes a part
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(begins)  # half a block could not be read
            raise

    def _create(self) -> BinaryIO:
        stamp = time.strftime("%Y%m%d_%H%M%S", time.gmtime())
        for n in range(1000):
            path = self._folder / f"{self._name}_{stamp}{f'_{n}' if n else ''}.jsonl.zst"
            try:
                return path.open("xb", buffering=0)
            except FileExistsError:
                continue
        raise OSError(f"no free file name for {self._name}_{stamp} in {self._folder}")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
