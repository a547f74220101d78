"""One stream into files: groups in, committed blocks out; neither a socket nor a clock."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import NamedTuple

from tickbus.columns.group import Group
from tickbus_schemas.errors import Fatal
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import ABSENT, Status, StatusKind

from tickbus_writer.block import Block
from tickbus_writer.commit import EMPTY, CommitOutcome, commit, recover, sweep
from tickbus_writer.part import Part
from tickbus_writer.partition import PartKey
from tickbus_writer.segments import Cutter, segment
from tickbus_writer.steps import carry_out, disk_trouble_is_fatal
from tickbus_writer.target import Target

ANY_TICKER = "*"
"""ticker of a status row that concerns every ticker of the stream"""


class Limits(NamedTuple):
    """How files are cut and made."""

    block_s: int
    row_group_rows: int
    memory_bytes: int
    zstd_level: int


class StreamFiles:
    """Everything that the writer knows about one stream: its manifest's end and its open block."""

    def __init__(
        self,
        stream: str,
        exchange: Exchange,
        target: Target,
        limits: Limits,
        pool: Executor,
    ) -> None:
        self.stream = stream
        self.tip = EMPTY
        self._exchange = exchange
        self._target = target
        self._limits = limits
        self._pool = pool
        self._incarnation = ""
        self._cutter = Cutter(limits.block_s)
        self._block: Block | None = None

    def start(self, incarnation: str, last_seq: int) -> None:
        """Finish what a crash cut short and find where to go on.

        `incarnation` and `last_seq`: of the stream as it is now. Fatal when the stream does not
        reach as far as the files do, for then new messages would get numbers that are used.
        """
        self._incarnation = incarnation
        self.tip = carry_out(recover(self.stream), self._target)
        self._sweep()
        if self.tip.next_seq and last_seq + 1 < self.tip.next_seq:
            how = "lost its end" if incarnation == self.tip.incarnation else "was made anew"
            raise Fatal(
                f"stream {self.stream} {how}: it ends at {last_seq}, the files at "
                f"{self.tip.next_seq - 1}. Make it anew behind them (`tickbus init`), or write to "
                f"another folder (writer.root)"
            )

    @property
    def next_seq(self) -> int:
        """The sequence to read next; 0: whatever the stream has first."""
        return self._block.last_seq + 1 if self._block else self.tip.next_seq

    def take(self, group: Group) -> list[CommitOutcome]:
        """Take a group; the blocks that it ended.

        When the last of them was not `won`, everything read after `tip` was dropped: read on there.
        """
        outcomes: list[CommitOutcome] = []
        at = 0
        while at < group.messages:
            seq, stored_ns = int(group.seqs[at]), int(group.stored_ns[at])
            if self._block is None:
                if self.tip.next_seq and seq > self.tip.next_seq:
                    outcomes.append(self._lose(seq, stored_ns))
                    if not outcomes[-1].won:
                        break
                self._block = self._open(seq)
                self._cutter.open(seq, stored_ns)
            count, cut = self._cutter.count(group.seqs[at:], group.stored_ns[at:])
            if count:
                with disk_trouble_is_fatal():
                    self._block.append(segment(group, at, at + count))
            at += count
            if cut:
                outcomes.append(self._commit(self._block, cut))
                if not outcomes[-1].won:
                    break
        return outcomes

    def drain(self) -> CommitOutcome | None:
        """Commit what was read so far; None when that is nothing."""
        return self._commit(self._block, "drain") if self._block else None

    def abandon(self) -> None:
        """Forget what is not committed; it will be read again."""
        if self._block:
            for temporary in self._block.abandon():
                self._target.discard(temporary)
            self._block = None

    def _open(self, first_seq: int) -> Block:
        return Block(
            self.stream, self._incarnation, first_seq, self._new_part, self._limits.memory_bytes
        )

    def _new_part(self, key: PartKey) -> Part:
        return Part(
            key,
            self._target.temporary(),
            zstd_level=self._limits.zstd_level,
            row_group_rows=self._limits.row_group_rows,
        )

    def _commit(self, block: Block, cut: str) -> CommitOutcome:
        with disk_trouble_is_fatal():
            entry, built = block.finish(cut, self.tip, self._pool)
        self._block = None
        outcome = carry_out(commit(entry, built), self._target)
        self.tip = outcome.tip
        self._sweep()
        return outcome

    def _lose(self, seq: int, stored_ns: int) -> CommitOutcome:
        """Cover the sequences before `seq`, which nobody can read any more, by an entry."""
        first = self.tip.next_seq
        if self._incarnation == self.tip.incarnation:
            cut, why = "expired", "were gone from the stream before they were written"
        else:
            cut, why = "recreated", "ended with the old stream, which was made anew"
        block = self._open(first)
        row = Status(
            exchange=int(self._exchange),
            ticker=ANY_TICKER,
            epoch=0,
            message_no=0,
            timestamp=stored_ns // 1_000,
            rcv_timestamp=stored_ns // 1_000,
            packet_id=0,
            kind=int(StatusKind.GAP),
            reason=f"{self.stream}: sequences {first} to {seq - 1} {why}",
            from_id=ABSENT,
            to_id=ABSENT,
        )
        block.lose(seq - 1, cut, (first, row))
        return self._commit(block, cut)

    def _sweep(self) -> None:
        """Remove what dead writers left in place and nobody can commit any more."""
        for writer, paths in self._target.abandoned():
            if carry_out(sweep(paths), self._target):
                self._target.settle(writer)
