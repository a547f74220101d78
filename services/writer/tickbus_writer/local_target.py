"""The target that is a folder on a disk: the only file of the writer that touches one.

Temporary files of a writer lie in `_tmp/<writer>/`. It holds a lock on `_tmp/<writer>.lock` as long
as it lives; who can take the lock knows that it is dead. A name is given with link(2), which never
replaces. https://man7.org/linux/man-pages/man2/link.2.html
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from tickbus.lake import rowhash
from tickbus_schemas.errors import Fatal

from tickbus_writer.target import Seen

TEMPORARY = "_tmp"
_LOCK = ".lock"
_INTENT = "intent.json"
_CHUNK_BYTES = 4 << 20
_FSYNCS_AT_ONCE = 8


class LocalTarget:
    """Files below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._made = 0
        self._dead: dict[str, IO[bytes]] = {}
        self._unsynced: set[Path] = set()
        """folders that hold the name of a new folder"""
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._folder, self._lock = _own_folder(root / TEMPORARY)
        except OSError as error:
            raise Fatal(f"cannot write to {root}: {error.strerror}; name another folder") from None

    def close(self) -> None:
        """Leave nothing behind, unless a commit was cut short."""
        if not (self._folder / _INTENT).exists():
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.with_name(f"{self._folder.name}{_LOCK}").unlink(missing_ok=True)
        self._release()
        self._lock.close()

    def temporary(self) -> str:
        """See Target."""
        self._made += 1
        return str(self._folder / f"{self._made}.tmp")

    def seal(self, temporaries: Iterable[str]) -> None:
        """See Target."""
        self._fsync_all(Path(temporary) for temporary in temporaries)

    def see(self, path: str) -> Seen | None:
        """See Target."""
        whole = self.root / path
        try:
            with pq.ParquetFile(whole, memory_map=True) as file:
                metadata = file.metadata
            first, last = _seq_ids(metadata)
        except (OSError, pa.ArrowException, ValueError):
            return None
        stream_range = (metadata.metadata or {}).get(b"tickbus.range", b"").decode()
        size, checksum = _checksum(whole)
        return Seen(metadata.num_rows, size, checksum, first, last, stream_range)

    def row_hash(self, path: str) -> str:
        """See Target."""
        return rowhash.of_file(self.root / path)

    def intend(self, paths: Iterable[str]) -> None:
        """See Target."""
        intended = list(paths)
        if intended:
            self._write(self._folder / _INTENT, msgspec.json.encode(intended))
            _fsync(self._folder)
        else:
            self.discard(str(self._folder / _INTENT))

    def place(self, temporary: str, path: str, *, replace: bool = False) -> bool:
        """See Target."""
        whole = self.root / path
        self._make_folder(whole.parent)
        if replace:
            os.replace(temporary, whole)
            return True
        try:
            os.link(temporary, whole)
        except FileExistsError:
            return False
        os.unlink(temporary)
        return True

    def sync_folders(self, paths: Iterable[str]) -> None:
        """See Target."""
        self._fsync_all({(self.root / path).parent for path in paths} | self._unsynced)
        self._unsynced.clear()

    def create(self, path: str, data: bytes) -> bool:
        """See Target."""
        whole = self.root / path
        self._make_folder(whole.parent)
        if self._unsynced:
            self.sync_folders([])
        temporary = Path(self.temporary())
        self._write(temporary, data)
        try:
            os.link(temporary, whole)
        except FileExistsError:
            return False
        finally:
            os.unlink(temporary)
        _fsync(whole.parent)
        return True

    def read(self, path: str) -> bytes | None:
        """See Target."""
        try:
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        """See Target."""
        try:
            with os.scandir(self.root / folder) as found:
                return [entry.name for entry in found if entry.is_file()]
        except FileNotFoundError:
            return []

    def remove(self, paths: Iterable[str]) -> None:
        """See Target."""
        folders = set()
        for path in paths:
            whole = self.root / path
            with contextlib.suppress(FileNotFoundError):
                whole.unlink()
                folders.add(whole.parent)
        for folder in folders:
            _fsync(folder)

    def discard(self, temporary: str) -> None:
        """See Target."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)

    def abandoned(self) -> list[tuple[str, list[str]]]:
        """See Target. Their locks are held until they are settled or asked for again."""
        self._release()
        folder = self.root / TEMPORARY
        for path in sorted(folder.glob(f"*{_LOCK}")):
            lock = _dead_lock(path)
            if lock is not None:
                self._dead[path.name.removesuffix(_LOCK)] = lock
        return [(name, _intent(folder / name)) for name in self._dead]

    def settle(self, writer: str) -> None:
        """See Target."""
        shutil.rmtree(self.root / TEMPORARY / writer, ignore_errors=True)
        (self.root / TEMPORARY / f"{writer}{_LOCK}").unlink(missing_ok=True)
        self._dead.pop(writer).close()

    def _release(self) -> None:
        for lock in self._dead.values():
            lock.close()
        self._dead.clear()

    def _make_folder(self, folder: Path) -> None:
        """Make it and its parents; their names are durable after the next `sync_folders`."""
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for made in reversed(missing):
            made.mkdir(exist_ok=True)
            self._unsynced.add(made.parent)

    @staticmethod
    def _fsync_all(paths: Iterable[Path]) -> None:
        """Side by side: a disk that serves many waits no longer than for one."""
        waiting = list(paths)
        if len(waiting) < 2:
            list(map(_fsync, waiting))
            return
        with ThreadPoolExecutor(min(len(waiting), _FSYNCS_AT_ONCE)) as pool:
            list(pool.map(_fsync, waiting))

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        with open(path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _own_folder(parent: Path) -> tuple[Path, IO[bytes]]:
    """A new folder of this writer, with its lock held."""
    parent.mkdir(exist_ok=True)
    _fsync(parent.parent)
    while True:
        folder = parent / f"{os.getpid()}-{secrets.token_hex(4)}"
        path = parent / f"{folder.name}{_LOCK}"
        lock = open(path, "wb")  # noqa: SIM115  held as long as the writer lives
        # Another writer that just looks for dead ones may be faster, and remove the lock.
        if _locked(lock) and _is_at(lock, path):
            folder.mkdir()
            _fsync(parent)
            return folder, lock
        lock.close()


def _locked(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether the path still names this open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _dead_lock(path: Path) -> IO[bytes] | None:
    """The lock of a writer that no longer holds it, now held here; None if it lives."""
    try:
        lock = open(path, "rb")  # noqa: SIM115  held until the dead writer is settled
    except FileNotFoundError:  # settled by another writer meanwhile
        return None
    if _locked(lock) and _is_at(lock, path):
        return lock
    lock.close()
    return None


def _intent(folder: Path) -> list[str]:
    try:
        return msgspec.json.decode((folder / _INTENT).read_bytes(), type=list[str])
    except (FileNotFoundError, msgspec.MsgspecError):
        return []  # cut while it was written: then nothing was placed


def _seq_ids(metadata: pq.FileMetaData) -> tuple[int, int]:
    """Least and greatest `seq_id` of a file, from the statistics of its row groups."""
    names = [metadata.schema.column(n).name for n in range(metadata.num_columns)]
    at = names.index("seq_id")
    groups = [metadata.row_group(n).column(at).statistics for n in range(metadata.num_row_groups)]
    return min(group.min for group in groups), max(group.max for group in groups)


def _checksum(path: Path) -> tuple[int, str]:
    size, state = 0, xxhash.xxh3_128()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            state.update(chunk)
            size += len(chunk)
    return size, state.hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
