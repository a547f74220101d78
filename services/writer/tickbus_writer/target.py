"""Where a dataset lies: the few acts that the writer asks of a disk or an object store.

Every act is durable when it returns, or raises OSError. Paths are relative to the dataset's root,
with `/`. Two writers may work on one target at the same time: `place` and `create` never replace,
and that alone decides between them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol


class Seen(NamedTuple):
    """What a Parquet file on the target really holds."""

    rows: int
    size: int
    checksum: str
    """XXH3-128 of its bytes"""
    first_seq_id: int
    last_seq_id: int
    stream_range: str
    """`<stream>-<incarnation>-<first>-<last>` from its metadata"""


class Target(Protocol):
    """A folder on a disk today; S3 and others later."""

    def temporary(self) -> str:
        """Path of a new file of this writer that nobody else sees; a place to build one file."""

    def seal(self, temporaries: Iterable[str]) -> None:
        """Make finished temporary files durable."""

    def see(self, path: str) -> Seen | None:
        """Read a file back, temporary or in place; None if it is not a whole Parquet file."""

    def row_hash(self, path: str) -> str:
        """Hash of the rows of a whole Parquet file of the dataset, read back."""

    def intend(self, paths: Iterable[str]) -> None:
        """Write down which files this writer is about to place, for whoever comes after it.

        None: everything that was placed is committed or removed.
        """

    def place(self, temporary: str, path: str, *, replace: bool = False) -> bool:
        """Give a sealed file its final path; False if there is one and `replace` is not set."""

    def sync_folders(self, paths: Iterable[str]) -> None:
        """Make the names of placed files durable."""

    def create(self, path: str, data: bytes) -> bool:
        """A small file, whole or not at all, without replacing; False if there is one."""

    def read(self, path: str) -> bytes | None:
        """A small file; None if there is none."""

    def names(self, folder: str) -> list[str]:
        """Names of the files in a folder; none if there is no folder."""

    def remove(self, paths: Iterable[str]) -> None:
        """Take files away that belong to no entry."""

    def discard(self, temporary: str) -> None:
        """Forget a temporary file."""

    def abandoned(self) -> list[tuple[str, list[str]]]:
        """Writers that died: each one's name, and the files that it was about to place."""

    def settle(self, writer: str) -> None:
        """Nothing is left to do about a dead writer: forget it and its temporary files."""
