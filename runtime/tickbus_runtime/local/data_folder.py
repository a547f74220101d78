"""The data folder of `tickbus up`: writable, locked while we run, without old run files."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from tickbus_schemas.errors import Fatal


class DataFolder:
    """`<data_dir>`: data at the top, `_run` (how to reach processes), `_log` (their logs)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @property
    def logs(self) -> Path:
        """Folder of the log files, one a process."""
        return self.path / "_log"

    def log(self, name: str) -> Path:
        """Log file of a process."""
        return self.logs / f"{name}.jsonl"

    def take(self) -> None:
        """Lock it; Fatal when it cannot be written or another `up` uses it."""
        run = self.path / "_run"
        try:
            run.mkdir(parents=True, exist_ok=True)
            self.logs.mkdir(exist_ok=True)
            lock = os.open(run / "up.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise Fatal(
                f"cannot write {self.path}: {error.strerror or error}; "
                "choose a folder of yours with --data"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(lock, 20).decode().strip()
            os.close(lock)
            raise Fatal(
                f"{self.path} is in use by another tickbus (pid {owner}); stop it, or choose "
                "another folder with --data"
            ) from None
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock
        for old in run.glob("*.json"):
            if old.name != "nats.json":  # holds port and password for the next start
                old.unlink(missing_ok=True)

    def release(self) -> None:
        """Unlock it."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                os.close(self._lock)
            self._lock = None
