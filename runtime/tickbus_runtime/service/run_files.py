"""Where a running process can be reached: `<data_dir>/_run/<service>.json`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from tickbus_schemas.errors import Fatal


class RunFile(msgspec.Struct, frozen=True):
    """Written when a process's health server listens, removed at an orderly exit."""

    service: str
    pid: int
    health_url: str


@contextlib.contextmanager
def announced(data_dir: Path, service: str, health_url: str) -> Iterator[None]:
    """Announce this process while the block runs. Fatal when the folder cannot be written."""
    path = data_dir / "_run" / f"{service}.json"
    content = msgspec.json.encode(RunFile(service, os.getpid(), health_url))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}.tmp")
        fresh.write_bytes(content)
        fresh.replace(path)
    except OSError as error:
        raise Fatal(
            f"cannot write {path.parent}: {error.strerror or error}; "
            "set data_dir to a folder of yours"
        ) from None
    try:
        yield
    finally:
        if path.is_file() and path.read_bytes() == content:  # not if a successor has replaced it
            path.unlink(missing_ok=True)


def read(data_dir: Path, service: str) -> RunFile | None:
    """The run file of a service, if there is one; the process may have died since."""
    try:
        return msgspec.json.decode(
            (data_dir / "_run" / f"{service}.json").read_bytes(), type=RunFile
        )
    except (OSError, msgspec.MsgspecError):
        return None


def leave_last(data_dir: Path, service: str, status: dict[str, Any]) -> None:
    """Keep the last /status of a process at an orderly exit, for the report of the run."""
    path = data_dir / "_run" / f"{service}.last.json"
    with contextlib.suppress(OSError):  # the work is done; only its counters would be missing
        path.write_bytes(msgspec.json.encode(status, enc_hook=str))


def last(data_dir: Path, service: str) -> dict[str, Any] | None:
    """The last /status of the process that exited most recently."""
    try:
        content = (data_dir / "_run" / f"{service}.last.json").read_bytes()
        return msgspec.json.decode(content, type=dict[str, Any])
    except (OSError, msgspec.MsgspecError):
        return None
