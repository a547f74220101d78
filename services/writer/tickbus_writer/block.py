"""An open block of one stream: the parts that its rows go to, and what its entry will say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt
from tickbus.columns.group import Group
from tickbus.columns.table import Table
from tickbus.lake import manifest
from tickbus.lake.dataset_schema import table_hash
from tickbus.lake.manifest import DataFile, EmptyPacket, Entry, EpochRange, SnapshotStart
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.feeds import OF_KIND
from tickbus_schemas.messages import (
    Alert,
    Clock,
    DeadLetter,
    Fence,
    Header,
    L2Batch,
    L2Flag,
    Status,
)

from tickbus_writer.commit import Built, Tip
from tickbus_writer.dataset_rows import Packed, message_rows, packed, packet_seq_ids
from tickbus_writer.part import Part
from tickbus_writer.partition import PartKey
from tickbus_writer.segments import Filling, message_bytes, segment

_WITHOUT_ROWS: dict[type[Header], str] = {
    Clock: "clock",
    Fence: "fence",
    DeadLetter: "dead_letter",
    Alert: "alert",
}
NewPart = Callable[[PartKey], Part]


class Block:
    """Messages of one incarnation of a stream from `first_seq` on, until it is committed."""

    def __init__(
        self, stream: str, incarnation: str, first_seq: int, new_part: NewPart, memory_bytes: int
    ) -> None:
        self.stream = stream
        self.incarnation = incarnation
        self.first_seq = first_seq
        self.last_seq = first_seq - 1
        self._new_part = new_part
        self._filling = Filling(memory_bytes)
        self._parts: dict[PartKey, Part] = {}
        self._first_stored_ns = 0
        self._last_stored_ns = 0
        self._with_rows = 0
        self._without_rows: Counter[str] = Counter()
        self._epochs: dict[int, EpochRange] = {}
        self._snapshots: list[SnapshotStart] = []
        self._empty_packets: list[EmptyPacket] = []

    def append(self, group: Group) -> None:
        """Take the messages of a group, all of which are in this block."""
        self._first_stored_ns = self._first_stored_ns or group.first_stored_ns
        self._last_stored_ns = group.last_stored_ns
        start = 0
        for end in self._filling.fulls(message_bytes(group)):
            self._take(segment(group, start, end))
            for part in self._parts.values():
                part.spill()
            start = end
        if start < group.messages:
            self._take(segment(group, start, group.messages))
        self.last_seq = group.last_seq

    def lose(self, last_seq: int, reason: str, status: tuple[int, Status]) -> None:
        """The block is sequences that nobody can read any more: `status` is the row that says so.

        `reason`: expired or recreated.
        """
        self._without_rows[reason] += last_seq - self.last_seq
        exchange, ticker = Exchange(status[1].exchange), status[1].ticker
        key = PartKey("status", exchange, ticker, status[1].timestamp // 86_400_000_000)
        self._part(key).append([message_rows(OF_KIND[Status], [status])])
        self.last_seq = last_seq

    def finish(self, cut: str, tip: Tip, pool: Executor) -> tuple[Entry, list[Built]]:
        """Close all parts; the entry without its files, and the files.

        Encoding is the dear part of a commit: `pool` does several files at once.
        """
        name = manifest.range_name(self.incarnation, self.first_seq, self.last_seq)
        stream_range = f"{self.stream}-{name}"
        parts = list(self._parts.values())
        hashes = list(pool.map(lambda part: part.close(stream_range), parts))
        built: list[Built] = []
        folders: Counter[str] = Counter()
        closed = zip(parts, hashes, strict=True)
        for part, row_hash in sorted(
            closed, key=lambda one: (one[0].key.folder, one[0].first_seq_id)
        ):
            folder = part.key.folder
            folders[folder] += 1
            # Two shapes of one table in one folder are rare: a book's depth was changed.
            suffix = f"-{folders[folder]}" if folders[folder] > 1 else ""
            path = f"{folder}/{stream_range}{suffix}.parquet"
            built.append(Built(part.path, _data_file(part, path, row_hash)))
        return self._entry(cut, tip), built

    def abandon(self) -> list[str]:
        """Close the parts of a block that will not be committed; their temporary files."""
        for part in self._parts.values():
            part.abandon()
        return [part.path for part in self._parts.values()]

    def _part(self, key: PartKey) -> Part:
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = self._new_part(key)
        return part

    def _take(self, group: Group) -> None:
        pieces: dict[PartKey, list[Packed]] = {}
        for key, rows in packed(group):
            pieces.setdefault(key, []).append(rows)
        for key, several in pieces.items():
            self._part(key).append(several)
        for table in group.tables.values():
            messages = len(table.message_seq)
            empty = 0
            if table.kind is L2Batch:
                empty = int((table.message_levels == 0).sum())
                self._note_packets(table)
            self._with_rows += messages - empty
            self._without_rows["empty"] += empty
        for kind, singles in group.singles.items():
            if kind in OF_KIND:
                self._with_rows += len(singles)
            else:
                self._without_rows[_WITHOUT_ROWS[kind]] += len(singles)
        self._without_rows["reject"] += len(group.rejected)
        holes = group.last_seq - self.last_seq - group.messages
        self._without_rows["missing"] += holes
        self.last_seq = group.last_seq
        self._note_numbers(group.numbers)

    def _note_packets(self, table: Table) -> None:
        """Where books can be started from, and packets that leave no row."""
        flags, levels = table.columns["flags"], table.columns["levels"]
        starts = (flags & int(L2Flag.SNAPSHOT_FIRST)) != 0
        empty = levels == 0
        if not starts.any() and not empty.any():
            return
        seq_ids, exchange = packet_seq_ids(table), Exchange(table.exchange).token
        self._snapshots += [
            SnapshotStart(exchange=exchange, ticker=table.ticker, seq_id=seq_id)
            for seq_id in seq_ids[starts].tolist()
        ]
        names = ("timestamp", "packet_id", "prev_update_id", "update_id", "flags")
        columns = [seq_ids, *(table.columns[name] for name in names)]
        for values in zip(*(column[empty].tolist() for column in columns), strict=True):
            facts = dict(zip(("seq_id", *names), values, strict=True))
            self._empty_packets.append(EmptyPacket(exchange=exchange, ticker=table.ticker, **facts))

    def _note_numbers(self, numbers: npt.NDArray[np.int64]) -> None:
        """Extend the ranges of `message_no` by epoch."""
        numbers = numbers[numbers[:, 0] >= 0]
        for epoch in np.unique(numbers[:, 0]).tolist():
            found = numbers[numbers[:, 0] == epoch, 1]
            first, last, messages = int(found.min()), int(found.max()), len(found)
            before = self._epochs.get(epoch)
            if before is not None:
                first = min(first, before.first_message_no)
                last = max(last, before.last_message_no)
                messages += before.messages
            self._epochs[epoch] = EpochRange(
                epoch=epoch, first_message_no=first, last_message_no=last, messages=messages
            )

    def _entry(self, cut: str, tip: Tip) -> Entry:
        return Entry(
            stream=self.stream,
            incarnation=self.incarnation,
            first_seq=self.first_seq,
            last_seq=self.last_seq,
            first_stored_ns=self._first_stored_ns,
            last_stored_ns=self._last_stored_ns,
            cut=cut,
            files=[],
            messages_with_rows=self._with_rows,
            without_rows={name: n for name, n in sorted(self._without_rows.items()) if n},
            epochs=[self._epochs[epoch] for epoch in sorted(self._epochs)],
            snapshots=sorted(self._snapshots, key=lambda one: one.seq_id),
            empty_packets=sorted(self._empty_packets, key=lambda one: one.seq_id),
            previous=tip.entry,
            previous_hash=tip.hash,
        )


def _data_file(part: Part, path: str, row_hash: str) -> DataFile:
    key = part.key
    return DataFile(
        path=path,
        feed=key.feed,
        exchange=key.exchange.token,
        ticker=key.ticker,
        date=key.date,
        rows=part.rows,
        size=0,
        checksum="",
        row_hash=row_hash,
        first_seq_id=part.first_seq_id,
        last_seq_id=part.last_seq_id,
        first_timestamp=part.first_timestamp,
        last_timestamp=part.last_timestamp,
        table=table_hash(key.table),
        catalogue=key.catalogue,
    )
