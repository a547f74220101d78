"""How a block becomes part of the dataset: every decision of the commit, and none of its acts.

Order: each temporary file is made durable and read back; what will be placed is written down; files
get their names, without replacing; folders are made durable; then the block's link is created
without replacing. **That is the commit.** The entry, the same bytes under their public name, can be
written again from the link by anyone. Whatever a crash or a second writer leaves behind follows
from four rules:

1. A block starts where the last link's ends. Only one link can bear a first sequence, so of two
   writers only one commits, even where they cut the log differently; the other reads on behind it.
2. A file in place without a link is not committed. Whoever builds the same file compares the rows:
   equal, it is taken as it is; different, it is replaced.
3. A file that was placed and lies behind a link that does not name it will never be committed: it
   is removed, by its writer or, when that died, by the next one (`Intend` says where to look).
4. A link without its entry is a commit cut short: the entry is written.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import xxhash
from tickbus.lake import manifest
from tickbus.lake.manifest import DataFile, Entry
from tickbus_schemas.errors import Fatal

from tickbus_writer.steps import (
    Create,
    Discard,
    HashRows,
    Intend,
    Names,
    Place,
    Read,
    Remove,
    Seal,
    See,
    Steps,
    SyncFolders,
)
from tickbus_writer.target import Seen


class Built(NamedTuple):
    """A finished temporary file; size and checksum of `file` are not known yet."""

    temporary: str
    file: DataFile


class Tip(NamedTuple):
    """Where a stream's manifest ends."""

    next_seq: int
    """first sequence that no entry covers; 0: there is no entry"""
    incarnation: str
    entry: str
    """name of the last entry; '' if there is none"""
    hash: str
    """XXH3-128 of its bytes"""


class CommitOutcome(NamedTuple):
    """End of a commit: `entry` is what the link holds now."""

    won: bool
    """False: another writer's block starts here; ours was dropped"""
    entry: Entry
    tip: Tip


EMPTY = Tip(0, "", "", "")


def tip_after(entry: Entry, data: bytes) -> Tip:
    """The manifest's end behind an entry of these bytes."""
    digest = xxhash.xxh3_128_hexdigest(data)
    return Tip(entry.last_seq + 1, entry.incarnation, entry.name, digest)


def commit(draft: Entry, built: list[Built]) -> Steps[CommitOutcome]:
    """Commit a block: `draft` is its entry without files, `built` the files in their order."""
    link = _link(draft.stream, draft.first_seq)
    paths = tuple(one.file.path for one in built)
    if paths:
        yield Seal(tuple(one.temporary for one in built))
        for one in built:
            _check((yield See(one.temporary)), one, draft)
        yield Intend(paths)
    files = yield from _place_all(built, link)
    if paths:
        yield SyncFolders(paths)
    entry = msgspec.structs.replace(draft, files=files)
    data = manifest.encode(entry)
    if not (yield Create(link, data)):
        # Ours after all if a second writer of the same block was faster by a moment.
        data = yield Read(link)
        entry = manifest.decode(data, link)
    yield Create(_entry_path(entry), data)
    named = {file.path for file in entry.files}
    unnamed = tuple(path for path in paths if path not in named)
    if unnamed:
        yield Remove(unnamed)
    if paths:
        yield Intend(())
    won = entry.last_seq == draft.last_seq and entry.incarnation == draft.incarnation
    return CommitOutcome(won, entry, tip_after(entry, data))


def _check(seen: Seen | None, one: Built, draft: Entry) -> None:
    """Fatal unless the disk gives back what was written."""
    file = one.file
    expected = (file.rows, file.first_seq_id, file.last_seq_id)
    if seen is None or (seen.rows, seen.first_seq_id, seen.last_seq_id) != expected:
        raise Fatal(
            f"{file.path}: the disk does not hold what was written to it; check the disk. "
            f"{draft.stream} from {draft.first_seq} on is not committed and will be read again"
        )


def _place_all(built: list[Built], link: str) -> Steps[list[DataFile]]:
    files = []
    for one in built:
        file = yield from _place(one, link)
        files.append(file)
    return files


def _place(one: Built, link: str) -> Steps[DataFile]:
    """Give one file its name; what then stands under it, by size and checksum."""
    path = one.file.path
    if not (yield Place(one.temporary, path)):
        there: Seen | None = yield See(path)
        if there is not None and (yield HashRows(path)) == one.file.row_hash:
            yield Discard(one.temporary)
        elif (yield Read(link)) is None:  # a committed file is never replaced
            yield Place(one.temporary, path, replace=True)
    seen: Seen | None = yield See(path)
    if seen is None:
        raise Fatal(f"{path} vanished while it was committed; keep other programs out of there")
    return msgspec.structs.replace(one.file, size=seen.size, checksum=seen.checksum)


def recover(stream: str) -> Steps[Tip]:
    """Finish what was cut short in a stream's manifest, and find its end."""
    links = {int(name): name for name in (yield Names(_chain(stream))) if name.isdigit()}
    entries = {}
    for name in (yield Names(str(manifest.stream_folder(stream)))):
        parts = name.removesuffix(".json").split("-")
        if len(parts) == 3 and name.endswith(".json"):
            entries[int(parts[1])] = name
    for first_seq in sorted(links.keys() - entries.keys()):
        path = _link(stream, first_seq)
        data = yield Read(path)
        yield Create(_entry_path(manifest.decode(data, path)), data)
    for first_seq in sorted(entries.keys() - links.keys()):
        data = yield Read(f"{manifest.stream_folder(stream)}/{entries[first_seq]}")
        yield Create(_link(stream, first_seq), data)
    known = links.keys() | entries.keys()
    if not known:
        return EMPTY
    path = _link(stream, max(known))
    data = yield Read(path)
    return tip_after(manifest.decode(data, path), data)


def sweep(paths: list[str]) -> Steps[bool]:
    """Remove the files of one block that were placed and can no longer be committed.

    Returns False while that is not decided yet: no link reaches that far.
    """
    name = manifest.parse_data_file(paths[0].rpartition("/")[2]) if paths else None
    if name is None:
        return True
    links = sorted(one for one in (yield Names(_chain(name.stream))) if one.isdigit())
    before = [one for one in links if int(one) <= name.first_seq]
    if not before:
        return False
    path = _link(name.stream, int(before[-1]))
    entry = manifest.decode((yield Read(path)), path)
    if entry.last_seq < name.first_seq:
        return False
    named = {file.path for file in entry.files}
    unnamed = tuple(one for one in paths if one not in named)
    if unnamed:
        yield Remove(unnamed)
    return True


def _chain(stream: str) -> str:
    return f"{manifest.stream_folder(stream)}/{manifest.CHAIN}"


def _link(stream: str, first_seq: int) -> str:
    return f"{_chain(stream)}/{manifest.link_name(first_seq)}"


def _entry_path(entry: Entry) -> str:
    return f"{manifest.stream_folder(entry.stream)}/{entry.name}"
