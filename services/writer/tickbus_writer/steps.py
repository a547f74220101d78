"""Acts on a target as values, so that what to do next can be decided and tested without a disk."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

from tickbus_schemas.errors import Fatal

from tickbus_writer.target import Target

Result = TypeVar("Result")


class Step(Protocol):
    """One act; its answer goes back to whoever decided it."""

    def on(self, target: Target) -> Any:
        """Do it."""


Steps = Generator[Step, Any, Result]
"""Yields steps, is sent their answers, returns a result."""


class Seal(NamedTuple):
    """Make temporary files durable."""

    temporaries: tuple[str, ...]

    def on(self, target: Target) -> Any:
        """None."""
        return target.seal(self.temporaries)


class See(NamedTuple):
    """Read a file back: Seen, or None."""

    path: str

    def on(self, target: Target) -> Any:
        """Seen or None."""
        return target.see(self.path)


class HashRows(NamedTuple):
    """Hash the rows of a file in place."""

    path: str

    def on(self, target: Target) -> Any:
        """The hash."""
        return target.row_hash(self.path)


class Intend(NamedTuple):
    """Write down what will be placed."""

    paths: tuple[str, ...]

    def on(self, target: Target) -> Any:
        """None."""
        return target.intend(self.paths)


class Place(NamedTuple):
    """Give a file its final path: whether it was done."""

    temporary: str
    path: str
    replace: bool = False

    def on(self, target: Target) -> Any:
        """True if placed."""
        return target.place(self.temporary, self.path, replace=self.replace)


class SyncFolders(NamedTuple):
    """Make placed names durable."""

    paths: tuple[str, ...]

    def on(self, target: Target) -> Any:
        """None."""
        return target.sync_folders(self.paths)


class Create(NamedTuple):
    """A small file without replacing: whether it was done."""

    path: str
    data: bytes

    def on(self, target: Target) -> Any:
        """True if created."""
        return target.create(self.path, self.data)


class Read(NamedTuple):
    """A small file's bytes, or None."""

    path: str

    def on(self, target: Target) -> Any:
        """Bytes or None."""
        return target.read(self.path)


class Names(NamedTuple):
    """Names of files in a folder."""

    folder: str

    def on(self, target: Target) -> Any:
        """List of names."""
        return target.names(self.folder)


class Remove(NamedTuple):
    """Take uncommitted files away."""

    paths: tuple[str, ...]

    def on(self, target: Target) -> Any:
        """None."""
        return target.remove(self.paths)


class Discard(NamedTuple):
    """Forget a temporary file."""

    temporary: str

    def on(self, target: Target) -> Any:
        """None."""
        return target.discard(self.temporary)


def carry_out(steps: Steps[Result], target: Target) -> Result:
    """Do step after step on a target; Fatal when the disk or store refuses one."""
    answer: Any = None
    with disk_trouble_is_fatal():
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as done:
                result: Result = done.value
                return result
            answer = step.on(target)


@contextmanager
def disk_trouble_is_fatal() -> Iterator[None]:
    """Full, read-only or failing disks end the job with one line."""
    try:
        yield
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise Fatal(
            f"cannot write{where}: {error.strerror or error}; make room or rights, "
            f"then start again: what is not committed is read again from the log"
        ) from error
